//! The WeCom API as data: bytes in, values out. No async, no clock, no code for calls or streams.

mod decode;
mod deserialize;
mod enroll;
mod integer;
mod json_input;
mod lenient;
mod open_enum;
mod page;
mod query;
mod scan;
mod settings;
mod tables;

pub use enroll::{Answer, AnswerContent, Answers, Enroll};
pub use open_enum::{ApprovalType, EnrollSource, EnrollStatus, QuestionType, SpecialType};
pub use page::{Page, Rows};
pub use query::{Query, StatusFilter};
pub use settings::{EnrollSettings, Question};

pub(crate) use decode::{
    decode_approval, decode_errcode, decode_page, decode_token, encode, encode_approval,
    encode_settings,
};
pub(crate) use integer::integer;
pub(crate) use query::text_problem;
pub(crate) use settings::decode_settings;
pub(crate) use tables::{Cursor, MAX_ROWS};
