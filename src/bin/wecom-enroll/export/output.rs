//! [`Output`]: writes rows to a file, a device or standard output.
//!
//! Each page is written immediately, so no rows are left in a buffer. A workbook is written as a whole
//! instead; see `workbook`. For other formats, the checkpoint contains a checksum.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crc32fast::Hasher;
use csv::{QuoteStyle, WriterBuilder};
use wecom_enroll::Enroll;

use crate::{
    exit::Stop,
    export::{
        checkpoint::Extent,
        excel::{BYTE_ORDER_MARK, protected},
        format::Format,
        table::{Cell, Table},
        workbook::Book,
    },
    files::{follow_links, lock, sync_parent, unless_refused},
    ui::{stdout::Blocking, text::escaped},
};

/// The output of an export.
pub(crate) struct Output {
    path: PathBuf,
    target: Target,
    format: Format,
    book: Book,
    /// The columns of CSV and XLSX. `None` before the first page with rows.
    table: Option<Table>,
    /// Questions that have a column even if no row of the first page answers them.
    pub(crate) questions: Vec<String>,
    /// Whether the file still has the content of an earlier export.
    stale: bool,
    /// The number of bytes written, including those of earlier runs.
    pub(crate) length: u64,
    crc: Hasher,
}

enum Target {
    Stdout(Blocking<io::Stdout>),
    /// A device or pipe, which can neither be locked nor truncated.
    Device(Blocking<File>),
    File(File),
}

