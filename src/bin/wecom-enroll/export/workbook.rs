//! [`Book`]: rows in the sheets of an XLSX workbook.
//!
//! Rows are kept in a temporary file until the workbook is saved as a whole. An XLSX file is a zip archive,
//! which cannot be resumed after a crash.

use std::{
    borrow::Cow,
    env,
    fs::File,
    io::{self, BufWriter, Seek, SeekFrom, Write},
    panic::{AssertUnwindSafe, catch_unwind},
};

use rust_xlsxwriter::{Format, IgnoreError, Workbook, Worksheet, XlsxError};
use tracing::warn;
use wecom_enroll::Enroll;

use crate::export::table::{Cell, TIME, Table};

/// The maximum number of rows of a worksheet, including the header.
const SHEET_ROWS: u32 = 1_048_576;
/// The maximum number of characters in a cell.
const CELL_CHARS: usize = 32_767;
/// The first year that a worksheet can represent.
const FIRST_YEAR: i16 = 1900;
/// The width of a column in digits. A time and the name of every field fit into it.
const WIDTH: u8 = 22;

/// The minimum free space in bytes for the temporary file, far more than a page needs.
const FREE_SPACE: u64 = 16 << 20;

#[derive(Default)]
pub(crate) struct Book {
    workbook: Workbook,
    /// The number of rows of the last sheet, including its header. 0 if there is no sheet.
    sheet_rows: u32,
}

impl Book {
    /// Adds rows. Starts a new sheet if the workbook is empty or its last sheet is full.
    pub(crate) fn add(&mut self, table: &Table, meeting: &str, rows: &[Enroll]) -> io::Result<()> {
        caught(|| self.add_rows(table, meeting, rows))
    }

    fn add_rows(&mut self, table: &Table, meeting: &str, rows: &[Enroll]) -> io::Result<()> {
        check_space()?;
        if self.sheet_rows == 0 {
            self.add_sheet(table)?;
        }
        for row in rows {
            if self.sheet_rows == SHEET_ROWS {
                self.set_filter(table).map_err(io_error)?;
                self.add_sheet(table)?;
            }
            self.add_row(table.cells(meeting, row)?).map_err(io_error)?;
        }
        self.set_filter(table).map_err(io_error)
    }

    fn add_row(&mut self, cells: Vec<Cell<'_>>) -> Result<(), XlsxError> {
        let row = self.sheet_rows;
        let sheet = self.last_sheet()?;
        for (column, cell) in (0..).zip(cells) {
            match cell {
                Cell::Number(number) => sheet.write_number(row, column, number)?,
                Cell::Time(_, time) if time.year() >= FIRST_YEAR => {
                    sheet.write_datetime(row, column, time)?
                }
                Cell::Time(text, _) => sheet.write_string(row, column, text)?,
                // As a string, so that it is never a formula, a link or a number.
                Cell::Text(text) => sheet.write_string(row, column, shortened(text))?,
            };
        }
        self.sheet_rows += 1;
        Ok(())
    }

    fn add_sheet(&mut self, table: &Table) -> io::Result<()> {
        // Fails here with a clear error if the temporary file that `rust_xlsxwriter` creates next cannot be
        // created.
        tempfile::tempfile().map_err(|e| temporary_file(&e))?;
        let sheet = self.workbook.add_worksheet_with_constant_memory();
        write_header(sheet, table).map_err(io_error)?;
        self.sheet_rows = 1;
        Ok(())
    }

    fn last_sheet(&mut self) -> Result<&mut Worksheet, XlsxError> {
        let last = self.workbook.worksheets().len().saturating_sub(1);
        self.workbook.worksheet_from_index(last)
    }

    /// Sets the filter of the last sheet to all its rows. Called after every page, because it is unknown
    /// which one is the last.
    fn set_filter(&mut self, table: &Table) -> Result<(), XlsxError> {
        let (rows, columns) = (self.sheet_rows, columns(table));
        self.last_sheet()?.autofilter(0, 0, rows - 1, columns - 1)?;
        Ok(())
    }

    pub(crate) fn save(&mut self, file: &mut File) -> io::Result<()> {
        check_space()?;
        let mut zip = Zip { file: BufWriter::new(file), failure: None };
        let saved = caught(|| self.workbook.save_to_writer(&mut zip).map_err(io_error));
        zip.run(Write::flush);
        zip.failure.map_or(saved, Err)
    }
}

/// Calls `rust_xlsxwriter`, which panics if it cannot write to its temporary file. [`check_space`] prevents
/// that, except for limits that it cannot see, such as a disk quota.
fn caught(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(temporary_file(&io::Error::other("a write failed"))))
}

fn io_error(error: XlsxError) -> io::Error {
    io::Error::other(error)
}

/// Checks that there is space for a page in the temporary file.
fn check_space() -> io::Result<()> {
    let available = fs4::available_space(env::temp_dir()).map_err(|e| temporary_file(&e))?;
    if available >= FREE_SPACE {
        return Ok(());
    }
    Err(temporary_file(&io::ErrorKind::StorageFull.into()))
}

