//! Where the rows go, and how they are spelled: JSON Lines, CSV or a workbook.
//!
//! Whole pages are written, each at once, so nothing is ever pending in a buffer of ours. A running
//! checksum of a file goes into the checkpoint. The workbook is the exception: it is a zip, which
//! exists only when it is complete.

use std::{
    borrow::Cow,
    collections::HashMap,
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use crc32fast::Hasher;
use fs4::fs_std::FileExt;
use rust_xlsxwriter::{Workbook, Worksheet, XlsxError};
use tracing::warn;
use wecom_enroll::{Answer, Enroll};

use crate::{
    Stop,
    checkpoint::{Extent, sync_folder},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Jsonl,
    Csv,
    Xlsx,
}

impl Format {
    /// What the path's extension says.
    pub(crate) fn of(path: &Path) -> Self {
        match path.extension().map(OsStr::to_ascii_lowercase) {
            Some(extension) if extension == "csv" => Self::Csv,
            Some(extension) if extension == "xlsx" => Self::Xlsx,
            _ => Self::Jsonl,
        }
    }
}

/// The one writer's end.
pub(crate) struct Output {
    path: PathBuf,
    target: Target,
    format: Format,
    workbook: Workbook,
    /// Of CSV and workbooks, from the first row on.
    table: Option<Table>,
    /// Rows in the workbook's last sheet, the header included.
    sheet_rows: u32,
    length: u64,
    crc: Hasher,
}

enum Target {
    Stdout,
    /// A device or pipe: written, but neither locked nor truncated.
    Device(File),
    File(File),
}

impl Output {
    /// Opens and locks the output, and changes nothing yet. `going_on`: an earlier run has made it.
    pub(crate) fn open(path: &Path, format: Format, going_on: bool) -> Result<Self, Stop> {
        let name = path.display();
        let cannot = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound if going_on => Stop::failed(format!(
                "the output {name} that the checkpoint belongs to is missing: bring it back, or move the checkpoint \
                 away to start again"
            )),
            _ => Stop::failed(format!("cannot open the output {name}: {e}")),
        };
        let target = if path == Path::new("-") {
            Target::Stdout
        } else if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            Target::Device(OpenOptions::new().write(true).open(path).map_err(cannot)?)
        } else {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(!going_on).truncate(false).open(path);
            let file = file.map_err(cannot)?;
            if !FileExt::try_lock_exclusive(&file).map_err(cannot)? {
                return Err(Stop::failed(format!(
                    "another process is writing to the output {name}"
                )));
            }
            Target::File(file)
        };
        let (length, crc) = (0, Hasher::new());
        let (path, workbook) = (path.to_owned(), Workbook::new());
        Ok(Self { path, target, format, workbook, table: None, sheet_rows: 0, length, crc })
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.target, Target::File(_))
    }

    /// Bytes written, those of earlier runs included.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Begins with an empty file.
    pub(crate) fn start(&mut self) -> Result<(), Stop> {
        let Target::File(file) = &self.target else { return Ok(()) };
        file.set_len(0).and_then(|()| sync_folder(&self.path)).map_err(|e| self.failed(&e))
    }

    /// Goes on behind what an earlier run wrote, if that is still there.
    pub(crate) fn go_on(&mut self, extent: &Extent) -> Result<(), Stop> {
        let Target::File(file) = &mut self.target else { return Ok(()) };
        let (length, crc) = match resume(file, extent.length) {
            Ok(found) => found,
            Err(e) => return Err(self.failed(&e)),
        };
        let changed = |how| {
            Stop::failed(format!(
                "the output {} was {how} since its checkpoint was written; move both away and start again",
                self.path.display()
            ))
        };
        if length < extent.length {
            return Err(changed("shortened"));
        }
        if crc.clone().finalize() != extent.crc32 {
            return Err(changed("changed"));
        }
        if let Err(e) = file.set_len(length) {
            return Err(self.failed(&e));
        }
        (self.length, self.crc) = (length, crc);
        self.table = extent.columns.clone().map(Table::new);
        Ok(())
    }

    /// Writes the rows of a page.
    pub(crate) fn write(&mut self, meeting: &str, rows: &[Enroll]) -> Result<(), Stop> {
        if rows.is_empty() {
            return Ok(());
        }
        let written = match self.format {
            Format::Jsonl => json_lines(meeting, rows).and_then(|page| self.put(&page)),
            Format::Csv => self.csv(meeting, rows).and_then(|page| self.put(&page)),
            Format::Xlsx => self.sheet(meeting, rows),
        };
        written.map_err(|e| self.failed(&e))
    }

    /// Writes what is missing at the end: the header of an empty list, and a workbook as a whole.
    pub(crate) fn finish(&mut self, complete: bool) -> Result<(), Stop> {
        let header = complete && self.table.is_none();
        let finished = match self.format {
            Format::Csv if header => self.csv("", &[]).and_then(|page| self.put(&page)),
            Format::Xlsx => self.sheet("", &[]).and_then(|()| self.save()),
            _ => Ok(()),
        };
        finished.map_err(|e| self.failed(&e))
    }

    /// Puts all that was written on disk.
    pub(crate) fn sync(&mut self) -> Result<Extent, Stop> {
        if let Target::File(file) = &self.target {
            file.sync_data().map_err(|e| self.failed(&e))?;
        }
        let columns = self.table.as_ref().map(|table| table.titles.clone());
        Ok(Extent { length: self.length, crc32: self.crc.clone().finalize(), columns })
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length += bytes.len() as u64;
        match &mut self.target {
            Target::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()
            }
            Target::Device(file) => file.write_all(bytes),
            Target::File(file) => {
                self.crc.update(bytes);
                file.write_all(bytes)
            }
        }
    }

    fn failed(&self, error: &io::Error) -> Stop {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Stop::quietly();
        }
        let name = match self.target {
            Target::Stdout => "standard output".into(),
            _ => self.path.to_string_lossy(),
        };
        Stop::failed(format!(
            "cannot write to {name}: {error}; put this right and run the same command again"
        ))
    }

    /// The columns, and whether they are new: then a header is due.
    fn table(&mut self, rows: &[Enroll]) -> (&Table, bool) {
        let new = self.table.is_none();
        (self.table.get_or_insert_with(|| Table::of(rows)), new)
    }

    fn csv(&mut self, meeting: &str, rows: &[Enroll]) -> io::Result<Vec<u8>> {
        let (table, new) = self.table(rows);
        let mut csv = csv::Writer::from_writer(Vec::new());
        if new {
            csv.write_record(table.header())?;
        }
        for row in rows {
            for cell in table.cells(meeting, row)? {
                match cell {
                    Cell::Number(number) => csv.write_field(number.to_string())?,
                    Cell::Text(text) => csv.write_field(&*text)?,
                }
            }
            csv.write_record(None::<&[u8]>)?;
        }
        csv.into_inner().map_err(|e| io::Error::other(e.to_string()))
    }

    /// Adds rows to the workbook, and a sheet where the last one is full.
    fn sheet(&mut self, meeting: &str, rows: &[Enroll]) -> io::Result<()> {
        let table = self.table.get_or_insert_with(|| Table::of(rows));
        let (workbook, next) = (&mut self.workbook, &mut self.sheet_rows);
        guarded(|| {
            if *next == 0 {
                header(workbook.add_worksheet_with_constant_memory(), table)?;
                *next = 1;
            }
            for row in rows {
                if *next == SHEET_ROWS {
                    header(workbook.add_worksheet_with_constant_memory(), table)?;
                    *next = 1;
                }
                let last = workbook.worksheets().len().saturating_sub(1);
                let sheet = workbook.worksheet_from_index(last)?;
                for (column, cell) in (0..).zip(table.cells(meeting, row)?) {
                    match cell {
                        Cell::Number(number) => sheet.write_number(*next, column, number)?,
                        Cell::Text(text) => sheet.write_string(*next, column, fitting(text))?,
                    };
                }
                *next += 1;
            }
            Ok(())
        })
    }

    fn save(&mut self) -> io::Result<()> {
        let Target::File(file) = &mut self.target else { return Ok(()) };
        let mut zip = Zip { file: io::BufWriter::new(file), failure: None };
        let saved = guarded(|| self.workbook.save_to_writer(&mut zip));
        zip.attempt(Write::flush);
        zip.failure.map_or(saved, Err)
    }
}

