//! The fast and the lenient decoder compared: both must return the same page or the same error.
//!
//! The fast decoder gives up at an unknown key with a nested value. Each body is therefore decoded
//! twice: as it is, and with such a key inserted after its first brace. The environment variable
//! `WECOM_ENROLL_FUZZ` sets the number of random bodies, `WECOM_ENROLL_SEED` the seed.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use wecom_enroll::{Client, Page, Result};

use super::{client, random_text, setting};
use crate::support::{Act, Script, query, response};

/// Complete pages, each of which is also cut at every byte.
const PAGES: &[&str] = &[
    r#"{"errcode":0,"errmsg":"ok","has_more":true,"next_cursor":"C","enroll_list":[{"enroll_id":1386442,"enroll_time":"2023-03-23 10:00:00","enroll_source_type":2,"nick_name":"ccc","status":3,"userid":"U","tmp_openid":"T","enroll_code":"1","answer_list":[{"answer_content":["A","字"],"is_required":1,"question_num":1,"question_title":"题","question_type":1,"special_type":1}]}]}"#,
    r#"{"enroll_list":[{"answer_list":[{"special_type":1,"question_title":"Q\n","question_num":1},{"question_num":1,"question_title":"Q\n"}],"enroll_id":"a\"b"},{"enroll_id":"\u5f15\ud83d\ude00","status":null}],"next_cursor":null,"has_more":false}"#,
    " {\r\n\t\"errcode\" : 0 , \"new\" : \"\\u0041\" ,\n \"enroll_list\" : [ { \"status\" : 4294967295 , \"new\" : true , \"answer_list\" : [ ] } , { \"enroll_id\" : 0 } ] }\n",
    r#"{"errcode":45009,"errmsg":"freq \u9650"}"#,
    r#"{"enroll_list":[{"enroll_id":1}],"has_more":false,"enroll_list":[{"enroll_id":2,"answer_list":[{}],"answer_list":[]}]}"#,
    "\u{feff}{\"has_more\":true,\"next_cursor\":\"a\tb\",\"enroll_list\":[{\"nick_name\":\"\u{1}\"}]}",
];

/// Values that take the place of each field.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "1",
    "7",
    "-0",
    "-1",
    "00",
    "01",
    "007",
    "+1",
    ".5",
    "1.",
    "3.0",
    "-3.0",
    "1.5",
    "1e3",
    "1E+3",
    "1.386442e6",
    "1e999",
    "4294967295",
    "4294967296",
    "9999999999",
    "10000000000",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "-9223372036854775809",
    "9999999999999999999",
    "18446744073709551615",
    "18446744073709551616",
    "123456789012345678901234567890",
    "8999999999999993.0",
    "NaN",
    "Infinity",
    "-Infinity",
    "nul",
    "nulll",
    "truefalse",
    "undefined",
    r#""""#,
    r#""0""#,
    r#""3""#,
    r#"" 3 ""#,
    r#""-1""#,
    r#""true""#,
    r#""null""#,
    r#""a/b\/c""#,
    r#""\r""#,
    r#""\t\n""#,
    r#""\f""#,
    r#""\"\\\/\b\f\n\r\t""#,
    r#""\u0000\u0041\u00e9\u5f15""#,
    r#""\ud83d\ude00""#,
    r#""\ud800""#,
    r#""\udc00""#,
    r#""a\ud83d""#,
    r#""\ud83d\ud83d\ude00""#,
    r#""\ud83d\u0041""#,
    r#""\ud83d\n""#,
    r#""\x""#,
    r#""\u12""#,
    r#""\u12g4""#,
    r#""\"#,
    "\"a\tb\"",
    "\"\u{0}\"",
    "\"\u{1f}\"",
    "\"\u{7f}\"",
    "\"a\nb\\n\"",
    "\"\\\n\"",
    "\"字é\u{1F600}\u{fffd}\"",
    "'a'",
    "a",
    r#""a" "b""#,
    r#""a""b""#,
    r#""aaaaaaa""#,
    r#""aaaaaaaa""#,
    r#""aaaaaaa\\a""#,
    r#""aaaaaaaa\\""#,
    r#""aaaaaaaaaaaaaaaaa""#,
    "[]",
    "[ ]",
    "[null]",
    "[7]",
    r#"["a"]"#,
    r#"["a",]"#,
    r#"[,"a"]"#,
    r#"["a" "b"]"#,
    r#"["a","\ud800"]"#,
    r#"["a",1,null,"b"]"#,
    "[[]]",
    "[{}]",
    "[{},]",
    "[,{}]",
    "[{}{}]",
    "[null,{}]",
    "[[",
    "]",
    "{}",
    "{ }",
    r#"{"a":1}"#,
    r#"{"a":1,}"#,
    r#"[{"a":1}]"#,
    r#"[{"a":1},]"#,
    r#"[{"a":1},}]"#,
    r#"[{"a":1}}]"#,
    r#"[{"a":{}}]"#,
    r#"[{"a":1},{"a":1}]"#,
    r#"[{"question_title":7},{"question_title"::7}]"#,
    r#"[{"question_title":7,"a":1},{"question_title"::7,,"a":1}]"#,
    "/* c */ 1",
    "1 // c",
    "",
    ":1",
    ",",
    "}",
];

