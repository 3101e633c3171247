//! Generates enrollees. A row depends only on the meeting, the list, the index and the status, so no row is
//! kept in memory.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    io,
    slice::from_ref,
};

use jiff::{
    SignedDuration,
    civil::{DateTime, date},
};
use serde::Serialize;
use serde_json::Value;

use super::questions::QUESTIONS;

/// One of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum List {
    Webinar,
    Meeting,
}

const FIRST_ENROLL_ID: u64 = 1_386_442;
const FIRST_ENROLL_TIME: DateTime = date(2023, 3, 23).at(10, 0, 0, 0);
const SECONDS_BETWEEN_ROWS: u64 = 7;

const SURNAMES: [&str; 16] = [
    "王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "欧阳", "司马", "上官",
    "诸葛",
];
const GIVEN_NAMES: [&str; 16] = [
    "伟", "芳", "娜", "敏", "静", "丽娟", "建国", "志强", "晓明", "雨桐", "子轩", "思远", "嘉怡",
    "浩然", "𠮷", "䶮",
];
/// Some of these contain characters that JSON or CSV escapes.
const NICKNAMES: [&str; 6] =
    ["Alice Chen", "bob_wang", "O'Neil \"Neo\" Li", "Élodie 张", "Tom\\王", "小鱼🐟"];
const COMPANIES: [&str; 4] = [
    "上海云帆信息技术有限公司",
    "深圳市启明星科技股份有限公司",
    "北京\"青禾\"文化传媒",
    "Acme & Sons (中国) Ltd.",
];

#[derive(Serialize)]
struct Row<'a> {
    enroll_id: Value,
    enroll_time: &'a str,
    enroll_source_type: u8,
    nick_name: &'a str,
    status: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    userid: Option<Value>,
    tmp_openid: &'a str,
    enroll_code: &'a str,
    answer_list: &'a [Answer<'a>],
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "they are the field names of the API")]
struct Answer<'a> {
    answer_content: &'a [&'a str],
    is_required: u8,
    question_num: u8,
    question_title: &'a str,
    question_type: u8,
    special_type: u8,
}

/// Returns the number in the `enroll_id` of the enrollee at `index`.
pub(super) fn enroll_id(index: u64) -> u64 {
    index.saturating_add(FIRST_ENROLL_ID)
}

/// Returns the index of the enrollee with this `enroll_id`.
pub(super) fn index(enroll_id: &str) -> Option<u64> {
    let index = enroll_id.parse::<u64>().ok()?.checked_sub(FIRST_ENROLL_ID)?;
    // "+1386442" and "01386442" are other ids.
    (self::enroll_id(index).to_string() == enroll_id).then_some(index)
}

/// Returns the first `status` of the enrollee at `index`: 1 is pending, 2 is rejected, 3 is approved.
pub(super) fn generated_status(index: u64) -> u32 {
    match index % 10 {
        0 => 1,
        5 => 2,
        _ => 3,
    }
}

/// Returns a hash that is the same in every process that runs this build.
pub(super) fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Appends the row of the enrollee at `index` as JSON.
pub(super) fn write_row(
    list: List,
    meeting: &str,
    index: u64,
    status: u32,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let mut rng = fastrand::Rng::with_seed(hash(&(meeting, index)));
    let id = enroll_id(index);
    let phone = format!("1{}", rng.u64(3_000_000_000..9_900_000_000));
    let full_name = [pick(&mut rng, &SURNAMES), pick(&mut rng, &GIVEN_NAMES)].concat();
    let name = if rng.u8(..4) == 0 { pick(&mut rng, &NICKNAMES) } else { &full_name };
    let imported = rng.u8(..3) == 0;
    let email = format!("user{id:06}@example{}.com", rng.u8(..9));
    let company = pick(&mut rng, &COMPANIES);
    let [roles, topics, ..] = QUESTIONS.map(|question| question.options);
    let role = pick(&mut rng, roles);
    let topics = &topics[rng.usize(..topics.len())..];
    let (phone, email) = (phone.as_str(), email.as_str());
    let contents = [
        from_ref(&role),
        topics,
        from_ref(&phone),
        from_ref(&email),
        from_ref(&name),
        from_ref(&company),
    ];
    let answers = (1..).zip(&QUESTIONS).zip(contents);
    let mut answers: Vec<_> = answers
        .map(|((question_num, question), answer_content)| Answer {
            answer_content,
            is_required: question.is_required,
            question_num,
            question_title: question.question_title,
            question_type: question.question_type,
            special_type: question.special_type,
        })
        .collect();
    // Each enrollee leaves one of the four optional questions unanswered.
    answers.remove(rng.usize(2..6));
    let row = Row {
        // The webinar list sends both numbers and strings.
        enroll_id: match list {
            List::Webinar if index % 2 == 0 => id.into(),
            _ => id.to_string().into(),
        },
        enroll_time: &enroll_time(list, index),
        enroll_source_type: if imported { 2 } else { 1 },
        // WeCom shows the phone number if a row was imported without a name.
        nick_name: if imported && rng.bool() { phone } else { name },
        status,
        userid: match rng.u8(..4) {
            0 => None,
            1 => Some(Value::Null),
            2 => Some("".into()),
            _ => Some(format!("user{id}").into()),
        },
        tmp_openid: &format!("mso_{:016x}{:016X}", rng.u64(..), rng.u64(..)),
        enroll_code: &format!("{:07}", rng.u32(..10_000_000)),
        answer_list: &answers,
    };
    Ok(serde_json::to_writer(out, &row)?)
}

/// Returns the enrollment time in the format of the list.
fn enroll_time(list: List, index: u64) -> String {
    let seconds = index.saturating_mul(SECONDS_BETWEEN_ROWS).try_into().unwrap_or(i64::MAX);
    let time = FIRST_ENROLL_TIME.saturating_add(SignedDuration::from_secs(seconds));
    let format = match list {
        List::Webinar => "%Y-%m-%d %H:%M:%S",
        List::Meeting => "%Y/%m/%d %H:%M",
    };
    time.strftime(format).to_string()
}

fn pick<'a>(rng: &mut fastrand::Rng, words: &[&'a str]) -> &'a str {
    words[rng.usize(..words.len())]
}