/// A file that keeps its first failure to itself: the zip writer would only say "i/o error", and
/// complain on standard error.
struct Zip<'a> {
    file: io::BufWriter<&'a mut File>,
    failure: Option<io::Error>,
}

impl<'a> Zip<'a> {
    fn attempt(&mut self, work: impl FnOnce(&mut io::BufWriter<&'a mut File>) -> io::Result<()>) {
        if self.failure.is_none() {
            self.failure = work(&mut self.file).err();
        }
    }
}

impl Write for Zip<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(|file| file.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(Write::flush);
        Ok(())
    }
}

impl Seek for Zip<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.attempt(Write::flush);
        self.file.get_mut().seek(to)
    }
}

/// Checks how much of the first `length` bytes is there, and stands behind them.
fn resume(file: &mut File, length: u64) -> io::Result<(u64, Hasher)> {
    let mut crc = Hasher::new();
    let mut chunk = vec![0; 1 << 16];
    let mut found = 0;
    let mut good = file.take(length);
    loop {
        match good.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => {
                crc.update(&chunk[..read]);
                found += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    file.seek(SeekFrom::Start(found))?;
    Ok((found, crc))
}

fn json_lines(meeting: &str, rows: &[Enroll]) -> io::Result<Vec<u8>> {
    let meeting = serde_json::to_string(meeting)?;
    let mut page = Vec::new();
    for row in rows {
        // A flattened struct would copy every row into a map first. A row always has fields, so a
        // comma goes in the place of its closing brace.
        serde_json::to_writer(&mut page, row)?;
        page.pop();
        writeln!(page, r#","meetingid":{meeting}}}"#)?;
    }
    Ok(page)
}

const SCALARS: [&str; 9] = [
    "meetingid",
    "enroll_id",
    "enroll_time",
    "enroll_source_type",
    "nick_name",
    "status",
    "userid",
    "tmp_openid",
    "enroll_code",
];
const OTHERS: &str = "other_answers";

/// The columns of a CSV or workbook: one a question, between the scalar fields and the other answers.
struct Table {
    titles: Vec<String>,
    places: HashMap<String, usize>,
}

enum Cell<'a> {
    Number(u32),
    Text(Cow<'a, str>),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl Table {
    /// The most questions with a column of their own; a worksheet has 16,384 columns.
    const MAX: usize = 16_000;

    fn new(titles: Vec<String>) -> Self {
        let places =
            titles.iter().enumerate().map(|(place, title)| (title.clone(), place)).collect();
        Self { titles, places }
    }

    /// The questions of these rows, in order of first appearance.
    fn of(rows: &[Enroll]) -> Self {
        let mut table = Self::new(Vec::new());
        for title in rows.iter().flat_map(Enroll::answers).map(|answer| answer.question_title()) {
            if table.titles.len() < Self::MAX && !table.places.contains_key(title) {
                table.places.insert(title.to_owned(), table.titles.len());
                table.titles.push(title.to_owned());
            }
        }
        table
    }

    fn header(&self) -> impl Iterator<Item = &str> {
        SCALARS.into_iter().chain(self.titles.iter().map(String::as_str)).chain([OTHERS])
    }

    fn cells<'a>(&self, meeting: &'a str, row: &'a Enroll) -> io::Result<Vec<Cell<'a>>> {
        let mut answers: Vec<Option<Answer<'a>>> = vec![None; self.titles.len()];
        let mut others = Vec::new();
        for answer in row.answers() {
            match self.places.get(answer.question_title()).and_then(|&place| answers.get_mut(place))
            {
                Some(place @ None) => *place = Some(answer),
                _ => others.push(answer),
            }
        }
        let scalars = [
            meeting.into(),
            row.enroll_id().into(),
            row.enroll_time().into(),
            Cell::Number(row.source().into()),
            row.nick_name().into(),
            Cell::Number(row.status().into()),
            row.userid().unwrap_or_default().into(),
            row.tmp_openid().unwrap_or_default().into(),
            row.enroll_code().unwrap_or_default().into(),
        ];
        let others =
            if others.is_empty() { String::new() } else { serde_json::to_string(&others)? };
        let answers =
            answers.into_iter().map(|answer| Cell::Text(answer.map(joined).unwrap_or_default()));
        Ok(scalars.into_iter().chain(answers).chain([Cell::Text(others.into())]).collect())
    }
}

fn joined(answer: Answer<'_>) -> Cow<'_, str> {
    let mut contents = answer.content();
    match (contents.next(), contents.len()) {
        (None, _) => "".into(),
        (Some(only), 0) => only.into(),
        _ => answer.content().collect::<Vec<_>>().join("; ").into(),
    }
}

/// Rows of a worksheet, its header included.
const SHEET_ROWS: u32 = 1_048_576;
/// Characters of a worksheet's cell.
const CELL_CHARS: usize = 32_767;

fn header(sheet: &mut Worksheet, table: &Table) -> Result<(), XlsxError> {
    for (column, title) in (0..).zip(table.header()) {
        sheet.write_string(0, column, fitting(title.into()))?;
    }
    Ok(())
}

/// As much of the text as a cell can hold.
fn fitting(text: Cow<'_, str>) -> String {
    match text.char_indices().nth(CELL_CHARS) {
        None => text.into_owned(),
        Some((end, _)) => {
            warn!(
                "a text longer than the 32,767 characters of a cell was cut; JSON Lines and CSV keep it"
            );
            text[..end].to_owned()
        }
    }
}

/// Calls into `rust_xlsxwriter`, which panics where its temporary file cannot be written: a full disk
/// is an error like others. The panic's own message is kept off the screen.
fn guarded(work: impl FnOnce() -> Result<(), XlsxError>) -> io::Result<()> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    match outcome {
        Ok(result) => result.map_err(|e| io::Error::other(e.to_string())),
        Err(_) => Err(io::Error::other(format!(
            "the workbook's temporary file in {} cannot be written; is there room?",
            std::env::temp_dir().display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(answers: &serde_json::Value) -> Enroll {
        let row =
            serde_json::json!({"enroll_id": 7, "nick_name": "a,\"b\"", "answer_list": answers});
        serde_json::from_value(row).unwrap()
    }

    fn rows() -> [Enroll; 2] {
        use serde_json::json;
        [
            row(&json!([{"question_title": "Q1", "answer_content": ["x", "y"]}])),
            row(&json!([
                {"question_title": "Q2", "answer_content": "z"},
                {"question_title": "Q1", "answer_content": "=1"},
                {"question_title": "Q1", "answer_content": "again"},
            ])),
        ]
    }

    fn texts(cells: Vec<Cell<'_>>) -> Vec<String> {
        let text = |cell| match cell {
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.into_owned(),
        };
        cells.into_iter().map(text).collect()
    }

    #[test]
    fn questions_are_columns_in_order_of_appearance_and_nothing_is_lost() {
        let rows = rows();
        let table = Table::of(&rows);
        assert_eq!(table.header().skip(9).collect::<Vec<_>>(), ["Q1", "Q2", "other_answers"]);
        let first = texts(table.cells("M", &rows[0]).unwrap());
        assert_eq!(first, ["M", "7", "", "0", "a,\"b\"", "0", "", "", "", "x; y", "", ""]);
        let second = texts(table.cells("M", &rows[1]).unwrap());
        assert_eq!(second[9..11], ["=1", "z"]);
        assert!(second[11].starts_with('[') && second[11].contains("again"), "{}", second[11]);
        let later = Table::new(Vec::new()).cells("M", &rows[0]).map(texts).unwrap();
        assert!(later[9].contains(r#"["x","y"]"#), "{}", later[9]);
    }

    #[test]
    fn a_json_line_is_the_row_and_its_meeting() {
        let lines = json_lines("M\"1", &rows()).unwrap();
        let lines: Vec<_> = lines.split_inclusive(|&byte| byte == b'\n').collect();
        assert_eq!(lines.len(), 2);
        let line: serde_json::Value = serde_json::from_slice(lines[0]).unwrap();
        assert_eq!((&line["meetingid"], &line["enroll_id"]), (&"M\"1".into(), &"7".into()));
    }

    #[test]
    fn the_extension_tells_the_format() {
        let formats =
            ["-", "a.CSV", "b.xlsx", "c.json", "d"].map(|path| Format::of(Path::new(path)));
        assert_eq!(
            formats,
            [Format::Jsonl, Format::Csv, Format::Xlsx, Format::Jsonl, Format::Jsonl]
        );
    }
}
