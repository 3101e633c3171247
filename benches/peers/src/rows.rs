//! The list that is served: enrollees generated from a seed, in pages.
//!
//! The hand-written loop and the other paginators decode into the same types, with owned strings.

use anyhow::Result;
use bytes::Bytes;
use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// Rows per page: the maximum of WeCom.
pub(crate) const PAGE: u32 = 50;

/// The id of the first row. All ids have eight digits.
const FIRST_ID: u32 = 10_000_000;

/// The number of different pages, which the list repeats with other ids. They do not fit into a CPU cache.
const PAGES: usize = 64;
/// Limits the number of pages if they are large, so that the server does not need a gigabyte.
const BYTES_OF_PAGES: usize = 32 << 20;

/// The size of a row.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Shape {
    /// Answers per row
    #[arg(long, default_value_t = Self::FULL.answers)]
    pub(crate) answers: u32,
    /// Average bytes per answer
    #[arg(long, value_name = "BYTES", default_value_t = Self::FULL.answer_bytes)]
    pub(crate) answer_bytes: usize,
}

impl Shape {
    /// About 1.2 kB per row, 60 kB per page.
    pub(crate) const FULL: Self = Self { answers: 5, answer_bytes: 54 };
}

/// A decoded response.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) errcode: i32,
    pub(crate) errmsg: String,
    pub(crate) has_more: bool,
    pub(crate) next_cursor: String,
    pub(crate) enroll_list: Vec<Row>,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) enroll_id: String,
    pub(crate) enroll_time: String,
    pub(crate) enroll_source_type: u32,
    pub(crate) nick_name: String,
    pub(crate) status: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) userid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tmp_openid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enroll_code: Option<String>,
    pub(crate) answer_list: Vec<Answer>,
}

#[derive(Clone, Serialize, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
pub(crate) struct Answer {
    pub(crate) answer_content: Vec<String>,
    pub(crate) is_required: u32,
    pub(crate) question_num: u32,
    pub(crate) question_title: String,
    pub(crate) question_type: u32,
    pub(crate) special_type: u32,
}

/// The different pages that the server sends. A list repeats them with other ids.
pub(crate) struct ServedPages {
    pages: Vec<Vec<Row>>,
}

impl ServedPages {
    /// Generates the pages. The same shape always gives the same pages.
    pub(crate) fn new(shape: Shape) -> Self {
        let mut rng = Rng::with_seed(20_230_323);
        let mut pages = Vec::new();
        let mut bytes = 0;
        while pages.len() < 4 || pages.len() < PAGES && bytes < BYTES_OF_PAGES {
            let page: Vec<_> =
                (FIRST_ID..).take(PAGE as usize).map(|id| row(&mut rng, id, shape)).collect();
            bytes += page.iter().map(Row::content_bytes).sum::<usize>();
            pages.push(page);
        }
        Self { pages }
    }

    /// Serializes each page.
    pub(crate) fn tails(&self) -> Result<Vec<Tail>> {
        self.pages.iter().map(|rows| Tail::new(rows)).collect()
    }

    /// Returns the average bytes of a page, without its head.
    pub(crate) fn page_bytes(&self) -> Result<u32> {
        let tails = self.tails()?;
        Ok(u32::try_from(tails.iter().map(|tail| tail.json.len()).sum::<usize>() / tails.len())?)
    }

    /// Returns the rows of a list of this length.
    pub(crate) fn rows(&self, rows: u32) -> impl Iterator<Item = Row> {
        let repeated = self.pages.iter().cycle().flatten().zip(FIRST_ID..);
        repeated
            .take(rows as usize)
            .map(|(row, id)| Row { enroll_id: id.to_string(), ..row.clone() })
    }
}

/// The end of a response, from its rows on.
pub(crate) struct Tail {
    json: Vec<u8>,
    /// Where the ids of the rows are.
    ids: Vec<usize>,
}

impl Tail {
    fn new(rows: &[Row]) -> Result<Self> {
        let json = serde_json::to_string(rows)? + "}";
        let key = r#""enroll_id":""#;
        let ids = json.match_indices(key).map(|(at, _)| at + key.len()).collect();
        Ok(Self { json: json.into(), ids })
    }

    /// Returns the end of the response for this page of the list, counted from 0.
    pub(crate) fn of_page(&self, number: u32) -> Bytes {
        let mut json = self.json.clone();
        for (&at, id) in self.ids.iter().zip(FIRST_ID + number * PAGE..) {
            let id = id.to_string();
            json[at..at + id.len()].copy_from_slice(id.as_bytes());
        }
        json.into()
    }
}

