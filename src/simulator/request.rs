//! The requests with a JSON body. They are checked in the order that WeCom does: the token, the body, the parameters.

use serde::Deserialize;
use serde_json::json;

use super::{
    enrollee::{self, List},
    errcode,
    fault_kind::FaultKind,
    page::{ListRequest, Position},
    questions::QUESTIONS,
    state::ServerState,
};

const MAX_LIMIT: usize = 50;

/// The parameters of a URL.
type Params = [(String, String)];

/// A body. Each endpoint uses only some of the fields.
#[derive(Deserialize)]
struct Body {
    meetingid: Option<String>,
    status: Option<u32>,
    cursor: Option<String>,
    limit: Option<usize>,
    enroll_id_list: Option<Vec<String>>,
    action: Option<u32>,
}

impl ServerState {
    /// Checks the token, and reads the body. Returns it with its `meetingid`.
    fn read(&self, params: &Params, body: &[u8]) -> Result<(Body, String), i32> {
        self.check_token(params)?;
        // serde deserializes a struct from an array as well, which WeCom refuses.
        if body.trim_ascii_start().first() != Some(&b'{') {
            return Err(errcode::INVALID_PARAMETER);
        }
        let mut body: Body =
            serde_json::from_slice(body).map_err(|_| errcode::INVALID_PARAMETER)?;
        let meeting = body.meetingid.take().filter(|id| !id.is_empty());
        Ok((body, meeting.ok_or(errcode::EMPTY_PARAMETER)?))
    }

    pub(super) fn check_list(
        &self,
        list: List,
        params: &Params,
        body: &[u8],
    ) -> Result<(ListRequest, Position), i32> {
        let (body, meeting) = self.read(params, body)?;
        let (status, limit) = (body.status.unwrap_or(0), body.limit.unwrap_or(MAX_LIMIT));
        if status > 3 || !(1..=MAX_LIMIT).contains(&limit) {
            return Err(errcode::INVALID_PARAMETER);
        }
        let request = ListRequest { list, meeting, status, limit };
        let position =
            request.position(&body.cursor.unwrap_or_default()).ok_or(errcode::INVALID_CURSOR)?;
        Ok((request, position))
    }

    /// Sets the statuses of a batch, or none if one of its ids is unknown. Returns the response body, which counts
    /// only those that had another status.
    pub(super) fn approve(
        &self,
        params: &Params,
        body: &[u8],
        fault: Option<&FaultKind>,
    ) -> Result<Vec<u8>, i32> {
        let (body, meeting) = self.read(params, body)?;
        let ids = body.enroll_id_list.unwrap_or_default();
        let action = body.action.ok_or(errcode::EMPTY_PARAMETER)?;
        if ids.is_empty() {
            return Err(errcode::EMPTY_PARAMETER);
        }
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let (most, changed, removed) = match fault {
            Some(&FaultKind::TooBig(most)) => (count(most), ids.len(), 0),
            Some(&FaultKind::Partial(changed)) => (ids.len(), count(changed), 0),
            Some(&FaultKind::Drop(removed)) => (ids.len(), ids.len(), count(removed)),
            _ => (ids.len(), ids.len(), 0),
        };
        if !(1..=3).contains(&action) || ids.len() > most {
            return Err(errcode::INVALID_PARAMETER);
        }
        let handled = self.change(&meeting, |roster| {
            if let Some(&FaultKind::Add(count)) = fault {
                roster.enroll(count);
            }
            let indexes: Vec<_> = ids.iter().map(|id| enrollee::index(id)).collect();
            for index in indexes.iter().take(removed).flatten() {
                roster.remove(*index);
            }
            let known = indexes.into_iter().map(|index| index.filter(|&at| roster.contains(at)));
            let known: Vec<_> = known.collect::<Option<_>>().ok_or(errcode::UNKNOWN_ENROLL_ID)?;
            let changed = known.into_iter().take(changed);
            let changed = changed.filter(|&index| roster.set_status(index, action));
            Ok::<_, i32>(changed.count())
        })?;
        Ok(format!(r#"{{"errcode":0,"errmsg":"ok","handled_count":{handled}}}"#).into())
    }

    /// Returns the response body of a `get_config` request.
    pub(super) fn get_config(&self, params: &Params, body: &[u8]) -> Result<Vec<u8>, i32> {
        self.read(params, body)?;
        let config = json!({
            "errcode": 0,
            "errmsg": "ok",
            "approve_type": 2,
            "is_collect_question": 2,
            "no_registration_needed_for_staff": true,
            "question_list": QUESTIONS,
        });
        Ok(config.to_string().into())
    }
}
