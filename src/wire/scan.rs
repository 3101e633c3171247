//! The fast decoder, for exactly one JSON structure: the enrollment list as WeCom usually sends it.
//!
//! It knows the keys of a page, a row and an answer, and predicts that keys have the same order as in the previous
//! object. It gives up, by returning `None`, at anything unusual: another type, a duplicate key, an unknown key with a
//! nested value, a negative number, a fraction or an exponent, or invalid JSON. `lenient.rs` then decodes the page.

use crate::wire::{
    json_input::{Input, Key, Object},
    tables::{AnswerRow, ByteRange, Cursor, ListResponse, MAX_ROWS, Row, Tables, narrow},
};

/// A lower estimate of the size of an answer in bytes, to reserve memory for all answers at once.
const ANSWER_LEN: usize = 192;

/// The number of rows for which memory is reserved: what WeCom sends (doc 98876).
const USUAL_ROWS: usize = 50;

/// The number of questions whose titles are predicted.
const TITLES: usize = 16;

/// Decodes `body`. Returns `None` if it is unusual, or has an errcode other than 0.
pub(super) fn scan(body: &str) -> Option<ListResponse> {
    let mut scanner = Scanner {
        input: Input::new(body),
        tables: Tables::default(),
        row_order: [RowKey::EnrollId; RowKey::COUNT],
        answer_order: [AnswerKey::Content; AnswerKey::COUNT],
        titles: [ByteRange::default(); TITLES],
    };
    let (has_more, next_cursor) = scanner.page()?;
    if scanner.input.peek().is_some() {
        return None;
    }
    let next_cursor = Cursor::new(scanner.tables.text_in(body, next_cursor));
    Some(ListResponse { tables: scanner.tables, has_more, next_cursor })
}

/// Declares the keys of an object.
macro_rules! keys {
    ($object:ident { $($variant:ident $name:literal)* }) => {
        #[derive(Clone, Copy, PartialEq)]
        enum $object { $($variant,)* End, Unknown }

        impl $object {
            const COUNT: usize = Self::Unknown as usize + 1;
        }

        impl Key for $object {
            const END: Self = Self::End;

            #[inline]
            fn strip(self, rest: &[u8]) -> Option<&[u8]> {
                match self {
                    $(Self::$variant => rest.strip_prefix(concat!('"', $name, "\":").as_bytes()),)*
                    Self::End | Self::Unknown => None,
                }
            }

            fn parse(name: &str) -> Self {
                match name { $($name => Self::$variant,)* _ => Self::Unknown }
            }

            #[inline]
            fn index(self) -> usize { self as usize }
        }
    };
}

keys!(PageKey {
    Errcode "errcode" Errmsg "errmsg" HasMore "has_more" NextCursor "next_cursor" Rows "enroll_list"
});
keys!(RowKey {
    EnrollId "enroll_id" EnrollTime "enroll_time" Source "enroll_source_type" NickName "nick_name"
    Status "status" Userid "userid" TmpOpenid "tmp_openid" EnrollCode "enroll_code"
    Answers "answer_list"
});
keys!(AnswerKey {
    Content "answer_content" IsRequired "is_required" QuestionNum "question_num"
    Title "question_title" QuestionType "question_type" SpecialType "special_type"
});

struct Scanner<'b> {
    input: Input<'b>,
    tables: Tables,
    /// `row_order[key]` is the key that followed `key` in the last row; `row_order[End]` is the first key.
    row_order: [RowKey; RowKey::COUNT],
    answer_order: [AnswerKey; AnswerKey::COUNT],
    /// The titles of the questions by number.
    titles: [ByteRange; TITLES],
}

