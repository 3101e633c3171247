//! [`SimulatorBuilder`]: the settings of a simulator; and [`Calls`], its counters.

use std::{collections::HashMap, fmt, net::SocketAddr, time::Duration};

use super::fault::Fault;

/// The number of requests and connections that a [`Simulator`](super::Simulator) has received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Requests to `list`, for webinars and meetings, including those that failed.
    pub list: u64,
    /// Requests to `approve`, for webinars and meetings, including those that failed.
    pub approve: u64,
    /// Requests to `get_config`, for webinars and meetings, including those that failed.
    pub get_config: u64,
    /// Requests to `gettoken`, including those that failed.
    pub gettoken: u64,
    /// Requests that a fault was applied to.
    pub faults: u64,
    /// Responses with an errcode other than 0, including simulated ones.
    pub refused: u64,
    /// Connections that are currently open.
    pub connections_open: u64,
    /// Connections that were accepted.
    pub connections: u64,
}

/// Configures and starts a [`Simulator`](super::Simulator).
#[derive(Clone)]
pub struct SimulatorBuilder {
    pub(super) enrollees: u64,
    pub(super) meetings: HashMap<String, u64>,
    pub(super) corp_id: String,
    pub(super) secret: String,
    pub(super) token_ttl: Duration,
    pub(super) latency: Duration,
    pub(super) quota: Option<(usize, Duration)>,
    pub(super) faults: Vec<Fault>,
    pub(super) seed: u64,
    pub(super) listen: SocketAddr,
}

impl SimulatorBuilder {
    /// Sets the number of enrollees of every meeting that [`meeting`](Self::meeting) does not set. Default: 100.
    #[must_use]
    pub fn enrollees(self, enrollees: u64) -> Self {
        Self { enrollees, ..self }
    }

    /// Sets the number of enrollees of one meeting.
    #[must_use]
    pub fn meeting(mut self, id: impl Into<String>, enrollees: u64) -> Self {
        self.meetings.insert(id.into(), enrollees);
        self
    }

    /// Sets the credentials that `gettoken` accepts. Default: [`Simulator::CORP_ID`](super::Simulator::CORP_ID) and
    /// [`Simulator::SECRET`](super::Simulator::SECRET).
    #[must_use]
    pub fn credentials(self, corp_id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { corp_id: corp_id.into(), secret: secret.into(), ..self }
    }

    /// Sets the lifetime of an access token, measured by Tokio's clock. Default: 7200 seconds.
    ///
    /// `expires_in` is the remaining lifetime in whole seconds, and at least 1 while the token is valid.
    #[must_use]
    pub fn token_ttl(self, token_ttl: Duration) -> Self {
        Self { token_ttl, ..self }
    }

    /// Sets the delay before each response. Default: none.
    #[must_use]
    pub fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Sets the maximum number of requests to each endpoint except `gettoken` within any window of this length.
    /// Default: no limit.
    ///
    /// Requests beyond the limit get errcode 45009 and do not count against the limit. The window is measured by
    /// arrival times, so a client that sends exactly at the limit can exceed it if a request is delayed.
    #[must_use]
    pub fn quota(self, calls: usize, window: Duration) -> Self {
        Self { quota: Some((calls, window)), ..self }
    }

    /// Adds a fault. If several faults apply to a request, only the first one added takes effect. Default: none.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Sets the seed of the random numbers for faults with a probability. Default: 0.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Sets the address to listen on. Port 0 selects a free port. Default: `127.0.0.1:0`.
    #[must_use]
    pub fn listen(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }
}

impl fmt::Debug for SimulatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must not be printed.
        f.debug_struct("SimulatorBuilder")
            .field("listen", &self.listen)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
