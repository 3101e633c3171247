//! [`Format`]: the format of the output.

use std::{fmt, path::Path};

use clap::ValueEnum;

/// A value of `--format`, or `csv` with `--excel`.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Jsonl,
    Csv,
    /// CSV for spreadsheet programs.
    #[value(skip)]
    ExcelCsv,
    Xlsx,
}

impl Format {
    /// Returns the format of the extension of the path, or `None` if it has no extension.
    ///
    /// # Errors
    ///
    /// Returns the extension if no format has it.
    pub(crate) fn from_extension(path: &Path) -> Result<Option<Self>, String> {
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        match extension.to_ascii_lowercase().as_str() {
            "" => Ok(None),
            "jsonl" | "json" | "ndjson" => Ok(Some(Self::Jsonl)),
            "csv" => Ok(Some(Self::Csv)),
            "xlsx" => Ok(Some(Self::Xlsx)),
            _ => Err(extension.into_owned()),
        }
    }
}

/// Prints the text that a checkpoint file contains.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::ExcelCsv => "csv --excel",
            Self::Xlsx => "xlsx",
        })
    }
}
