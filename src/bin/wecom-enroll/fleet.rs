//! `export --fleet`: many processes divide the meetings among them, and each meeting ends in one complete file.
//!
//! ```text
//! claim ─▶ copy of the last holder's part, up to its checkpoint ─▶ export ─▶ part renamed ─▶ finished
//! ```
//!
//! A holder writes to a part of its own, named after its lease. One that slept through its lease, or
//! whose lease a Redis forgot, goes on writing until it finds out, and nobody reads what it writes. So
//! nothing rests on locks, which storage that machines share may not have, and a process that hangs
//! keeps nobody. The price is a copy whenever a meeting changes hands.

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;
use wecom_enroll::{Client, Lease, Query};

use crate::{
    Interruption, Stop,
    checkpoint::{Arguments, Saved, sync_folder},
    connect::shared,
    export::{Args, Export},
    interruption,
    lang::Lang,
    output::{Format, Output},
    progress::{Screen, Tally},
    walks::{LOCKED_OUT, Outcome},
};

/// How long an interrupted process may wait for a Redis that is away. Its leases end by themselves.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run(
    name: String,
    args: Args,
    queries: Vec<Query>,
    format: Format,
    quiet: bool,
    lang: Lang,
    screen: &Screen,
) -> Result<u8, Stop> {
    let folder = args.output.clone();
    if folder == Path::new("-") || folder.exists() && !folder.is_dir() {
        return Err(Stop::usage("--fleet needs a folder for its files: give it with --output"));
    }
    if format == Format::Xlsx {
        return Err(Stop::usage("--fleet: a workbook cannot be continued; use jsonl or csv"));
    }
    let (redis, company) = shared()?.ok_or_else(|| {
        Stop::usage("--fleet needs the Redis that its processes share: set WECOM_REDIS_URL")
    })?;
    let arguments = args.arguments(format);
    let Arguments { kind, status, format: kept_as, page_size, .. } = &arguments;
    let terms = format!("kind {kind}, status {status}, format {kept_as}, page size {page_size}");
    let fleet = redis.fleet(&company, name)?.terms(terms).lease(args.lease)?;
    let (client, _simulator) = args.connection.open().await?;
    fs::create_dir_all(&folder)
        .map_err(|e| Stop::failed(format!("cannot make the folder {}: {e}", folder.display())))?;
    let worker = Worker {
        client,
        folder,
        format,
        arguments,
        queries,
        read_ahead: args.lists.read_ahead,
        quiet,
        lang,
        screen,
        begun: Instant::now(),
        interrupted: interruption(Some(PATIENCE))?,
        tallies: Mutex::default(),
    };
    if !quiet {
        screen.show(0, None);
    }

    // Neither in work here, nor failed here, nor finished, as far as is known.
    let mut open = worker.arguments.meetings.clone();
    let mut at_work = FuturesUnordered::new();
    let (mut finished, mut outcome, mut signal) = (0, Outcome::new(lang), None);
    while !(open.is_empty() && at_work.is_empty()) {
        let room = !open.is_empty() && at_work.len() < args.lists.concurrency;
        tokio::select! {
            lease = fleet.claim(&open), if room => match lease.map_err(|e| Stop::of(&e, lang))? {
                Some(lease) => {
                    open.retain(|meeting| meeting != lease.meeting());
                    at_work.push(worker.work(lease));
                }
                None => open.clear(),
            },
            Some(ended) = at_work.next() => match ended {
                Ended::Finished => finished += 1,
                Ended::Lost(meeting) if signal.is_none() => open.push(meeting),
                Ended::Lost(_) | Ended::Interrupted => {}
                Ended::Failed(error) => outcome.merge(&error),
            },
            code = worker.interrupted.clone(), if signal.is_none() => {
                signal = Some(code.unwrap_or(130));
                open.clear();
            }
        }
        if outcome.is_locked_out() && !open.is_empty() {
            screen.say(LOCKED_OUT);
            open.clear();
        }
    }
    screen.clear();
    let tally = worker.tally();
    if signal.is_some() {
        screen.say(
            "interrupted; the fleet goes on without this process, or run the same command again",
        );
    } else if !quiet && worker.is_idle() {
        screen.say("this fleet's export is complete; choose another name to export anew");
    }
    if !quiet {
        let all = worker.arguments.meetings.len();
        screen.say(&format!("{finished} of {all} meetings finished here: {}", tally.summary()));
    }
    Ok(signal.unwrap_or(outcome.code(tally.bad_rows > 0)))
}

