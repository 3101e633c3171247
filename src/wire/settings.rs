//! [`EnrollSettings`]: the enrollment settings of a webinar (WeCom document 98874) or meeting (98800).

use bytes::Bytes;
use serde::Serialize;
use serde_json::{from_str, value::RawValue};

use crate::{
    error::{Error, Result},
    wire::{
        decode::utf8,
        lenient::{Object, errcode, escape_control_characters, flag, integer, lossy_text, parse},
        open_enum::{ApprovalType, QuestionType, SpecialType},
        query::Query,
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

/// Encodes the body of a request.
pub(crate) fn encode_settings(query: &Query) -> Result<Bytes> {
    #[derive(Serialize)]
    struct Body<'a> {
        meetingid: &'a str,
    }
    let json = serde_json::to_vec(&Body { meetingid: query.meeting_id() })
        .map_err(|e| Error::invalid_argument(e.to_string()))?;
    Ok(json.into())
}

/// Decodes the response. Each field may have the types that a field of a page may have.
pub(crate) fn decode_settings(body: &[u8]) -> Result<EnrollSettings> {
    let (body, _) = utf8(body)?;
    let body = escape_control_characters(&body);
    let settings = parse(&body, "the response does not contain enrollment settings")?;
    if let Some(error) = errcode(&settings) {
        return Err(error);
    }
    let invalid = |field| Error::decode(format!("`{field}` has an unexpected type or value"));
    if !["errcode", "approve_type", "question_list"].iter().any(|key| settings.contains_key(*key)) {
        return Err(Error::decode("the response is JSON, but not enrollment settings"));
    }
    integer(settings.get("errcode")).ok_or_else(|| invalid("errcode"))?;
    let approval = number(&settings, "approve_type").ok_or_else(|| invalid("approve_type"))?;
    let collects = number(&settings, "is_collect_question");
    let collects = collects.ok_or_else(|| invalid("is_collect_question"))?;
    let staff = flag(settings.get("no_registration_needed_for_staff"));
    let questions = list(&settings, "question_list", |json| question(&from_str(json).ok()?));
    Ok(EnrollSettings {
        approval: approval.into(),
        collects_answers: collects == YES,
        staff_need_no_enrollment: staff
            .ok_or_else(|| invalid("no_registration_needed_for_staff"))?,
        questions: questions.ok_or_else(|| invalid("question_list"))?,
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
