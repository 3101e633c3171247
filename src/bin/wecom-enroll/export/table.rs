//! [`Table`]: rows as cells, for CSV and XLSX. One column per scalar field, one per question, and one for other
//! answers.
//!
//! The questions are those of the meetings' settings, if they can be read, and of the first page that has rows. The
//! last column contains the answers to other questions as JSON, so nothing is lost.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    io,
};

use jiff::civil::DateTime;
use wecom_enroll::{Answer, Enroll};

use crate::listing::enroll_time;

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
/// The index of the column `enroll_time`.
pub(crate) const TIME: u16 = 2;
const OTHERS: &str = "other_answers";
/// The name of the column of a question without a title.
const UNTITLED: &str = "question";

/// The columns of a CSV file or workbook.
pub(crate) struct Table {
    pub(crate) titles: Vec<String>,
    indexes: HashMap<String, usize>,
}

pub(crate) enum Cell<'a> {
    Number(u32),
    Text(Cow<'a, str>),
    /// The text as received, and the time in UTC+8.
    Time(&'a str, DateTime),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl Table {
    /// The maximum number of questions with a column. A worksheet has 16,384 columns.
    const MAX: usize = 16_000;

    /// Creates the table with these questions, and then those of the rows, in the order of their first occurrence.
    pub(crate) fn new(questions: &[String], rows: &[Enroll]) -> Self {
        let mut table = Self { titles: Vec::new(), indexes: HashMap::new() };
        let answers = rows.iter().flat_map(Enroll::answers).map(|answer| answer.question_title());
        for title in questions.iter().map(String::as_str).chain(answers) {
            if table.titles.len() < Self::MAX && !table.indexes.contains_key(title) {
                table.indexes.insert(title.to_owned(), table.titles.len());
                table.titles.push(title.to_owned());
            }
        }
        table
    }

    /// Returns the number of columns.
    pub(crate) fn width(&self) -> usize {
        SCALARS.len() + self.titles.len() + 1
    }

    /// Returns the names of the columns, with each title as `written` returns it. No name is empty, and none
    /// occurs twice, even if case and surrounding white space are ignored: readers find columns by name.
    pub(crate) fn header(&self, written: impl Fn(&str) -> String) -> Vec<String> {
        let key = |name: &str| name.trim().to_lowercase();
        let mut used: HashSet<_> = SCALARS.into_iter().chain([OTHERS]).map(key).collect();
        let titles: Vec<_> = self.titles.iter().map(|title| written(title)).collect();
        // Numbers are added only after this, so that they cannot take the name of a later title.
        let is_name = |title: &String| !title.trim().is_empty() && used.insert(key(title));
        let are_names: Vec<_> = titles.iter().map(is_name).collect();
        let mut next_numbers = HashMap::new();
        let questions = titles.into_iter().zip(are_names).map(|(title, is_name)| {
            if is_name {
                return title;
            }
            let (name, first) = if title.trim().is_empty() { (UNTITLED, 1) } else { (&*title, 2) };
            let number = next_numbers.entry(key(name)).or_insert(first);
            loop {
                let numbered =
                    if *number == 1 { name.to_owned() } else { format!("{name} ({number})") };
                *number += 1;
                if used.insert(key(&numbered)) {
                    return numbered;
                }
            }
        });
        let names = SCALARS.into_iter().map(str::to_owned).chain(questions);
        names.chain([OTHERS.to_owned()]).collect()
    }

    pub(crate) fn cells<'a>(&self, meeting: &'a str, row: &'a Enroll) -> io::Result<Vec<Cell<'a>>> {
        let mut answers: Vec<Option<Answer<'a>>> = vec![None; self.titles.len()];
        let mut others = Vec::new();
        for answer in row.answers() {
            let index = self.indexes.get(answer.question_title());
            match index.and_then(|&index| answers.get_mut(index)) {
                Some(column @ None) => *column = Some(answer),
                _ => others.push(answer),
            }
        }
        let scalars = [
            meeting.into(),
            row.enroll_id().into(),
            match enroll_time(row) {
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
    fn questions_are_columns_and_no_answer_is_lost() {
        let rows = rows();
        let table = Table::new(&[], &rows);
        assert_eq!(table.header(str::to_owned)[9..], ["Q1", "Q2", "other_answers"]);
        let first = texts(table.cells("M", &rows[0]).unwrap());
        assert_eq!(first, ["M", "7", "", "0", "a,\"b\"", "0", "", "", "", "x; y", "", ""]);
        let second = texts(table.cells("M", &rows[1]).unwrap());
        assert_eq!(second[9..11], ["=1", "z"]);
        assert!(second[11].starts_with('[') && second[11].contains("again"), "{}", second[11]);
        let later = Table::new(&[], &[]).cells("M", &rows[0]).map(texts).unwrap();
        assert!(later[9].contains(r#"["x","y"]"#), "{}", later[9]);
    }

    #[test]
    fn column_names_are_unique_and_not_empty() {
        let names = |titles: &[&str]| {
            let titles: Vec<_> = titles.iter().copied().map(str::to_owned).collect();
            let table = Table::new(&titles, &[]);
            let names = table.header(str::to_owned);
            assert_eq!((names.len(), table.width()), (titles.len() + 10, titles.len() + 10));
            let keys: HashSet<_> = names.iter().map(|name| name.trim().to_lowercase()).collect();
            assert!(keys.len() == names.len() && !keys.contains(""), "{names:?}");
            names[9..names.len() - 1].to_vec()
        };
        assert_eq!(names(&["nick_name", "other_answers"]), ["nick_name (2)", "other_answers (2)"]);
        assert_eq!(names(&["", " ", "\n"]), ["question", "question (2)", "question (3)"]);
        assert_eq!(names(&["", "Question"]), ["question (2)", "Question"]);
        assert_eq!(names(&["STATUS", "status "]), ["STATUS (2)", "status  (3)"]);
        assert_eq!(names(&["status", "status (2)"]), ["status (3)", "status (2)"]);
        assert_eq!(names(&["Straße", "straße", "other"]), ["Straße", "straße (2)", "other"]);
        let many: Vec<_> = (1..2000).map(|spaces| " ".repeat(spaces)).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(names(&many)[1998], "question (1999)");
        // What is written may be the same for different titles.
        let table = Table::new(&["a\0".to_owned(), "a\u{1}".to_owned()], &[]);
        let written = table.header(|title| title.replace(char::is_control, "?"));
        assert_eq!(written[9..11], ["a?", "a? (2)"]);
    }
}
