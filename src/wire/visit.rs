//! The walk over a page's JSON: one seed for each thing in it, which notes where its strings lie.
//!
//! Each seed is its own visitor over [`Notes`]. Absent and null stand for empty, unknown fields are
//! passed over, and the field being read is remembered for the error.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use serde_json::value::RawValue;

use crate::wire::{
    Query,
    codec::{Envelope, MAX_ROWS, Notes, Pass},
    page::{AnswerRow, Row, Span, narrow},
    scalar::{Flag, Integer, Small},
};

/// Declares a seed over [`Notes`] that is its own visitor.
macro_rules! seed {
    ($name:ident, $value:ty, $method:ident, $expecting:literal) => {
        pub(super) struct $name<'n, 'b> {
            pub(super) notes: &'n mut Notes<'b>,
        }

        impl<'de> DeserializeSeed<'de> for $name<'_, '_> {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
                json.$method(self)
            }
        }

        impl $name<'_, '_> {
            fn expecting(f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($expecting)
            }
        }
    };
}

seed!(TextSeed, Span, deserialize_any, "a string");
seed!(ContentsSeed, Range<u32>, deserialize_any, "a list of strings");
seed!(AnswerSeed, (), deserialize_map, "an answer");
seed!(AnswersSeed, Range<u32>, deserialize_any, "a list of answers");
seed!(RowSeed, (), deserialize_map, "an enrollee");
seed!(RowsSeed, (), deserialize_any, "a list of enrollees");
seed!(PageSeed, Envelope, deserialize_map, "a page");

