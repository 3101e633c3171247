//! The simulator is a small WeCom in this process: it serves made-up enrollees on a loopback port and fails on request.
//!
//! It exists for tests and demos of clients of the two enrolment lists, `meeting/webinar/enroll/list` and
//! `meeting/enroll/list`, and of `gettoken`. It speaks real HTTP over a real socket, so that nothing in the client has
//! to be mocked, and it is strict where WeCom is: tokens expire, a cursor fits only the request that it came from, a
//! quota is a quota. It does not keep enrollees, change them, or do TLS.
//!
//! ```text
//! accept (server) ─▶ count, quota, pick a fault, check the token (desk) ─▶ rows and cursor (page, roster) ─▶ reply
//! ```

mod desk;
mod fault;
mod page;
mod roster;
mod server;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};

pub use self::fault::{Fault, FaultError, FaultKind};
use self::{desk::Desk, server::Stop};

/// A running simulator; dropping it ends it.
///
/// ```
/// # use wecom_enroll::simulator::Simulator;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Simulator::builder()
///     .enrollees(20_000)
///     .fault("status=503@3".parse()?)
///     .start()
///     .await?;
/// assert!(sim.base_url().starts_with("http://127.0.0.1:"));
/// // ... point a client at it, then ask what it saw ...
/// assert_eq!(sim.calls().list, 0);
/// sim.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct Simulator {
    addr: SocketAddr,
    desk: Arc<Desk>,
    stop: Arc<Stop>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// The corp id that is right unless [`SimulatorBuilder::credentials`] says otherwise.
    pub const CORP_ID: &'static str = "DEMO-CORP";
    /// The secret that is right unless [`SimulatorBuilder::credentials`] says otherwise.
    pub const SECRET: &'static str = "DEMO-SECRET";

    /// Starts with a meeting of 100 enrollees under every id, and no faults.
    #[must_use]
    pub fn builder() -> SimulatorBuilder {
        SimulatorBuilder {
            enrollees: 100,
            meetings: HashMap::new(),
            corp_id: Self::CORP_ID.into(),
            secret: Self::SECRET.into(),
            token_ttl: Duration::from_secs(7200),
            latency: Duration::ZERO,
            quota: None,
            faults: Vec::new(),
            seed: 0,
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
        }
    }

    /// The `enroll_id` of the enrollee at this index, from 0; the same for every meeting and both lists.
    #[must_use]
    pub fn enroll_id(index: u64) -> String {
        roster::enroll_id(index).to_string()
    }

    /// Where it listens, for a client's settings: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The token that is valid now, as `gettoken` would give it.
    #[must_use]
    pub fn access_token(&self) -> String {
        self.desk.grant().0
    }

    /// Ends every token issued until now, as WeCom may do early: they get errcode 40014.
    pub fn revoke_tokens(&self) {
        self.desk.revoke();
    }

    /// What it has seen so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.desk.calls()
    }

    /// Closes the port and every connection, and waits until they are gone.
    pub async fn shutdown(mut self) {
        self.stop.notify_one();
        // It was neither aborted nor does it panic: there is no error to tell.
        let _ = (&mut self.server).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulator")
            .field("addr", &self.addr)
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

/// What a simulator has seen until now.
///
/// ```
/// use futures::StreamExt;
/// use wecom_enroll::{Client, Query, simulator::Simulator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Simulator::builder().enrollees(120).fault("reset@2".parse()?).start().await?;
/// let client = Client::builder()
///     .corp_secret(Simulator::CORP_ID, Simulator::SECRET)
///     .base_url(sim.base_url())
///     .build()?;
/// assert_eq!(client.enrolls(Query::webinar("MEETINGID1")).count().await, 120);
/// let calls = sim.calls();
/// assert_eq!((calls.gettoken, calls.list, calls.faults), (1, 4, 1)); // one was made again
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Requests to either list, whatever came of them.
    pub list: u64,
    /// Requests to `gettoken`, whatever came of them.
    pub gettoken: u64,
    /// Requests at which a fault was played.
    pub faults: u64,
    /// Replies with an errcode other than 0, faults included.
    pub refused: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Connections accepted.
    pub connections: u64,
}

/// Settings of a [`Simulator`].
///
/// ```
/// use std::time::Duration;
///
/// use wecom_enroll::simulator::Simulator;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let sim = Simulator::builder()
///     .meeting("MEETINGID1", 50_000)
///     .meeting("EMPTY", 0)
///     .latency(Duration::from_millis(20))
///     .token_ttl(Duration::from_secs(60))
///     .start()
///     .await?;
/// # sim.shutdown().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SimulatorBuilder {
    enrollees: u64,
    meetings: HashMap<String, u64>,
    corp_id: String,
    secret: String,
    token_ttl: Duration,
    latency: Duration,
    quota: Option<(usize, Duration)>,
    faults: Vec<Fault>,
    seed: u64,
    listen: SocketAddr,
}

impl SimulatorBuilder {
    /// How many have enrolled, in every meeting not named by [`meeting`](Self::meeting). Default: 100.
    #[must_use]
    pub fn enrollees(self, enrollees: u64) -> Self {
        Self { enrollees, ..self }
    }

    /// How many have enrolled in this one meeting.
    #[must_use]
    pub fn meeting(mut self, id: impl Into<String>, enrollees: u64) -> Self {
        self.meetings.insert(id.into(), enrollees);
        self
    }

    /// What `gettoken` accepts. Default: [`Simulator::CORP_ID`] and [`Simulator::SECRET`].
    #[must_use]
    pub fn credentials(self, corp_id: impl Into<String>, secret: impl Into<String>) -> Self {
        Self { corp_id: corp_id.into(), secret: secret.into(), ..self }
    }

    /// How long a token is valid, on tokio's clock. Default: 7200 s.
    ///
    /// `expires_in` tells what is left of it in whole seconds, at least 1 while the token is valid.
    #[must_use]
    pub fn token_ttl(self, token_ttl: Duration) -> Self {
        Self { token_ttl, ..self }
    }

    /// How long each reply is held back. Default: not at all.
    #[must_use]
    pub fn latency(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// At most so many requests to each list within any window of this length; the rest gets errcode 45009, and does
    /// not count itself. Default: no quota.
    ///
    /// It is strict, and goes by when requests *arrive*: a client that sends at the very edge of its window may fail.
    #[must_use]
    pub fn quota(self, calls: usize, window: Duration) -> Self {
        Self { quota: Some((calls, window)), ..self }
    }

    /// Adds a fault. At most one plays at a request: the first that was added, of those that apply. Default: none.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// The seed for faults with a probability. Default: 0.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Where to listen; port 0 takes a free one. Default: `127.0.0.1:0`.
    #[must_use]
    pub fn listen(self, listen: SocketAddr) -> Self {
        Self { listen, ..self }
    }

    /// Starts to serve, on the tokio runtime that this is called on.
    ///
    /// # Errors
    ///
    /// If the address is not a loopback address, or cannot be bound.
    pub async fn start(self) -> io::Result<Simulator> {
        if !self.listen.ip().is_loopback() {
            let why = format!("{} is not a loopback address", self.listen.ip());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind(self.listen).await?;
        let addr = listener.local_addr()?;
        let (desk, stop) = (Arc::new(Desk::new(self)), Arc::new(Stop::new()));
        let server = tokio::spawn(server::serve(listener, Arc::clone(&desk), Arc::clone(&stop)));
        Ok(Simulator { addr, desk, stop, server })
    }
}

impl fmt::Debug for SimulatorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret stays out of it.
        f.debug_struct("SimulatorBuilder")
            .field("listen", &self.listen)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
