//! JSON to tables and back: encodes a query; decodes a page, a token grant, an errcode.
//!
//! `serde_json` parses, or sonic-rs where that is asked for, and the seeds of `visit` note where each
//! string lies. The first pass takes a page as a whole; only when that fails are its rows told apart and
//! decoded one by one, so that a broken row costs itself and not its neighbours. Error texts name
//! fields, never values: rows are personal data.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    sync::Arc,
};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize, de::DeserializeSeed};
use serde_json::value::RawValue;

use crate::{
    error::{Error, Result},
    wire::{
        Page, Query,
        page::{Bad, Cursor, Row, Span, Tables},
        scalar::{Flag, Integer},
        visit::{PageSeed, RawRows, RowSeed, TextSeed},
    },
};

/// How much of an undecodable row its error carries.
const RAW_CAP: usize = 4096;

/// The most rows that a page may hold: two hundred times what WeCom sends (page 98876). A body of
/// 8 MiB has room for millions of broken ones, and each costs more than its bytes.
pub(super) const MAX_ROWS: usize = 10_000;

/// How many bytes an answer takes, or rather fewer: it makes room for all of a page's at once.
const ANSWER_LEN: usize = 192;

/// How far into a body its rows are looked for, to know where the head ends. Our choice: WeCom's example
/// has a head of a hundred bytes.
const HEAD_LEN: usize = 1024;

/// The longest `enroll_id` that the error of an undecodable row repeats.
const ID_CAP: usize = 64;

/// The request's body. `serde_json` leaves everything but control characters as it is, which
/// errcode 40033 asks for. It is written into `buffer`, whose memory is free again with the body.
pub(crate) fn encode(
    query: &Query,
    cursor: Option<&Cursor>,
    buffer: &mut BytesMut,
) -> Result<Bytes> {
    #[derive(Serialize)]
    struct Body<'a> {
        meetingid: &'a str,
        status: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<&'a str>,
        limit: u8,
    }
    let body = Body {
        meetingid: query.meeting_id(),
        status: query.filter(),
        cursor: cursor.map(Cursor::as_str),
        limit: query.limit(),
    };
    buffer.clear();
    buffer.reserve(256);
    let encoded = serde_json::to_writer(buffer.writer(), &body);
    encoded.map_err(|e| Error::argument(e.to_string()))?;
    Ok(buffer.split().freeze())
}

/// The page that a reply's body holds. `peeked` is the cursor that its head was seen to hold, if any.
pub(crate) fn decode_page(body: &[u8], number: u64, peeked: Option<&Cursor>) -> Result<Page> {
    let (body, lossy) = utf8(body)?;
    let mut notes = Notes::new(&body);
    let whole = if lossy { None } else { notes.whole_page() };
    let envelope = if let Some(envelope) = whole {
        envelope
    } else {
        notes = Notes::new(&body);
        notes.row_by_row(lossy)?
    };
    if !envelope.known {
        return Err(Error::decode("the reply is JSON, but not a page of enrollees"));
    }
    let tables = notes.tables;
    let tables = Tables { body, ..tables };
    if envelope.errcode != 0 {
        return Err(Error::api(envelope.errcode, tables.text(envelope.errmsg)));
    }
    let next_cursor = tables.text(envelope.next_cursor);
    let peeked = peeked.filter(|peeked| peeked.as_str() == next_cursor);
    let next_cursor = peeked.cloned().or_else(|| Cursor::new(next_cursor));
    Ok(Page { tables: Arc::new(tables), number, has_more: envelope.has_more, next_cursor })
}

/// The cursor to the next page, if the head of a body tells it: WeCom writes it before the rows, though
/// nobody promises that. What it says of a page that turns out to be broken is worth nothing.
pub(crate) fn peek_cursor(body: &[u8]) -> Option<Cursor> {
    #[derive(Deserialize)]
    struct Head<'a> {
        errcode: Option<Integer>,
        has_more: Option<Flag>,
        #[serde(borrow)]
        next_cursor: Cow<'a, str>,
    }
    const ROWS: &[u8] = br#""enroll_list""#;
    let rows = body.windows(ROWS.len()).take(HEAD_LEN).position(|key| key == ROWS)?;
    let fields = body[..rows].trim_ascii_end().strip_suffix(b",")?;
    // An object of its own: a parser that stops in the middle of one calls it an error, and allocates that.
    let (mut head, len) = ([b'}'; HEAD_LEN], fields.len());
    head[..len].copy_from_slice(fields);
    let Head { errcode, has_more, next_cursor } = serde_json::from_slice(&head[..=len]).ok()?;
    let leads_on = errcode.is_none_or(|code| code.0 == 0) && has_more.is_some_and(|more| more.0);
    Cursor::new(&next_cursor).filter(|_| leads_on)
}

/// One row on its own, as [`super::Enroll`] is deserialized from.
pub(super) fn decode_row(json: String) -> Result<Tables> {
    let mut notes = Notes::new(&json);
    notes
        .one_row(&json)
        .map_err(|()| Error::decode(format!("not an enrollee (at `{}`)", notes.field)))?;
    let tables = notes.tables;
    Ok(Tables { body: json, ..tables })
}

