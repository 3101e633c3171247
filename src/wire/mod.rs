//! The WeCom API as data: bytes in, values out. No async, no clock, no code for calls or streams.

mod decode;
mod deserialize;
mod enroll;
pub(crate) mod integer;
mod json_input;
mod lenient;
mod open_enum;
mod page;
mod query;

mod scan;
mod tables;

pub use enroll::{Answer, AnswerContent, Answers, Enroll};
pub use open_enum::{EnrollSource, EnrollStatus, QuestionType, SpecialType};
pub use page::{Page, Rows};
pub use query::{Query, StatusFilter};

pub(crate) use decode::{decode_errcode, decode_page, decode_token, encode};
pub(crate) use query::text_problem;
pub(crate) use tables::{Cursor, MAX_ROWS};
