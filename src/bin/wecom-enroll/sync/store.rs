//! [`Store`]: reads and writes the tables of `sync`.

use std::{borrow::Cow, collections::HashMap, ops::AddAssign, time::Duration};

use jiff::Timestamp;
use serde_json::{Value as Json, json, value::RawValue};
use tokio::time::Instant;
use wecom_enroll::{Checkpoint, Enroll};

use crate::{
    exit::Stop,
    sync::{
        changes::{Change, Lines, write_json},
        database::{Database, Target},
        schema,
        value::{Failure, List, Row, Value},
    },
};

/// The longest `enroll_id` that is stored. PostgreSQL has a limit for keys, and WeCom's ids are numbers.
const MAX_ID: usize = 500;

/// A change is printed when it is on disk, where a crash cannot undo it. SQLite needs milliseconds for that, so
/// changes are written in groups: after the first page, then after the first page that is stored after `MAX_DELAY`, or
/// when a group exceeds `MAX_BYTES`.
const MAX_DELAY: Duration = Duration::from_secs(1);
const MAX_BYTES: usize = 1_000_000;

/// The numbers of added, changed, removed and unchanged rows.
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
    /// The `seq` of the last change.
    last: i64,
    /// The `seq` of the last change that was printed.
    printed: i64,
    /// The `seq` of the last change that is marked as printed.
    marked: i64,
    /// Changes that were committed, but not printed.
    lines: Lines,
    /// When changes were last written to the disk.
    written: Option<Instant>,
    /// Whether U+0000 was replaced.
    pub(crate) replaced_nul: bool,
}

