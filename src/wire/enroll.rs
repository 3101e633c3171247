//! Rows as their reader sees them: [`Enroll`] and [`Answer`], views of a decoded page.
//!
//! A view is an `Arc` and an index: it costs no allocation, and its accessors look the strings up
//! in the page. The small enums keep numbers that are not documented.

use std::{
    fmt,
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use jiff::{civil::DateTime, tz};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeStruct,
};

use crate::wire::{
    codec,
    page::{AnswerRow, Row, Span, Tables, narrow},
};

/// One enrollee: a view of its page, cheap to clone, without an allocation of its own.
///
/// **A kept row keeps its page**, and all its rows with it. Who keeps few rows of many calls
/// [`Enroll::detach`] on them.
///
/// Enrollees are personal data: `Debug` shows only the `enroll_id`. `Serialize` writes the API's own
/// field names: `enroll_id` always a string, enums as their numbers, `answer_content` always an
/// array. `Deserialize` reads one row as leniently as a page is read:
///
/// ```
/// use wecom_enroll::{Enroll, EnrollStatus};
///
/// let row: Enroll = serde_json::from_str(r#"{"enroll_id": 1386442, "status": 3}"#)?;
/// assert_eq!(row.enroll_id(), "1386442");
/// assert_eq!(row.status(), EnrollStatus::Approved);
/// assert_eq!(row.userid(), None);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone)]
pub struct Enroll {
    page: Arc<Tables>,
    /// Below the page's row count, at a row that was decoded.
    index: u32,
}

/// One answer of an enrollee to a question of the registration form.
///
/// ```
/// use wecom_enroll::{Enroll, QuestionType, SpecialType};
///
/// let row: Enroll = serde_json::from_str(
///     r#"{"enroll_id": "1", "answer_list": [{
///         "question_num": 2, "question_title": "您的公司?", "answer_content": ["腾讯"],
///         "is_required": 2, "question_type": 3, "special_type": 5
///     }]}"#,
/// )?;
/// let answer = row.answers().next().ok_or("no answer")?;
/// assert_eq!((answer.question_num(), answer.question_title()), (2, "您的公司?"));
/// assert_eq!(answer.content().collect::<Vec<_>>(), ["腾讯"]);
/// assert_eq!(answer.question_type(), QuestionType::ShortAnswer);
/// assert_eq!(answer.special_type(), SpecialType::Company);
/// assert!(answer.is_required());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    page: &'a Tables,
    row: &'a AnswerRow,
}

impl Enroll {
    #[inline]
    pub(super) fn new(page: Arc<Tables>, index: usize) -> Self {
        Self { page, index: narrow(index) }
    }

    fn row(&self) -> &Row {
        &self.page.rows[self.index as usize]
    }

    fn optional(&self, span: Span) -> Option<&str> {
        Some(self.page.text(span)).filter(|text| !text.is_empty())
    }

    /// The enrolment's id, unique within its meeting. A string, whatever the wire had.
    #[must_use]
    pub fn enroll_id(&self) -> &str {
        self.page.text(self.row().enroll_id)
    }

    /// The time of enrolment as the server sent it, in UTC+8; see [`Enroll::enrolled_at`].
    #[must_use]
    pub fn enroll_time(&self) -> &str {
        self.page.text(self.row().enroll_time)
    }

