//! [`Format`]: the format of the output.

use std::{fmt, path::Path};

use clap::ValueEnum;

/// A value of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Jsonl,
    Csv,
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

/// A format with its option.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    pub(crate) format: Format,
    /// `--excel`: CSV for spreadsheet programs.
    pub(crate) excel: bool,
}

/// Prints the text that a checkpoint file contains.
impl fmt::Display for Style {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.format {
            Format::Jsonl => "jsonl",
            Format::Csv if self.excel => "csv --excel",
            Format::Csv => "csv",
            Format::Xlsx => "xlsx",
        })
    }
}
