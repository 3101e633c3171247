//! A workbook: rows in sheets, kept in a temporary file until it is saved as a whole.
//!
//! It is a zip, which exists only when it is complete: it cannot be gone on with after a crash.

use std::{
    borrow::Cow,
    fs::File,
    io::{self, Seek, SeekFrom, Write},
    panic::{self, AssertUnwindSafe},
};

use rust_xlsxwriter::{Workbook, Worksheet, XlsxError};
use tracing::warn;
use wecom_enroll::Enroll;

use crate::table::{Cell, Table};

/// Rows of a worksheet, its header included.
const SHEET_ROWS: u32 = 1_048_576;
/// Characters of a worksheet's cell.
const CELL_CHARS: usize = 32_767;

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
                    self.sheet(table)?;
                }
                let last = self.workbook.worksheets().len().saturating_sub(1);
                let sheet = self.workbook.worksheet_from_index(last)?;
                for (column, cell) in (0..).zip(table.cells(meeting, row)?) {
                    match cell {
                        Cell::Number(number) => {
                            sheet.write_number(self.sheet_rows, column, number)?
                        }
                        // As a string: never a formula.
                        Cell::Text(text) => {
                            sheet.write_string(self.sheet_rows, column, fitting(text))?
                        }
                    };
                }
                self.sheet_rows += 1;
            }
            Ok(())
        })
    }

    fn sheet(&mut self, table: &Table) -> Result<(), XlsxError> {
        header(self.workbook.add_worksheet_with_constant_memory(), table)?;
        self.sheet_rows = 1;
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