    /// The time of enrolment, `None` where `enroll_time` is in neither documented format:
    /// `2023-03-23 10:00:00` (WeCom's page 98876) and `2023/03/23 14:00` (98810), both UTC+8.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    ///
    /// use wecom_enroll::Enroll;
    ///
    /// let row: Enroll =
    ///     serde_json::from_str(r#"{"enroll_id": "1", "enroll_time": "1970-01-01 08:00:01"}"#)?;
    /// assert_eq!(row.enrolled_at(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1)));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn enrolled_at(&self) -> Option<SystemTime> {
        let time = self.enroll_time();
        let civil = DateTime::strptime("%Y-%m-%d %H:%M:%S", time)
            .or_else(|_| DateTime::strptime("%Y/%m/%d %H:%M", time))
            .ok()?;
        let seconds = tz::offset(8).to_timestamp(civil).ok()?.as_second();
        let distance = Duration::from_secs(seconds.unsigned_abs());
        match seconds {
            0.. => SystemTime::UNIX_EPOCH.checked_add(distance),
            _ => SystemTime::UNIX_EPOCH.checked_sub(distance),
        }
    }

    /// The nickname; the phone number of a row imported by phone number without a nickname.
    #[must_use]
    pub fn nick_name(&self) -> &str {
        self.page.text(self.row().nick_name)
    }

    /// The approval status.
    #[must_use]
    pub fn status(&self) -> EnrollStatus {
        self.row().status.into()
    }

    /// How the enrolment came about.
    #[must_use]
    pub fn source(&self) -> EnrollSource {
        self.row().source.into()
    }

    /// The member's userid; `None` for people outside the corp (absent, null or empty on the wire).
    #[must_use]
    pub fn userid(&self) -> Option<&str> {
        self.optional(self.row().userid)
    }

    /// The temporary id in this meeting; `None` where absent, null or empty.
    #[must_use]
    pub fn tmp_openid(&self) -> Option<&str> {
        self.optional(self.row().tmp_openid)
    }

    /// The code for joining by telephone; `None` where absent, null or empty.
    #[must_use]
    pub fn enroll_code(&self) -> Option<&str> {
        self.optional(self.row().enroll_code)
    }

    /// The answers, in the server's order.
    #[must_use]
    pub fn answers(&self) -> impl ExactSizeIterator<Item = Answer<'_>> + Clone {
        slice(&self.page.answers, &self.row().answers)
            .iter()
            .map(|row| Answer { page: &self.page, row })
    }

    /// A copy of this row that does not keep its page alive.
    ///
    /// ```
    /// use wecom_enroll::Enroll;
    ///
    /// let row: Enroll = serde_json::from_str(r#"{"enroll_id": "1", "nick_name": "周静"}"#)?;
    /// let kept = row.detach();
    /// drop(row); // and its page
    /// assert_eq!(kept.nick_name(), "周静");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn detach(&self) -> Self {
        let from = self.row();
        let mut to = Tables::default();
        let body = &mut to.body;
        let mut copy = |span| {
            let text = self.page.text(span);
            body.push_str(text);
            Span::new(body.len() - text.len(), text.len())
        };
        let row = Row {
            enroll_id: copy(from.enroll_id),
            enroll_time: copy(from.enroll_time),
            nick_name: copy(from.nick_name),
            userid: copy(from.userid),
            tmp_openid: copy(from.tmp_openid),
            enroll_code: copy(from.enroll_code),
            answers: 0..narrow(from.answers.len()),
            ..*from
        };
        for answer in slice(&self.page.answers, &from.answers) {
            let start = narrow(to.contents.len());
            let spans = slice(&self.page.contents, &answer.contents);
            to.contents.extend(spans.iter().map(|&span| copy(span)));
            let contents = start..narrow(to.contents.len());
            to.answers.push(AnswerRow { title: copy(answer.title), contents, ..*answer });
        }
        to.rows.push(row);
        Self { page: Arc::new(to), index: 0 }
    }
}

impl<'a> Answer<'a> {
    /// The answer: one string for a single choice or a text, several for a multiple choice.
    #[must_use]
    pub fn content(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone + use<'a> {
        let page = self.page;
        slice(&page.contents, &self.row.contents).iter().map(|&span| page.text(span))
    }

    /// Whether the question must be answered. On the wire 2 says yes and 1 says no.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.row.is_required == 2
    }

    /// The question's number: 1, 2, 3…
    #[must_use]
    pub fn question_num(&self) -> u32 {
        self.row.question_num
    }

    /// The question.
    #[must_use]
    pub fn question_title(&self) -> &'a str {
        self.page.text(self.row.title)
    }

    /// How the question is answered.
    #[must_use]
    pub fn question_type(&self) -> QuestionType {
        self.row.question_type.into()
    }

    /// What the question asks for, if it is one of WeCom's special questions.
    #[must_use]
    pub fn special_type(&self) -> SpecialType {
        self.row.special_type.into()
    }
}

fn slice<'a, T>(table: &'a [T], range: &Range<u32>) -> &'a [T] {
    table.get(range.start as usize..range.end as usize).unwrap_or_default()
}

