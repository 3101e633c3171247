//! `Simulator`: a fake WeCom server for tests, with fault injection.
//!
//! It serves generated enrollees over HTTP on a loopback address. Its endpoints are `gettoken`, and `list`, `approve`
//! and `get_config` for webinars (`meeting/webinar/enroll`) and for meetings (`meeting/enroll`). Like WeCom, it
//! expires tokens, refuses a cursor that belongs to another request, and enforces a rate limit, if one is set. It
//! does not support TLS.
//!
//! Enrollees can be added, removed and given another status while the simulator runs, by its methods and by faults.
//! The position in a cursor is an offset, as it probably is in WeCom, so that such a change can make a listing skip
//! rows.

mod builder;
mod endpoint;
mod enrollee;
mod errcode;
mod fault;
mod fault_kind;
mod page;
mod questions;
mod request;
mod response;
mod roster;
mod server;
mod state;
mod tokens;

use std::{
    collections::HashMap,
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

pub use self::builder::{Calls, SimulatorBuilder};
pub use self::fault::{Fault, FaultError};
pub use self::fault_kind::FaultKind;
use self::state::ServerState;

/// A running simulator. Dropping it stops the server.
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
/// assert_eq!((calls.gettoken, calls.list, calls.faults), (1, 4, 1)); // One request was retried.
/// sim.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct Simulator {
    addr: SocketAddr,
    state: Arc<ServerState>,
    stop: Arc<Notify>,
    server: JoinHandle<()>,
}

impl Simulator {
    /// The default corp id. [`SimulatorBuilder::credentials`] changes it.
    pub const CORP_ID: &'static str = "DEMO-CORP";
    /// The default secret. [`SimulatorBuilder::credentials`] changes it.
    pub const SECRET: &'static str = "DEMO-SECRET";

    /// Returns a builder with default settings: 100 enrollees in every meeting, and no faults.
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

    /// Returns the `enroll_id` of the enrollee at `index`, counted from 0. It is the same in every meeting and list.
    #[must_use]
    pub fn enroll_id(index: u64) -> String {
        enrollee::enroll_id(index).to_string()
    }

    /// Returns the base URL for a client, such as `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Returns the address that the server listens on.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the current access token, as `gettoken` would.
    #[must_use]
    pub fn access_token(&self) -> String {
        self.state.access_token()
    }

    /// Revokes every access token issued so far. Requests with one of them get errcode 40014.
    pub fn revoke_tokens(&self) {
        self.state.revoke_tokens();
    }

    /// Adds `count` pending enrollees at the end of a meeting's lists. Returns their `enroll_id`s.
    ///
    /// The lists of webinars and of meetings share the enrollees of a meeting ID.
    pub fn enroll(&self, meeting: &str, count: u64) -> Vec<String> {
        let first = self.state.change(meeting, |roster| roster.enroll(count));
        (first..first.saturating_add(count)).map(Self::enroll_id).collect()
    }

    /// Removes an enrollee from a meeting. Returns false if there is no enrollee with this `enroll_id`.
    pub fn remove(&self, meeting: &str, enroll_id: &str) -> bool {
        let index = enrollee::index(enroll_id);
        self.state.change(meeting, |roster| index.is_some_and(|index| roster.remove(index)))
    }

    /// Adds a removed enrollee back, at its former position and with its former status. Returns false if no enrollee
    /// with this `enroll_id` was removed.
    pub fn restore(&self, meeting: &str, enroll_id: &str) -> bool {
        let index = enrollee::index(enroll_id);
        self.state.change(meeting, |roster| index.is_some_and(|index| roster.restore(index)))
    }

    /// Sets the status of an enrollee, as an organizer would: a number of the API, or an
    /// [`EnrollStatus`](crate::EnrollStatus). Returns false if there is no enrollee with this `enroll_id`.
    pub fn set_status(&self, meeting: &str, enroll_id: &str, status: impl Into<u32>) -> bool {
        let index = enrollee::index(enroll_id);
        self.state.change(meeting, |roster| {
            let index = index.filter(|&index| roster.contains(index));
            index.map(|index| roster.set_status(index, status.into())).is_some()
        })
    }

    /// Returns the `enroll_id` of every enrollee of a meeting and the number of its status, in the order of its lists.
    pub fn roster(&self, meeting: &str) -> Vec<(String, u32)> {
        let roster = self.state.roster(meeting);
        let enrollees = roster.enrollees(0, 0);
        enrollees.map(|index| (Self::enroll_id(index), roster.status(index))).collect()
    }

    /// Returns the number of requests and connections so far.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.state.calls()
    }

    /// Stops the server, and waits until the port and every connection are closed.
    pub async fn shutdown(mut self) {
        self.stop.notify_one();
        // The task fails only if it was aborted or if it panicked; neither happens here.
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

impl SimulatorBuilder {
    /// Starts the server on the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// Returns [`io::ErrorKind::InvalidInput`] if the address is not a loopback address, or the error of binding to
    /// it.
    pub async fn start(self) -> io::Result<Simulator> {
        if !self.listen.ip().is_loopback() {
            let message = format!("{} is not a loopback address", self.listen.ip());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let listener = TcpListener::bind(self.listen).await?;
        let addr = listener.local_addr()?;
        let (state, stop) = (Arc::new(ServerState::new(self)), Arc::new(Notify::new()));
        let server = tokio::spawn(server::serve(listener, Arc::clone(&state), Arc::clone(&stop)));
        Ok(Simulator { addr, state, stop, server })
    }
}