/// Keys, and tokens that are not valid keys.
const KEYS: &[&str] = &[
    r#""""#,
    r#""a""#,
    r#""a\n""#,
    r#""a\ud800""#,
    r#""\u0061""#,
    "\"a\n\"",
    "\"a\u{0}\"",
    "a",
    "'a'",
    "null",
    "1",
    "",
    r#""a":"a""#,
    r#"{"a""#,
    r#""字""#,
];

const FIELDS: [&[&str]; 3] = [
    &["errcode", "errmsg", "has_more", "next_cursor", "enroll_list"],
    &[
        "enroll_id",
        "enroll_time",
        "enroll_source_type",
        "nick_name",
        "status",
        "userid",
        "tmp_openid",
        "enroll_code",
        "answer_list",
    ],
    &[
        "answer_content",
        "is_required",
        "question_num",
        "question_title",
        "question_type",
        "special_type",
    ],
];

/// Decodes bodies with a real client.
pub(super) struct Decoder {
    client: Client,
    body: Arc<Mutex<Bytes>>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        let body = Arc::new(Mutex::new(Bytes::new()));
        let script = {
            let body = Arc::clone(&body);
            Script::unrecorded(move |_| Act::Respond(response(200, body.lock().unwrap().clone())))
        };
        Self { client: client(&script), body }
    }

    pub(super) async fn decode(&self, body: impl Into<Bytes>) -> Result<Page> {
        *self.body.lock().unwrap() = body.into();
        self.client.pages(query()).next().await.unwrap()
    }

    /// Decodes `body` with both decoders. Returns whether it has both a page and a row.
    pub(super) async fn compare(&self, body: &[u8], input: impl Fn() -> String) -> bool {
        let Some(twin) = twin(body) else { return false };
        let (fast, lenient) = (self.decode(body.to_vec()).await, self.decode(twin).await);
        let agree = match (&fast, &lenient) {
            // Pages are equal if they have the same rows, malformed rows, `has_more` and cursor.
            (Ok(fast), Ok(lenient)) => fast == lenient,
            (Err(fast), Err(lenient)) => {
                let outcome = |e: &wecom_enroll::Error| {
                    (e.kind(), e.is_transient(), e.errcode(), e.to_string())
                };
                outcome(fast) == outcome(lenient)
            }
            _ => false,
        };
        if !agree {
            let [fast, lenient] = [&fast, &lenient].map(shown);
            let (input, body) = (input(), String::from_utf8_lossy(body));
            panic!("{input}:\n{body}\n{body:?}\nas it is: {fast}\nleniently: {lenient}");
        }
        fast.is_ok_and(|page| !page.is_empty())
    }
}

