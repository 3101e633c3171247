//! `doctor`: makes one call, and tells from how it ends what an export would be missing.
//!
//! A call meets its obstacles in an order: no network, no token, an IP that is not trusted, no
//! permission, no such meeting. So the one that stops it shows that those before it are passed. It is
//! one attempt, because repeated wrong secrets get the IP banned. Rows are counted and never shown.

use std::{env, io, net::IpAddr};

use futures::StreamExt;
use terminal_size::{Width, terminal_size_of};
use textwrap::{Options, fill};
use wecom_enroll::{Error, ErrorKind, Page};

use crate::{
    Stop,
    chart::clean,
    connect::{Connection, Credentials},
    lang::Lang,
    lists::Kind,
    print,
    progress::counted,
    walks::told,
};

/// Find out what keeps an export from working, and what to do about it
#[derive(clap::Args)]
#[command(after_help = CHECKS)]
pub(crate) struct Args {
    /// The id of a webinar or meeting, to see whether its list can be read
    #[arg(value_name = "MEETINGID")]
    meeting: Option<String>,
    /// Which list: the one of webinars, or the same list of ordinary meetings
    #[arg(long, value_enum, default_value = "webinar")]
    kind: Kind,
    #[command(flatten)]
    connection: Connection,
}

const CHECKS: &str = "Each check is a line on standard output: ok, FAILED with what to do, or skipped. Credentials come \
    from the environment, as for export, and are not shown; nor are rows.\n\nWithout a MEETINGID the list of a made-up one \
    is asked for: that WeCom refuses no more than this shows that all else is fine.\n\nExit codes: 0 all is well; 1 something \
    is wrong; 2 wrong usage, or no credentials; 75 something that may pass.";

/// As wide as a check's name and mark: a terminal shows the text beside them, a pipe in one line.
const INDENT: &str = "                      ";

const MADE_UP: &str = "wecom-enroll-doctor";

/// What a call needs, in the order in which it finds out.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Check {
    /// Only where there is one.
    Redis,
    Connection,
    /// The server takes a call at this moment.
    Quota,
    Token,
    TrustedIp,
    Permission,
    Meeting,
}

impl Check {
    const ALL: [Self; 7] = [
        Self::Redis,
        Self::Connection,
        Self::Quota,
        Self::Token,
        Self::TrustedIp,
        Self::Permission,
        Self::Meeting,
    ];

    /// Those that there are here. A demo shares nothing.
    fn all(is_demo: bool) -> impl Iterator<Item = Self> {
        let shared = !is_demo && env::var_os("WECOM_REDIS_URL").is_some_and(|url| !url.is_empty());
        Self::ALL.into_iter().filter(move |check| shared || *check != Self::Redis)
    }

    /// Its name, and what it means that a call has passed it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Redis => ("Redis", "the Redis of the fleet was reached, and lets us in"),
            Self::Connection => ("connection", "the API's host was reached, and answers"),
            Self::Quota => ("quota", "WeCom takes a call now"),
            Self::Token => ("token", "WeCom accepts the access token"),
            Self::TrustedIp => ("trusted IP", "WeCom takes calls from this machine"),
            Self::Permission => ("permission", "the app may read this list"),
            Self::Meeting => ("meeting", "its list can be read"),
        }
    }

    /// The one that this error is about.
    fn of(error: &Error) -> Self {
        match error.errcode() {
            None if error.kind() == ErrorKind::Shared => Self::Redis,
            None => Self::Connection,
            // Too busy, or too many calls: it has not judged the rest.
            Some(_) if error.is_transient() => Self::Quota,
            Some(60020) => Self::TrustedIp,
            Some(_) if error.kind() == ErrorKind::Token => Self::Token,
            Some(40001 | 40014 | 41001 | 42001) => Self::Token,
            Some(_) if error.is_auth() => Self::Permission,
            Some(_) => Self::Meeting,
        }
    }
}

/// At once, for the call may take its time.
fn tell(name: &str, mark: &str, text: &str) -> Result<(), Stop> {
    let line = format!("{name:<13}{mark:<9}{}", clean(text));
    let line = match terminal_size_of(io::stdout()) {
        Some((Width(width), _)) => {
            // In a narrow one nothing stands beside them.
            let indent = if width < 45 { "" } else { INDENT };
            fill(&line, Options::new(width.into()).subsequent_indent(indent))
        }
        None => line,
    };
    print(format!("{}\n", line.trim_end()).as_bytes())
}

