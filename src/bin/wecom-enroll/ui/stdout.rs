//! Standard output, and [`Blocking`] for every output that may be in non-blocking mode.

use std::io::{self, Write};
#[cfg(unix)]
use std::os::fd::AsFd as AsStream;
#[cfg(windows)]
use std::os::windows::io::AsHandle as AsStream;

use crate::exit::Stop;

/// Waits until the output can be written, even if it is in non-blocking mode. The mode belongs to the pipe or
/// terminal. Another process may have set it and may depend on it, so it is not changed.
pub(crate) struct Blocking<W>(pub(crate) W);

impl<W: Write + AsStream> Blocking<W> {
    fn run<T>(&mut self, work: impl Fn(&mut W) -> io::Result<T>) -> io::Result<T> {
        loop {
            match work(&mut self.0) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => wait_until_writable(&self.0)?,
                done => return done,
            }
        }
    }
}

/// Repeats single calls, because `write_all` of `W` would not return how much was written before an error.
impl<W: Write + AsStream> Write for Blocking<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.run(|out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.run(Write::flush)
    }
}

#[cfg(unix)]
fn wait_until_writable(out: &impl AsStream) -> io::Result<()> {
    use rustix::{
        event::{PollFd, PollFlags, poll},
        io::retry_on_intr,
    };
    retry_on_intr(|| poll(&mut [PollFd::new(out, PollFlags::OUT)], None))?;
    Ok(())
}

/// The standard library blocks on Windows.
#[cfg(windows)]
fn wait_until_writable(_: &impl AsStream) -> io::Result<()> {
    Err(io::ErrorKind::WouldBlock.into())
}

/// Writes to standard output. A closed pipe is not an error, because its reader does not want more.
pub(crate) fn print(text: &[u8]) -> Result<(), Stop> {
    let mut out = Blocking(io::stdout());
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::Failed(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}
