//! `doctor`: makes one call for a page, and reports from its outcome what would prevent an export. If the list can be
//! read, makes another call for the meeting's enrollment settings.
//!
//! A call can fail at these points, in this order: Redis, network, quota, token, trusted IP, permission, meeting. An
//! error at one point means that the earlier ones succeeded. By default, a call makes one attempt, because repeated
//! wrong secrets ban the IP. Rows are counted, but never printed.

use std::{io, net::IpAddr};

use futures::StreamExt;
use terminal_size::{Width, terminal_size_of};
use textwrap::{Options, fill};
use wecom_enroll::{ApprovalType, EnrollSettings, Error, ErrorKind, Page};

use crate::{
    connect::{Connection, Credentials, has_redis, notes},
    exit::Stop,
    ui::{
        lang::Lang,
        stdout::print,
        text::{counted, error_line, sanitized},
    },
};

/// Check credentials, connection, token, trusted IP, permission and the enrollment settings, and report what is wrong
#[derive(clap::Args)]
#[command(after_help = notes(NOTES))]
pub(crate) struct Args {
    /// The id of a webinar or meeting, to check that its list and its enrollment settings can be read
    #[arg(value_name = "MEETINGID")]
    meeting: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

const NOTES: &str = "\
    Each check prints one line to standard output: ok, FAILED with what to do, or skipped. doctor makes one call, \
    and another one if a MEETINGID is given and its list can be read, with one attempt each unless --max-attempts is \
    set. Credentials and rows are not printed.\n\n\
    Without a MEETINGID, doctor queries a nonexistent meeting; if WeCom rejects only the meeting id, everything else \
    works.";

/// Indents continuation lines on a terminal, so that they start below the text of the check.
const INDENT: &str = "                      ";

/// On a terminal with fewer columns, continuation lines are not indented.
const MIN_INDENTED_WIDTH: u16 = 45;

const NONEXISTENT_MEETING: &str = "wecom-enroll-doctor";

/// WeCom does not trust this machine's IP.
const UNTRUSTED_IP: i64 = 60020;

/// WeCom refuses the access token itself. [`Error`] has no predicate for that.
const REFUSED_TOKEN: [i64; 4] = [40001, 40014, 41001, 42001];

/// The name of the check that follows all others.
const SETTINGS: &str = "settings";

/// A point at which a call can fail, in the order of a call.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Check {
    Redis,
    Connection,
    Quota,
    Token,
    TrustedIp,
    Permission,
    Meeting,
}

impl Check {
    /// All checks in the order of a call, their names, and the text for a check that was passed.
    const ALL: [(Self, &'static str, &'static str); 7] = [
        (Self::Redis, "Redis", "Redis responds and accepts the credentials"),
        (Self::Connection, "connection", "the API host responds"),
        (Self::Quota, "quota", "WeCom accepts calls at the moment"),
        (Self::Token, "token", "WeCom accepts the access token"),
        (Self::TrustedIp, "trusted IP", "WeCom accepts calls from this machine"),
        (Self::Permission, "permission", "the app may read this list"),
        (Self::Meeting, "meeting", "the list can be read"),
    ];

    /// Returns the checks that apply. A demo does not use Redis, even if `WECOM_REDIS_URL` is set.
    fn all(is_demo: bool) -> Result<&'static [(Self, &'static str, &'static str)], Stop> {
        Ok(if !is_demo && has_redis()? { &Self::ALL } else { &Self::ALL[1..] })
    }

    /// Returns the check that failed with this error.
    fn failed_with(error: &Error) -> Self {
        match error.errcode() {
            None if error.kind() == ErrorKind::Redis => Self::Redis,
            None => Self::Connection,
            // WeCom is busy or a rate limit was exceeded, so nothing after that was checked.
            Some(_) if error.is_transient() => Self::Quota,
            Some(UNTRUSTED_IP) => Self::TrustedIp,
            Some(_) if error.kind() == ErrorKind::Token => Self::Token,
            Some(errcode) if REFUSED_TOKEN.contains(&errcode) => Self::Token,
            Some(_) if error.is_auth() => Self::Permission,
            Some(_) => Self::Meeting,
        }
    }
}

/// Prints the result of a check immediately, because the next check may take long.
fn report(name: &str, result: &str, text: &str) -> Result<(), Stop> {
    let line = format!("{name:<13}{result:<9}{}", sanitized(text));
    let line = match terminal_size_of(io::stdout()) {
        Some((Width(width), _)) => {
            let indent = if width < MIN_INDENTED_WIDTH { "" } else { INDENT };
            fill(&line, Options::new(width.into()).subsequent_indent(indent))
        }
        None => line,
    };
    print(format!("{}\n", line.trim_end()).as_bytes())
}

