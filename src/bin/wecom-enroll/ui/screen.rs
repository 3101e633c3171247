//! [`Screen`]: standard error, with a progress bar above which lines can be printed.
//!
//! Everything that is written to standard error passes through here, including log events. Failures to write
//! to standard error are ignored: they must not end an export.

use std::{
    io::{self, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use crate::ui::{stdout::Blocking, tally::Tally, text::sanitized};

/// Standard error. Cheap to clone: clones share the progress bar.
#[derive(Clone)]
pub(crate) struct Screen(ProgressBar);

impl Screen {
    pub(crate) fn new() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Shows a progress bar, or a counter if the total is unknown. Does nothing if standard error is not a
    /// terminal.
    pub(crate) fn show(&self, rows: u64, total: Option<u64>) {
        // The width is fixed, to leave space for the "^C" that a terminal echoes.
        let template = match total {
            Some(_) => "{percent:>3}% {bar:10} {msg}",
            None => "{spinner} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
        // Starts again if a bar was shown before.
        self.0.reset();
        match total {
            Some(total) => self.0.set_length(total),
            None => self.0.unset_length(),
        }
        self.0.set_position(rows);
        self.0.reset_eta();
        self.0.set_draw_target(ProgressDrawTarget::stderr());
    }

    pub(crate) fn update(&self, tally: &Tally) {
        self.advance(tally.rows, |eta| tally.progress(eta));
    }

    /// Updates the progress bar. The message is created from the remaining time, if the total is known.
    pub(crate) fn advance(&self, position: u64, message: impl FnOnce(Option<Duration>) -> String) {
        if !self.0.is_hidden() {
            self.0.set_position(position);
            let eta = self.0.length().map(|_| self.0.eta());
            self.0.set_message(message(eta));
            self.0.tick();
        }
    }

    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// Prints one line. The text may come from a server, so it is sanitized.
    pub(crate) fn print_line(&self, line: &str) {
        let mut line = sanitized(line);
        line.push('\n');
        self.print(line.as_bytes());
    }

    fn print(&self, bytes: &[u8]) {
        self.0.suspend(|| drop(Blocking(io::stderr()).write_all(bytes)));
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

impl MakeWriter<'_> for Screen {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