impl Output {
    /// Opens and locks the output, without changing it yet. If the export is resumed, the output must exist.
    pub(crate) fn open(path: &Path, format: Format, resumed: bool) -> Result<Self, Stop> {
        let name = path.display();
        let cannot = |e: io::Error| match e.kind() {
            io::ErrorKind::NotFound if resumed => Stop::Failed(format!(
                "the output {name} of this checkpoint is missing: restore it, or move the checkpoint away to start \
                 again"
            )),
            _ => Stop::Failed(format!("cannot open the output {name}: {e}")),
        };
        let target = if path == Path::new("-") {
            Target::Stdout(Blocking(io::stdout()))
        } else if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            let device = OpenOptions::new().write(true).open(path).map_err(cannot)?;
            Target::Device(Blocking(device))
        } else {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(!resumed).truncate(false).open(path);
            let file = file.map_err(cannot)?;
            if !lock(&file, path).map_err(cannot)? {
                let text = format!("another process is writing to the output {name}");
                return Err(Stop::Failed(text));
            }
            Target::File(file)
        };
        let (length, crc) = (0, Hasher::new());
        let (path, book) = (path.to_owned(), Book::default());
        let questions = Vec::new();
        Ok(Self { path, target, format, book, table: None, questions, stale: true, length, crc })
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self.target, Target::File(_))
    }

    /// Returns whether the rows are written to a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        match &self.target {
            Target::Stdout(Blocking(stdout)) => stdout.is_terminal(),
            Target::Device(Blocking(device)) => device.is_terminal(),
            Target::File(_) => false,
        }
    }

    /// Returns whether the next rows determine the columns.
    pub(crate) fn lacks_columns(&self) -> bool {
        self.format != Format::Jsonl && self.table.is_none()
    }

    /// Truncates the file before the first byte is written. If an export fails before its first row, the
    /// result of an earlier export is kept.
    fn truncate(&mut self) -> io::Result<()> {
        match &self.target {
            Target::File(file) if self.stale => {
                file.set_len(0)?;
                self.stale = false;
                sync_parent(&follow_links(&self.path)?)
            }
            _ => Ok(()),
        }
    }

    /// Continues after what an earlier run wrote. Fails if that was changed.
    pub(crate) fn resume(&mut self, extent: &Extent) -> Result<(), Stop> {
        if extent.length == 0 {
            return Ok(());
        }
        let Target::File(file) = &mut self.target else { return Ok(()) };
        let name = self.path.display();
        let cannot =
            |what, e: io::Error| Stop::Failed(format!("cannot {what} the output {name}: {e}"));
        let changed = |how| {
            Stop::Failed(format!(
                "the output {name} has been {how} since its checkpoint was written; move both away to start again"
            ))
        };
        let (length, crc) = seek_after(file, extent.length).map_err(|e| cannot("read", e))?;
        if length < extent.length {
            return Err(changed("shortened"));
        }
        if crc.clone().finalize() != extent.crc32 {
            return Err(changed("changed"));
        }
        file.set_len(length).map_err(|e| cannot("truncate", e))?;
        (self.length, self.crc, self.stale) = (length, crc, false);
        self.table = extent.columns.as_deref().map(|titles| Table::new(titles, &[]));
        Ok(())
    }

    /// Writes the rows of one page.
    pub(crate) fn write(&mut self, meeting: &str, rows: &[Enroll]) -> Result<(), Stop> {
        if rows.is_empty() {
            return Ok(());
        }
        let written = match self.format {
            Format::Jsonl => json_lines(meeting, rows).and_then(|page| self.put(&page)),
            Format::Csv | Format::ExcelCsv => {
                self.csv(meeting, rows).and_then(|page| self.put(&page))
            }
            Format::Xlsx => {
                let new = || Table::new(&self.questions, rows);
                self.book.add(self.table.get_or_insert_with(new), meeting, rows)
            }
        };
        written.map_err(|e| self.failed(&e))
    }

    /// Ends the output: writes the header if there were no rows, or the whole workbook.
    pub(crate) fn finish(&mut self, complete: bool) -> Result<(), Stop> {
        if complete {
            self.truncate().map_err(|e| self.failed(&e))?;
        }
        let header = complete && self.table.is_none();
        let finished = match self.format {
            Format::Csv | Format::ExcelCsv if header => {
                self.csv("", &[]).and_then(|page| self.put(&page))
            }
            Format::Xlsx if complete || self.table.is_some() => self.workbook(),
            _ => Ok(()),
        };
        finished.map_err(|e| self.failed(&e))
    }

    /// Writes everything to disk, and returns what the output contains.
    pub(crate) fn sync(&mut self) -> Result<Extent, Stop> {
        if let Target::File(file) = &self.target {
            unless_refused(file.sync_data(), &self.path).map_err(|e| self.failed(&e))?;
        }
        let columns = self.table.as_ref().map(|table| table.titles.clone());
        Ok(Extent { length: self.length, crc32: self.crc.clone().finalize(), columns })
    }

    fn workbook(&mut self) -> io::Result<()> {
        let table = self.table.get_or_insert_with(|| Table::new(&[], &[]));
        // Creates a sheet with a header if there were no rows.
        self.book.add(table, "", &[])?;
        self.truncate()?;
        let Target::File(file) = &mut self.target else { return Ok(()) };
        self.book.save(file)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.truncate()?;
        self.length += bytes.len() as u64;
        // A terminal would interpret the control characters of a nickname.
        let shown;
        let bytes = if self.is_terminal() {
            shown = escaped(&String::from_utf8_lossy(bytes));
            shown.as_bytes()
        } else {
            bytes
        };
        match &mut self.target {
            Target::Stdout(out) => {
                out.write_all(bytes)?;
                out.flush()
            }
            Target::Device(device) => device.write_all(bytes),
            Target::File(file) => {
                self.crc.update(bytes);
                file.write_all(bytes)
            }
        }
    }

    fn failed(&self, error: &io::Error) -> Stop {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Stop::ClosedPipe;
        }
        let name = match self.target {
            Target::Stdout(_) => "standard output".into(),
            _ => self.path.to_string_lossy(),
        };
        Stop::Failed(format!(
            "cannot write to {name}: {error}; correct the problem and run the same command again"
        ))
    }

    fn csv(&mut self, meeting: &str, rows: &[Enroll]) -> io::Result<Vec<u8>> {
        let excel = self.format == Format::ExcelCsv;
        let new = self.table.is_none();
        let table = self.table.get_or_insert_with(|| Table::new(&self.questions, rows));
        let mark = if excel && new { BYTE_ORDER_MARK } else { "" };
        let style = if excel { QuoteStyle::Always } else { QuoteStyle::Necessary };
        let mut csv = WriterBuilder::new().quote_style(style).from_writer(mark.into());
        if new {
            let title = |title: &str| {
                if excel { protected(title.into()).into_owned() } else { title.to_owned() }
            };
            csv.write_record(table.header(title))?;
        }
        for cells in rows.iter().map(|row| table.cells(meeting, row)) {
            for cell in cells? {
                match cell {
                    Cell::Number(number) => csv.write_field(number.to_string())?,
                    Cell::Text(text) if excel => csv.write_field(&*protected(text))?,
                    Cell::Text(text) => csv.write_field(&*text)?,
                    Cell::Time(text, _) => csv.write_field(text)?,
                }
            }
            csv.write_record(None::<&[u8]>)?;
        }
        csv.into_inner().map_err(|e| io::Error::other(e.to_string()))
    }
}

/// Reads the first `length` bytes and seeks to their end. Returns the number of bytes found, and their checksum.
fn seek_after(file: &mut File, length: u64) -> io::Result<(u64, Hasher)> {
    let mut crc = Hasher::new();
    let mut chunk = vec![0; 1 << 16];
    let mut found = 0;
    let mut start = file.take(length);
    while let read @ 1.. = start.read(&mut chunk)? {
        crc.update(&chunk[..read]);
        found += read as u64;
    }
    file.seek(SeekFrom::Start(found))?;
    Ok((found, crc))
}

/// Returns the rows, one JSON object per line.
fn json_lines(meeting: &str, rows: &[Enroll]) -> io::Result<Vec<u8>> {
    let end = format!(",\"meetingid\":{}}}\n", serde_json::to_string(meeting)?);
    let mut page = Vec::new();
    for row in rows {
        // `serde(flatten)` would first copy every row into a map. A row always has fields, so its closing brace can be
        // replaced with a comma and the last field.
        serde_json::to_writer(&mut page, row)?;
        page.pop();
        page.extend_from_slice(end.as_bytes());
    }
    Ok(page)
}