/// Inserts a key at which the fast decoder gives up. `None` if the body is not an object.
fn twin(body: &[u8]) -> Option<Vec<u8>> {
    let start = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body).trim_ascii_start();
    let rest = start.strip_prefix(b"{")?;
    let comma: &[u8] = if rest.trim_ascii_start().starts_with(b"}") { b"" } else { b"," };
    let before = &body[..body.len() - rest.len()];
    Some([before, br#""unknown":[[]]"#, comma, rest].concat())
}

fn shown(result: &Result<Page>) -> String {
    match result {
        Ok(page) => {
            let rows = page.rows().map(|row| match row {
                Ok(row) => serde_json::to_string(&row).unwrap(),
                Err(error) => format!("{error}: {:?}", error.malformed_row().unwrap().raw),
            });
            format!("{page:?} {:#?}", rows.collect::<Vec<_>>())
        }
        Err(error) => format!("{:?}: {error}", error.kind()),
    }
}

/// Places an object's fields in a page: the page itself, a row of it, or an answer of a row.
fn place(level: usize, fields: &str) -> String {
    // Two objects, because the second one is decoded with predicted keys.
    match level {
        0 => format!("{{{fields}}}"),
        1 => format!(r#"{{"errcode":0,"enroll_list":[{{{fields}}},{{{fields}}}]}}"#),
        _ => place(1, &format!(r#""enroll_id":1,"answer_list":[{{{fields}}},{{{fields}}}]"#)),
    }
}

#[tokio::test(start_paused = true)]
async fn decoders_agree_on_every_value_and_key_of_every_field() {
    let decoder = Decoder::new();
    let mut pages = 0;
    for (level, fields) in FIELDS.iter().enumerate() {
        let mut bodies = vec![place(level, "")];
        for field in *fields {
            for value in VALUES {
                bodies.push(place(level, &format!(r#""{field}":{value}"#)));
                bodies.push(place(level, &format!(r#""errcode":0,"{field}":{value},"new":1"#)));
                bodies.push(place(level, &format!(r#""new":{value},"{field}":"1""#)));
                bodies.push(place(level, &format!("\"{field}\"\n:\t{value}\r , \"has_more\":0 ")));
                // A duplicate.
                bodies.push(place(level, &format!(r#""{field}":{value},"a":1,"{field}":"2""#)));
                bodies.push(place(level, &format!(r#""{field}":"2","{field}":{value}"#)));
            }
            for key in KEYS {
                bodies.push(place(level, &format!(r#"{key}:"1","{field}":null"#)));
                let key = key.replace('a', field);
                bodies.push(place(level, &format!(r#""errcode":0,{key}:1"#)));
                bodies.push(place(level, &format!(r#""errcode":0,{key}:["1"],"{field}":"2""#)));
            }
        }
        for body in bodies {
            pages += u64::from(decoder.compare(body.as_bytes(), || "made by hand".into()).await);
        }
    }
    assert!(pages > 1000, "only {pages} pages with rows");
}

#[tokio::test(start_paused = true)]
async fn decoders_agree_on_pages_cut_or_changed_at_every_byte() {
    let decoder = Decoder::new();
    for page in PAGES.iter().map(|page| page.as_bytes()) {
        decoder.compare(page, || "complete".into()).await;
        for at in 0..page.len() {
            decoder.compare(&page[..at], || format!("cut at {at}")).await;
            let without = [&page[..at], &page[at + 1..]].concat();
            decoder.compare(&without, || format!("without byte {at}")).await;
            for other in
                [b'"', b'\\', b',', b':', b'{', b'}', b'[', b']', b' ', b'\n', b'0', 0, 0xff]
            {
                let mut changed = page.to_vec();
                changed[at] = other;
                decoder.compare(&changed, || format!("byte {at} is {other}")).await;
                changed.insert(at, page[at]);
                decoder.compare(&changed, || format!("{other} after byte {at}")).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn decoders_agree_on_random_pages() {
    let inputs = setting("WECOM_ENROLL_FUZZ", 50_000);
    let seed = setting("WECOM_ENROLL_SEED", 0);
    let mut random = fastrand::Rng::with_seed(seed);
    let decoder = Decoder::new();
    let mut valid: Vec<_> = super::texts().await.into_iter().map(String::into_bytes).collect();
    // Small pages have the same surprises, and many more of them are decoded in the same time.
    valid.retain(|page| page.len() < 3000);
    valid.extend(PAGES.iter().map(|page| page.as_bytes().to_vec()));
    let (mut pages, mut last) = (0, Vec::new());
    for number in 0..inputs {
        let mut body = match random.u8(..4) {
            0 => valid[random.usize(..valid.len())].clone(),
            _ => random_text::page(&mut random).into_bytes(),
        };
        // Generated pages are odd enough for half of them to stay as they are.
        if random.bool() {
            for _ in 0..random.u8(1..5) {
                random_text::mutate(&mut body, &last, &mut random);
            }
        }
        let input = || format!("page {number} of seed {seed}");
        pages += u64::from(decoder.compare(&body, input).await);
        last = body;
    }
    println!("{inputs} inputs: {pages} pages with rows");
    assert!(pages > inputs / 4, "only {pages} of {inputs} pages have rows");
}
