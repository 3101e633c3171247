//! The lenient decoder, which decides what a response means. It accepts every type that WeCom's documents
//! mention for a field, and isolates malformed rows.
//!
//! Each object is split into its raw values by key; if a key occurs twice, the last value counts. Error
//! messages name fields and never contain values, because rows are personal data.

use std::{borrow::Borrow, collections::HashMap, fmt, fmt::Write as _, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::{from_str, value::RawValue};

use crate::{
    error::{Error, MalformedRow, Result},
    wire::tables::{AnswerRow, ByteRange, Cursor, ListResponse, MAX_ROWS, Row, Tables, narrow},
};

/// How many bytes of a malformed row its error carries.
const RAW_CAP: usize = 4096;

/// The longest `enroll_id` that the error of a malformed row carries.
const ID_CAP: usize = 64;

/// The raw values of an object.
pub(super) type Object<'a> = HashMap<Key, &'a RawValue>;

/// A key of an object. A lone surrogate is replaced, because no known key contains one.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Key(String);

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let key = deserializer.deserialize_byte_buf(Bytes)?;
        Ok(Self(String::from_utf8_lossy(&key).into_owned()))
    }
}

/// Decodes page `number` of a list. `repaired`: invalid UTF-8 in `body` was replaced by U+FFFD.
pub(super) fn decode(body: &str, repaired: bool, number: u64) -> Result<ListResponse> {
    let body = escape_control_characters(body);
    let page = parse(&body, "an enrollment list", &["errcode", "has_more", "enroll_list"])?;
    let has_more = flag(page.get("has_more")).ok_or_else(|| unexpected("has_more"))?;
    let next_cursor = exact_text(page.get("next_cursor"), repaired);
    let next_cursor = Cursor::new(&next_cursor.ok_or_else(|| unexpected("next_cursor"))?);
    let mut builder = Builder { page: number, repaired, tables: Tables::default(), field: "" };
    let rows = page.get("enroll_list").filter(|rows| rows.get() != "null");
    let decoded = rows
        .map(|rows| serde_json::Deserializer::from_str(rows.get()).deserialize_seq(&mut builder));
    match decoded {
        Some(Err(_)) if builder.tables.rows.len() == MAX_ROWS => {
            let text = format!("the page has more than {MAX_ROWS} rows; WeCom sends at most 50");
            Err(Error::decode(text))
        }
        Some(Err(_)) => Err(unexpected("enroll_list")),
        Some(Ok(())) | None => Ok(ListResponse { tables: builder.tables, has_more, next_cursor }),
    }
}

/// Parses a response, which must have one of these fields. Returns an error if its errcode is not 0.
///
/// serde's own message is not used, because it could contain a secret.
pub(super) fn parse<'a>(json: &'a str, what: &str, fields: &[&str]) -> Result<Object<'a>> {
    let response: Object<'_> = match from_str(json) {
        Err(e) if e.is_eof() => return Err(Error::truncated()),
        response => response.map_err(|_| Error::decode(format!("the response is not {what}")))?,
    };
    if let Some(error) = errcode(&response) {
        return Err(error);
    }
    if !fields.iter().any(|field| response.contains_key(*field)) {
        return Err(Error::decode(format!("the response is JSON, but not {what}")));
    }
    integer(response.get("errcode")).ok_or_else(|| unexpected("errcode"))?;
    Ok(response)
}

pub(super) fn unexpected(field: &str) -> Error {
    Error::decode(format!("`{field}` has an unexpected type or value"))
}

/// Returns the errcode of a response as an error, unless it is absent or 0.
pub(super) fn errcode(response: &Object<'_>) -> Option<Error> {
    let errcode = integer(response.get("errcode")).filter(|&errcode| errcode != 0)?;
    Some(Error::api(errcode, &lossy_text(response.get("errmsg")).unwrap_or_default()))
}

