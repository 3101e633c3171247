//! The questions of the enrollment form, which is the same for every meeting.

use serde::{Serialize, Serializer};

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "they are the field names of the API")]
pub(super) struct Question {
    pub(super) is_required: u8,
    pub(super) question_type: u8,
    pub(super) question_title: &'static str,
    pub(super) special_type: u8,
    #[serde(rename = "option_list", serialize_with = "option_list")]
    pub(super) options: &'static [&'static str],
}

const ROLES: [&str; 4] = ["A. 产品经理", "B. 研发工程师", "C. 市场与运营", "D. 其他,请说明"];
const TOPICS: [&str; 5] =
    ["开放接口与集成", "数据安全与合规", "大型直播的组织", "智能会议室", "客户成功案例/Q&A"];

pub(super) const QUESTIONS: [Question; 6] = [
    choice(1, "您的岗位是?(单选)", &ROLES),
    choice(2, "您最关注哪些议题?(多选)", &TOPICS),
    special(2, "请填写您的手机号码,以便接收会议提醒短信"),
    special(3, "请填写您的工作邮箱 (work e-mail)"),
    special(4, "您的真实姓名"),
    special(5, "您所在的公司名称(与营业执照一致)"),
];

const fn choice(
    question_type: u8,
    question_title: &'static str,
    options: &'static [&'static str],
) -> Question {
    Question { is_required: 2, question_type, question_title, special_type: 1, options }
}

const fn special(special_type: u8, question_title: &'static str) -> Question {
    Question { is_required: 1, question_type: 3, question_title, special_type, options: &[] }
}

fn option_list<S: Serializer>(options: &[&str], serializer: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Choice<'a> {
        content: &'a str,
    }
    serializer.collect_seq(options.iter().map(|content| Choice { content }))
}
