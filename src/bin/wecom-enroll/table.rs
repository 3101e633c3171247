//! Rows as cells, for CSV and workbooks: the scalar fields, a column a question, and the rest.
//!
//! The columns are those of the first page. An answer to a question that has none goes into the last
//! column as JSON, so nothing is lost.

use std::{borrow::Cow, collections::HashMap, io};

use jiff::{Timestamp, civil::DateTime, tz};
use wecom_enroll::{Answer, Enroll};

const SCALARS: [&str; 9] = [
    "meetingid",
    "enroll_id",
    "enroll_time",
    "enroll_source_type",
    "nick_name",
    "status",
    "userid",
    "tmp_openid",
    "enroll_code",
];
/// The place of `enroll_time`.
pub(crate) const TIME: u16 = 2;
const OTHERS: &str = "other_answers";

/// The columns of a CSV or workbook: one a question, between the scalar fields and the other answers.
pub(crate) struct Table {
    titles: Vec<String>,
    places: HashMap<String, usize>,
}

pub(crate) enum Cell<'a> {
    Number(u32),
    Text(Cow<'a, str>),
    /// As it came, and the time in UTC+8 that it says.
    Time(&'a str, DateTime),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl Table {
    /// The most questions with a column of their own; a worksheet has 16,384 columns.
    const MAX: usize = 16_000;

    pub(crate) fn new(titles: Vec<String>) -> Self {
        let places =
            titles.iter().enumerate().map(|(place, title)| (title.clone(), place)).collect();
        Self { titles, places }
    }

    pub(crate) fn titles(&self) -> &[String] {
        &self.titles
    }

    /// The questions of these rows, in order of first appearance.
    pub(crate) fn of(rows: &[Enroll]) -> Self {
        let mut table = Self::new(Vec::new());
        for title in rows.iter().flat_map(Enroll::answers).map(|answer| answer.question_title()) {
            if table.titles.len() < Self::MAX && !table.places.contains_key(title) {
                table.places.insert(title.to_owned(), table.titles.len());
                table.titles.push(title.to_owned());
            }
        }
        table
    }

    pub(crate) fn header(&self) -> impl Iterator<Item = &str> {
        SCALARS.into_iter().chain(self.titles.iter().map(String::as_str)).chain([OTHERS])
    }

    pub(crate) fn cells<'a>(&self, meeting: &'a str, row: &'a Enroll) -> io::Result<Vec<Cell<'a>>> {
        let mut answers: Vec<Option<Answer<'a>>> = vec![None; self.titles.len()];
        let mut others = Vec::new();
        for answer in row.answers() {
            match self.places.get(answer.question_title()).and_then(|&place| answers.get_mut(place))
            {
                Some(place @ None) => *place = Some(answer),
                _ => others.push(answer),
            }
        }
        let scalars = [
            meeting.into(),
            row.enroll_id().into(),
            match time(row) {
                Some(time) => Cell::Time(row.enroll_time(), time),
                None => row.enroll_time().into(),
            },
            Cell::Number(row.source().into()),
            row.nick_name().into(),
            Cell::Number(row.status().into()),
            row.userid().unwrap_or_default().into(),
            row.tmp_openid().unwrap_or_default().into(),
            row.enroll_code().unwrap_or_default().into(),
        ];
        let others =
            if others.is_empty() { String::new() } else { serde_json::to_string(&others)? };
        let answers =
            answers.into_iter().map(|answer| Cell::Text(answer.map(joined).unwrap_or_default()));
        Ok(scalars.into_iter().chain(answers).chain([Cell::Text(others.into())]).collect())
    }
}

/// When the row's person has enrolled, in UTC+8.
pub(crate) fn time(row: &Enroll) -> Option<DateTime> {
    let time = Timestamp::try_from(row.enrolled_at()?).ok()?;
    Some(tz::offset(8).to_datetime(time))
}

fn joined(answer: Answer<'_>) -> Cow<'_, str> {
    let mut contents = answer.content();
    match (contents.next(), contents.len()) {
        (None, _) => "".into(),
        (Some(only), 0) => only.into(),
        _ => answer.content().collect::<Vec<_>>().join("; ").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(answers: &serde_json::Value) -> Enroll {
        let row =
            serde_json::json!({"enroll_id": 7, "nick_name": "a,\"b\"", "answer_list": answers});
        serde_json::from_value(row).unwrap()
    }

    fn rows() -> [Enroll; 2] {
        use serde_json::json;
        [
            row(&json!([{"question_title": "Q1", "answer_content": ["x", "y"]}])),
            row(&json!([
                {"question_title": "Q2", "answer_content": "z"},
                {"question_title": "Q1", "answer_content": "=1"},
                {"question_title": "Q1", "answer_content": "again"},
            ])),
        ]
    }

    fn texts(cells: Vec<Cell<'_>>) -> Vec<String> {
        let text = |cell| match cell {
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.into_owned(),
            Cell::Time(text, _) => text.to_owned(),
        };
        cells.into_iter().map(text).collect()
    }

    #[test]
    fn questions_are_columns_in_order_of_appearance_and_nothing_is_lost() {
        let rows = rows();
        let table = Table::of(&rows);
        assert_eq!(table.header().skip(9).collect::<Vec<_>>(), ["Q1", "Q2", "other_answers"]);
        let first = texts(table.cells("M", &rows[0]).unwrap());
        assert_eq!(first, ["M", "7", "", "0", "a,\"b\"", "0", "", "", "", "x; y", "", ""]);
        let second = texts(table.cells("M", &rows[1]).unwrap());
        assert_eq!(second[9..11], ["=1", "z"]);
        assert!(second[11].starts_with('[') && second[11].contains("again"), "{}", second[11]);
        let later = Table::new(Vec::new()).cells("M", &rows[0]).map(texts).unwrap();
        assert!(later[9].contains(r#"["x","y"]"#), "{}", later[9]);
    }
}
