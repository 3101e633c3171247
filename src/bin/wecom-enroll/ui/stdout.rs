//! Standard output of the commands that print one text.

use std::io::{self, Write};

use crate::exit::Stop;

/// Writes to standard output. A closed pipe is not an error, because its reader does not want more.
pub(crate) fn print(text: &[u8]) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::Failed(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}
