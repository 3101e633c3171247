//! `Deserialize` of a single [`Enroll`], from every format that `Serialize` can write.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{
        Error, MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use serde_json::Value;

use crate::wire::{enroll::Enroll, lenient};

/// The fields of a row in the order in which `Serialize` writes them.
const FIELDS: &[&str] = &[
    "enroll_id",
    "enroll_time",
    "enroll_source_type",
    "nick_name",
    "status",
    "userid",
    "tmp_openid",
    "enroll_code",
    "answer_list",
];

/// In a format that writes the names of fields, each field may have the same JSON types as in a page.
impl<'de> Deserialize<'de> for Enroll {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `deserialize_struct` would let `serde_json` refuse other types with a message that quotes the value.
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(RowVisitor);
        }
        deserializer.deserialize_struct("Enroll", FIELDS, RowVisitor)
    }
}

/// A row in a format without the names of fields: it has exactly the types that `Serialize` writes.
#[derive(Serialize, Deserialize)]
struct Compact {
    enroll_id: String,
    enroll_time: String,
    enroll_source_type: u32,
    nick_name: String,
    status: u32,
    userid: Option<String>,
    tmp_openid: Option<String>,
    enroll_code: Option<String>,
    answer_list: Vec<CompactAnswer>,
}

#[derive(Serialize, Deserialize)]
struct CompactAnswer {
    answer_content: Vec<String>,
    is_required: u32,
    question_num: u32,
    question_title: String,
    question_type: u32,
    special_type: u32,
}

struct RowVisitor;

/// Refuses values of these types. The default would quote them, but rows are personal data.
macro_rules! refuse {
    ($($method:ident($type:ty))*) => {$(
        fn $method<E: Error>(self, _: $type) -> Result<Enroll, E> {
            Err(E::custom("not an enrollee: it is not an object"))
        }
    )*};
}

impl<'de> Visitor<'de> for RowVisitor {
    type Value = Enroll;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an enrollee")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Enroll, A::Error> {
        decode(&Value::deserialize(MapAccessDeserializer::new(map))?)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Enroll, A::Error> {
        // The text of the error could quote a value of the row.
        let row = Compact::deserialize(SeqAccessDeserializer::new(seq)).map_err(|_| {
            A::Error::custom(
                "not an enrollee: a sequence must have exactly the fields that `Serialize` writes",
            )
        })?;
        decode(&row)
    }

    refuse!(visit_i64(i64) visit_u64(u64) visit_f64(f64) visit_str(&str) visit_bytes(&[u8]));
}

fn decode<E: Error>(row: &impl Serialize) -> Result<Enroll, E> {
    let json = serde_json::to_string(row).map_err(E::custom)?;
    let tables = lenient::decode_row(&json)
        .map_err(|field| E::custom(format_args!("not an enrollee (field `{field}`)")))?;
    Ok(Enroll::new(Arc::new(tables), 0))
}
