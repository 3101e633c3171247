//! Measures the CPU time, wall time, peak memory and allocations of a run.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::{
        resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit},
        time::TimeVal,
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::allocations;

/// The result of a run, which the child process prints as JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) found: Found,
    pub(crate) cpu_ns: f64,
    pub(crate) wall_ns: f64,
    pub(crate) peak_mb: f64,
    /// 0 if they were not counted.
    pub(crate) allocations: u32,
}

/// What a client found.
#[derive(Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) rows: u32,
    /// `None` if the client does not parse rows.
    pub(crate) checksum: Option<u64>,
}

/// Measures `run`, without anything that was prepared before.
pub(crate) async fn metered(
    count: bool,
    run: impl Future<Output = Result<Found>> + Send,
) -> Result<Sample> {
    if count {
        allocations::start_counting();
    }
    let (started, cpu_before) = (Instant::now(), cpu(UsageWho::RUSAGE_SELF)?);
    let found = run.await?;
    let (cpu_after, elapsed) = (cpu(UsageWho::RUSAGE_SELF)?, started.elapsed());
    let allocations = allocations::stop_counting();
    let nanoseconds = |time: Duration| time.as_secs_f64() * 1e9;
    Ok(Sample {
        found,
        cpu_ns: nanoseconds(cpu_after.saturating_sub(cpu_before)),
        wall_ns: nanoseconds(elapsed),
        peak_mb: peak_mb()?,
        allocations,
    })
}

/// Returns the user and system time so far.
pub(crate) fn cpu(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who).context("cannot read the CPU time")?;
    let time = |time: TimeVal| {
        let seconds = u64::try_from(time.tv_sec())?;
        anyhow::Ok(
            Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec())?),
        )
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}

/// Returns the peak memory of this process. Does not use `ru_maxrss`, because a child inherits it from
/// its parent.
fn peak_mb() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")
        .context("cannot read the peak memory, which requires Linux")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmHWM in /proc/self/status")?;
    Ok(kb.trim().parse::<f64>()? / 1024.0)
}

/// One of the cores that this process may use. They are the same on a machine with one core.
#[derive(Clone, Copy)]
pub(crate) enum Core {
    First,
    Last,
}

/// Restricts a process and its future children to one core. Process 0 is this one.
pub(crate) fn pin(process: u32, core: Core) -> Result<()> {
    let this_process = Pid::from_raw(0);
    let allowed = sched_getaffinity(this_process)?;
    let mut cores = (0..CpuSet::count()).filter(|&at| allowed.is_set(at).unwrap_or_default());
    let core = match core {
        Core::First => cores.next(),
        Core::Last => cores.next_back(),
    };
    let mut one = CpuSet::new();
    one.set(core.context("no core is available")?)?;
    let process = Pid::from_raw(process.try_into()?);
    sched_setaffinity(process, &one).context("cannot restrict a process to one core")
}

/// Raises the limit of open files. A thousand streams need a thousand sockets on each side.
pub(crate) fn raise_descriptors() -> Result<()> {
    let (_, max) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, max, max).context("cannot raise the limit of open files")
}
