//! A workbook: rows in sheets, kept in a temporary file until it is saved as a whole.
//!
//! It is a zip, which exists only when it is complete: it cannot be gone on with after a crash.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    panic::{self, AssertUnwindSafe},
};

use rust_xlsxwriter::{Format, IgnoreError, Workbook, Worksheet, XlsxError};
use tracing::warn;
use wecom_enroll::Enroll;

use crate::table::{Cell, TIME, Table};

/// Rows of a worksheet, its header included.
const SHEET_ROWS: u32 = 1_048_576;
/// Characters of a worksheet's cell.
const CELL_CHARS: usize = 32_767;
/// Of the days that a worksheet can count.
const FIRST_YEAR: i16 = 1900;
/// Of a column, in digits: a time fits, and so does the name of every field.
const WIDTH: u8 = 22;

#[derive(Default)]
pub(crate) struct Book {
    workbook: Workbook,
    /// Rows in the last sheet, its header included.
    sheet_rows: u32,
}

impl Book {
    /// Adds rows, and a sheet where there is none or the last one is full.
    pub(crate) fn add(&mut self, table: &Table, meeting: &str, rows: &[Enroll]) -> io::Result<()> {
        guarded(|| {
            if self.sheet_rows == 0 {
                self.sheet(table)?;
            }
            for row in rows {
                if self.sheet_rows == SHEET_ROWS {
                    self.filter(table)?;
                    self.sheet(table)?;
                }
                let at = self.sheet_rows;
                let sheet = self.last()?;
                for (column, cell) in (0..).zip(table.cells(meeting, row)?) {
                    match cell {
                        Cell::Number(number) => sheet.write_number(at, column, number)?,
                        Cell::Time(_, time) if time.year() >= FIRST_YEAR => {
                            sheet.write_datetime(at, column, time)?
                        }
                        Cell::Time(text, _) => sheet.write_string(at, column, text)?,
                        // As a string: never a formula, a link or a number.
                        Cell::Text(text) => sheet.write_string(at, column, fitting(text))?,
                    };
                }
                self.sheet_rows += 1;
            }
            self.filter(table)
        })
    }

    fn sheet(&mut self, table: &Table) -> Result<(), XlsxError> {
        header(self.workbook.add_worksheet_with_constant_memory(), table)?;
        self.sheet_rows = 1;
        Ok(())
    }

    fn last(&mut self) -> Result<&mut Worksheet, XlsxError> {
        let last = self.workbook.worksheets().len().saturating_sub(1);
        self.workbook.worksheet_from_index(last)
    }

    /// Puts a filter over what the last sheet holds so far: nobody knows which rows are the last.
    fn filter(&mut self, table: &Table) -> Result<(), XlsxError> {
        let (rows, columns) = (self.sheet_rows, columns(table));
        self.last()?.autofilter(0, 0, rows - 1, columns - 1)?;
        Ok(())
    }

    pub(crate) fn save(&mut self, file: &mut File) -> io::Result<()> {
        let mut zip = Zip { file: io::BufWriter::new(file), failure: None };
        let saved = guarded(|| self.workbook.save_to_writer(&mut zip));
        zip.attempt(Write::flush);
        zip.failure.map_or(saved, Err)
    }
}

fn header(sheet: &mut Worksheet, table: &Table) -> Result<(), XlsxError> {
    let bold = Format::new().set_bold().set_text_wrap();
    for (column, title) in (0..).zip(table.header()) {
        sheet.write_string_with_format(0, column, fitting(title.into()), &bold)?;
        sheet.set_column_width(column, WIDTH)?;
    }
    // Of the cells that have no format of their own.
    sheet.set_column_format(TIME, &Format::new().set_num_format("yyyy-mm-dd hh:mm:ss"))?;
    sheet.set_freeze_panes(1, 0)?;
    let (last, numbers) = (columns(table) - 1, IgnoreError::NumberStoredAsText);
    sheet.ignore_error_range(1, 0, SHEET_ROWS - 1, last, numbers)?;
    Ok(())
}

fn columns(table: &Table) -> u16 {
    // A table has fewer than a worksheet can hold.
    u16::try_from(table.header().count()).unwrap_or(u16::MAX)
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
    fn the_header_stays_and_filters_all_rows() {
        let sheet = saved(&json!([{"enroll_id": 1}, {"enroll_id": 2}]));
        assert!(sheet.contains(r#"<pane ySplit="1" topLeftCell="A2""#) && sheet.contains("frozen"));
        assert!(sheet.contains(r#"<autoFilter ref="A1:J3"/>"#), "{sheet}");
        assert!(sheet.contains(r#"<c r="B1" s="1" t="inlineStr">"#), "in bold");
    }

    #[test]
    fn times_of_both_documented_formats_are_times_and_others_stay_text() {
        let row = |time| json!({"enroll_id": 1, "enroll_time": time});
        let sheet = saved(&json!([
            row("2023-03-23 10:00:00"),
            row("2023/03/23 14:00"),
            row("2023-03-23T10:00"),
            row("0001-01-01 00:00:00"),
        ]));
        assert!(sheet.contains(r#"<c r="C2" s="2"><v>45008.416666666664</v></c>"#), "{sheet}");
        assert!(sheet.contains(r#"<c r="C3" s="2"><v>45008.583333333336</v></c>"#), "{sheet}");
        for (cell, time) in [("C4", "2023-03-23T10:00"), ("C5", "0001-01-01 00:00:00")] {
            let cell = format!(r#"<c r="{cell}" s="2" t="inlineStr"><is><t>{time}</t></is></c>"#);
            assert!(sheet.contains(&cell), "{sheet}");
        }
    }

    #[test]
    fn phone_numbers_ids_formulas_and_links_stay_text() {
        let answers = json!([
            {"question_title": "Q1", "answer_content": "13800138000"},
            {"question_title": "Q2", "answer_content": "https://example.com"},
        ]);
        let id = "12345678901234567890";
        let name = "=1+1";
        let sheet = saved(&json!([{"enroll_id": id, "nick_name": name, "answer_list": answers}]));
        for (cell, wanted) in [
            ("A2", "=M"),
            ("B2", id),
            ("E2", name),
            ("J2", "13800138000"),
            ("K2", "https://example.com"),
        ] {
            assert!(sheet.contains(&text(cell, wanted)), "{cell}: {sheet}");
        }
        assert!(!sheet.contains("<f>") && !sheet.contains("hyperlink"));
    }
}
