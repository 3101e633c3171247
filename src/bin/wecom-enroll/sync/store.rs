//! [`Store`]: what `sync` reads from the tables and writes to them.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{self, IsTerminal, Write},
    ops::AddAssign,
};

use jiff::Timestamp;
use serde_json::{Value as Json, json, value::RawValue};
use wecom_enroll::{Checkpoint, Enroll};

use crate::{
    exit::Stop,
    sync::{
        database::{Database, Target},
        schema,
        value::{Failure, Row, Value},
    },
    ui::{stdout::Blocking, text::escaped},
};

/// The longest `enroll_id` that is stored. PostgreSQL has a limit for keys, and WeCom's ids are numbers.
const MAX_ID: usize = 500;

/// The key of a list.
#[derive(Clone, Copy)]
pub(crate) struct List<'a> {
    /// `webinar` or `meeting`.
    pub(crate) kind: &'static str,
    pub(crate) meeting: &'a str,
}

impl<'a> List<'a> {
    fn key(self) -> Vec<Value<'a>> {
        vec![self.kind.into(), self.meeting.into()]
    }

    /// Returns the parameters of a statement that starts with the list's key.
    fn with<const N: usize>(self, more: [Value<'a>; N]) -> Vec<Value<'a>> {
        self.key().into_iter().chain(more).collect()
    }
}

/// How many rows were added, and so on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    pub(crate) added: u64,
    pub(crate) changed: u64,
    pub(crate) removed: u64,
    pub(crate) unchanged: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.removed += other.removed;
        self.unchanged += other.unchanged;
    }
}

/// One page of a listing.
pub(crate) struct Listed<'a> {
    pub(crate) number: u64,
    pub(crate) rows: &'a [Enroll],
    pub(crate) malformed_rows: u64,
    /// The position after the page.
    pub(crate) position: &'a Checkpoint,
}

/// The result of a listing that reached its end.
#[derive(Debug, PartialEq)]
pub(crate) enum Ended {
    /// It was complete. This many rows were removed.
    Complete { removed: u64 },
    /// It had malformed rows, any of which could be a row that seems to be missing.
    Malformed,
    /// It had no rows at all, but the table has some.
    Empty,
}

pub(crate) struct Store {
    database: Database,
    /// The last change that was printed, and the last one that the database knows to be printed.
    printed: i64,
    marked: i64,
    /// Whether U+0000 was replaced.
    pub(crate) replaced_nul: bool,
}

impl Store {
    /// Opens the database. Changes after `since` count as not printed.
    pub(crate) async fn open(target: &Target, since: Option<i64>) -> Result<Self, Failure> {
        let mut database = Database::open(target).await?;
        let rows = database.run(schema::LAST_PRINTED, Vec::new()).await?;
        let printed = rows.first().map_or(Ok(0), |row| row.int(0))?;
        let printed = since.map_or(printed, |since| since.min(printed));
        Ok(Self { database, printed, marked: printed, replaced_nul: false })
    }

    /// Returns the position of the listing in progress, if it can be resumed.
    pub(crate) async fn position(&mut self, list: List<'_>) -> Result<Option<Checkpoint>, Failure> {
        let rows = self.database.run(schema::LAST_POSITION, list.key()).await?;
        let json = rows.first().map(|row| row.text(0)).transpose()?;
        // A position of another version is of no use. The list is then read again from the start.
        Ok(json.and_then(|json| serde_json::from_str(json).ok()))
    }

    /// Ends the listing in progress, so that the next one starts with the first page.
    pub(crate) async fn restart(&mut self, list: List<'_>) -> Result<(), Failure> {
        self.database.run(schema::DELETE_POSITIONS, list.key()).await.map(drop)
    }

