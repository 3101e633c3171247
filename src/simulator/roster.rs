//! The roster makes up the enrollees: the same row for the same meeting and index, each time, and none held in memory.

use std::io;

use serde::Serialize;

/// Which of the two lists a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Webinar,
    Meeting,
}

/// The id of the enrollee at `index`; on the wire a number or a string.
pub(super) fn enroll_id(index: u64) -> u64 {
    1_386_442 + index
}

/// 1 pending, 2 rejected, 3 approved.
pub(super) fn status(index: u64) -> u32 {
    match index % 10 {
        0 => 1,
        5 => 2,
        _ => 3,
    }
}

/// The first `enroll_time` is 2023-03-23 10:00:00; each row follows some seconds after the one before.
const FIRST_DAY: u64 = 19_439;
const FIRST_SECOND: u64 = 36_000;
const STEP_SECONDS: u64 = 7;

const SURNAMES: [&str; 16] = [
    "王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "欧阳", "司马", "上官",
    "诸葛",
];
const GIVEN: [&str; 16] = [
    "伟", "芳", "娜", "敏", "静", "丽娟", "建国", "志强", "晓明", "雨桐", "子轩", "思远", "嘉怡",
    "浩然", "𠮷", "䶮",
];
/// Some need escapes in JSON or CSV.
const LATIN: [&str; 6] =
    ["Alice Chen", "bob_wang", "O'Neil \"Neo\" Li", "Élodie 张", "Tom\\王", "小鱼🐟"];
const COMPANIES: [&str; 4] = [
    "上海云帆信息技术有限公司",
    "深圳市启明星科技股份有限公司",
    "北京\"青禾\"文化传媒",
    "Acme & Sons (中国) Ltd.",
];
const ROLES: [&str; 4] = ["A. 产品经理", "B. 研发工程师", "C. 市场与运营", "D. 其他,请说明"];
const TOPICS: [&str; 5] =
    ["开放接口与集成", "数据安全与合规", "大型直播的组织", "智能会议室", "客户成功案例/Q&A"];

#[derive(Serialize)]
struct Row<'a> {
    enroll_id: Loose,
    enroll_time: &'a str,
    enroll_source_type: u8,
    nick_name: &'a str,
    status: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    userid: Option<Loose>,
    tmp_openid: &'a str,
    enroll_code: &'a str,
    answer_list: [Item<'a>; 5],
}

#[derive(Clone, Copy, Serialize)]
struct Item<'a> {
    answer_content: &'a [&'a str],
    is_required: u8,
    question_num: u8,
    question_title: &'a str,
    question_type: u8,
    special_type: u8,
}

/// A field whose type WeCom does not keep to.
#[derive(Serialize)]
#[serde(untagged)]
enum Loose {
    Null,
    Number(u64),
    Text(String),
}

/// One meeting's enrollees.
pub(super) struct Roster {
    list: List,
    seed: u64,
}

impl Roster {
    pub(super) fn new(list: List, meeting: &str) -> Self {
        Self { list, seed: hash(meeting.as_bytes()) }
    }

    /// Appends the row at `index`, as JSON.
    pub(super) fn write(&self, index: u64, out: &mut Vec<u8>) -> io::Result<()> {
        let luck = mix(self.seed ^ mix(index));
        let imported = pick(luck, 3) == 0;
        let phone = format!("1{}", 3_000_000_000 + luck % 6_900_000_000);
        let chinese = format!("{}{}", one_of(&SURNAMES, luck), one_of(&GIVEN, luck >> 8));
        let name = if pick(luck >> 16, 4) == 0 { one_of(&LATIN, luck >> 20) } else { &chinese };
        let email = format!("user{:06}@example{}.com", enroll_id(index), pick(luck >> 24, 9));
        let time = time(self.list, index);
        let first_topic = pick(luck >> 28, 5);
        let answer = |num, required, kind, special, title, content| Item {
            answer_content: content,
            is_required: if required { 2 } else { 1 },
            question_num: num,
            question_title: title,
            question_type: kind,
            special_type: special,
        };
        // Four special questions; each enrollee leaves one of them out.
        let (name_slice, phone_slice, email_slice) = ([name], [phone.as_str()], [email.as_str()]);
        let company = [one_of(&COMPANIES, luck >> 32)];
        let special = [
            answer(3, false, 3, 2, "请填写您的手机号码,以便接收会议提醒短信", &phone_slice),
            answer(4, false, 3, 3, "请填写您的工作邮箱 (work e-mail)", &email_slice),
            answer(5, false, 3, 4, "您的真实姓名", &name_slice),
            answer(6, false, 3, 5, "您所在的公司名称(与营业执照一致)", &company),
        ];
        let role = [one_of(&ROLES, luck >> 36)];
        let left_out = pick(index, 4);
        let special = |nth| special[nth + usize::from(nth >= left_out)];
        let row = Row {
            enroll_id: match self.list {
                List::Webinar if index % 2 == 0 => Loose::Number(enroll_id(index)),
                _ => Loose::Text(enroll_id(index).to_string()),
            },
            enroll_time: &time,
            enroll_source_type: if imported { 2 } else { 1 },
            // As documented: a row imported by phone number, without a name, shows the number.
            nick_name: if imported && pick(luck >> 40, 2) == 0 { &phone } else { name },
            status: status(index),
            userid: match pick(luck >> 44, 4) {
                0 => None,
                1 => Some(Loose::Null),
                2 => Some(Loose::Text(String::new())),
                _ => Some(Loose::Text(format!("user{}", enroll_id(index)))),
            },
            tmp_openid: &format!("mso_{luck:016x}{:016X}", mix(luck)),
            enroll_code: &format!("{:07}", luck % 10_000_000),
            answer_list: [
                answer(1, true, 1, 1, "您的岗位是?(单选)", &role),
                answer(2, true, 2, 1, "您最关注哪些议题?(多选)", &TOPICS[first_topic..]),
                special(0),
                special(1),
                special(2),
            ],
        };
        Ok(serde_json::to_writer(out, &row)?)
    }
}