/// What the meetings of this process have in common.
struct Worker<'a> {
    client: Client,
    folder: PathBuf,
    format: Format,
    /// Of all meetings.
    arguments: Arguments,
    queries: Vec<Query>,
    read_ahead: usize,
    quiet: bool,
    lang: Lang,
    screen: &'a Screen,
    begun: Instant,
    interrupted: Interruption,
    tallies: Mutex<BTreeMap<String, Tally>>,
}

/// How a meeting ended in this process.
enum Ended {
    Finished,
    Failed(Outcome),
    Interrupted,
    /// Others have it, or have finished it, or it has to be claimed again.
    Lost(String),
}

impl Worker<'_> {
    /// What one meeting meets with, such as a file that cannot be made, keeps no other.
    async fn work(&self, lease: Lease) -> Ended {
        let meeting = lease.meeting().to_owned();
        match self.hold(lease).await {
            Ok(Ended::Lost(meeting)) => {
                if !self.quiet {
                    let text = format!("meeting {meeting}: another process has taken it over");
                    self.screen.say(&text);
                }
                Ended::Lost(meeting)
            }
            Ok(ended) => ended,
            Err(stop) => {
                let mut outcome = Outcome::new(self.lang);
                self.screen.say(&outcome.failed(&meeting, &stop));
                Ended::Failed(outcome)
            }
        }
    }

    async fn hold(&self, lease: Lease) -> Result<Ended, Stop> {
        let meeting = lease.meeting().to_owned();
        match self.export(&lease).await {
            _ if lease.is_lost() => Ok(Ended::Lost(meeting)),
            Ok(Ended::Finished) => match lease.finish().await {
                Ok(()) => Ok(Ended::Finished),
                Err(error) if error.kind() == wecom_enroll::ErrorKind::Checkpoint => {
                    Ok(Ended::Lost(meeting))
                }
                Err(error) => Err(Stop::of(&error, self.lang)),
            },
            ended => {
                // Else it ends by itself, only later.
                let _ = lease.release().await;
                ended
            }
        }
    }

    async fn export(&self, lease: &Lease) -> Result<Ended, Stop> {
        let meeting = lease.meeting();
        let file = self.folder.join(file_name(meeting, self.format));
        let part = part(&file, lease.id());
        let (output, saved) = self.take_up(lease, &file, &part).await?;
        let client = self.client.clone();
        let mut export = Export::new(output, Some(lease), saved, client, self.screen, self.lang);
        let walks = export.walks(self.read_ahead, 1);
        let signal = tokio::select! {
            signal = export.run(walks, self.interrupted.clone(), |tally| self.show(meeting, tally)) => signal?,
            () = lease.lost() => return Ok(Ended::Lost(meeting.to_owned())),
        };
        self.show(meeting, export.tally());
        if !export.is_complete() {
            return Ok(signal.map_or(Ended::Failed(export.outcome), |_| Ended::Interrupted));
        }
        let renamed = fs::rename(&part, &file).and_then(|()| sync_folder(&file));
        match renamed {
            Ok(()) => remove_parts(&self.folder, &file),
            // Removed by another holder, before a Redis forgot that one. Its file is complete.
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Ok(Ended::Lost(meeting.to_owned()));
            }
            Err(e) => {
                return Err(Stop::failed(format!("cannot make {}: {e}", file.display())));
            }
        }
        Ok(Ended::Finished)
    }

    /// This holder's part, and what the last one had written, as far as it is found.
    async fn take_up(
        &self,
        lease: &Lease,
        file: &Path,
        part: &Path,
    ) -> Result<(Output, Saved), Stop> {
        let meeting = lease.meeting();
        let arguments = Arguments { meetings: vec![meeting.to_owned()], ..self.arguments.clone() };
        let query = self.queries.iter().find(|query| query.meeting_id() == meeting);
        let query: Vec<_> = query.cloned().into_iter().collect();
        let name = format!("of meeting {meeting}");
        let earlier = Saved::read(lease, &name, &arguments, &query).await;
        let taken_up = match earlier {
            Ok(Some(mut saved)) => {
                let theirs = self::part(file, &saved.part);
                self.copy(&saved, &theirs, file, part).map(|output| {
                    lease.id().clone_into(&mut saved.part);
                    Some((output, saved, theirs))
                })
            }
            // Redis is away.
            Err(stop) if stop.code == 75 => return Err(stop),
            earlier => earlier.map(|_| None),
        };
        match taken_up {
            Ok(Some((output, saved, theirs))) => {
                saved.write(lease).await?;
                // Not earlier: until then it is the one that the checkpoint is of.
                let _ = fs::remove_file(theirs);
                return Ok((output, saved));
            }
            Err(stop) if !self.quiet => {
                // What a person could move away is moved out of the way here.
                let why = stop.text.split_once("; move ").map_or(&*stop.text, |(why, _)| why);
                self.screen.say(&format!("warning: meeting {meeting} starts anew: {why}"));
            }
            _ => {}
        }
        let start = query.into_iter().map(|query| self.client.enrolls(query).checkpoint());
        let mut saved = Saved::new(arguments, start.collect());
        lease.id().clone_into(&mut saved.part);
        saved.write(lease).await?;
        Ok((Output::open(part, self.format, false)?, saved))
    }

    /// The part of another holder, or the file that it has become if that one died before it could
    /// say so, as this one's: on disk, and cut to its checkpoint.
    fn copy(&self, saved: &Saved, theirs: &Path, file: &Path, part: &Path) -> Result<Output, Stop> {
        let mut output = if saved.output.length == 0 {
            Output::open(part, self.format, false)?
        } else {
            let cannot = |e: io::Error| {
                let theirs = theirs.display();
                Stop::failed(format!(
                    "cannot copy {theirs}: {e}; do all processes have this folder?"
                ))
            };
            fs::copy(theirs, part).or_else(|_| fs::copy(file, part)).map_err(cannot)?;
            Output::open(part, self.format, true)?
        };
        output.go_on(&saved.output)?;
        output.sync()?;
        sync_folder(part).map_err(|e| Stop::failed(e.to_string()))?;
        Ok(output)
    }

    fn show(&self, meeting: &str, tally: Tally) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.insert(meeting.to_owned(), tally);
        drop(tallies);
        self.screen.update(&self.tally());
    }

    /// Of all meetings that this process has had.
    fn tally(&self) -> Tally {
        let mut all = Tally {
            begun: self.begun,
            rows: 0,
            earlier: 0,
            bad_rows: 0,
            pages: 0,
            stats: self.client.stats(),
        };
        for tally in self.tallies.lock().unwrap_or_else(PoisonError::into_inner).values() {
            all.rows += tally.rows;
            all.earlier += tally.earlier;
            all.bad_rows += tally.bad_rows;
            all.pages += tally.pages;
        }
        all
    }

    /// Whether there was nothing to do for this process.
    fn is_idle(&self) -> bool {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// The meeting's file: its id, in which what could lead elsewhere or hide it is percent-encoded.
fn file_name(meeting: &str, format: Format) -> String {
    let mut name = String::new();
    for byte in meeting.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(byte.into()),
            b'.' if !name.is_empty() => name.push('.'),
            _ => drop(write!(name, "%{byte:02X}")),
        }
    }
    name + if format == Format::Jsonl { ".jsonl" } else { ".csv" }
}

fn part(file: &Path, lease: &str) -> PathBuf {
    let mut part = file.as_os_str().to_owned();
    part.push(format!(".{lease}.part"));
    part.into()
}

/// Removes what earlier holders left of `file`. If that fails, it costs room and nothing else.
fn remove_parts(folder: &Path, file: &Path) {
    let (Ok(entries), Some(file)) = (fs::read_dir(folder), file.file_name()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let lease = name.as_encoded_bytes().strip_prefix(file.as_encoded_bytes());
        let lease = lease.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(b".part"));
        if lease.is_some_and(|id| id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_after_its_meeting_and_stays_in_the_folder() {
        for (meeting, name) in [
            ("hyABC-1_2", "hyABC-1_2.jsonl"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd.jsonl"),
            (".hidden", "%2Ehidden.jsonl"),
            ("..", "%2E..jsonl"),
            ("a\\b:c d%", "a%5Cb%3Ac%20d%25.jsonl"),
            ("会", "%E4%BC%9A.jsonl"),
        ] {
            assert_eq!(file_name(meeting, Format::Jsonl), name);
            assert_eq!(Path::new("out").join(name).parent(), Some(Path::new("out")));
        }
    }
}
