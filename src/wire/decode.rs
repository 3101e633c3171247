//! The entry points of `wire`: they decode pages, errcodes, access tokens and confirmations of status changes, and
//! encode requests.

use std::sync::Arc;

use bytes::Bytes;
use faststr::FastStr;
use serde::Serialize;
use serde_json::json;

use crate::{
    error::{Error, Result},
    wire::{
        lenient::{
            self, errcode, escape_control_characters, exact_text, integer, parse, unexpected,
        },
        open_enum::EnrollStatus,
        page::Page,
        query::Query,
        scan::scan,
        tables::{Cursor, ListResponse, Tables},
    },
};

/// Encodes the body of a list request. Non-ASCII text must not be escaped: WeCom refuses `\uXXXX` with
/// errcode 40033 (doc 90313). `serde_json` does not escape it.
pub(crate) fn encode(query: &Query, cursor: Option<&Cursor>) -> Result<Bytes> {
    #[derive(Serialize)]
    struct Body<'a> {
        meetingid: &'a str,
        status: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
        limit: u64,
    }
    let body = Body {
        meetingid: query.meeting_id(),
        status: query.status as u8,
        cursor: cursor.map(Cursor::as_str),
        limit: query.limit,
    };
    let json = serde_json::to_vec(&body).map_err(|e| Error::invalid_argument(e.to_string()))?;
    Ok(json.into())
}

/// Encodes the body of a request that sets statuses. The numbers of `action` are those of the status.
pub(crate) fn encode_approval(query: &Query, status: EnrollStatus, ids: &[&str]) -> Bytes {
    let action = u32::from(status);
    let body = json!({"meetingid": query.meeting_id(), "enroll_id_list": ids, "action": action});
    body.to_string().into()
}

pub(crate) fn encode_settings(query: &Query) -> Bytes {
    json!({"meetingid": query.meeting_id()}).to_string().into()
}

pub(crate) fn decode_page(body: &Bytes, number: u64) -> Result<Page> {
    let (body, repaired) = utf8(body)?;
    // Only the lenient decoder refuses repaired bytes in ids and cursors.
    let scanned = if repaired { None } else { scan(&body) };
    let ListResponse { tables, has_more, next_cursor } = match scanned {
        Some(list) => ListResponse { tables: Tables { body, ..list.tables }, ..list },
        None => lenient::decode(&body, repaired, number)?,
    };
    Ok(Page { tables: Arc::new(tables), number, has_more, next_cursor })
}

/// The response of `gettoken` (WeCom doc 91039).
pub(crate) struct TokenGrant {
    pub(crate) token: String,
    /// The token's lifetime in seconds.
    pub(crate) expires_in: u64,
}

pub(crate) fn decode_token(body: &Bytes) -> Result<TokenGrant> {
    let (body, repaired) = utf8(body)?;
    let body = escape_control_characters(&body);
    let grant = parse(&body, "an access token", &["errcode", "access_token"])?;
    let token = exact_text(grant.get("access_token"), repaired).unwrap_or_default();
    if token.is_empty() {
        return Err(Error::decode("the response contains no access token"));
    }
    // 7200 is the default of WeCom doc 91039.
    let expires_in = grant.get("expires_in").map_or(Some(7200), |value| integer(Some(value)));
    let expires_in = expires_in.ok_or_else(|| unexpected("expires_in"))?;
    Ok(TokenGrant { token, expires_in: expires_in.max(0).unsigned_abs() })
}

/// Returns how many enrollments WeCom reports to have handled; 0 if it reports no number.
pub(crate) fn decode_approval(body: &Bytes) -> Result<u64> {
    let (body, _) = utf8(body)?;
    let body = escape_control_characters(&body);
    let what = "a confirmation of a status change";
    let response = parse(&body, what, &["errcode", "handled_count"])?;
    let handled = integer(response.get("handled_count"));
    Ok(handled.ok_or_else(|| unexpected("handled_count"))?.max(0).unsigned_abs())
}

/// Returns the errcode in a response as an error, or `None` if it is absent or 0, or the body cannot be parsed.
pub(crate) fn decode_errcode(body: &Bytes) -> Option<Error> {
    let (body, _) = utf8(body).ok()?;
    errcode(&serde_json::from_str(&escape_control_characters(&body)).ok()?)
}

/// Removes a byte-order mark and checks that the body is UTF-8, without copying it. Nothing after this checks it
/// again. Invalid bytes are replaced by U+FFFD; the second value is true if there were any.
pub(super) fn utf8(body: &Bytes) -> Result<(FastStr, bool)> {
    let mark = "\u{feff}".as_bytes();
    let body = if body.starts_with(mark) { body.slice(mark.len()..) } else { body.clone() };
    if let Ok(text) = FastStr::from_bytes(body.clone()) {
        return Ok((text, false));
    }
    match simdutf8::compat::from_utf8(&body) {
        Err(e) if e.error_len().is_none() => Err(Error::truncated()),
        _ => Ok((String::from_utf8_lossy(&body).into_owned().into(), true)),
    }
}