pub(crate) async fn run(mut args: Args, lang: Lang) -> Result<u8, Stop> {
    let is_demo = args.connection.demo.is_some();
    let checks = Check::all(is_demo)?;
    let credentials =
        if is_demo { Ok("the demo has its own".to_owned()) } else { check_credentials() };
    match credentials {
        Ok(text) => report("credentials", "ok", &text)?,
        Err(stop) => {
            report("credentials", "FAILED", &stop.message(lang).unwrap_or_default())?;
            for (_, name, _) in checks {
                report(name, "skipped", "")?;
            }
            report(SETTINGS, "skipped", "")?;
            return Ok(stop.code());
        }
    }
    let meeting = args.meeting.or(is_demo.then(|| "demo".to_owned()));
    let has_meeting = meeting.is_some();
    let id = meeting.as_deref().unwrap_or(NONEXISTENT_MEETING);
    let query = args.connection.kind.query(id).page_size(1)?;
    query.validate()?;
    args.connection.max_attempts.get_or_insert(1);
    let (client, _simulator) = args.connection.open().await?;
    let page = client.pages(query.clone()).next().await.transpose();
    let error = page.as_ref().err();
    let failed = error.map(Check::failed_with);
    for &(check, name, success) in checks {
        if failed.is_some_and(|failed| failed < check) {
            report(name, "skipped", "")?;
        } else if check == Check::Meeting && !has_meeting {
            report(name, "skipped", &no_meeting(error))?;
        } else if let Some(error) = error.filter(|_| failed == Some(check)) {
            report(name, "FAILED", &explanation(error, lang))?;
        } else if let (Check::Meeting, Ok(Some(page))) = (check, &page) {
            report(name, "ok", &page_text(page))?;
        } else {
            report(name, "ok", success)?;
        }
    }
    let settings = match error {
        None if has_meeting => Some(client.enroll_settings(query).await),
        _ => None,
    };
    match &settings {
        Some(Ok(settings)) => report(SETTINGS, "ok", &settings_text(settings))?,
        Some(Err(error)) => report(SETTINGS, "FAILED", &explanation(error, lang))?,
        None => report(SETTINGS, "skipped", "")?,
    }
    Ok(match error.or(settings.as_ref().and_then(|settings| settings.as_ref().err())) {
        Some(_) if failed == Some(Check::Meeting) && !has_meeting => 0,
        Some(error) if error.is_transient() => 75,
        Some(_) => 1,
        None => 0,
    })
}

/// Checks what can be checked about the credentials without sending them.
fn check_credentials() -> Result<String, Stop> {
    // The last item is the usual length, if there is one.
    let credentials = match Credentials::read()? {
        Credentials::Secret { corp_id, secret } => {
            vec![("WECOM_CORP_ID", corp_id, Some(18)), ("WECOM_CORP_SECRET", secret, Some(43))]
        }
        Credentials::Token(token) => vec![("WECOM_ACCESS_TOKEN", token, None)],
    };
    let mut texts = Vec::new();
    for (name, value, usual) in credentials {
        if value.contains(|c: char| !c.is_ascii_graphic() || "'\"`".contains(c)) {
            return Err(Stop::Failed(format!(
                "{name} contains white space, a quote or another character that no credential contains; set it again, \
                 without quotes around it"
            )));
        }
        let length = value.len();
        texts.push(match usual.filter(|usual| *usual != length) {
            None => format!("{name} is set"),
            Some(usual) => {
                format!("{name} is set, but has {length} characters instead of the usual {usual}")
            }
        });
    }
    Ok(texts.join("; "))
}

/// Returns the text for a skipped meeting check. WeCom does not document which errcode a nonexistent meeting gets.
fn no_meeting(error: Option<&Error>) -> String {
    let rejected = error.and_then(Error::errcode).map_or_else(String::new, |errcode| {
        format!("; WeCom rejected a nonexistent meeting with errcode {errcode}, as expected")
    });
    format!("pass a MEETINGID to check that its list can be read{rejected}")
}

fn explanation(error: &Error, lang: Lang) -> String {
    let line = error_line(error, lang.hint(error));
    match public_ip(error) {
        Some(ip) if error.errcode() == Some(UNTRUSTED_IP) => {
            format!("{} {ip}; {line}", lang.pick("this machine's public IP is", "本机公网 IP 为"))
        }
        _ => line,
    }
}

/// Returns this machine's address as WeCom sees it. WeCom reports it only in the errmsg, which ends like
/// `from ip: 203.0.113.7, more info at ...`. It is only displayed.
fn public_ip(error: &Error) -> Option<IpAddr> {
    let text = error.to_string();
    let (_, ip) = text.split_once("from ip: ")?;
    ip.split([',', ' ']).next()?.parse().ok()
}

fn page_text(page: &Page) -> String {
    let more = if page.has_more() { "more rows follow" } else { "it is the last page" };
    format!("received a page with {}, and {more}", counted(page.len() as u64, "row", "rows"))
}

fn settings_text(settings: &EnrollSettings) -> String {
    let approval = match settings.approval {
        ApprovalType::Automatic => "enrollments are approved automatically".to_owned(),
        ApprovalType::Manual => "an organizer approves enrollments".to_owned(),
        other => format!("the approval type {other} is unknown"),
    };
    let staff = if settings.staff_need_no_enrollment {
        "; members of the organization need not enroll"
    } else {
        ""
    };
    let titles = settings.questions.iter().map(|question| match question.title.trim() {
        // The title of a special question may be missing.
        "" => question.special_type.to_string(),
        title => format!("\"{title}\""),
    });
    let questions = match titles.collect::<Vec<_>>() {
        titles if titles.is_empty() || !settings.collects_answers => "no questions".to_owned(),
        titles => {
            let count = counted(titles.len() as u64, "question", "questions");
            format!("{count}: {}", titles.join(", "))
        }
    };
    format!("{approval}{staff}; {questions}")
}
