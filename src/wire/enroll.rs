//! [`Enroll`] and [`Answer`]: the rows of a list, as views of a decoded page.
//!
//! A view is an `Arc` and an index. It needs no allocation; its accessors look the strings up in the page.

use std::{
    fmt,
    iter::{self, FusedIterator},
    ops::Range,
    slice,
    sync::Arc,
    time::SystemTime,
};

use jiff::{civil::DateTime, tz};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use xxhash_rust::xxh64::xxh64;

use crate::wire::{
    open_enum::{EnrollSource, EnrollStatus, QuestionType, SpecialType},
    tables::{AnswerRow, ByteRange, Row, Tables, narrow},
};

/// Large enough for the bytes of most rows.
const DIGEST_BYTES: usize = 1024;

/// One enrollee. Cloning does not allocate, because a row is a view of its page.
///
/// | accessor | type | API field |
/// |---|---|---|
/// | [`enroll_id`](Self::enroll_id) | `&str` | `enroll_id`, a number or a string in the response |
/// | [`enroll_time`](Self::enroll_time) | `&str` | `enroll_time`, as received, in UTC+8 |
/// | [`enrolled_at`](Self::enrolled_at) | `Option<SystemTime>` | `enroll_time`, parsed |
/// | [`source`](Self::source) | [`EnrollSource`] | `enroll_source_type` |
/// | [`nick_name`](Self::nick_name) | `&str` | `nick_name` |
/// | [`status`](Self::status) | [`EnrollStatus`] | `status` |
/// | [`userid`](Self::userid) | `Option<&str>` | `userid` |
/// | [`tmp_openid`](Self::tmp_openid) | `Option<&str>` | `tmp_openid` |
/// | [`enroll_code`](Self::enroll_code) | `Option<&str>` | `enroll_code` |
/// | [`answers`](Self::answers) | iterator of [`Answer`] | `answer_list` |
///
/// **An `Enroll` shares the buffer of its page.** If you keep only a few rows of many pages, call
/// [`Enroll::detach`] to copy them out and free the pages.
///
/// Enrollees are personal data, so `Debug` prints only the `enroll_id`. `Serialize` writes the API's field
/// names: `enroll_id` always as a string, enums as numbers, `answer_content` always as an array. Every format
/// of serde reads what it has written. From a format with the names of fields, such as JSON, `Deserialize`
/// accepts the same types for each field as a page:
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
    /// The index of the row in the page.
    index: u32,
}

