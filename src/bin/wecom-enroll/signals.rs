//! [`Interruption`]: SIGINT and SIGTERM as a future.

use std::{io, process, thread, time::Duration};

use tokio::{runtime::Builder, sync::oneshot, time::sleep};

use crate::exit::Stop;

/// How long a process that was interrupted may block in a write to a pipe.
pub(crate) const PIPE_GRACE: Duration = Duration::from_secs(2);

/// Resolves to the exit code of the signal.
pub(crate) type Interruption = oneshot::Receiver<u8>;

/// Starts to listen for signals. The first signal resolves the returned future. The process exits immediately at the
/// second signal, and `grace` after the first one if `grace` is set: a process that blocks in a write cannot end by
/// itself.
pub(crate) fn interruption(grace: Option<Duration>) -> Result<Interruption, Stop> {
    let failed = |e: io::Error| Stop::Failed(format!("cannot listen for signals: {e}"));
    // In a separate thread, because the main thread may block in a write.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let entered = runtime.enter();
    let mut signals = Signals::new().map_err(failed)?;
    drop(entered);
    let (sender, first) = oneshot::channel();
    let wait = async move {
        let code = signals.next().await;
        // An error means that the command is ending already.
        let _ = sender.send(code);
        tokio::select! {
            _ = signals.next() => {}
            () = sleep(grace.unwrap_or(Duration::MAX)) => {}
        }
        process::exit(code.into());
    };
    let thread = thread::Builder::new().name("signals".into());
    thread.spawn(move || runtime.block_on(wait)).map_err(failed)?;
    Ok(first)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: signal(interrupt)?, terminate: signal(terminate)? })
    }

    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn new() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn next(&mut self) -> u8 {
        self.0.recv().await;
        130
    }
}
