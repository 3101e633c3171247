//! The call that sets the status of enrollments: WeCom documents 98877 (webinars) and 98807 (meetings).

use bytes::Bytes;
use serde::Serialize;

use crate::{
    error::{Error, Result},
    wire::{
        decode::utf8,
        lenient::{errcode, escape_control_characters, integer, parse},
        open_enum::EnrollStatus,
        query::Query,
    },
};

/// Encodes the body of a request. The numbers of the `action` are those of the status.
pub(crate) fn encode_approval(query: &Query, status: EnrollStatus, ids: &[&str]) -> Result<Bytes> {
    #[derive(Serialize)]
    struct Body<'a> {
        meetingid: &'a str,
        enroll_id_list: &'a [&'a str],
        action: u32,
    }
    let body = Body { meetingid: query.meeting_id(), enroll_id_list: ids, action: status.into() };
    let json = serde_json::to_vec(&body).map_err(|e| Error::invalid_argument(e.to_string()))?;
    Ok(json.into())
}

/// Returns how many enrollments WeCom reports to have handled; 0 if it reports no number.
pub(crate) fn decode_approval(body: &[u8]) -> Result<u64> {
    let (body, _) = utf8(body)?;
    let body = escape_control_characters(&body);
    let response = parse(&body, "the response does not confirm a status change")?;
    if let Some(error) = errcode(&response) {
        return Err(error);
    }
    let invalid = || Error::decode("the response is JSON, but does not confirm a status change");
    if !["errcode", "handled_count"].iter().any(|key| response.contains_key(*key)) {
        return Err(invalid());
    }
    integer(response.get("errcode")).ok_or_else(invalid)?;
    let handled = integer(response.get("handled_count")).ok_or_else(invalid)?;
    Ok(handled.max(0).unsigned_abs())
}