/// Decodes a single row, or returns the field that is malformed.
pub(super) fn decode_row(json: &str) -> std::result::Result<Tables, &'static str> {
    let mut builder = Builder { page: 0, repaired: false, tables: Tables::default(), field: "" };
    let row = builder.row(json).ok_or(builder.field)?;
    builder.tables.rows.push(row);
    Ok(builder.tables)
}

/// Escapes control characters in strings. JSON forbids them, but some servers send them.
pub(super) fn escape_control_characters(json: &str) -> String {
    let (mut escaped, mut in_string, mut after_backslash) = (String::new(), false, false);
    for c in json.chars() {
        if in_string && c < ' ' {
            let backslash = if after_backslash { "" } else { "\\" };
            let _ = write!(escaped, "{backslash}u{:04x}", u32::from(c));
        } else {
            escaped.push(c);
        }
        in_string ^= c == '"' && !after_backslash;
        after_backslash = in_string && c == '\\' && !after_backslash;
    }
    escaped
}

/// The tables of a page that is being decoded. All texts are in the side buffer; the body is empty.
struct Builder {
    page: u64,
    repaired: bool,
    tables: Tables,
    /// The field that is being decoded, for the error message.
    field: &'static str,
}

impl Builder {
    fn row(&mut self, json: &str) -> Option<Row> {
        self.field = "";
        let row: Object<'_> = from_str(json).ok()?;
        self.field = "enroll_id";
        let enroll_id = exact_text(row.get("enroll_id"), self.repaired)?;
        Some(Row {
            enroll_id: self.push(&enroll_id),
            enroll_time: self.text(&row, "enroll_time")?,
            nick_name: self.text(&row, "nick_name")?,
            userid: self.text(&row, "userid")?,
            tmp_openid: self.text(&row, "tmp_openid")?,
            enroll_code: self.text(&row, "enroll_code")?,
            source: self.small(&row, "enroll_source_type")?,
            status: self.small(&row, "status")?,
            answers: self.answers(&row)?,
        })
    }

    fn answers(&mut self, row: &Object<'_>) -> Option<Range<u32>> {
        self.field = "answer_list";
        let list = row.get("answer_list").map_or("null", |list| list.get());
        let answers: Option<Vec<Object<'_>>> = from_str(list).ok()?;
        let start = narrow(self.tables.answers.len());
        for answer in answers.unwrap_or_default() {
            let answer = AnswerRow {
                title: self.text(&answer, "question_title")?,
                contents: self.contents(&answer)?,
                is_required: self.small(&answer, "is_required")?,
                question_num: self.small(&answer, "question_num")?,
                question_type: self.small(&answer, "question_type")?,
                special_type: self.small(&answer, "special_type")?,
            };
            self.tables.answers.push(answer);
        }
        Some(start..narrow(self.tables.answers.len()))
    }

    /// Decodes the content of an answer: a list, or a single string or number.
    fn contents(&mut self, answer: &Object<'_>) -> Option<Range<u32>> {
        self.field = "answer_content";
        let start = narrow(self.tables.contents.len());
        let list: Vec<&RawValue> = match answer.get("answer_content") {
            Some(list) if list.get().starts_with('[') => from_str(list.get()).ok()?,
            Some(single) if single.get() != "null" => vec![single],
            _ => Vec::new(),
        };
        for content in list {
            let content = lossy_text(Some(&content))?;
            let range = self.push(&content);
            self.tables.contents.push(range);
        }
        Some(start..narrow(self.tables.contents.len()))
    }

    fn text(&mut self, object: &Object<'_>, field: &'static str) -> Option<ByteRange> {
        self.field = field;
        lossy_text(object.get(field)).map(|text| self.push(&text))
    }

    fn small(&mut self, object: &Object<'_>, field: &'static str) -> Option<u32> {
        self.field = field;
        integer(object.get(field))?.try_into().ok()
    }

    fn push(&mut self, text: &str) -> ByteRange {
        let start = self.tables.side.len();
        self.tables.side.push_str(text);
        ByteRange::new(start, text.len())
    }