/// Declares an enum of the API that keeps numbers it does not know.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A number that is not documented; 0 where the field is absent.
            Unknown(u32),
        }

        impl From<u32> for $name {
            fn from(number: u32) -> Self {
                match number {
                    $($number => Self::$variant,)*
                    _ => Self::Unknown(number),
                }
            }
        }

        impl From<$name> for u32 {
            fn from(value: $name) -> Self {
                match value {
                    $($name::$variant => $number,)*
                    $name::Unknown(number) => number,
                }
            }
        }
    };
}

open_enum! {
    /// The approval status of an enrolment (WeCom's page 98876).
    ///
    /// ```
    /// use wecom_enroll::EnrollStatus;
    ///
    /// assert_eq!(EnrollStatus::from(3), EnrollStatus::Approved);
    /// assert_eq!(EnrollStatus::from(9), EnrollStatus::Unknown(9));
    /// assert_eq!(u32::from(EnrollStatus::Unknown(9)), 9);
    /// ```
    EnrollStatus {
        /// Waits for approval.
        Pending = 1,
        /// Rejected.
        Rejected = 2,
        /// Approved.
        Approved = 3,
    }
}

open_enum! {
    /// How an enrolment came about (WeCom's page 98876).
    ///
    /// ```
    /// use wecom_enroll::EnrollSource;
    ///
    /// assert_eq!(EnrollSource::from(2), EnrollSource::Import);
    /// ```
    EnrollSource {
        /// The person enrolled.
        Manual = 1,
        /// An organiser imported a list.
        Import = 2,
    }
}

open_enum! {
    /// How a question is answered (WeCom's page 98876).
    ///
    /// ```
    /// use wecom_enroll::QuestionType;
    ///
    /// assert_eq!(QuestionType::from(2), QuestionType::MultipleChoice);
    /// ```
    QuestionType {
        /// One of several choices.
        SingleChoice = 1,
        /// Any number of several choices.
        MultipleChoice = 2,
        /// A short text.
        ShortAnswer = 3,
    }
}

open_enum! {
    /// What a special question asks for (WeCom's page 98876); all of them are short answers.
    ///
    /// ```
    /// use wecom_enroll::SpecialType;
    ///
    /// assert_eq!(SpecialType::from(5), SpecialType::Company);
    /// ```
    SpecialType {
        /// Not a special question.
        None = 1,
        /// A phone number.
        Phone = 2,
        /// An email address.
        Email = 3,
        /// A name.
        Name = 4,
        /// A company's name.
        Company = 5,
    }
}

impl fmt::Debug for Enroll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enroll").field("enroll_id", &self.enroll_id()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("question_num", &self.question_num()).finish_non_exhaustive()
    }
}

impl Serialize for Enroll {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let row = self.row();
        let mut json = serializer.serialize_struct("Enroll", 9)?;
        json.serialize_field("enroll_id", self.enroll_id())?;
        json.serialize_field("enroll_time", self.enroll_time())?;
        json.serialize_field("enroll_source_type", &row.source)?;
        json.serialize_field("nick_name", self.nick_name())?;
        json.serialize_field("status", &row.status)?;
        json.serialize_field("userid", &self.userid())?;
        json.serialize_field("tmp_openid", &self.tmp_openid())?;
        json.serialize_field("enroll_code", &self.enroll_code())?;
        json.serialize_field("answer_list", &Sequence(self.answers()))?;
        json.end()
    }
}

impl Serialize for Answer<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut json = serializer.serialize_struct("Answer", 6)?;
        json.serialize_field("answer_content", &Sequence(self.content()))?;
        json.serialize_field("is_required", &self.row.is_required)?;
        json.serialize_field("question_num", &self.row.question_num)?;
        json.serialize_field("question_title", self.question_title())?;
        json.serialize_field("question_type", &self.row.question_type)?;
        json.serialize_field("special_type", &self.row.special_type)?;
        json.end()
    }
}

/// An iterator as a JSON array, without collecting it.
struct Sequence<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Sequence<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

impl<'de> Deserialize<'de> for Enroll {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?.to_string();
        let tables = codec::decode_row(json).map_err(D::Error::custom)?;
        Ok(Self { page: Arc::new(tables), index: 0 })
    }
}
