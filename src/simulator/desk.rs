//! The desk is where a request is judged: counted, held to the quota, met with a fault, and its token checked.
//!
//! All that the simulator remembers between two requests is here, behind one lock that is never held across an await.

use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Deserialize;
use tokio::time::Instant;

use super::{
    Calls, SimulatorBuilder,
    fault::FaultKind,
    page::{Asked, Place},
    roster::List,
};

const MAX_LIMIT: usize = 50;

/// Which api a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    GetToken,
    List(List),
}

pub(super) struct Desk {
    settings: SimulatorBuilder,
    books: Mutex<Books>,
}

struct Books {
    calls: Calls,
    /// For each list, when the requests within the quota's window arrived.
    arrivals: [VecDeque<Instant>; 2],
    rng: fastrand::Rng,
    /// Sets our tokens apart from those of another simulator.
    nonce: String,
    /// Tokens issued so far; the last one is the only one that may be valid.
    issued: u64,
    /// How many of them were revoked.
    revoked: u64,
    /// When the last one expires; `None` is never.
    expires: Option<Instant>,
}

impl Books {
    fn token(&self, serial: u64) -> String {
        format!("{}_{serial}", self.nonce)
    }

    fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Instant::now())
    }
}

/// A list request's body.
#[derive(Deserialize)]
struct Body {
    meetingid: Option<String>,
    status: Option<u32>,
    cursor: Option<String>,
    limit: Option<usize>,
}

