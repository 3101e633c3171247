//! What one walk cost the process that walked.

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

/// One walk, as a child process tells its parent.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) found: Found,
    pub(crate) cpu_ns: f64,
    pub(crate) wall_ns: f64,
    pub(crate) peak_mb: f64,
    /// 0 where they were not counted.
    pub(crate) allocations: u32,
}

/// What a walk found.
#[derive(Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) rows: u32,
    /// `None`: the client does not look at rows.
    pub(crate) checksum: Option<u64>,
}

/// Measures `walk`, and nothing of what was made ready for it.
pub(crate) async fn metered(
    count: bool,
    walk: impl Future<Output = Result<Found>> + Send,
) -> Result<Sample> {
    if count {
        allocations::start_counting();
    }
    let (began, cpu_before) = (Instant::now(), cpu(UsageWho::RUSAGE_SELF)?);
    let found = walk.await?;
    let (cpu_after, took) = (cpu(UsageWho::RUSAGE_SELF)?, began.elapsed());
    let allocations = allocations::stop_counting();
    let nanoseconds = |time: Duration| time.as_secs_f64() * 1e9;
    Ok(Sample {
        found,
        cpu_ns: nanoseconds(cpu_after.saturating_sub(cpu_before)),
        wall_ns: nanoseconds(took),
        peak_mb: peak_mb()?,
        allocations,
    })
}

/// User and system time so far.
pub(crate) fn cpu(who: UsageWho) -> Result<Duration> {
    let usage = getrusage(who).context("no CPU times")?;
    let time = |time: TimeVal| {
        let seconds = u64::try_from(time.tv_sec())?;
        anyhow::Ok(
            Duration::from_secs(seconds) + Duration::from_micros(u64::try_from(time.tv_usec())?),
        )
    };
    Ok(time(usage.user_time())? + time(usage.system_time())?)
}

/// The most memory this process has ever had. Not `ru_maxrss`, which a child inherits from whoever
/// has started it.
fn peak_mb() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("no peak memory: not Linux?")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kb = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmHWM")?;
    Ok(kb.trim().parse::<f64>()? / 1024.0)
}

/// Keeps this process, and those that it will start, on one of its cores.
pub(crate) fn stay_on_one_core() -> Result<()> {
    let myself = Pid::from_raw(0);
    let allowed = sched_getaffinity(myself)?;
    let core = (0..CpuSet::count()).find(|&core| allowed.is_set(core).unwrap_or_default());
    let mut one = CpuSet::new();
    one.set(core.context("no core to stay on")?)?;
    sched_setaffinity(myself, &one).context("cannot stay on one core")
}

/// A thousand walks need a thousand sockets, on either side.
pub(crate) fn raise_descriptors() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("no further file descriptors")
}
