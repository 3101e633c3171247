//! [`EnrollSettings`]: the enrollment settings of a webinar (WeCom doc 98874) or meeting (98800).

use bytes::Bytes;
use serde_json::{from_str, value::RawValue};

use crate::{
    error::Result,
    wire::{
        decode::utf8,
        lenient::{
            Object, escape_control_characters, flag, integer, lossy_text, parse, unexpected,
        },
        open_enum::{ApprovalType, QuestionType, SpecialType},
    },
};

/// The enrollment settings of a webinar or meeting. Returned by
/// [`Client::enroll_settings`](crate::Client::enroll_settings).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct EnrollSettings {
    /// Whether enrollments are approved automatically or by an organizer.
    pub approval: ApprovalType,
    /// Whether people must answer questions to enroll.
    pub collects_answers: bool,
    /// Whether members of the organization take part without enrolling.
    pub staff_need_no_enrollment: bool,
    /// The questions, in the server's order.
    pub questions: Vec<Question>,
}

/// A question of the enrollment form. Part of [`EnrollSettings`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Question {
    /// The text of the question.
    pub title: String,
    /// Whether the question must be answered.
    pub is_required: bool,
    /// How the question is answered.
    pub question_type: QuestionType,
    /// What the question asks for, if it is one of WeCom's special questions.
    pub special_type: SpecialType,
    /// The choices. Empty for a text.
    pub options: Vec<String>,
}

/// Decodes the response. Each field may have the types that a field of a page may have.
pub(crate) fn decode_settings(body: &Bytes) -> Result<EnrollSettings> {
    let (body, _) = utf8(body)?;
    let body = escape_control_characters(&body);
    let fields = ["errcode", "approve_type", "question_list"];
    let settings = parse(&body, "enrollment settings", &fields)?;
    let number = |field| number(&settings, field).ok_or_else(|| unexpected(field));
    let staff_field = "no_registration_needed_for_staff";
    let staff = flag(settings.get(staff_field)).ok_or_else(|| unexpected(staff_field))?;
    let questions = list(&settings, "question_list", |json| question(&from_str(json).ok()?));
    Ok(EnrollSettings {
        approval: number("approve_type")?.into(),
        collects_answers: number("is_collect_question")? == YES,
        staff_need_no_enrollment: staff,
        questions: questions.ok_or_else(|| unexpected("question_list"))?,
    })
}

/// The API sends 2 for yes and 1 for no.
const YES: u32 = 2;

fn question(question: &Object<'_>) -> Option<Question> {
    Some(Question {
        title: lossy_text(question.get("question_title"))?,
        is_required: number(question, "is_required")? == YES,
        question_type: number(question, "question_type")?.into(),
        special_type: number(question, "special_type")?.into(),
        options: list(question, "option_list", |option| {
            lossy_text(from_str::<Object<'_>>(option).ok()?.get("content"))
        })?,
    })
}

fn number(object: &Object<'_>, field: &str) -> Option<u32> {
    integer(object.get(field))?.try_into().ok()
}

/// Decodes a list, which may be absent or null.
fn list<T>(object: &Object<'_>, field: &str, decode: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let json = object.get(field).map_or("null", |list| list.get());
    let items: Option<Vec<&RawValue>> = from_str(json).ok()?;
    items.unwrap_or_default().into_iter().map(|item| decode(item.get())).collect()
}