fn temporary_file(error: &io::Error) -> io::Error {
    let directory = env::temp_dir();
    io::Error::new(
        error.kind(),
        format!("cannot write the workbook's temporary file in {}: {error}", directory.display()),
    )
}

fn write_header(sheet: &mut Worksheet, table: &Table) -> Result<(), XlsxError> {
    let bold = Format::new().set_bold().set_text_wrap();
    for (column, title) in (0..).zip(table.header()) {
        sheet.write_string_with_format(0, column, shortened(title.into()), &bold)?;
        sheet.set_column_width(column, WIDTH)?;
    }
    // The default format of the column.
    sheet.set_column_format(TIME, &Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"))?;
    sheet.set_freeze_panes(1, 0)?;
    let (last, numbers) = (columns(table) - 1, IgnoreError::NumberStoredAsText);
    sheet.ignore_error_range(1, 0, SHEET_ROWS - 1, last, numbers)?;
    Ok(())
}

fn columns(table: &Table) -> u16 {
    // A table has fewer columns than a worksheet can have.
    u16::try_from(table.header().count()).unwrap_or(u16::MAX)
}

/// Returns as much of the text as a cell can hold.
fn shortened(text: Cow<'_, str>) -> String {
    match text.char_indices().nth(CELL_CHARS) {
        None => text.into_owned(),
        Some((end, _)) => {
            warn!(
                "a text was shortened to 32,767 characters, the maximum of an XLSX cell; JSON Lines and CSV keep it whole"
            );
            text[..end].to_owned()
        }
    }
}

/// A file that keeps its first error. The error of the zip writer would only be "i/o error".
struct Zip<'a> {
    file: BufWriter<&'a mut File>,
    failure: Option<io::Error>,
}

impl<'a> Zip<'a> {
    fn run(&mut self, work: impl FnOnce(&mut BufWriter<&'a mut File>) -> io::Result<()>) {
        if self.failure.is_none() {
            self.failure = work(&mut self.file).err();
        }
    }
}

impl Write for Zip<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.run(|file| file.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run(Write::flush);
        Ok(())
    }
}

impl Seek for Zip<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.run(Write::flush);
        self.file.get_mut().seek(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Read;

    fn saved(rows: &serde_json::Value) -> String {
        let rows: Vec<Enroll> = serde_json::from_value(rows.clone()).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let mut book = Book::default();
        book.add(&Table::of(&rows), "=M", &rows).unwrap();
        book.save(&mut file).unwrap();
        let mut sheet = String::new();
        let mut zip = zip::ZipArchive::new(file).unwrap();
        zip.by_name("xl/worksheets/sheet1.xml").unwrap().read_to_string(&mut sheet).unwrap();
        sheet
    }

    fn text(cell: &str, text: &str) -> String {
        format!(r#"<c r="{cell}" t="inlineStr"><is><t>{text}</t></is></c>"#)
    }

    #[test]
    fn header_is_frozen_and_filters_all_rows() {
        let sheet = saved(&json!([{"enroll_id": 1}, {"enroll_id": 2}]));
        assert!(sheet.contains(r#"<pane ySplit="1" topLeftCell="A2""#) && sheet.contains("frozen"));
        assert!(sheet.contains(r#"<autoFilter ref="A1:J3"/>"#), "{sheet}");
        assert!(sheet.contains(r#"<c r="B1" s="1" t="inlineStr">"#), "bold");
    }

    #[test]
    fn documented_times_are_times_and_others_stay_text() {
        let row = |time| json!({"enroll_id": 1, "enroll_time": time});
        let times =
            ["2023-03-23 10:00:00", "2023/03/23 14:00", "2023-03-23T10:00", "0001-01-01 00:00:00"];
        let sheet = saved(&json!(times.map(row)));
        assert!(sheet.contains(r#"<c r="C2" s="2"><v>45008.416666666664</v></c>"#), "{sheet}");
        assert!(sheet.contains(r#"<c r="C3" s="2"><v>45008.583333333336</v></c>"#), "{sheet}");
        for (cell, time) in [("C4", "2023-03-23T10:00"), ("C5", "0001-01-01 00:00:00")] {
            let cell = format!(r#"<c r="{cell}" s="2" t="inlineStr"><is><t>{time}</t></is></c>"#);
            assert!(sheet.contains(&cell), "{sheet}");
        }
    }

    #[test]
    fn numbers_formulas_and_links_stay_text() {
        let answers = json!([
            {"question_title": "Q1", "answer_content": "13800138000"},
            {"question_title": "Q2", "answer_content": "https://example.com"},
        ]);
        let (id, name) = ("12345678901234567890", "=1+1");
        let sheet = saved(&json!([{"enroll_id": id, "nick_name": name, "answer_list": answers}]));
        let phone = ("J2", "13800138000");
        let link = ("K2", "https://example.com");
        for (cell, wanted) in [("A2", "=M"), ("B2", id), ("E2", name), phone, link] {
            assert!(sheet.contains(&text(cell, wanted)), "{cell}: {sheet}");
        }
        assert!(!sheet.contains("<f>") && !sheet.contains("hyperlink"));
    }
}
