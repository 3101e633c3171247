//! [`Screen`]: standard error, with a progress bar above which lines can be printed.
//!
//! Everything that is written to standard error passes through here, including log events. Failures to write to
//! standard error are ignored: they must not end an export.

use std::{
    io::{self, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wecom_enroll::Stats;

use crate::ui::{stdout::Blocking, tally::Tally, text::sanitized};

/// Standard error. Cheap to clone: clones share the progress bar.
#[derive(Clone)]
pub(crate) struct Screen {
    bar: ProgressBar,
    /// Whether only errors, malformed rows and interruptions are printed.
    quiet: bool,
}

impl Screen {
    pub(crate) fn new(quiet: bool) -> Self {
        Self { bar: ProgressBar::hidden(), quiet }
    }

    /// Shows a progress bar, or a counter if the total is unknown. Does nothing with `--quiet`, or if standard error
    /// is not a terminal.
    pub(crate) fn show(&self, rows: u64, total: Option<u64>) {
        if self.quiet {
            return;
        }
        // The width is fixed, to leave space for the "^C" that a terminal echoes.
        let template = match total {
            Some(_) => "{percent:>3}% {bar:10} {msg}",
            None => "{spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        // Starts again if a bar was shown before.
        self.bar.reset();
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(rows);
        self.bar.reset_eta();
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
    }

    pub(crate) fn update(&self, tally: &Tally, stats: &Stats) {
        self.advance(tally.rows, |eta| tally.progress(stats, eta));
    }

    /// Updates the progress bar. The message is created from the remaining time, if the total is known.
    pub(crate) fn advance(&self, position: u64, message: impl FnOnce(Option<Duration>) -> String) {
        if !self.bar.is_hidden() {
            self.bar.set_position(position);
            let eta = self.bar.length().map(|_| self.bar.eta());
            self.bar.set_message(message(eta));
            self.bar.tick();
        }
    }

    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Prints one line, unless `--quiet` is set.
    pub(crate) fn print_note(&self, line: &str) {
        if !self.quiet {
            self.print_line(line);
        }
    }

    /// Prints one line. The text may come from a server, so it is sanitized.
    pub(crate) fn print_line(&self, line: &str) {
        let mut line = sanitized(line);
        line.push('\n');
        self.print(line.as_bytes());
    }

    fn print(&self, bytes: &[u8]) {
        self.bar.suspend(|| drop(Blocking(io::stderr()).write_all(bytes)));
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.print(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