impl<'de> Visitor<'de> for TextSeed<'_, '_> {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::expecting(f)
    }

    fn visit_borrowed_str<E: Error>(self, s: &'de str) -> Result<Span, E> {
        Ok(self.notes.note_borrowed(s.as_bytes()))
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<Span, E> {
        Ok(self.notes.note(s))
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Span, E> {
        Ok(self.notes.note_number(n))
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Span, E> {
        Ok(self.notes.note_number(n))
    }

    fn visit_unit<E: Error>(self) -> Result<Span, E> {
        Ok(Span::default())
    }
}

/// A text that is a string, or null, in the fast pass; another one is left to the careful pass. As bytes,
/// because `serde_json` finds their end faster, and the body was checked before.
pub(super) struct StringSeed<'n, 'b> {
    notes: &'n mut Notes<'b>,
}

impl<'de> DeserializeSeed<'de> for StringSeed<'_, '_> {
    type Value = Span;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Span, D::Error> {
        match self.notes.pass {
            Pass::Fast => json.deserialize_option(self),
            Pass::Sonic | Pass::Careful => TextSeed { notes: self.notes }.deserialize(json),
        }
    }
}

impl<'de> Visitor<'de> for StringSeed<'_, '_> {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Span, D::Error> {
        json.deserialize_bytes(self)
    }

    fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Span, E> {
        Ok(self.notes.note_borrowed(bytes))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Span, E> {
        // Half a surrogate pair may have been escaped in it.
        std::str::from_utf8(bytes).map(|text| self.notes.note(text)).map_err(E::custom)
    }

    fn visit_none<E: Error>(self) -> Result<Span, E> {
        Ok(Span::default())
    }
}

/// A field of which nothing is known. `serde_json` passes over any value; sonic-rs would do so by a recursion
/// that nothing bounds, so with it only a value that holds no others is passed over.
struct UnknownSeed(Pass);

impl<'de> DeserializeSeed<'de> for UnknownSeed {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        match self.0 {
            Pass::Sonic => json.deserialize_any(self),
            Pass::Fast | Pass::Careful => json.deserialize_ignored_any(IgnoredAny).map(drop),
        }
    }
}

impl Visitor<'_> for UnknownSeed {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither a list nor an object")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

impl<'de> Visitor<'de> for ContentsSeed<'_, '_> {
    type Value = Range<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Range<u32>, A::Error> {
        let start = narrow(self.notes.tables.contents.len());
        while let Some(span) = seq.next_element_seed(StringSeed { notes: &mut *self.notes })? {
            self.notes.tables.contents.push(span);
        }
        Ok(start..narrow(self.notes.tables.contents.len()))
    }

    fn visit_str<E: Error>(self, s: &str) -> Result<Range<u32>, E> {
        let start = narrow(self.notes.tables.contents.len());
        let span = self.notes.note(s);
        self.notes.tables.contents.push(span);
        Ok(start..start + 1)
    }

    fn visit_u64<E: Error>(self, n: u64) -> Result<Range<u32>, E> {
        self.visit_str(&n.to_string())
    }

    fn visit_i64<E: Error>(self, n: i64) -> Result<Range<u32>, E> {
        self.visit_str(&n.to_string())
    }

    fn visit_unit<E: Error>(self) -> Result<Range<u32>, E> {
        Ok(0..0)
    }
}

impl<'de> Visitor<'de> for AnswersSeed<'_, '_> {
    type Value = Range<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Range<u32>, A::Error> {
        self.notes.reserve();
        let start = narrow(self.notes.tables.answers.len());
        while seq.next_element_seed(AnswerSeed { notes: &mut *self.notes })?.is_some() {}
        Ok(start..narrow(self.notes.tables.answers.len()))
    }

    fn visit_unit<E: Error>(self) -> Result<Range<u32>, E> {
        Ok(0..0)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::expecting(f)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        // A second `enroll_list` in one object replaces the first, as everywhere in JSON.
        self.notes.tables.rows.clear();
        self.notes.tables.rows.reserve(usize::from(Query::MAX_PAGE_SIZE));
        while seq.next_element_seed(RowSeed { notes: &mut *self.notes })?.is_some() {
            if self.notes.tables.rows.len() > MAX_ROWS {
                return Err(A::Error::custom("too many rows"));
            }
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Rows told apart, but not yet read: one more than a page may hold, and the rest is passed over.
pub(super) struct RawRows<'a>(pub(super) Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for RawRows<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(RawRowsVisitor).map(Self)
    }
}

struct RawRowsVisitor;

impl<'de> Visitor<'de> for RawRowsVisitor {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of enrollees")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut rows = Vec::new();
        while rows.len() <= MAX_ROWS {
            match seq.next_element()? {
                Some(row) => rows.push(row),
                None => return Ok(rows),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(rows)
    }
}

/// Declares the names of an object's fields, read without allocating.
macro_rules! fields {
    ($name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(field_identifier)]
        enum $name {
            $(#[serde(rename = $text)] $variant,)*
            #[serde(other)]
            Other,
        }

        impl $name {
            fn text(&self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other => "",
                }
            }
        }
    };
}

fields!(AnswerField {
    Content = "answer_content",
    IsRequired = "is_required",
    QuestionNum = "question_num",
    Title = "question_title",
    QuestionType = "question_type",
    SpecialType = "special_type",
});

fields!(RowField {
    EnrollId = "enroll_id",
    EnrollTime = "enroll_time",
    Source = "enroll_source_type",
    NickName = "nick_name",
    Status = "status",
    Userid = "userid",
    TmpOpenid = "tmp_openid",
    EnrollCode = "enroll_code",
    Answers = "answer_list",
});

fields!(PageField {
    Errcode = "errcode",
    Errmsg = "errmsg",
    HasMore = "has_more",
    NextCursor = "next_cursor",
    Rows = "enroll_list",
});

impl<'de> Visitor<'de> for AnswerSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let notes = self.notes;
        let mut answer = AnswerRow::default();
        while let Some(field) = map.next_key::<AnswerField>()? {
            notes.field = field.text();
            match field {
                AnswerField::Content => {
                    answer.contents = map.next_value_seed(ContentsSeed { notes: &mut *notes })?;
                }
                AnswerField::Title => {
                    answer.title = map.next_value_seed(StringSeed { notes: &mut *notes })?;
                }
                AnswerField::IsRequired => answer.is_required = map.next_value::<Small>()?.0,
                AnswerField::QuestionNum => answer.question_num = map.next_value::<Small>()?.0,
                AnswerField::QuestionType => answer.question_type = map.next_value::<Small>()?.0,
                AnswerField::SpecialType => answer.special_type = map.next_value::<Small>()?.0,
                AnswerField::Other => map.next_value_seed(UnknownSeed(notes.pass))?,
            }
        }
        notes.tables.answers.push(answer);
        Ok(())
    }
}

impl<'de> Visitor<'de> for RowSeed<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let notes = self.notes;
        let mut row = Row::default();
        while let Some(field) = map.next_key::<RowField>()? {
            notes.field = field.text();
            let text = match field {
                RowField::EnrollTime => &mut row.enroll_time,
                RowField::NickName => &mut row.nick_name,
                RowField::Userid => &mut row.userid,
                RowField::TmpOpenid => &mut row.tmp_openid,
                RowField::EnrollCode => &mut row.enroll_code,
                RowField::EnrollId => {
                    row.enroll_id = map.next_value_seed(TextSeed { notes: &mut *notes })?;
                    continue;
                }
                RowField::Source => {
                    row.source = map.next_value::<Small>()?.0;
                    continue;
                }
                RowField::Status => {
                    row.status = map.next_value::<Small>()?.0;
                    continue;
                }
                RowField::Answers => {
                    row.answers = map.next_value_seed(AnswersSeed { notes: &mut *notes })?;
                    continue;
                }
                RowField::Other => {
                    map.next_value_seed(UnknownSeed(notes.pass))?;
                    continue;
                }
            };
            *text = map.next_value_seed(StringSeed { notes: &mut *notes })?;
        }
        notes.tables.rows.push(row);
        Ok(())
    }
}

impl<'de> Visitor<'de> for PageSeed<'_, '_> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Self::expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let notes = self.notes;
        let mut envelope = Envelope::default();
        while let Some(field) = map.next_key::<PageField>()? {
            notes.field = field.text();
            match field {
                PageField::Errcode => envelope.errcode = map.next_value::<Integer>()?.0,
                PageField::HasMore => envelope.has_more = map.next_value::<Flag>()?.0,
                PageField::Rows => map.next_value_seed(RowsSeed { notes: &mut *notes })?,
                PageField::Errmsg => {
                    envelope.errmsg = map.next_value_seed(TextSeed { notes: &mut *notes })?;
                }
                PageField::NextCursor => {
                    envelope.next_cursor = map.next_value_seed(TextSeed { notes: &mut *notes })?;
                }
                PageField::Other => {
                    map.next_value_seed(UnknownSeed(notes.pass))?;
                    continue;
                }
            }
            envelope.known |= !matches!(field, PageField::Errmsg | PageField::NextCursor);
        }
        Ok(envelope)
    }
}