    /// Stores a page in one transaction: its rows, what changed, and the position after it.
    pub(crate) async fn commit(
        &mut self,
        list: List<'_>,
        page: Listed<'_>,
    ) -> Result<Counts, Failure> {
        let rows: Vec<_> = page.rows.iter().map(|row| self.storable(row)).collect();
        let keys: Vec<_> = rows.iter().map(|row| list.with([row.enroll_id().into()])).collect();
        // No other process writes to the tables, so this needs not be part of the transaction.
        let known = self.database.read_each(schema::KNOWN, &keys).await?;
        let mut counts = Counts::default();
        let (mut upserts, mut changes) = (Vec::new(), Vec::new());
        let mut digests = HashMap::new();
        for (row, known) in rows.iter().zip(known) {
            let (id, digest) = (row.enroll_id(), digest(row));
            let stored = match (digests.insert(id, digest), known.first()) {
                // The page has this id twice.
                (Some(digest), _) => Some(digest),
                (None, Some(known)) if known.is_null(1) => Some(known.int(0)?),
                _ => None,
            };
            let change = match stored {
                Some(stored) if stored == digest => {
                    counts.unchanged += 1;
                    continue;
                }
                Some(_) => {
                    counts.changed += 1;
                    "changed"
                }
                None => {
                    counts.added += 1;
                    "added"
                }
            };
            upserts.push(columns(list, row)?);
            changes.push(change_values(change, list, row)?);
        }
        let ids: Vec<_> = rows.iter().map(|row| row.enroll_id()).collect();
        let position = list.with([
            i64::try_from(page.number).unwrap_or(i64::MAX).into(),
            json_text(page.position)?.into(),
            json_text(&ids)?.into(),
            i64::try_from(page.malformed_rows).unwrap_or(i64::MAX).into(),
        ]);
        // Changes must be on disk before they are printed, or a crash could undo them.
        self.database.begin(!changes.is_empty()).await?;
        self.mark_printed().await?;
        if !changes.is_empty() {
            self.database.run_each(schema::UPSERT, &upserts).await?;
            self.database.run_each(schema::INSERT_CHANGE, &changes).await?;
        }
        self.database.run(schema::INSERT_POSITION, position).await?;
        self.database.commit().await?;
        self.marked = self.printed;
        Ok(counts)
    }

    /// Ends a listing whose last page is stored: removes rows that neither it nor the complete listing
    /// before it had.
    pub(crate) async fn finish(
        &mut self,
        list: List<'_>,
        allow_empty: bool,
    ) -> Result<Ended, Failure> {
        self.database.begin(true).await?;
        self.mark_printed().await?;
        let ended = self.ended(list, allow_empty).await?;
        self.database.run(schema::DELETE_POSITIONS, list.key()).await?;
        self.database.commit().await?;
        self.marked = self.printed;
        Ok(ended)
    }

    async fn ended(&mut self, list: List<'_>, allow_empty: bool) -> Result<Ended, Failure> {
        let malformed = self.database.run(schema::MALFORMED_PAGES, list.key()).await?;
        if malformed.first().map_or(Ok(0), |row| row.int(0))? > 0 {
            return Ok(Ended::Malformed);
        }
        let is_empty = self.database.run(schema::ANY_SEEN, list.key()).await?.is_empty();
        if is_empty
            && !allow_empty
            && !self.database.run(schema::ANY_PRESENT, list.key()).await?.is_empty()
        {
            return Ok(Ended::Empty);
        }
        self.database.run(schema::FOUND, list.key()).await?;
        self.database.run(schema::MISS, list.key()).await?;
        let mut removed = 0;
        loop {
            let gone = self.database.run(schema::GONE, list.key()).await?;
            if gone.is_empty() {
                break;
            }
            removed += gone.len() as u64;
            let rows = gone.iter().map(stored_row).collect::<Result<Vec<_>, _>>()?;
            let keys: Vec<_> = rows.iter().map(|row| list.with([row.enroll_id().into()])).collect();
            let changes = rows.iter().map(|row| change_values("removed", list, row));
            let changes = changes.collect::<Result<Vec<_>, _>>()?;
            self.database.run_each(schema::REMOVE, &keys).await?;
            self.database.run_each(schema::INSERT_CHANGE, &changes).await?;
        }
        self.database.run(schema::COMPLETE, list.key()).await?;
        Ok(Ended::Complete { removed })
    }

    /// Writes the changes that were not printed yet to standard output.
    pub(crate) async fn print(&mut self) -> Result<(), Stop> {
        loop {
            let rows = self.database.run(schema::CHANGES_AFTER, vec![self.printed.into()]).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            let mut lines = Vec::new();
            for row in &rows {
                write_line(row, &mut lines)?;
            }
            let mut out = Blocking(io::stdout());
            if out.0.is_terminal() {
                lines = escaped(&String::from_utf8_lossy(&lines)).into();
            }
            out.write_all(&lines).and_then(|()| out.flush()).map_err(|e| match e.kind() {
                io::ErrorKind::BrokenPipe => Stop::ClosedPipe,
                _ => Stop::Failed(format!("cannot write to standard output: {e}")),
            })?;
            self.printed = last.int(0)?;
        }
    }

    /// Ends the use of the database.
    pub(crate) async fn close(mut self) -> Result<(), Failure> {
        self.mark_printed().await
    }

    /// Records which changes were printed. A change is printed again if the process is killed before this.
    async fn mark_printed(&mut self) -> Result<(), Failure> {
        if self.marked < self.printed {
            let range = vec![self.marked.into(), self.printed.into()];
            self.database.run(schema::MARK_PRINTED, range).await?;
        }
        Ok(())
    }

    /// Returns the row as the database can store it.
    fn storable<'a>(&mut self, row: &'a Enroll) -> Cow<'a, Enroll> {
        if self.database.stores_nul() || !has_nul(row) {
            return Cow::Borrowed(row);
        }
        self.replaced_nul = true;
        let without = serde_json::to_value(row).map(without_nul).and_then(serde_json::from_value);
        // A row can always be read again as it was written.
        without.map_or(Cow::Borrowed(row), Cow::Owned)
    }
}