impl Desk {
    pub(super) fn new(settings: SimulatorBuilder) -> Self {
        let books = Books {
            calls: Calls::default(),
            arrivals: Default::default(),
            rng: fastrand::Rng::with_seed(settings.seed),
            nonce: std::iter::repeat_with(fastrand::alphanumeric).take(64).collect(),
            issued: 0,
            revoked: 0,
            expires: None,
        };
        Self { settings, books: Mutex::new(books) }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn calls(&self) -> Calls {
        self.books().calls
    }

    pub(super) fn connected(&self) {
        let mut books = self.books();
        books.calls.connections += 1;
        books.calls.connections_open += 1;
    }

    pub(super) fn disconnected(&self) {
        self.books().calls.connections_open -= 1;
    }

    pub(super) fn latency(&self) -> Duration {
        self.settings.latency
    }

    pub(super) fn enrollees(&self, meeting: &str) -> u64 {
        self.settings.meetings.get(meeting).copied().unwrap_or(self.settings.enrollees)
    }

    /// Counts a request and tells the fault to play, or the errcode if it is beyond the quota.
    pub(super) fn arrive(&self, api: Api) -> Result<Option<FaultKind>, i32> {
        let mut books = self.books();
        let books = &mut *books;
        let count = match api {
            Api::GetToken => &mut books.calls.gettoken,
            Api::List(_) => &mut books.calls.list,
        };
        *count += 1;
        if let (Api::List(list), Some((most, window))) = (api, self.settings.quota) {
            let (arrivals, now) = (&mut books.arrivals[list as usize], Instant::now());
            while arrivals.front().is_some_and(|&first| now - first >= window) {
                arrivals.pop_front();
            }
            if arrivals.len() >= most {
                return Err(45009);
            }
            arrivals.push_back(now);
        }
        let faults =
            self.settings.faults.iter().filter(|fault| fault.gettoken == (api == Api::GetToken));
        let played = faults.into_iter().find(|fault| fault.plays(*count, &mut books.rng));
        books.calls.faults += u64::from(played.is_some());
        Ok(played.map(|fault| fault.kind.clone()))
    }

    /// The valid token, and the whole seconds it has left; a new one only if the last is no longer valid, as in WeCom.
    pub(super) fn grant(&self) -> (String, u64) {
        let mut books = self.books();
        let now = Instant::now();
        if books.issued == books.revoked || books.has_expired() {
            books.issued += 1;
            books.expires = now.checked_add(self.settings.token_ttl);
        }
        let left = books
            .expires
            .map_or(self.settings.token_ttl, |expires| expires.saturating_duration_since(now));
        (books.token(books.issued), left.as_secs().max(u64::from(!left.is_zero())))
    }

    pub(super) fn revoke(&self) {
        let mut books = self.books();
        books.revoked = books.issued;
    }

    /// `gettoken`, from its query parameters to its body.
    pub(super) fn gettoken(&self, params: &[(String, String)]) -> Result<Vec<u8>, i32> {
        let param = |name| {
            params
                .iter()
                .find(|(key, value)| key == name && !value.is_empty())
                .map(|(_, value)| value)
        };
        let corp_id = param("corpid").ok_or(41002)?;
        let secret = param("corpsecret").ok_or(41004)?;
        if *corp_id != self.settings.corp_id {
            return Err(40013);
        }
        if *secret != self.settings.secret {
            return Err(40001);
        }
        let (token, left) = self.grant();
        Ok(format!(r#"{{"errcode":0,"errmsg":"ok","access_token":"{token}","expires_in":{left}}}"#)
            .into())
    }

    /// Checks a list request, in WeCom's order: the token, then the body, then the cursor.
    pub(super) fn check(
        &self,
        list: List,
        params: &[(String, String)],
        body: &[u8],
    ) -> Result<(Asked, Place), i32> {
        let tokens: Vec<_> = params.iter().filter(|(key, _)| key == "access_token").collect();
        match tokens[..] {
            [] => return Err(41001),
            [(_, token)] => self.check_token(token)?,
            // Which of them counts is not documented; a client should not find out.
            _ => return Err(40014),
        }
        // serde would take an array for a struct, too.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(40058);
        }
        let body: Body = serde_json::from_slice(body).map_err(|_| 40058)?;
        let meeting = body.meetingid.filter(|id| !id.is_empty()).ok_or(40063)?;
        let (status, limit) = (body.status.unwrap_or(0), body.limit.unwrap_or(MAX_LIMIT));
        if status > 3 || !(1..=MAX_LIMIT).contains(&limit) {
            return Err(40058);
        }
        let asked = Asked { list, meeting, status, limit };
        let place = asked.place(&body.cursor.unwrap_or_default()).ok_or(50100)?;
        Ok((asked, place))
    }

    fn check_token(&self, token: &str) -> Result<(), i32> {
        if token.is_empty() {
            return Err(41001);
        }
        let books = self.books();
        let serial =
            token.rsplit_once('_').and_then(|(_, serial)| serial.parse().ok()).unwrap_or(0);
        if !(books.revoked + 1..=books.issued).contains(&serial) || token != books.token(serial) {
            return Err(40014);
        }
        if serial < books.issued || books.has_expired() {
            return Err(42001);
        }
        Ok(())
    }

    /// The body of a refusal, with a hint that varies, as WeCom's do.
    pub(super) fn refuse(&self, errcode: i32, from: IpAddr) -> Vec<u8> {
        let mut books = self.books();
        books.calls.refused += 1;
        let hint = format!("1700000000_{}_{:032x}", books.calls.refused, fastrand::u128(..));
        let meaning = meaning(errcode);
        format!(
            r#"{{"errcode":{errcode},"errmsg":"{meaning}, hint: [{hint}], from ip: {from}, more info at https://open.work.weixin.qq.com/devtool/query?e={errcode}"}}"#
        )
        .into()
    }
}

fn meaning(errcode: i32) -> &'static str {
    match errcode {
        -1 => "system busy",
        40001 => "invalid credential",
        40013 => "invalid corpid",
        40014 => "invalid access_token",
        40058 => "invalid request parameter",
        40063 => "some parameters are empty",
        41001 => "access_token missing",
        41002 => "corpid missing",
        41004 => "corpsecret missing",
        42001 => "access_token expired",
        43001 => "require GET method",
        43002 => "require POST method",
        45009 => "api freq out of limit",
        45033 => "api concurrent out of limit",
        48002 => "api forbidden",
        50100 => "invalid cursor",
        60020 => "not allow to access from your ip",
        _ => "simulated error",
    }
}