/// What `gettoken` grants (WeCom's page 91039).
#[derive(Deserialize)]
pub(crate) struct TokenGrant {
    access_token: Option<String>,
    expires_in: Option<Integer>,
}

impl TokenGrant {
    /// The token's life in seconds; 7200 where the server does not say, as page 91039 has it.
    pub(crate) fn expires_in(&self) -> u64 {
        self.expires_in.as_ref().map_or(7200, |seconds| seconds.0.max(0).unsigned_abs())
    }

    pub(crate) fn into_token(self) -> String {
        self.access_token.unwrap_or_default()
    }
}

pub(crate) fn decode_token(body: &[u8]) -> Result<TokenGrant> {
    // First of all: a refused secret must be known as one, whatever else is odd about the reply.
    if let Some(refusal) = decode_errcode(body) {
        return Err(refusal);
    }
    let grant: TokenGrant = serde_json::from_slice(body).map_err(|e| {
        // serde's own message could quote the token.
        if e.is_eof() {
            Error::cut_short()
        } else {
            Error::decode("the reply is not a token grant")
        }
    })?;
    if grant.access_token.as_ref().is_none_or(String::is_empty) {
        return Err(Error::decode("the token grant holds no token"));
    }
    Ok(grant)
}

/// The errcode in a reply, if there is one other than 0.
pub(crate) fn decode_errcode(body: &[u8]) -> Option<Error> {
    #[derive(Deserialize)]
    struct Failure<'a> {
        errcode: Integer,
        #[serde(borrow)]
        errmsg: Option<&'a RawValue>,
    }
    let body = String::from_utf8_lossy(body);
    let Failure { errcode, errmsg } = serde_json::from_str(&body).ok()?;
    let errmsg = errmsg.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    (errcode.0 != 0).then(|| Error::api(errcode.0, &errmsg.unwrap_or_default()))
}

/// Checks a body once, so that no string in it need be checked again. A body with invalid bytes in
/// its middle is repaired with U+FFFD and decoded row by row: one bad name must not cost a page.
fn utf8(body: &[u8]) -> Result<(String, bool)> {
    match simdutf8::compat::from_utf8(body) {
        Ok(text) => Ok((text.to_owned(), false)),
        Err(e) if e.error_len().is_none() => Err(Error::cut_short()),
        Err(_) => Ok((String::from_utf8_lossy(body).into_owned(), true)),
    }
}

/// The fields around the rows. Defaults stand for fields that are absent, as proto3 JSON leaves
/// them out.
#[derive(Default)]
pub(super) struct Envelope {
    /// Whether any field of a page was there at all.
    pub(super) known: bool,
    pub(super) errcode: i64,
    pub(super) errmsg: Span,
    pub(super) has_more: bool,
    pub(super) next_cursor: Span,
}

/// The tables of a page while they are being filled; they get their own body at the end.
pub(super) struct Notes<'b> {
    body: &'b str,
    pub(super) tables: Tables,
    /// The field being decoded, for the error if that fails.
    pub(super) field: &'static str,
    pub(super) pass: Pass,
}

/// How a page is gone through. What one pass cannot take, the next one may.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// The whole page, by sonic-rs.
    #[cfg_attr(not(feature = "sonic"), expect(dead_code, reason = "its parser is optional"))]
    Sonic,
    /// The whole page, by `serde_json`. Texts are strings or null.
    Fast,
    /// Row by row, by `serde_json`.
    Careful,
}

impl<'b> Notes<'b> {
    fn new(body: &'b str) -> Self {
        Self { body, tables: Tables::default(), field: "", pass: Pass::Careful }
    }

    /// The page in one go. `None`: something in it is off, tell the rows apart.
    fn whole_page(&mut self) -> Option<Envelope> {
        #[cfg(feature = "sonic")]
        {
            self.pass = Pass::Sonic;
            let mut json = sonic_rs::Deserializer::from_str(self.body);
            let envelope = PageSeed { notes: self }.deserialize(&mut json);
            if let (Ok(envelope), Ok(())) = (envelope, json.end()) {
                return Some(envelope);
            }
            *self = Self::new(self.body);
        }
        self.pass = Pass::Fast;
        let mut json = serde_json::Deserializer::from_str(self.body);
        let envelope = PageSeed { notes: self }.deserialize(&mut json).ok()?;
        json.end().ok()?;
        Some(envelope)
    }

