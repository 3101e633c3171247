//! Random pages as text, and random changes to their bytes.

use fastrand::Rng;

const PAGE: &[(&str, Type)] = &[
    ("errcode", Type::Zero),
    ("errmsg", Type::Text),
    ("has_more", Type::Flag),
    ("next_cursor", Type::Text),
    ("enroll_list", Type::Rows),
];

const ROW: &[(&str, Type)] = &[
    ("enroll_id", Type::Id),
    ("enroll_time", Type::Text),
    ("enroll_source_type", Type::Number),
    ("nick_name", Type::Text),
    ("status", Type::Number),
    ("userid", Type::Text),
    ("tmp_openid", Type::Text),
    ("enroll_code", Type::Id),
    ("answer_list", Type::Answers),
];

const ANSWER: &[(&str, Type)] = &[
    ("answer_content", Type::Contents),
    ("is_required", Type::Number),
    ("question_num", Type::Number),
    ("question_title", Type::Title),
    ("question_type", Type::Number),
    ("special_type", Type::Number),
];

/// Values and fragments that a decoder could get wrong.
const ODD: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "00",
    "01",
    "-0",
    "-1",
    "3.0",
    "1.5",
    "1e3",
    "1.386442e6",
    "1e999",
    "4294967295",
    "4294967296",
    "9223372036854775808",
    "-9223372036854775808",
    "9999999999999999999",
    "18446744073709551615",
    "18446744073709551616",
    "NaN",
    "{}",
    "[]",
    "[[]]",
    r#"{"a":[{}]}"#,
    r#""""#,
    r#""3""#,
    r#"" 3 ""#,
    r#""\ud800""#,
    r#""\ud83d\ude00""#,
    r#""\ud83d\u0041""#,
    r#""\u0022\u005c""#,
    r#""\"\\\/\b\f\n\r\t""#,
    r#""\x""#,
    r#""\u00""#,
    "\"\t\"",
    "\"\u{0}a\"",
    "\"\u{7f}\"",
    "\"\u{fffd}\"",
    "'a'",
    "",
];

/// Bytes that mean something to JSON, or to no one.
const BYTES: &[u8] =
    b"{}[]:,\"\"\"\\\\/ \n\r\t0123456789-+.eEnulltruefalsud\0\x01\x1f\x7f\x80\xbf\xe5\xed\xf0\xff";

#[derive(Clone, Copy)]
enum Type {
    Zero,
    Text,
    Flag,
    Id,
    Number,
    Rows,
    Answers,
    Contents,
    Title,
}

/// Returns a page. Whether its keys are in order, how much white space it has and how odd it is are
/// chosen for the page as a whole, because the fast decoder gives up at the first surprise.
pub(super) fn page(random: &mut Rng) -> String {
    let mut writer = Writer {
        out: String::new(),
        in_order: random.bool(),
        white_space: random.bool(),
        oddness: random.choice([0, 0, 0, 4, 20, 100]).unwrap_or_default(),
        random,
    };
    if writer.is_odd() {
        writer.out.push('\u{feff}');
    }
    writer.space();
    writer.object(PAGE);
    writer.space();
    if writer.is_odd() {
        writer.odd();
    }
    writer.out
}

struct Writer<'r> {
    out: String,
    in_order: bool,
    white_space: bool,
    /// In a thousand tokens.
    oddness: u32,
    random: &'r mut Rng,
}

