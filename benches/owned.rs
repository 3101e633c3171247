//! The types that a user would write instead: derived `Deserialize` with owned strings.
#![allow(clippy::struct_field_names, reason = "the names of the API")]

use serde::Deserialize;

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded only to measure the cost")]
pub(crate) struct Page {
    pub(crate) has_more: bool,
    pub(crate) next_cursor: String,
    pub(crate) enroll_list: Vec<Row>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded only to measure the cost")]
pub(crate) struct Row {
    /// A number or a string: WeCom's documentation shows both.
    pub(crate) enroll_id: serde_json::Value,
    pub(crate) enroll_time: String,
    pub(crate) enroll_source_type: u32,
    pub(crate) nick_name: String,
    pub(crate) status: u32,
    pub(crate) userid: Option<String>,
    pub(crate) tmp_openid: Option<String>,
    pub(crate) enroll_code: Option<String>,
    pub(crate) answer_list: Vec<Answer>,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded only to measure the cost")]
pub(crate) struct Answer {
    pub(crate) answer_content: Vec<String>,
    pub(crate) is_required: u32,
    pub(crate) question_num: u32,
    pub(crate) question_title: String,
    pub(crate) question_type: u32,
    pub(crate) special_type: u32,
}