/// WeCom's two ways to write a time.
fn time(list: List, index: u64) -> String {
    let seconds = FIRST_SECOND + index * STEP_SECONDS;
    let (year, month, day) = date(FIRST_DAY + seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match list {
        List::Webinar => format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"),
        List::Meeting => format!("{year}/{month:02}/{day:02} {hour:02}:{minute:02}"),
    }
}

/// The date so many days after 1970-01-01: Howard Hinnant's `civil_from_days`, whose years begin in March.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let january_or_february = month >= 10;
    (era * 400 + year + u64::from(january_or_february), (month + 2) % 12 + 1, day)
}

/// FNV-1a: small, and the same on every machine, as cursors must outlive the process.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finish of splitmix64: every bit of the input moves every bit of the output.
pub(super) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A number below `n`, from the low bits of `luck`.
fn pick(luck: u64, n: u8) -> usize {
    usize::from(luck.to_le_bytes()[0] % n)
}

fn one_of<'a>(words: &[&'a str], luck: u64) -> &'a str {
    words[usize::from(luck.to_le_bytes()[0]) % words.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashSet;

    fn row(list: List, meeting: &str, index: u64) -> Vec<u8> {
        let mut out = Vec::new();
        Roster::new(list, meeting).write(index, &mut out).unwrap();
        out
    }

    #[test]
    fn a_row_depends_on_the_meeting_and_the_index_only() {
        assert_eq!(row(List::Webinar, "M", 12), row(List::Webinar, "M", 12));
        assert_ne!(row(List::Webinar, "M", 12), row(List::Webinar, "N", 12));
        assert_ne!(row(List::Webinar, "M", 12), row(List::Webinar, "M", 13));
    }

    #[test]
    fn rows_show_all_that_the_api_can_send() {
        let rows: Vec<Value> = (0..1000)
            .map(|i| serde_json::from_slice(&row(List::Webinar, "M", i)).unwrap())
            .collect();
        let ids: HashSet<_> =
            rows.iter().map(|row| row["enroll_id"].to_string().replace('"', "")).collect();
        assert_eq!(ids.len(), 1000);
        assert!(rows[0]["enroll_id"].is_u64() && rows[1]["enroll_id"].is_string());
        assert!((0..1000).all(|i| rows[i]["status"] == status(i as u64)));
        assert!(
            rows.windows(2)
                .all(|two| two[0]["enroll_time"].as_str() < two[1]["enroll_time"].as_str())
        );
        for shape in [None, Some(Value::Null), Some("".into())] {
            assert!(rows.iter().any(|row| row.get("userid") == shape.as_ref()));
        }
        assert!(rows.iter().any(|row| row["nick_name"].as_str().unwrap().parse::<u64>().is_ok()));
        let answers: Vec<_> =
            rows.iter().flat_map(|row| row["answer_list"].as_array().unwrap()).collect();
        assert_eq!(answers.len(), 5000);
        for kind in 1..=3 {
            assert!(answers.iter().any(|answer| answer["question_type"] == kind));
        }
        for kind in 1..=5 {
            assert!(answers.iter().any(|answer| answer["special_type"] == kind));
        }
        assert!(
            answers.iter().any(|answer| answer["answer_content"].as_array().unwrap().len() > 2)
        );
        let bytes: usize = (0..1000).map(|i| row(List::Webinar, "M", i).len()).sum();
        assert!((1000..1400).contains(&(bytes / 1000)), "{} bytes a row", bytes / 1000);
    }

    #[test]
    fn times_follow_the_calendar() {
        assert_eq!(time(List::Webinar, 0), "2023-03-23 10:00:00");
        assert_eq!(time(List::Meeting, 60), "2023/03/23 10:07");
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(19_782), (2024, 2, 29));
        assert_eq!(date(19_783), (2024, 3, 1));
        assert_eq!(date(20_088), (2024, 12, 31));
        assert_eq!(date(20_089), (2025, 1, 1));
    }

    #[test]
    fn the_meeting_list_has_ids_as_strings() {
        let row: Value = serde_json::from_slice(&row(List::Meeting, "M", 0)).unwrap();
        assert_eq!(row["enroll_id"], "1386442");
        assert_eq!(row["enroll_time"], "2023/03/23 10:00");
    }
}