    /// The careful pass: the rows as raw JSON first, then one at a time.
    fn row_by_row(&mut self, lossy: bool) -> Result<Envelope> {
        #[derive(Deserialize)]
        struct Raw<'a> {
            errcode: Option<Integer>,
            #[serde(borrow)]
            errmsg: Option<&'a RawValue>,
            #[serde(borrow)]
            has_more: Option<&'a RawValue>,
            #[serde(borrow)]
            next_cursor: Option<&'a RawValue>,
            #[serde(borrow)]
            enroll_list: Option<RawRows<'a>>,
        }
        let raw: Raw<'b> = serde_json::from_str(self.body).map_err(|e| {
            if e.is_eof() {
                return Error::cut_short();
            }
            let failure = decode_errcode(self.body.as_bytes());
            failure.unwrap_or_else(|| Error::decode("the reply is not a page of enrollees"))
        })?;
        let Raw { errcode, errmsg, has_more, next_cursor, enroll_list } = raw;
        let errmsg = errmsg.and_then(|raw| self.raw_text(raw)).unwrap_or_default();
        let coded = errcode.is_some();
        let errcode = errcode.map_or(0, |code| code.0);
        if errcode != 0 {
            return Ok(Envelope { known: true, errcode, errmsg, ..Envelope::default() });
        }
        let damaged = |raw: &RawValue| raw.get().contains(char::REPLACEMENT_CHARACTER);
        let next_cursor_is_damaged = next_cursor.is_some_and(damaged);
        let envelope = Envelope {
            known: coded || has_more.is_some() || enroll_list.is_some(),
            errcode,
            errmsg,
            has_more: match has_more.map(|raw| serde_json::from_str(raw.get())) {
                Some(Ok(Flag(has_more))) => has_more,
                Some(Err(_)) => return Err(Error::decode("`has_more` is neither true nor false")),
                None => false,
            },
            next_cursor: match next_cursor.map(|raw| self.raw_text(raw)) {
                Some(None) => return Err(Error::decode("`next_cursor` is not a string")),
                Some(Some(span)) => span,
                None => Span::default(),
            },
        };
        let rows = enroll_list.map_or_else(Vec::new, |rows| rows.0);
        if rows.len() > MAX_ROWS {
            return Err(Error::decode(format!(
                "a page of more than {MAX_ROWS} rows; WeCom sends 50"
            )));
        }
        if lossy && next_cursor_is_damaged {
            return Err(Error::decode("`next_cursor` is not valid UTF-8"));
        }
        for raw in rows {
            let raw = raw.get();
            // U+FFFD may have been sent as such; beside a repaired byte nobody can tell.
            let broken = lossy && raw.contains(char::REPLACEMENT_CHARACTER);
            self.field = "";
            if broken || self.one_row(raw).is_err() {
                self.tables.bad.insert(self.tables.rows.len(), bad_row(raw, self.field));
                self.tables.rows.push(Row::default());
            }
        }
        Ok(envelope)
    }

    /// Makes room for a page's answers, once the first one is there.
    pub(super) fn reserve(&mut self) {
        if self.tables.answers.is_empty() {
            self.tables.answers.reserve(self.body.len() / ANSWER_LEN);
            self.tables.contents.reserve(self.body.len() / ANSWER_LEN);
        }
    }

    fn one_row(&mut self, json: &'b str) -> std::result::Result<(), ()> {
        let mut json = serde_json::Deserializer::from_str(json);
        RowSeed { notes: self }.deserialize(&mut json).and_then(|()| json.end()).map_err(drop)
    }

    fn raw_text(&mut self, raw: &'b RawValue) -> Option<Span> {
        let mut json = serde_json::Deserializer::from_str(raw.get());
        TextSeed { notes: self }.deserialize(&mut json).ok()
    }

    /// Where `text`, a part of the body, lies.
    pub(super) fn note_borrowed(&self, text: &[u8]) -> Span {
        Span::new((text.as_ptr() as usize).wrapping_sub(self.body.as_ptr() as usize), text.len())
    }

    /// Where `text`, which was unescaped, lies in the side buffer.
    pub(super) fn note(&mut self, text: &str) -> Span {
        if self.tables.side.is_empty() {
            // A page with one escape has more.
            self.tables.side.reserve(self.body.len() / 16);
        }
        self.tables.side.push_str(text);
        Span::new(self.body.len() + self.tables.side.len() - text.len(), text.len())
    }

    pub(super) fn note_number(&mut self, number: impl fmt::Display) -> Span {
        let start = self.tables.side.len();
        // Writing to a String cannot fail.
        let _ = write!(self.tables.side, "{number}");
        Span::new(self.body.len() + start, self.tables.side.len() - start)
    }
}

#[cold]
fn bad_row(raw: &str, field: &'static str) -> Bad {
    #[derive(Deserialize)]
    struct Id {
        enroll_id: serde_json::Value,
    }
    let enroll_id = match serde_json::from_str(raw) {
        Ok(Id { enroll_id: serde_json::Value::String(id) }) if (1..=ID_CAP).contains(&id.len()) => {
            Some(id)
        }
        Ok(Id { enroll_id: serde_json::Value::Number(id) }) => Some(id.to_string()),
        _ => None,
    };
    let end = (0..=RAW_CAP.min(raw.len())).rev().find(|&end| raw.is_char_boundary(end));
    let raw = raw[..end.unwrap_or(0)].to_owned();
    Bad { enroll_id, raw, field }
}