impl Store {
    /// Opens the database. Changes after `since` count as not printed.
    pub(crate) async fn open(target: &Target, since: Option<i64>) -> Result<Self, Failure> {
        let mut database = Database::open(target).await?;
        let rows = database.run(schema::LAST_PRINTED, Vec::new()).await?;
        let row = rows.first().ok_or_else(Failure::altered)?;
        let (marked, last) = (row.int(0)?, row.int(1)?);
        let printed = since.map_or(marked, |since| since.min(marked));
        let (lines, written) = (Lines::default(), None);
        Ok(Self { database, last, printed, marked, lines, written, replaced_nul: false })
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
    ) -> Result<Counts, Stop> {
        let rows: Vec<_> = page.rows.iter().map(|row| self.storable(row)).collect();
        let number = i64::try_from(page.number).unwrap_or(i64::MAX);
        let (mut position, mut ids) = (Vec::new(), Vec::new());
        write_json(&mut position, page.position)?;
        write_json(&mut ids, &rows.iter().map(|row| row.enroll_id()).collect::<Vec<_>>())?;
        let position = list.with([
            number.into(),
            Value::Json(&position),
            Value::Json(&ids),
            i64::try_from(page.malformed_rows).unwrap_or(i64::MAX).into(),
        ]);
        self.database.begin().await?;
        self.mark_printed().await?;
        self.database.run(schema::INSERT_POSITION, position).await?;
        let stored = self.database.run(schema::KNOWN, list.with([number.into()])).await?;
        // The digest of each row in the table. `None` if the row was removed.
        let mut known: HashMap<Cow<'_, str>, Option<i64>> = HashMap::new();
        for row in &stored {
            let digest = if row.is_null(2) { Some(row.int(1)?) } else { None };
            known.insert(row.text(0)?.into(), digest);
        }
        let mut counts = Counts::default();
        let (mut changes, mut digests) = (Vec::new(), Vec::new());
        for row in &rows {
            let digest = digest(row);
            // The page can have an id twice.
            let earlier = known.insert(row.enroll_id().into(), Some(digest));
            let what = match earlier.flatten() {
                Some(earlier) if earlier == digest => {
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
            changes.push(Change::new(what, list, row)?);
            digests.push((digest, earlier.is_none()));
        }
        if !changes.is_empty() {
            let now = self.now().await?;
            let (mut inserts, mut updates) = (Vec::new(), Vec::new());
            for (change, (digest, is_new)) in changes.iter().zip(digests) {
                let mut columns = columns(change, digest, now);
                if is_new {
                    inserts.push(columns);
                } else {
                    columns.rotate_left(3);
                    updates.push(columns);
                }
            }
            self.database.run_each(schema::INSERT_ROW, &inserts).await?;
            self.database.run_each(schema::UPDATE_ROW, &updates).await?;
            self.insert(&changes, now).await?;
        }
        self.database.commit().await?;
        if self.database.is_durable()
            || self.lines.json.len() > MAX_BYTES
            || self.written.is_none_or(|written| written.elapsed() > MAX_DELAY)
        {
            self.flush()?;
        }
        Ok(counts)
    }

    /// Prints the changes that were committed since the last call.
    fn flush(&mut self) -> Result<(), Stop> {
        self.written = Some(Instant::now());
        if !self.lines.json.is_empty() {
            self.database.sync()?;
            self.printed = self.lines.print()?.max(self.printed);
        }
        Ok(())
    }

    /// Returns the time of the transaction.
    async fn now(&mut self) -> Result<Timestamp, Failure> {
        let rows = self.database.run(schema::NOW, Vec::new()).await?;
        rows.first().ok_or_else(Failure::altered)?.time(0)
    }

    /// Stores changes, and appends their lines to those that are printed next. If this or the commit fails, the store
    /// must not be used any more: it would print changes that were not committed.
    async fn insert(&mut self, changes: &[Change<'_>], now: Timestamp) -> Result<(), Failure> {
        let time = now.to_string();
        let mut values = Vec::with_capacity(changes.len());
        for Change { what, list: List { kind, meeting }, row, json, .. } in changes {
            self.last += 1;
            self.lines.add(self.last, &time, [what, meeting, row.enroll_id()], json)?;
            let [what, kind, meeting, id] =
                [*what, *kind, *meeting, row.enroll_id()].map(Value::from);
            let json = Value::Json(json);
            values.push(vec![self.last.into(), now.into(), what, kind, meeting, id, json]);
        }
        self.database.run_each(schema::INSERT_CHANGE, &values).await?;
        self.database.run(schema::LAST_SEQ, vec![self.last.into()]).await.map(drop)
    }

    /// Ends a listing whose last page is stored: removes the rows that are missing from it and from the previous
    /// complete listing.
    pub(crate) async fn finish(
        &mut self,
        list: List<'_>,
        allow_empty: bool,
    ) -> Result<Ended, Stop> {
        self.flush()?;
        self.database.begin().await?;
        let ended = self.ended(list, allow_empty).await?;
        self.database.run(schema::DELETE_POSITIONS, list.key()).await?;
        self.database.commit().await?;
        self.print().await?;
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
            let mut changes = Vec::with_capacity(rows.len());
            for row in &rows {
                changes.push(Change::new("removed", list, row)?);
            }
            self.database.run_each(schema::REMOVE, &keys).await?;
            let now = self.now().await?;
            self.insert(&changes, now).await?;
            // `print` reads them again after the transaction, in small parts, which bounds the memory.
            self.lines.json.clear();
        }
        self.database.run(schema::COMPLETE, list.key()).await?;
        Ok(Ended::Complete { removed })
    }

    /// Prints the changes in the database that were not printed yet.
    pub(crate) async fn print(&mut self) -> Result<(), Stop> {
        let mut rows = self.not_printed().await?;
        if !rows.is_empty() {
            // The process that committed them may have been killed before it did this.
            self.database.sync()?;
        }
        while !rows.is_empty() {
            for row in &rows {
                let json = serde_json::from_str(row.text(5)?).map_err(|_| Failure::altered())?;
                let texts = [row.text(2)?, row.text(3)?, row.text(4)?];
                let json = RawValue::get(json).as_bytes();
                self.lines.add(row.int(0)?, &row.time(1)?.to_string(), texts, json)?;
            }
            self.printed = self.lines.print()?.max(self.printed);
            rows = self.not_printed().await?;
        }
        Ok(())
    }

    async fn not_printed(&mut self) -> Result<Vec<Row>, Failure> {
        self.database.run(schema::CHANGES_AFTER, vec![self.printed.into()]).await
    }

    /// Ends the use of the database. Prints the remaining changes.
    pub(crate) async fn close(mut self) -> Result<(), Stop> {
        self.flush()?;
        Ok(self.mark_printed().await?)
    }

    /// Records which changes were printed. A change is printed again if the process is killed before this.
    async fn mark_printed(&mut self) -> Result<(), Failure> {
        if self.marked < self.printed {
            self.database.run(schema::MARK_PRINTED, vec![self.printed.into()]).await?;
            self.marked = self.printed;
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

/// Returns the parameters of [`schema::INSERT_ROW`].
fn columns<'a>(change: &'a Change<'a>, digest: i64, now: Timestamp) -> Vec<Value<'a>> {
    let row = change.row;
    change.list.with([
        row.enroll_id().into(),
        row.enroll_time().into(),
        enrolled_at(row).into(),
        i64::from(u32::from(row.source())).into(),
        row.nick_name().into(),
        i64::from(u32::from(row.status())).into(),
        row.userid().into(),
        row.tmp_openid().into(),
        row.enroll_code().into(),
        Value::Json(change.answers()),
        digest.into(),
        now.into(),
    ])
}

/// Returns the time of enrollment. `None` if it cannot be parsed, or is before the year 1, which the databases store
/// in different ways.
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
