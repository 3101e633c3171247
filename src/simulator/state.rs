//! The state of a running simulator, and the checks of every request: quota, faults and credentials.
//!
//! Everything that outlives a request is in [`ServerState`], behind one lock that is never held across an await.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::time::Instant;

use super::{
    builder::{Calls, SimulatorBuilder},
    endpoint::{Api, Endpoint},
    errcode,
    fault_kind::FaultKind,
    roster::Roster,
    tokens::Tokens,
};

pub(super) struct ServerState {
    pub(super) settings: SimulatorBuilder,
    shared: Mutex<Shared>,
}

struct Shared {
    calls: Calls,
    tokens: Tokens,
    /// The enrollees of each meeting that has changed.
    rosters: HashMap<String, Arc<Roster>>,
    /// For each endpoint, when the requests within the quota's window arrived.
    arrivals: HashMap<Endpoint, VecDeque<Instant>>,
    /// Selects the requests for faults with a probability.
    rng: fastrand::Rng,
}

impl ServerState {
    pub(super) fn new(settings: SimulatorBuilder) -> Self {
        let shared = Shared {
            calls: Calls::default(),
            tokens: Tokens::new(settings.token_ttl),
            rosters: HashMap::new(),
            arrivals: HashMap::new(),
            rng: fastrand::Rng::with_seed(settings.seed),
        };
        Self { settings, shared: Mutex::new(shared) }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn calls(&self) -> Calls {
        self.lock().calls
    }

    pub(super) fn connection_opened(&self) {
        let calls = &mut self.lock().calls;
        calls.connections += 1;
        calls.connections_open += 1;
    }

    pub(super) fn connection_closed(&self) {
        self.lock().calls.connections_open -= 1;
    }

    pub(super) fn access_token(&self) -> String {
        self.lock().tokens.current().0
    }

    pub(super) fn revoke_tokens(&self) {
        self.lock().tokens.revoke();
    }

    /// Counts a request. Returns the fault that applies to it, or an errcode if the quota is exceeded.
    pub(super) fn admit(&self, endpoint: Endpoint) -> Result<Option<FaultKind>, i32> {
        let mut shared = self.lock();
        let shared = &mut *shared;
        let count = match endpoint.api() {
            Api::GetToken => &mut shared.calls.gettoken,
            Api::List => &mut shared.calls.list,
            Api::Approve => &mut shared.calls.approve,
            Api::GetConfig => &mut shared.calls.get_config,
        };
        *count += 1;
        let quota = self.settings.quota.filter(|_| endpoint != Endpoint::GetToken);
        if let Some((max, window)) = quota {
            let (arrivals, now) = (shared.arrivals.entry(endpoint).or_default(), Instant::now());
            while arrivals.front().is_some_and(|&first| now - first >= window) {
                arrivals.pop_front();
            }
            if arrivals.len() >= max {
                return Err(errcode::RATE_LIMITED);
            }
            arrivals.push_back(now);
        }
        let fault = self
            .settings
            .faults
            .iter()
            .filter(|fault| fault.api == endpoint.api())
            .find(|fault| fault.applies_to(*count, &mut shared.rng));
        shared.calls.faults += u64::from(fault.is_some());
        Ok(fault.map(|fault| fault.kind.clone()))
    }

    /// Returns the response body of a `gettoken` request.
    pub(super) fn gettoken(&self, params: &[(String, String)]) -> Result<Vec<u8>, i32> {
        let param = |name| {
            let found = params.iter().find(|(key, value)| key == name && !value.is_empty());
            found.map(|(_, value)| value)
        };
        let corp_id = param("corpid").ok_or(errcode::MISSING_CORP_ID)?;
        let secret = param("corpsecret").ok_or(errcode::MISSING_SECRET)?;
        if *corp_id != self.settings.corp_id {
            return Err(errcode::INVALID_CORP_ID);
        }
        if *secret != self.settings.secret {
            return Err(errcode::WRONG_SECRET);
        }
        let (token, expires_in) = self.lock().tokens.current();
        Ok(format!(
            r#"{{"errcode":0,"errmsg":"ok","access_token":"{token}","expires_in":{expires_in}}}"#
        )
        .into())
    }

    /// Checks the access token of a request.
    pub(super) fn check_token(&self, params: &[(String, String)]) -> Result<(), i32> {
        let tokens: Vec<_> = params.iter().filter(|(key, _)| key == "access_token").collect();
        match tokens[..] {
            [] => Err(errcode::MISSING_TOKEN),
            [(_, token)] => self.lock().tokens.check(token),
            // WeCom does not document which of several tokens it uses, so a client must not send them.
            _ => Err(errcode::INVALID_TOKEN),
        }
    }

    /// Returns the enrollees of a meeting. Later changes do not affect the returned roster.
    pub(super) fn roster(&self, meeting: &str) -> Arc<Roster> {
        let changed = self.lock().rosters.get(meeting).cloned();
        changed.unwrap_or_else(|| self.initial_roster(meeting))
    }

    /// Changes the enrollees of a meeting.
    pub(super) fn change<T>(&self, meeting: &str, change: impl FnOnce(&mut Roster) -> T) -> T {
        let rosters = &mut self.lock().rosters;
        let roster =
            rosters.entry(meeting.to_owned()).or_insert_with(|| self.initial_roster(meeting));
        change(Arc::make_mut(roster))
    }

    fn initial_roster(&self, meeting: &str) -> Arc<Roster> {
        let enrollees = self.settings.meetings.get(meeting).copied();
        Arc::new(Roster::new(enrollees.unwrap_or(self.settings.enrollees)))
    }

    /// Changes the enrollees of a meeting as the fault of a request does.
    pub(super) fn change_by_fault(&self, meeting: &str, fault: Option<&FaultKind>) {
        match fault {
            Some(&FaultKind::Add(count)) => {
                self.change(meeting, |roster| roster.enroll(count));
            }
            Some(&FaultKind::Drop(count)) => self.change(meeting, |roster| {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let first: Vec<_> = roster.enrollees(0, 0).take(count).collect();
                for index in first {
                    roster.remove(index);
                }
            }),
            _ => {}
        }
    }

    /// Counts an error and returns its response body. As in WeCom, the hint differs in every response.
    pub(super) fn error_body(&self, errcode: i32, peer: IpAddr) -> Vec<u8> {
        self.lock().calls.refused += 1;
        let message = errcode::message(errcode);
        let hint = format!("1700000000_1_{:032x}", fastrand::u128(..));
        format!(
            r#"{{"errcode":{errcode},"errmsg":"{message}, hint: [{hint}], from ip: {peer}, more info at https://open.work.weixin.qq.com/devtool/query?e={errcode}"}}"#
        )
        .into()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    use crate::simulator::{Simulator, enrollee::List};

    #[tokio::test(start_paused = true)]
    async fn quota_is_a_sliding_window_per_endpoint() {
        let state = ServerState::new(Simulator::builder().quota(2, Duration::from_secs(10)));
        let mut admitted = Vec::new();
        for second in (0..28).step_by(2) {
            if state.admit(Endpoint::List(List::Webinar)).is_ok() {
                admitted.push(second);
            }
            advance(Duration::from_secs(2)).await;
        }
        assert_eq!(admitted, [0, 2, 10, 12, 20, 22]);
        assert_eq!(state.admit(Endpoint::List(List::Meeting)), Ok(None));
        assert_eq!(state.admit(Endpoint::Approve(List::Webinar)), Ok(None));
        assert_eq!(state.admit(Endpoint::GetToken), Ok(None));
        assert_eq!((state.calls().list, state.calls().gettoken), (15, 1));
    }
}