/// Returns whether the row can be stored under its id. SQLite's JSON functions end a text at U+0000.
pub(crate) fn has_key(row: &Enroll) -> bool {
    let id = row.enroll_id();
    (1..=MAX_ID).contains(&id.len()) && !id.contains('\0')
}

fn has_nul(row: &Enroll) -> bool {
    let texts = [row.enroll_id(), row.enroll_time(), row.nick_name()].map(Some);
    let optional = [row.userid(), row.tmp_openid(), row.enroll_code()];
    texts.iter().chain(&optional).flatten().any(|text| text.contains('\0'))
        || row.answers().any(|answer| {
            answer.question_title().contains('\0')
                || answer.content().any(|text| text.contains('\0'))
        })
}

fn without_nul(json: Json) -> Json {
    match json {
        Json::String(text) => text.replace('\0', "\u{fffd}").into(),
        Json::Array(items) => items.into_iter().map(without_nul).collect(),
        Json::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, without_nul(value))).collect()
        }
        json => json,
    }
}

fn digest(row: &Enroll) -> i64 {
    i64::from_ne_bytes(row.digest().to_ne_bytes())
}

fn json_text(value: &impl serde::Serialize) -> Result<String, Failure> {
    // The text of the error could contain data.
    serde_json::to_string(value)
        .map_err(|_| Failure::permanent("a value cannot be written as JSON"))
}

/// Returns the row as `export` writes it.
fn export_json(list: List<'_>, row: &Enroll) -> Result<String, Failure> {
    let mut json = json_text(row)?;
    json.pop();
    Ok(format!("{json},\"meetingid\":{}}}", json_text(&list.meeting)?))
}

/// Returns the parameters of [`schema::INSERT_CHANGE`].
fn change_values<'a>(
    change: &'static str,
    list: List<'a>,
    row: &'a Enroll,
) -> Result<Vec<Value<'a>>, Failure> {
    let [kind, meeting] = [list.kind, list.meeting].map(Value::from);
    Ok(vec![change.into(), kind, meeting, row.enroll_id().into(), export_json(list, row)?.into()])
}

/// Returns the parameters of [`schema::UPSERT`].
fn columns<'a>(list: List<'a>, row: &'a Enroll) -> Result<Vec<Value<'a>>, Failure> {
    let answers: Vec<_> = row.answers().collect();
    Ok(list.with([
        row.enroll_id().into(),
        row.enroll_time().into(),
        enrolled_at(row).into(),
        i64::from(u32::from(row.source())).into(),
        row.nick_name().into(),
        i64::from(u32::from(row.status())).into(),
        row.userid().into(),
        row.tmp_openid().into(),
        row.enroll_code().into(),
        json_text(&answers)?.into(),
        digest(row).into(),
    ]))
}

/// Returns the time of enrollment, unless no database has such a date.
fn enrolled_at(row: &Enroll) -> Option<Timestamp> {
    const YEAR_ONE: i64 = -62_135_596_800;
    let time = Timestamp::try_from(row.enrolled_at()?).ok()?;
    (time.as_second() >= YEAR_ONE).then_some(time)
}

/// Returns a row of [`schema::GONE`].
fn stored_row(row: &Row) -> Result<Enroll, Failure> {
    let answers: Json = serde_json::from_str(row.text(8)?).map_err(|_| Failure::altered())?;
    let json = json!({
        "enroll_id": row.text(0)?,
        "enroll_time": row.text(1)?,
        "enroll_source_type": row.int(2)?,
        "nick_name": row.text(3)?,
        "status": row.int(4)?,
        "userid": row.optional_text(5)?,
        "tmp_openid": row.optional_text(6)?,
        "enroll_code": row.optional_text(7)?,
        "answer_list": answers,
    });
    serde_json::from_value(json).map_err(|_| Failure::altered())
}

/// Appends a row of [`schema::CHANGES_AFTER`] as one line of JSON.
fn write_line(row: &Row, out: &mut Vec<u8>) -> Result<(), Failure> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        seq: i64,
        time: String,
        change: &'a str,
        meetingid: &'a str,
        enroll_id: &'a str,
        row: &'a RawValue,
    }
    let line = Line {
        seq: row.int(0)?,
        time: row.time(1)?.to_string(),
        change: row.text(2)?,
        meetingid: row.text(3)?,
        enroll_id: row.text(4)?,
        row: serde_json::from_str(row.text(5)?).map_err(|_| Failure::altered())?,
    };
    serde_json::to_writer(&mut *out, &line).map_err(|_| Failure::altered())?;
    out.push(b'\n');
    Ok(())
}