/// One answer of an enrollee to a question of the enrollment form.
#[derive(Clone, Copy, Debug)]
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

    fn optional(&self, range: ByteRange) -> Option<&str> {
        Some(self.page.text(range)).filter(|text| !text.is_empty())
    }

    /// Returns the enrollment's id, which is unique within its meeting. Numbers are converted to strings.
    pub fn enroll_id(&self) -> &str {
        self.page.text(self.row().enroll_id)
    }

    /// Returns the time of enrollment as received, in UTC+8. See [`Enroll::enrolled_at`].
    pub fn enroll_time(&self) -> &str {
        self.page.text(self.row().enroll_time)
    }

    /// Returns the time of enrollment, or `None` if `enroll_time` has neither of the documented formats:
    /// `2023-03-23 10:00:00` (WeCom doc 98876) and `2023/03/23 14:00` (98810).
    pub fn enrolled_at(&self) -> Option<SystemTime> {
        let time = self.enroll_time();
        let civil = DateTime::strptime("%Y-%m-%d %H:%M:%S", time)
            .or_else(|_| DateTime::strptime("%Y/%m/%d %H:%M", time))
            .ok()?;
        tz::offset(8).to_timestamp(civil).ok().map(SystemTime::from)
    }

    /// Returns the nickname. For a row that was imported by phone number without a nickname, this is the phone number.
    pub fn nick_name(&self) -> &str {
        self.page.text(self.row().nick_name)
    }

    /// Returns the approval status.
    pub fn status(&self) -> EnrollStatus {
        self.row().status.into()
    }

    /// Returns how the enrollment was made.
    pub fn source(&self) -> EnrollSource {
        self.row().source.into()
    }

    /// Returns the userid of a member of the organization. `None` for other people: the field is absent, null
    /// or empty.
    pub fn userid(&self) -> Option<&str> {
        self.optional(self.row().userid)
    }

    /// Returns the enrollee's temporary id in this meeting. `None` if the field is absent, null or empty.
    pub fn tmp_openid(&self) -> Option<&str> {
        self.optional(self.row().tmp_openid)
    }

    /// Returns the code for joining by telephone. `None` if the field is absent, null or empty.
    pub fn enroll_code(&self) -> Option<&str> {
        self.optional(self.row().enroll_code)
    }

    /// Returns the answers in the server's order.
    pub fn answers(&self) -> Answers<'_> {
        Answers { page: &self.page, rows: slice(&self.page.answers, &self.row().answers).iter() }
    }

    /// Returns a hash of all fields, to write only the rows that have changed when the list is read again. Equal rows
    /// have equal digests, on every machine and in every release of this crate. It is not a cryptographic hash: two
    /// different rows have the same digest with a probability of 2⁻⁶⁴, unless somebody constructs them.
    ///
    /// # Format
    ///
    /// The digest is XXH64 with the seed 0 of these bytes, for which a buffer is allocated:
    ///
    /// - `enroll_id`, `enroll_time`, `nick_name`, `userid`, `tmp_openid` and `enroll_code` as UTF-8, each
    ///   followed by the byte 255. A field without a value is empty;
    /// - `enroll_source_type`, `status` and the number of answers, each as 32 bits in little-endian order;
    /// - for each answer, `question_title` as above; `question_num`, `question_type`, `special_type`,
    ///   `is_required` and the number of texts in `answer_content`, each in 32 bits; then these texts as above.
    ///
    /// ```
    /// use wecom_enroll::Enroll;
    ///
    /// let row = |json| serde_json::from_str::<Enroll>(json);
    /// let digest = row(r#"{"enroll_id": 1386442, "status": 1}"#)?.digest();
    /// assert_eq!(digest, row(r#"{"enroll_id": "1386442", "userid": "", "status": 1}"#)?.digest());
    /// assert_ne!(digest, row(r#"{"enroll_id": 1386442, "status": 3}"#)?.digest());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn digest(&self) -> u64 {
        // One call for all bytes costs less than a call for each text and number.
        let mut bytes = Vec::with_capacity(DIGEST_BYTES);
        let mut add = |texts: &mut dyn Iterator<Item = &str>, numbers: &[u32]| {
            for text in texts {
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(255);
            }
            for number in numbers {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
        };
        let row = self.row();
        let texts = [row.enroll_id, row.enroll_time, row.nick_name];
        let texts = texts.into_iter().chain([row.userid, row.tmp_openid, row.enroll_code]);
        let answers = narrow(self.answers().len());
        add(&mut texts.map(|range| self.page.text(range)), &[row.source, row.status, answers]);
        for answer in self.answers() {
            let AnswerRow { question_num, question_type, special_type, is_required, .. } =
                *answer.row;
            let contents = narrow(answer.content().len());
            add(
                &mut iter::once(answer.question_title()),
                &[question_num, question_type, special_type, is_required, contents],
            );
            add(&mut answer.content(), &[]);
        }
        xxh64(&bytes, 0)
    }

    /// Copies this row out of its page, so that the page can be freed.
    #[must_use]
    pub fn detach(&self) -> Self {
        let from = self.row();
        let mut to = Tables::default();
        let side = &mut to.side;
        let mut copy = |range| {
            let text = self.page.text(range);
            side.push_str(text);
            ByteRange::new(side.len() - text.len(), text.len())
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
            let ranges = slice(&self.page.contents, &answer.contents);
            to.contents.extend(ranges.iter().map(|&range| copy(range)));
            let contents = start..narrow(to.contents.len());
            to.answers.push(AnswerRow { title: copy(answer.title), contents, ..*answer });
        }
        to.rows.push(row);
        Self::new(Arc::new(to), 0)
    }
}

