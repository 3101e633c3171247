//! Where the rows go: a file, a device or standard output, in the format asked for.
//!
//! Whole pages are written, each at once, so nothing is ever pending in a buffer of ours. A running
//! checksum of a file goes into the checkpoint. A workbook is the exception: see `workbook`.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    mem,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use crc32fast::Hasher;
use csv::{QuoteStyle, WriterBuilder};
use fs4::{FileExt, TryLockError};
use wecom_enroll::Enroll;

use crate::{
    Stop,
    checkpoint::{Extent, sync_folder},
    excel::{BYTE_ORDER_MARK, guarded},
    table::{Cell, Table},
    workbook::Book,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Jsonl,
    Csv,
    /// CSV for spreadsheets. One more format, so that a checkpoint of the other is refused, also by
    /// the versions that do not know it.
    #[value(name = "csv --excel", hide = true)]
    Excel,
    Xlsx,
}

impl Format {
    /// What the path's extension says.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        match path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase().as_str() {
            "jsonl" | "json" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "xlsx" => Some(Self::Xlsx),
            _ => None,
        }
    }
}

/// The one writer's end.
pub(crate) struct Output {
    path: PathBuf,
    target: Target,
    format: Format,
    book: Book,
    /// Of CSV and workbooks, from the first row on.
    table: Option<Table>,
    /// The file still holds what was in it before.
    stale: bool,
    length: u64,
    crc: Hasher,
    /// The last page's lines, kept for their memory.
    page: Vec<u8>,
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
            match FileExt::try_lock(&file) {
                Ok(()) => Target::File(file),
                Err(TryLockError::Error(e)) => return Err(cannot(e)),
                Err(TryLockError::WouldBlock) => {
                    let text = format!("another process is writing to the output {name}");
                    return Err(Stop::failed(text));
                }
            }
        };
        let (length, crc) = (0, Hasher::new());
        let (path, book, page) = (path.to_owned(), Book::default(), Vec::new());
        Ok(Self { path, target, format, book, table: None, stale: true, length, crc, page })
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.target, Target::File(_))
    }

    /// Whether a person sees the rows as they come.
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.target, Target::Stdout) && io::stdout().is_terminal()
    }

    /// Bytes written, those of earlier runs included.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether the first rows to come decide on the columns.
    pub(crate) fn lacks_columns(&self) -> bool {
        self.format != Format::Jsonl && self.table.is_none()
    }

    /// Empties the file before the first byte is written to it, and not earlier: an export that
    /// fails before its first row leaves what an earlier one made.
    fn empty(&mut self) -> io::Result<()> {
        match &self.target {
            Target::File(file) if self.stale => {
                file.set_len(0)?;
                self.stale = false;
                sync_folder(&self.path)
            }
            _ => Ok(()),
        }
    }

    /// Goes on behind what an earlier run wrote, if that is still there.
    pub(crate) fn go_on(&mut self, extent: &Extent) -> Result<(), Stop> {
        if extent.length == 0 {
            return Ok(());
        }
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
        (self.length, self.crc, self.stale) = (length, crc, false);
        self.table = extent.columns.clone().map(Table::new);
        Ok(())
    }

    /// Writes the rows of a page.
    pub(crate) fn write(&mut self, meeting: &str, rows: &[Enroll]) -> Result<(), Stop> {
        if rows.is_empty() {
            return Ok(());
        }
        let written = match self.format {
            Format::Jsonl => self.json_lines(meeting, rows),
            Format::Csv | Format::Excel => self.csv(meeting, rows).and_then(|page| self.put(&page)),
            Format::Xlsx => {
                self.book.add(self.table.get_or_insert_with(|| Table::of(rows)), meeting, rows)
            }
        };
        written.map_err(|e| self.failed(&e))
    }

    /// Writes what is missing at the end: the header of an empty list, and a workbook as a whole.
    pub(crate) fn finish(&mut self, complete: bool) -> Result<(), Stop> {
        if complete {
            self.empty().map_err(|e| self.failed(&e))?;
        }
        let header = complete && self.table.is_none();
        let finished = match self.format {
            Format::Csv | Format::Excel if header => {
                self.csv("", &[]).and_then(|page| self.put(&page))
            }
            Format::Xlsx if complete || self.table.is_some() => self.workbook(),
            _ => Ok(()),
        };
        finished.map_err(|e| self.failed(&e))
    }

    /// Puts all that was written on disk.
    pub(crate) fn sync(&mut self) -> Result<Extent, Stop> {
        if let Target::File(file) = &self.target {
            file.sync_data().map_err(|e| self.failed(&e))?;
        }
        let columns = self.table.as_ref().map(|table| table.titles().to_vec());
        Ok(Extent { length: self.length, crc32: self.crc.clone().finalize(), columns })
    }

    fn workbook(&mut self) -> io::Result<()> {
        let table = self.table.get_or_insert_with(|| Table::of(&[]));
        // An empty list still has a sheet with a header.
        self.book.add(table, "", &[])?;
        self.empty()?;
        let Target::File(file) = &mut self.target else { return Ok(()) };
        self.book.save(file)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.empty()?;
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

    fn json_lines(&mut self, meeting: &str, rows: &[Enroll]) -> io::Result<()> {
        let mut page = mem::take(&mut self.page);
        page.clear();
        json_lines(&mut page, meeting, rows)?;
        let put = self.put(&page);
        self.page = page;
        put
    }

    fn csv(&mut self, meeting: &str, rows: &[Enroll]) -> io::Result<Vec<u8>> {
        let excel = self.format == Format::Excel;
        let (table, new) = self.table(rows);
        let mark = if excel && new { BYTE_ORDER_MARK } else { "" };
        let style = if excel { QuoteStyle::Always } else { QuoteStyle::Necessary };
        let mut csv = WriterBuilder::new().quote_style(style).from_writer(mark.into());
        let header = new.then(|| Ok(table.header().map(Cell::from).collect()));
        for cells in header.into_iter().chain(rows.iter().map(|row| table.cells(meeting, row))) {
            for cell in cells? {
                match cell {
                    Cell::Number(number) => csv.write_field(number.to_string())?,
                    Cell::Text(text) if excel => csv.write_field(&*guarded(text))?,
                    Cell::Text(text) => csv.write_field(&*text)?,
                    Cell::Time(text, _) => csv.write_field(text)?,
                }
            }
            csv.write_record(None::<&[u8]>)?;
        }
        csv.into_inner().map_err(|e| io::Error::other(e.to_string()))
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

/// Appends the rows, one object a line.
fn json_lines(page: &mut Vec<u8>, meeting: &str, rows: &[Enroll]) -> io::Result<()> {
    let end = format!(",\"meetingid\":{}}}\n", serde_json::to_string(meeting)?);
    for row in rows {
        // A flattened struct would copy every row into a map first. A row always has fields, so a
        // comma goes in the place of its closing brace.
        serde_json::to_writer(&mut *page, row)?;
        page.pop();
        page.extend_from_slice(end.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_the_row_and_its_meeting() {
        let row: Enroll = serde_json::from_str(r#"{"enroll_id": 7}"#).unwrap();
        let mut lines = Vec::new();
        json_lines(&mut lines, "M\"1", &[row.clone(), row]).unwrap();
        let lines: Vec<_> = lines.split_inclusive(|&byte| byte == b'\n').collect();
        assert_eq!(lines.len(), 2);
        let line: serde_json::Value = serde_json::from_slice(lines[0]).unwrap();
        assert_eq!((&line["meetingid"], &line["enroll_id"]), (&"M\"1".into(), &"7".into()));
    }

    #[test]
    fn the_extension_tells_the_format() {
        let formats =
            ["a.CSV", "b.xlsx", "c.json", "d.jsonl"].map(|path| Format::of(Path::new(path)));
        assert_eq!(formats, [Format::Csv, Format::Xlsx, Format::Jsonl, Format::Jsonl].map(Some));
        assert_eq!(
            ["-", "d", ".csv", "rows.txt"].map(|path| Format::of(Path::new(path))),
            [None; 4]
        );
    }
}