impl Scanner<'_> {
    fn page(&mut self) -> Option<(bool, ByteRange)> {
        let (mut known, mut has_more, mut next_cursor) = (false, false, ByteRange::default());
        let (mut object, mut order) = (Object::new(), [PageKey::Errcode; PageKey::COUNT]);
        loop {
            let key = self.input.key(&mut object, &mut order)?;
            known |= matches!(key, PageKey::Errcode | PageKey::HasMore | PageKey::Rows);
            match key {
                PageKey::End => return known.then_some((has_more, next_cursor)),
                PageKey::Errcode if self.input.small()? != 0 => return None,
                PageKey::Errcode => {}
                PageKey::Errmsg => drop(self.text()?),
                PageKey::HasMore => has_more = self.input.flag()?,
                PageKey::NextCursor => next_cursor = self.text()?,
                PageKey::Rows => {
                    self.tables.rows.reserve(USUAL_ROWS);
                    self.list(Self::row)?;
                }
                PageKey::Unknown => self.skip_scalar()?,
            }
        }
    }

    fn row(&mut self) -> Option<()> {
        let (mut row, mut object) = (Row::default(), Object::new());
        loop {
            match self.input.key(&mut object, &mut self.row_order)? {
                RowKey::End => break,
                RowKey::EnrollId => row.enroll_id = self.text()?,
                RowKey::EnrollTime => row.enroll_time = self.text()?,
                RowKey::Source => row.source = self.input.small()?,
                RowKey::NickName => row.nick_name = self.text()?,
                RowKey::Status => row.status = self.input.small()?,
                RowKey::Userid => row.userid = self.text()?,
                RowKey::TmpOpenid => row.tmp_openid = self.text()?,
                RowKey::EnrollCode => row.enroll_code = self.text()?,
                RowKey::Answers => {
                    let start = narrow(self.tables.answers.len());
                    self.list(Self::answer)?;
                    row.answers = start..narrow(self.tables.answers.len());
                }
                RowKey::Unknown => self.skip_scalar()?,
            }
        }
        self.tables.rows.push(row);
        (self.tables.rows.len() <= MAX_ROWS).then_some(())
    }

    fn answer(&mut self) -> Option<()> {
        if self.tables.answers.is_empty() {
            self.tables.answers.reserve(self.input.body.len() / ANSWER_LEN);
            self.tables.contents.reserve(self.input.body.len() / ANSWER_LEN);
        }
        let (mut answer, mut object) = (AnswerRow::default(), Object::new());
        loop {
            match self.input.key(&mut object, &mut self.answer_order)? {
                AnswerKey::End => break,
                AnswerKey::Content => {
                    let start = narrow(self.tables.contents.len());
                    self.list(|scanner| {
                        let content = scanner.text()?;
                        scanner.tables.contents.push(content);
                        Some(())
                    })?;
                    answer.contents = start..narrow(self.tables.contents.len());
                }
                AnswerKey::IsRequired => answer.is_required = self.input.small()?,
                AnswerKey::QuestionNum => answer.question_num = self.input.small()?,
                AnswerKey::Title => answer.title = self.title(answer.question_num)?,
                AnswerKey::QuestionType => answer.question_type = self.input.small()?,
                AnswerKey::SpecialType => answer.special_type = self.input.small()?,
                AnswerKey::Unknown => self.skip_scalar()?,
            }
        }
        self.tables.answers.push(answer);
        Some(())
    }

    /// Scans an array, or null.
    fn list(&mut self, mut element: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        if !self.input.skip(b'[') {
            return self.input.literal(b"null").then_some(());
        }
        if self.input.skip(b']') {
            return Some(());
        }
        loop {
            element(self)?;
            if !self.input.skip(b',') {
                return self.input.expect(b']');
            }
        }
    }

    fn text(&mut self) -> Option<ByteRange> {
        self.input.text(&mut self.tables.side)
    }

    /// Scans the title of a question, which is usually the same as in the row before.
    fn title(&mut self, question_num: u32) -> Option<ByteRange> {
        let known = &mut self.titles[question_num as usize % TITLES];
        let quoted = known.quoted_in(self.input.body);
        if quoted.starts_with(b"\"") && self.input.skip_text(quoted) {
            return Some(*known);
        }
        *known = self.input.text(&mut self.tables.side)?;
        Some(*known)
    }

    /// Skips the value of an unknown key.
    fn skip_scalar(&mut self) -> Option<()> {
        let is_bool = self.input.literal(b"true") || self.input.literal(b"false");
        if is_bool { Some(()) } else { self.text().map(drop) }
    }
}
