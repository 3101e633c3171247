//! [`Format`]: the format of the output.

use std::{ffi::OsStr, fmt, path::Path};

use clap::ValueEnum;

/// A value of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Jsonl,
    Csv,
    Xlsx,
}

impl Format {
    /// Returns the format of the extension of the path.
    pub(crate) fn from_extension(path: &Path) -> Option<Self> {
        match path.extension().and_then(OsStr::to_str)?.to_ascii_lowercase().as_str() {
            "jsonl" | "json" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "xlsx" => Some(Self::Xlsx),
            _ => None,
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
