//! What WeCom says: bytes in, values out. No async, no clock, no knowledge of calls or walks.

mod codec;
mod enroll;
mod page;
mod query;
mod scalar;
mod visit;

pub use enroll::{Answer, Enroll, EnrollSource, EnrollStatus, QuestionType, SpecialType};
pub use page::Page;
pub use query::{Query, StatusFilter};

pub(crate) use codec::{decode_errcode, decode_page, decode_token, encode, peek_cursor};
pub(crate) use page::Cursor;
