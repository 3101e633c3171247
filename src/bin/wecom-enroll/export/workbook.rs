//! [`Book`]: rows in the sheets of an XLSX workbook.
//!
//! Rows are kept in a temporary file until the workbook is saved as a whole. An XLSX file is a zip archive, which
//! cannot be resumed after a crash.

use std::{
    env,
    fs::File,
    io::{self, BufWriter, Write},
    panic::{AssertUnwindSafe, catch_unwind},
};

use rust_xlsxwriter::{Format, IgnoreError, Workbook, Worksheet, XlsxError};
use tracing::warn;
use wecom_enroll::Enroll;

use crate::{
    export::table::{Cell, TIME, Table},
    ui::text::counted,
};

/// The maximum number of rows of a worksheet, including the header.
const SHEET_ROWS: u32 = 1_048_576;
/// The maximum length of a text in a cell, in UTF-16 units.
const CELL_UNITS: usize = 32_767;
/// The maximum length of a title, which leaves space for a number that makes it unique.
const TITLE_UNITS: usize = CELL_UNITS - 16;
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
    /// The number of texts that were changed because a cell cannot hold them.
    changed_texts: u64,
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
            let is_changed = |title: &&String| storable(title, TITLE_UNITS) != **title;
            self.changed_texts += table.titles.iter().filter(is_changed).count() as u64;
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
        let mut changed_texts = 0;
        let sheet = self.last_sheet()?;
        for (column, cell) in (0..).zip(cells) {
            match cell {
                Cell::Number(number) => sheet.write_number(row, column, number)?,
                Cell::Time(_, time) if time.year() >= FIRST_YEAR => {
                    sheet.write_datetime(row, column, time)?
                }
                Cell::Time(text, _) => sheet.write_string(row, column, text)?,
                // As a string, so that it is never a formula, a link or a number.
                Cell::Text(text) => {
                    let stored = storable(&text, CELL_UNITS);
                    changed_texts += u64::from(stored != text);
                    sheet.write_string(row, column, stored)?
                }
            };
        }
        self.changed_texts += changed_texts;
        self.sheet_rows += 1;
        Ok(())
    }

    fn add_sheet(&mut self, table: &Table) -> io::Result<()> {
        // Fails here with a clear error if the temporary file that `rust_xlsxwriter` creates next cannot be created.
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

    /// Sets the filter of the last sheet to all its rows. Called after every page, because it is unknown which one is
    /// the last.
    fn set_filter(&mut self, table: &Table) -> Result<(), XlsxError> {
        let (rows, columns) = (self.sheet_rows, columns(table));
        self.last_sheet()?.autofilter(0, 0, rows - 1, columns - 1)?;
        Ok(())
    }

    pub(crate) fn save(&mut self, file: &mut File) -> io::Result<()> {
        check_space()?;
        let mut zip = Zip { file: BufWriter::new(file), failure: None };
        let saved = caught(|| self.workbook.save_to_writer(&mut zip).map_err(io_error));
        if self.changed_texts > 0 {
            warn!(
                "{} changed, because an XLSX cell holds at most 32,767 UTF-16 units and no control characters; JSON \
                 Lines and CSV keep every text whole",
                counted(self.changed_texts, "text was", "texts were")
            );
        }
        match zip.failure {
            Some(failure) => Err(failure),
            None => saved.and_then(|()| zip.file.flush()),
        }
    }
}

/// Calls `rust_xlsxwriter`, which panics if it cannot write to its temporary file. [`check_space`] prevents that,
/// except for limits that it cannot see, such as a disk quota.
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
    let header = table.header(|title| storable(title, TITLE_UNITS));
    for (column, title) in (0..).zip(header) {
        sheet.write_string_with_format(0, column, title, &bold)?;
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
    u16::try_from(table.width()).unwrap_or(u16::MAX)
}