    #[cold]
    fn malformed(&self, raw: &str, row: usize) -> MalformedRow {
        let fields: Object<'_> = from_str(raw).unwrap_or_default();
        let enroll_id = exact_text(fields.get("enroll_id"), self.repaired);
        let enroll_id = enroll_id.filter(|id| (1..=ID_CAP).contains(&id.len()));
        let end = (0..=RAW_CAP.min(raw.len())).rev().find(|&end| raw.is_char_boundary(end));
        let raw = raw[..end.unwrap_or(0)].to_owned();
        MalformedRow { page: self.page, row, enroll_id, field: self.field, raw }
    }
}

/// Decodes the rows of the list one by one, without collecting them.
impl<'de> Visitor<'de> for &mut Builder {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of enrollees")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            let index = self.tables.rows.len();
            if index == MAX_ROWS {
                return Err(A::Error::custom("too many rows"));
            }
            let row = self.row(raw.get()).unwrap_or_else(|| {
                let malformed = self.malformed(raw.get(), index + 1);
                self.tables.malformed.insert(index, malformed);
                Row::default()
            });
            self.tables.rows.push(row);
        }
        Ok(())
    }
}

/// Returns a text in which lone surrogates are replaced by U+FFFD.
pub(super) fn lossy_text(value: Option<&&RawValue>) -> Option<String> {
    exact_text(value, false).or_else(|| {
        // `serde_json` accepts lone surrogates only in bytes, as three bytes each.
        let mut bytes =
            serde_json::Deserializer::from_str(value?.get()).deserialize_byte_buf(Bytes).ok()?;
        for at in 0..bytes.len().saturating_sub(2) {
            if matches!(bytes[at..at + 3], [0xed, 0xa0..=0xbf, 0x80..=0xbf]) {
                bytes[at..at + 3].copy_from_slice("\u{fffd}".as_bytes());
            }
        }
        String::from_utf8(bytes).ok()
    })
}

struct Bytes;

impl Visitor<'_> for Bytes {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> std::result::Result<Vec<u8>, E> {
        Ok(bytes.to_owned())
    }
}

/// Returns a string or an integer as text, and an absent value or null as "". `repaired`: refuses U+FFFD,
/// because it may have been inserted for an invalid byte.
pub(super) fn exact_text(value: Option<&&RawValue>, repaired: bool) -> Option<String> {
    let json = value.map_or("null", |value| value.get());
    let text = match json.as_bytes() {
        [b'n', ..] => String::new(),
        [b'"', ..] => from_str(json).ok()?,
        _ if json.parse::<u64>().is_ok() => json.to_owned(),
        _ => integer(value)?.to_string(),
    };
    (!repaired || !text.contains(char::REPLACEMENT_CHARACTER)).then_some(text)
}

/// Returns an integer, which may be a string or have a fraction of zero. Absent, null and "" are 0.
pub(super) fn integer(value: Option<&&RawValue>) -> Option<i64> {
    let json = value.map_or("null", |value| value.get());
    match json.as_bytes() {
        [b'n', ..] => Some(0),
        [b'"', ..] => match from_str::<String>(json).ok()?.trim() {
            "" => Some(0),
            digits => digits.parse().ok(),
        },
        _ => json.parse().ok().or_else(|| {
            // The standard library rounds a float to the nearest one.
            let number: f64 = json.parse().ok()?;
            // Beyond 9e15, f64 is not exact.
            #[expect(clippy::cast_possible_truncation, reason = "it is an integer below 2^53")]
            (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
        }),
    }
}

/// Returns a bool, which may be 0 or 1, or one of these as a string. Absent, null and "" are false.
pub(super) fn flag(value: Option<&&RawValue>) -> Option<bool> {
    match value.map_or("null", |value| value.get()).trim_matches('"') {
        "true" | "1" => Some(true),
        "false" | "0" | "null" | "" => Some(false),
        _ => None,
    }
}