impl Row {
    /// Returns the bytes of the answers, which is most of the row.
    fn content_bytes(&self) -> usize {
        self.answer_list.iter().flat_map(|answer| &answer.answer_content).map(String::len).sum()
    }
}

fn row(rng: &mut Rng, id: u32, shape: Shape) -> Row {
    let member = rng.bool();
    Row {
        enroll_id: id.to_string(),
        enroll_time: format!(
            "2023-{:02}-{:02} {:02}:{:02}:{:02}",
            rng.u8(1..=12),
            rng.u8(1..=28),
            rng.u8(0..24),
            rng.u8(0..60),
            rng.u8(0..60)
        ),
        enroll_source_type: rng.u32(1..=2),
        nick_name: name(rng),
        status: rng.u32(1..=3),
        userid: member.then(|| format!("{}{:04}", pick(rng, &USERIDS), rng.u16(0..10_000))),
        tmp_openid: (!member).then(|| letters(rng, 28)),
        enroll_code: Some(rng.u32(1_000_000..10_000_000).to_string()),
        answer_list: (1..=shape.answers).map(|num| answer(rng, num, shape.answer_bytes)).collect(),
    }
}

fn answer(rng: &mut Rng, num: u32, bytes: usize) -> Answer {
    let (question_type, special_type, answer_content) = match num % 5 {
        1 => (3, 1, vec![sentence(rng, bytes)]),
        2 => (3, 2, vec![format!("13{:09}", rng.u32(0..1_000_000_000))]),
        3 => (1, 1, vec![text(rng, bytes)]),
        4 => (2, 1, vec![text(rng, bytes / 2), text(rng, bytes / 2)]),
        _ => (3, 5, vec![text(rng, bytes) + "有限公司"]),
    };
    Answer {
        answer_content,
        is_required: rng.u32(1..=2),
        question_num: num,
        question_title: TITLES[num as usize % TITLES.len()].to_owned(),
        question_type,
        special_type,
    }
}

fn name(rng: &mut Rng) -> String {
    let surname = pick(rng, &SURNAMES);
    let given = (0..=rng.u8(0..2)).map(|_| pick(rng, &GIVEN)).collect::<String>();
    format!("{surname}{given}")
}

/// Generates a text that sometimes contains characters that JSON escapes.
fn sentence(rng: &mut Rng, bytes: usize) -> String {
    let text = text(rng, bytes);
    match rng.u8(0..8) {
        0 => text + "\n谢谢",
        1 => format!("\"{text}\""),
        _ => text,
    }
}

/// Generates a text of half to one and a half times this many bytes.
fn text(rng: &mut Rng, bytes: usize) -> String {
    let length = rng.usize(bytes / 2..=bytes + bytes / 2);
    let mut text = String::new();
    while text.len() < length {
        text += pick(rng, &PHRASES);
    }
    text.truncate(text.floor_char_boundary(length));
    text
}

fn letters(rng: &mut Rng, count: usize) -> String {
    (0..count).map(|_| rng.alphanumeric()).collect()
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(0..from.len())]
}

const SURNAMES: [&str; 10] = ["王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "欧阳"];

const GIVEN: [&str; 12] =
    ["伟", "芳", "娜", "敏", "静", "强", "磊", "洋", "艳", "勇", "晓明", "Lily "];

const USERIDS: [&str; 5] = ["ZhangWei", "wang.fang", "LiNa", "chen_jing", "YangLei"];

const TITLES: [&str; 10] = [
    "您最希望在本次研讨会中了解哪些内容?",
    "请填写您的手机号码,以便会前提醒",
    "贵公司目前的人员规模是多少?",
    "您对以下哪些产品或方案感兴趣(可多选)?",
    "您所在公司的全称",
    "您是通过什么渠道得知本次直播的?",
    "请填写您的办公电话",
    "您所在的行业",
    "会后是否需要顾问与您联系?需要的话请选择时间段",
    "您的部门和职位",
];

const PHRASES: [&str; 16] = [
    "希望了解企业微信与现有客户管理系统的对接方式,",
    "数据安全与权限管理,",
    "我们公司大约有三百名员工,",
    "制造业数字化转型的实际案例,",
    "如何降低运营成本?",
    "会议录制和回放,",
    "深圳市南山区科技园",
    "私域流量运营、",
    "API 接口的调用频率限制,",
    "互联网 / 软件服务",
    "50-200人",
    "人力资源、",
    "同事推荐",
    "公众号文章",
    "直播带货与门店导购,",
    "上海浦东张江高科技园区",
];