/// Returns the text as a cell can hold it: at most `limit` UTF-16 units, and only characters of XML.
fn storable(text: &str, limit: usize) -> String {
    let mut units = 0;
    let mut stored = String::new();
    for c in text.chars() {
        units += c.len_utf16();
        if units > limit {
            break;
        }
        let is_storable = match c {
            '\t' | '\n' => true,
            // `rust_xlsxwriter` writes it as `_x000D_`. If the text before it looks like an unfinished escape
            // sequence, a reader would decode both together.
            '\r' => !is_half_an_escape(&stored),
            '\0'..='\x1f' | '\u{fffe}' | '\u{ffff}' => false,
            _ => true,
        };
        stored.push(if is_storable { c } else { char::REPLACEMENT_CHARACTER });
    }
    stored
}

/// Returns whether an underscore after the text would complete an escape sequence like `_x000D_`.
fn is_half_an_escape(text: &str) -> bool {
    let tail = text.len().checked_sub("_x000D".len()).and_then(|start| text.get(start..));
    let digits = tail.and_then(|tail| tail.strip_prefix("_x"));
    digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A file that keeps its first error, because the zip writer prints to standard error if it is dropped after one.
struct Zip<'a> {
    file: BufWriter<&'a mut File>,
    failure: Option<io::Error>,
}

impl Write for Zip<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.failure.is_none() {
            self.failure = self.file.write_all(bytes).err();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::io::Read;

    fn saved(rows: &serde_json::Value) -> String {
        book_of(rows).1
    }

    /// Returns the workbook and the text of its sheet.
    fn book_of(rows: &serde_json::Value) -> (Book, String) {
        let rows: Vec<Enroll> = serde_json::from_value(rows.clone()).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        let mut book = Book::default();
        book.add(&Table::new(&[], &rows), "=M", &rows).unwrap();
        book.save(&mut file).unwrap();
        let sheet = sheet(&file, 1);
        (book, sheet)
    }