impl<'a> Answer<'a> {
    /// Returns the answer: one string for a single choice or a text, any number of strings for a multiple choice.
    pub fn content(&self) -> AnswerContent<'a> {
        let ranges = slice(&self.page.contents, &self.row.contents).iter();
        AnswerContent { page: self.page, ranges }
    }

    /// Returns whether the question must be answered. The API sends 2 for yes and 1 for no.
    pub fn is_required(&self) -> bool {
        self.row.is_required == 2
    }

    /// Returns the number of the question: 1, 2, 3…
    pub fn question_num(&self) -> u32 {
        self.row.question_num
    }

    /// Returns the text of the question.
    pub fn question_title(&self) -> &'a str {
        self.page.text(self.row.title)
    }

    /// Returns how the question is answered.
    pub fn question_type(&self) -> QuestionType {
        self.row.question_type.into()
    }

    /// Returns what the question asks for, if it is one of WeCom's special questions.
    pub fn special_type(&self) -> SpecialType {
        self.row.special_type.into()
    }
}

fn slice<'a, T>(table: &'a [T], range: &Range<u32>) -> &'a [T] {
    table.get(range.start as usize..range.end as usize).unwrap_or_default()
}

/// The answers of an [`Enroll`]. Returned by [`Enroll::answers`].
#[derive(Clone, Debug)]
#[must_use = "iterators do nothing unless consumed"]
pub struct Answers<'a> {
    page: &'a Tables,
    rows: slice::Iter<'a, AnswerRow>,
}

impl<'a> Iterator for Answers<'a> {
    type Item = Answer<'a>;

    fn next(&mut self) -> Option<Answer<'a>> {
        self.rows.next().map(|row| Answer { page: self.page, row })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl ExactSizeIterator for Answers<'_> {}

impl FusedIterator for Answers<'_> {}

/// The strings of an [`Answer`]. Returned by [`Answer::content`].
#[derive(Clone, Debug)]
#[must_use = "iterators do nothing unless consumed"]
pub struct AnswerContent<'a> {
    page: &'a Tables,
    ranges: slice::Iter<'a, ByteRange>,
}

impl<'a> Iterator for AnswerContent<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        self.ranges.next().map(|&range| self.page.text(range))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ranges.size_hint()
    }
}

impl ExactSizeIterator for AnswerContent<'_> {}

impl FusedIterator for AnswerContent<'_> {}

/// Two rows are equal if all their fields are, whichever page they are from.
impl PartialEq for Enroll {
    fn eq(&self, other: &Self) -> bool {
        self.enroll_id() == other.enroll_id()
            && self.enroll_time() == other.enroll_time()
            && self.source() == other.source()
            && self.nick_name() == other.nick_name()
            && self.status() == other.status()
            && self.userid() == other.userid()
            && self.tmp_openid() == other.tmp_openid()
            && self.enroll_code() == other.enroll_code()
            && self.answers().eq(other.answers())
    }
}

impl Eq for Enroll {}

/// Two answers are equal if all their fields are.
impl PartialEq for Answer<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.question_num() == other.question_num()
            && self.question_title() == other.question_title()
            && self.question_type() == other.question_type()
            && self.special_type() == other.special_type()
            && self.row.is_required == other.row.is_required
            && self.content().eq(other.content())
    }
}

impl Eq for Answer<'_> {}

/// Rows are personal data, so only the `enroll_id` is printed.
impl fmt::Debug for Enroll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enroll").field("enroll_id", &self.enroll_id()).finish_non_exhaustive()
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

/// Serializes an iterator as a sequence, without collecting it.
struct Sequence<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Sequence<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}