pub(crate) async fn run(mut args: Args, lang: Lang) -> Result<u8, Stop> {
    let is_demo = args.connection.demo.is_some();
    let credentials = if is_demo { Ok("the demo has its own".to_owned()) } else { credentials() };
    match credentials {
        Ok(text) => tell("credentials", "ok", &text)?,
        Err(Stop { code, text }) => {
            tell("credentials", "FAILED", &text)?;
            for check in Check::all(is_demo) {
                tell(check.words().0, "skipped", "")?;
            }
            return Ok(code);
        }
    }
    let meeting = args.meeting.or(is_demo.then(|| "demo".to_owned()));
    let query = args.kind.query(meeting.as_deref().unwrap_or(MADE_UP)).page_size(1)?;
    args.connection.max_attempts.get_or_insert(1);
    let (client, _simulator) = args.connection.open().await?;
    let page = client.pages(query).next().await.transpose();
    let failed = match &page {
        Err(error) if error.kind() == ErrorKind::Argument => return Err(error.clone().into()),
        Err(error) => Some((Check::of(error), error)),
        Ok(_) => None,
    };
    let made_up = meeting.is_none();
    for check in Check::all(is_demo) {
        let (name, passed) = check.words();
        let (mark, text) = match (failed, &page) {
            (Some((at, _)), _) if at < check => ("skipped", String::new()),
            (failed, _) if check == Check::Meeting && made_up => ("skipped", unknown(failed)),
            (Some((at, error)), _) if at == check => ("FAILED", explained(error, lang)),
            (_, Ok(Some(page))) if check == Check::Meeting => ("ok", read(page)),
            _ => ("ok", passed.to_owned()),
        };
        tell(name, mark, &text)?;
    }
    Ok(match failed {
        None => 0,
        Some((Check::Meeting, _)) if made_up => 0,
        Some((_, error)) if error.is_transient() => 75,
        Some(_) => 1,
    })
}

/// Whether they could be credentials, as far as one can tell without asking, and without showing them.
fn credentials() -> Result<String, Stop> {
    // The usual length, where there is one.
    let given = match Credentials::read()? {
        Credentials::Secret { corp_id, secret } => {
            vec![("WECOM_CORP_ID", corp_id, Some(18)), ("WECOM_CORP_SECRET", secret, Some(43))]
        }
        Credentials::Token(token) => vec![("WECOM_ACCESS_TOKEN", token, None)],
    };
    let mut texts = Vec::new();
    for (name, value, usual) in given {
        if value.contains(|c: char| !c.is_ascii_graphic() || "'\"`".contains(c)) {
            return Err(Stop::failed(format!(
                "{name} contains a blank, a quote or another character that no credential has; set it anew, without quotes around it"
            )));
        }
        texts.push(match usual {
            Some(usual) if usual != value.len() => {
                let length = value.len();
                format!("{name} is set, but has {length} characters where {usual} are usual")
            }
            _ => format!("{name} is set"),
        });
    }
    Ok(texts.join("; "))
}

/// Where no meeting was given. Which errcode a made-up one gets is not documented.
fn unknown(failed: Option<(Check, &Error)>) -> String {
    let refused =
        failed.and_then(|(_, error)| error.errcode()).map_or_else(String::new, |errcode| {
            format!("; WeCom refused a made-up one, as it should, with errcode {errcode}")
        });
    format!("give a MEETINGID to see whether its list can be read{refused}")
}

fn explained(error: &Error, lang: Lang) -> String {
    let told = told(error, obstacle(error, lang).or(lang.hint(error)));
    match public_ip(error) {
        Some(ip) if error.errcode() == Some(60020) => {
            format!("{} {ip}; {told}", lang.pick("this machine's public IP is", "本机公网 IP 为"))
        }
        _ => told,
    }
}

/// What stood in the way to the host. The layers below tell it in words only.
fn obstacle(error: &Error, lang: Lang) -> Option<&'static str> {
    let chain = told(error, None);
    let at = |words| chain.contains(words);
    let (en, zh) = if at("tunnel error") {
        (
            "the proxy cannot be reached, or lets nothing through; check HTTPS_PROXY",
            "无法连接代理，或代理未放行，请检查 HTTPS_PROXY",
        )
    } else if at("dns error") {
        (
            "the host's name cannot be looked up; check the network, its DNS, and --base-url",
            "无法解析主机名，请检查网络、DNS 与 --base-url",
        )
    } else if at("tcp connect error") {
        (
            "the name was found, but the host takes no connection; check the firewall, and whether this network needs a proxy (HTTPS_PROXY)",
            "主机名已解析，但无法连接，请检查防火墙，以及本网络是否需要代理（HTTPS_PROXY）",
        )
    } else if at("operation timed out") {
        (
            "no connection came about in time; check the firewall, and whether this network needs a proxy (HTTPS_PROXY)",
            "未能及时建立连接，请检查防火墙，以及本网络是否需要代理（HTTPS_PROXY）",
        )
    } else if at("client error (Connect)") {
        (
            "the host was reached, but TLS failed; check this machine's clock, and whether a proxy puts its own certificate in between",
            "已连接到主机，但 TLS 握手失败，请检查本机时钟，以及是否有代理替换了证书",
        )
    } else {
        return None;
    };
    Some(lang.pick(en, zh))
}

/// This machine as WeCom sees it: its errmsg ends in `from ip: 203.0.113.7, more info at ...`.
fn public_ip(error: &Error) -> Option<IpAddr> {
    let text = error.to_string();
    let (_, ip) = text.split_once("from ip: ")?;
    ip.split([',', ' ']).next()?.parse().ok()
}

fn read(page: &Page) -> String {
    let more = if page.has_more() { "more follow" } else { "no more follow" };
    format!("a page was read: {}, and {more}", counted(page.len() as u64, "row", "rows"))
}