    fn sheet(file: &File, number: u32) -> String {
        let mut sheet = String::new();
        let mut zip = zip::ZipArchive::new(file).unwrap();
        let name = format!("xl/worksheets/sheet{number}.xml");
        zip.by_name(&name).unwrap().read_to_string(&mut sheet).unwrap();
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
    fn full_sheet_continues_in_a_sheet_with_the_same_header() {
        let rows =
            json!([{"enroll_id": 1, "answer_list": [{"question_title": "Q\0"}]}, {"enroll_id": 2}]);
        let rows: Vec<Enroll> = serde_json::from_value(rows).unwrap();
        let table = Table::new(&[], &rows);
        let (mut book, mut file) = (Book::default(), tempfile::tempfile().unwrap());
        book.add(&table, "M", &rows).unwrap();
        book.sheet_rows = SHEET_ROWS - 1;
        book.add(&table, "M", &rows).unwrap();
        book.save(&mut file).unwrap();
        let (first, second) = (sheet(&file, 1), sheet(&file, 2));
        assert!(first.contains(&text("B1048576", "1")) && first.contains("A1:K1048576"));
        assert_eq!(
            (read(&first, "J1"), read(&second, "J1")),
            ("Q\u{fffd}".into(), "Q\u{fffd}".into())
        );
        assert!(second.contains(&text("B2", "2")) && second.contains("A1:K2"));
        assert_eq!(book.changed_texts, 1);
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

    /// Returns the text that a reader finds in the cell.
    fn read(sheet: &str, cell: &str) -> String {
        let start = sheet.find(&format!("<c r=\"{cell}\" ")).unwrap();
        let (_, text) = sheet[start..].split_once("<t").unwrap();
        let text = text.strip_prefix(" xml:space=\"preserve\"").unwrap_or(text);
        let (text, _) = text.strip_prefix('>').unwrap().split_once("</t>").unwrap();
        let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        let (mut decoded, mut rest) = (String::new(), &*text);
        while let Some(start) = rest.find("_x") {
            let code =
                rest.get(start + 2..start + 6).filter(|_| rest[start + 6..].starts_with('_'));
            let code = code.and_then(|code| u32::from_str_radix(code, 16).ok());
            let end = start + if code.is_some() { 7 } else { 1 };
            decoded += &rest[..if code.is_some() { start } else { end }];
            decoded.extend(code.map(|code| char::from_u32(code).unwrap()));
            rest = &rest[end..];
        }
        decoded + rest
    }

    #[test]
    fn cell_holds_every_text_or_a_replacement_character() {
        let longest = "A".repeat(32_765) + "😀";
        let unchanged = [
            "  lead and trail  ",
            "l\r\nm\rn",
            "\r",
            "\n",
            "\t",
            "o\u{85}p\u{2028}q",
            "\u{7f}\u{9f}",
            "x😀y",
            "<&>\"'",
            "_x0041_",
            "_x005F_",
            "_x005f_x0041_",
            "_x0041_x0042_",
            "__x0041_",
            "_x0041",
            "_x0041-",
            "_x0041企",
            "_xZZZZ_",
            "_X0041_",
            "_x00_x0041_",
            "_x0041_\r",
            "_x0041x\r",
            "\rx0041_",
            "\u{fffd}\u{fffc}",
            "\u{1ffff}\u{fdd0}\u{10ffff}",
            "企_x00",
            &longest,
        ];
        let changed = [
            ("a\0b", "a\u{fffd}b"),
            ("\x0bd\x1fe", "\u{fffd}d\u{fffd}e"),
            ("f\u{fffe}g\u{ffff}h", "f\u{fffd}g\u{fffd}h"),
            ("_x0041\x0b", "_x0041\u{fffd}"),
            ("_x0041\r_x000D\r\n", "_x0041\u{fffd}_x000D\u{fffd}\n"),
            (&(longest.clone() + "B"), &longest),
            (&("A".repeat(32_766) + "😀"), &"A".repeat(32_766)),
            (&"😀".repeat(20_000), &"😀".repeat(16_383)),
        ];
        let cells: Vec<_> = unchanged.iter().map(|&text| (text, text)).chain(changed).collect();
        let row = |(text, _): &(&str, &str)| {
            let answers = json!([{"question_title": "Q", "answer_content": text}]);
            json!({"enroll_id": 1, "nick_name": text, "userid": text, "answer_list": answers})
        };
        let (book, sheet) = book_of(&cells.iter().map(row).collect());
        assert_eq!(book.changed_texts, 3 * changed.len() as u64);
        assert!(
            !sheet.contains(
                |c| matches!(c, '\0'..='\x08' | '\x0b'..='\x1f' | '\u{fffe}' | '\u{ffff}')
            )
        );
        for (row, (text, wanted)) in (2..).zip(cells) {
            for column in ["E", "G", "J"] {
                let stored = read(&sheet, &format!("{column}{row}"));
                assert!(stored == wanted, "{:?} is {:?}", text.get(..50), stored.get(..50));
            }
        }
    }

    #[test]
    fn titles_are_storable_and_unique() {
        let long = "Q".repeat(40_000);
        let titles =
            ["a\0", "a\u{1}", &*long, &(long.clone() + "!"), "_x0041_", "STATUS", "a\u{fffd}"];
        let answers = titles.map(|title| json!({"question_title": title, "answer_content": "x"}));
        let (book, sheet) = book_of(&json!([{"enroll_id": 1, "answer_list": answers}]));
        assert_eq!(book.changed_texts, 4);
        let names: Vec<_> =
            ["J1", "K1", "L1", "M1", "N1", "O1", "P1"].map(|cell| read(&sheet, cell)).into();
        let long = &long[..32_751];
        let wanted = [
            "a\u{fffd}",
            "a\u{fffd} (2)",
            long,
            &format!("{long} (2)"),
            "_x0041_",
            "STATUS (2)",
            "a\u{fffd} (3)",
        ];
        assert!(
            names == wanted,
            "{:?}",
            names.iter().map(|name| name.chars().take(50).collect::<String>()).collect::<Vec<_>>()
        );
    }
}