impl Writer<'_> {
    fn is_odd(&mut self) -> bool {
        self.random.u32(..1000) < self.oddness
    }

    fn odd(&mut self) {
        let odd = self.random.choice(ODD).copied().unwrap_or_default();
        self.out.push_str(odd);
    }

    fn space(&mut self) {
        while self.white_space && self.random.u8(..3) == 0 {
            self.out.push(self.random.choice([' ', '\n', '\r', '\t']).unwrap_or_default());
        }
    }

    fn token(&mut self, token: char) {
        self.space();
        match if self.is_odd() { self.random.u8(..5) } else { 5 } {
            0 => {}
            1 => self.out.extend([token, token]),
            2 => self
                .out
                .push(self.random.choice(['{', '}', '[', ']', ',', ':', '"']).unwrap_or_default()),
            3 => self.odd(),
            4 => self.out.extend([token, ',']),
            _ => self.out.push(token),
        }
        self.space();
    }

    fn object(&mut self, fields: &[(&str, Type)]) {
        let mut fields = fields.to_vec();
        if !self.in_order {
            self.random.shuffle(&mut fields);
            fields.truncate(self.random.usize(..=fields.len()));
        }
        if self.random.u8(..8) == 0 {
            let at = self.random.usize(..=fields.len());
            let key =
                self.random.choice(["new", "", "enroll_i", "enroll_id2", "字"]).unwrap_or_default();
            fields.insert(
                at,
                (key, self.random.choice([Type::Text, Type::Flag, Type::Id]).unwrap_or(Type::Id)),
            );
        }
        if self.is_odd() {
            let duplicate = self.random.choice(&fields).copied();
            fields.extend(duplicate);
        }
        self.token('{');
        for (i, (key, kind)) in fields.into_iter().enumerate() {
            if i > 0 {
                self.token(',');
            }
            self.key(key);
            self.token(':');
            self.value(kind);
        }
        self.token('}');
    }

    fn key(&mut self, key: &str) {
        let odd = if self.is_odd() { self.random.u8(..5) } else { 5 };
        let key = match odd {
            0 => return self.odd(),
            1 => format!("\"{key}\\u0061\""),
            2 => format!("\"{}\"", key.replace('e', "\\u0065")),
            3 => format!("\"{key}\n\""),
            4 => key.to_owned(),
            _ => format!("\"{key}\""),
        };
        self.out.push_str(&key);
    }

    fn value(&mut self, kind: Type) {
        if self.is_odd() {
            return self.odd();
        }
        // Null is usual for any field.
        if self.random.u8(..16) == 0 && !matches!(kind, Type::Zero) {
            return self.out.push_str("null");
        }
        match kind {
            Type::Zero => self.out.push('0'),
            Type::Flag => self.out.push_str(if self.random.bool() { "true" } else { "false" }),
            Type::Number => {
                let number = match self.random.u8(..8) {
                    0 => self.random.u32(..),
                    _ => self.random.u32(..5),
                };
                self.out.push_str(&number.to_string());
            }
            Type::Id if self.random.bool() => {
                let digits = self.random.usize(1..=20);
                let id = (0..digits).map(|_| self.random.digit(10)).collect::<String>();
                self.out.push_str(if digits > 1 { id.trim_start_matches('0') } else { &id });
            }
            Type::Title if self.random.u8(..4) == 0 => self.out.push('7'),
            Type::Id | Type::Text | Type::Title => self.text(),
            Type::Rows => self.list(3, |writer| writer.object(ROW)),
            Type::Answers => self.list(3, |writer| writer.object(ANSWER)),
            Type::Contents => self.list(3, Self::text),
        }
    }

    fn list(&mut self, most: usize, mut element: impl FnMut(&mut Self)) {
        self.token('[');
        for i in 0..self.random.usize(..=most) {
            if i > 0 {
                self.token(',');
            }
            element(self);
        }
        self.token(']');
    }

    fn text(&mut self) {
        self.out.push('"');
        // Few texts, so that titles are repeated.
        let len = if self.random.bool() { 1 } else { self.random.usize(..20) };
        for _ in 0..len {
            match self.random.u8(..40) {
                0 | 1 => {
                    let escapes = ["\\n", "\\r", "\\t", "\\\"", "\\\\", "\\/", "\\b", "\\f"];
                    self.out.push_str(self.random.choice(escapes).unwrap_or_default());
                }
                2 => self.out.push_str("\\u5f15"),
                3 => self.out.push_str("\\ud83d\\ude00"),
                4 => self.out.push('字'),
                5 => self.out.push('\u{1F600}'),
                6 if self.is_odd() => self.out.push_str(
                    self.random.choice(["\\ud800", "\t", "\\", "\""]).unwrap_or_default(),
                ),
                _ => self.out.push(self.random.choice(['a', 'b', ' ', '1']).unwrap_or_default()),
            }
        }
        self.out.push('"');
    }
}

/// Changes some bytes. `other` is another page.
pub(super) fn mutate(body: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    let at = random.usize(..=body.len());
    let end = random.usize(at..=body.len()).min(at + 64);
    let byte = random.choice(BYTES).copied().unwrap_or_default();
    match random.u8(..9) {
        0 if at < body.len() => body[at] ^= 1 << random.u8(..8),
        1 if at < body.len() => body[at] = byte,
        2 => body.insert(at, byte),
        3 if at < body.len() => drop(body.remove(at)),
        4 => drop(body.drain(at..end)),
        5 => {
            let slice = body[at..end].to_vec();
            let to = if random.bool() { end } else { random.usize(..=body.len()) };
            body.splice(to..to, slice);
        }
        6 => {
            let odd = random.choice(ODD).copied().unwrap_or_default();
            let to = if random.bool() { at } else { end };
            body.splice(at..to, odd.bytes());
        }
        7 => {
            let from = random.usize(..=other.len());
            let to = random.usize(from..=other.len()).min(from + 200);
            body.splice(at..end, other[from..to].iter().copied());
        }
        _ if random.u8(..8) == 0 => body.truncate(at),
        _ => body.splice(at..at, [byte, byte]).for_each(drop),
    }
}
