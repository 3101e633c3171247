//! [`Report`]: the counts as text with bar charts, or as a JSON object.

use std::{cmp::Reverse, collections::BTreeMap};

use serde::Serialize;
use wecom_enroll::{EnrollSource, EnrollStatus, QuestionType};

use crate::{
    summary::{
        chart::{Line, bars, fitted},
        counts::{Bounded, Counts, Question},
    },
    ui::text::{counted, escaped, sanitized},
};

/// The number of companies that are listed.
const TOP: usize = 10;

#[derive(Serialize)]
pub(crate) struct Report<'a> {
    meetings: usize,
    rows: u64,
    malformed_rows: u64,
    complete: bool,
    by_status: BTreeMap<String, Named>,
    by_source: BTreeMap<String, Named>,
    per_day: PerDay,
    questions: Vec<Choices<'a>>,
    other_questions: u64,
    company_answers: u64,
    companies: Vec<Company<'a>>,
    /// Answers with a company beyond the limit.
    other_companies: u64,
}

#[derive(Serialize)]
struct Named {
    /// `unknown` for a number that the API does not document, `other` for all further numbers.
    name: String,
    count: u64,
    /// The name in the text report.
    #[serde(skip)]
    label: String,
}

#[derive(Serialize)]
struct Company<'a> {
    name: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct PerDay {
    days: Vec<Dated>,
    unknown: u64,
    other: u64,
}

#[derive(Serialize)]
struct Dated {
    day: String,
    count: u64,
    /// The number of days without sign-ups between the previous day and this one.
    #[serde(skip)]
    gap: u64,
}

#[derive(Serialize)]
struct Choices<'a> {
    num: u32,
    title: &'a str,
    r#type: u32,
    answered: u64,
    answers: Vec<Choice<'a>>,
    other: u64,
}

#[derive(Serialize)]
struct Choice<'a> {
    text: &'a str,
    count: u64,
}

impl<'a> Report<'a> {
    /// Creates the report. It is complete if every meeting was listed to its end.
    pub(crate) fn new(
        counts: &'a Counts,
        meetings: usize,
        malformed_rows: u64,
        complete: bool,
    ) -> Self {
        let mut questions: Vec<_> = counts.questions.iter().map(Choices::new).collect();
        questions.sort_by_key(|question| (question.num, question.title));
        Self {
            meetings,
            rows: counts.rows,
            malformed_rows,
            complete,
            by_status: named(&counts.statuses, |number| match number.into() {
                EnrollStatus::Unknown(_) => None,
                status => Some(status.to_string()),
            }),
            by_source: named(&counts.sources, |number| match number.into() {
                EnrollSource::Unknown(_) => None,
                source => Some(source.to_string()),
            }),
            per_day: PerDay::new(counts),
            questions,
            other_questions: counts.other_questions,
            company_answers: counts.companies.total(),
            companies: top(&counts.companies),
            other_companies: counts.companies.other,
        }
    }

    /// Returns the report as one line of JSON, without characters that affect a terminal.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        // serde_json escapes only ASCII control characters. All others are within strings.
        Ok(escaped(&serde_json::to_string(self)?) + "\n")
    }

    /// Returns the report as text with at most `width` columns.
    pub(crate) fn text(&self, width: usize) -> String {
        let mut text = fitted(&self.head(), width) + "\n";
        if !self.complete {
            text += &fitted("INCOMPLETE: not every meeting was listed to its end", width);
            text += "\n";
        }
        let mut section = |title: &str, lines: &[Line], whole| {
            if !lines.is_empty() {
                let title = fitted(&sanitized(title), width);
                text += &["\n", &title, "\n", &bars(lines, whole, width)].concat();
            }
        };
        section("Status", &lines(&self.by_status), self.rows);
        section("Source", &lines(&self.by_source), self.rows);
        section("Sign-ups per day (UTC+8)", &self.per_day.lines(), self.rows);
        for question in &self.questions {
            section(&question.head(), &question.lines(), question.answered);
        }
        let others = with_rest(Vec::new(), "(not counted separately)", self.other_questions);
        section("Answers to other choice questions", &others, self.other_questions);
        let answers = counted(self.company_answers, "answer", "answers");
        section(&format!("Top companies ({answers})"), &self.top(), self.company_answers);
        text
    }

    fn head(&self) -> String {
        let rows = counted(self.rows, "row", "rows");
        let malformed = match self.malformed_rows {
            0 => String::new(),
            rows => format!(" and {}", counted(rows, "malformed row", "malformed rows")),
        };
        format!("{rows}{malformed} of {}", counted(self.meetings as u64, "meeting", "meetings"))
    }

    fn top(&self) -> Vec<Line> {
        let line = |company: &Company<'_>| Line::new(company.name, company.count);
        let lines = self.companies.iter().map(line).collect();
        with_rest(lines, "(others)", self.other_companies)
    }
}

/// Adds a line for all further values, if there are any.
fn with_rest(mut lines: Vec<Line>, label: &str, count: u64) -> Vec<Line> {
    if count > 0 {
        lines.push(Line::new(label, count));
    }
    lines
}

fn named(numbers: &Bounded<u32>, name: fn(u32) -> Option<String>) -> BTreeMap<String, Named> {
    let named = |(&number, &count): (&u32, &u64)| {
        let (name, label) = match name(number) {
            Some(name) => (name.clone(), name),
            None => ("unknown".to_owned(), format!("unknown ({number})")),
        };
        (number.to_string(), Named { name, count, label })
    };
    let mut map: BTreeMap<_, _> = numbers.counts.iter().map(named).collect();
    if numbers.other > 0 {
        let (name, label) = ("other".to_owned(), "other".to_owned());
        map.insert(name.clone(), Named { name, count: numbers.other, label });
    }
    map
}

fn lines(numbers: &BTreeMap<String, Named>) -> Vec<Line> {
    let mut lines: Vec<_> =
        numbers.values().map(|named| Line::new(&*named.label, named.count)).collect();
    lines.sort_by_key(|line| Reverse(line.count));
    lines
}

/// Returns the most frequent companies, in alphabetical order if they are equally frequent.
fn top(companies: &Bounded<String>) -> Vec<Company<'_>> {
    let mut top: Vec<_> = companies.counts.iter().collect();
    top.sort_by_key(|&(_, &count)| Reverse(count));
    top.truncate(TOP);
    top.into_iter().map(|(name, &count)| Company { name, count }).collect()
}

impl PerDay {
    fn new(counts: &Counts) -> Self {
        let mut days = Vec::new();
        let mut previous = None;
        for (&date, &count) in &counts.days.counts {
            let hours = previous.map_or(24, |previous| date.duration_since(previous).as_hours());
            let gap = u64::try_from(hours / 24 - 1).unwrap_or(0);
            days.push(Dated { day: date.to_string(), count, gap });
            previous = Some(date);
        }
        Self { days, unknown: counts.unknown_days, other: counts.days.other }
    }

    fn lines(&self) -> Vec<Line> {
        let day = |day: &Dated| {
            let gap = counted(day.gap, "day without sign-ups", "days without sign-ups");
            let gap = (day.gap > 0).then(|| Line::new(format!("({gap})"), 0));
            gap.into_iter().chain([Line::new(day.day.as_str(), day.count)])
        };
        let days = with_rest(self.days.iter().flat_map(day).collect(), "(other days)", self.other);
        with_rest(days, "(unknown)", self.unknown)
    }
}

impl<'a> Choices<'a> {
    fn new(question: &'a Question) -> Self {
        let Question { num, title, kind, answered, choices } = question;
        let choice = |(text, &count): (&'a String, &u64)| Choice { text, count };
        let mut answers: Vec<_> = choices.counts.iter().map(choice).collect();
        // A stable sort: texts with the same count stay in alphabetical order.
        answers.sort_by_key(|answer| Reverse(answer.count));
        let r#type = (*kind).into();
        Self { num: *num, title, r#type, answered: *answered, answers, other: choices.other }
    }

    fn head(&self) -> String {
        let kind = match self.r#type.into() {
            QuestionType::MultipleChoice => "multiple choice",
            _ => "single choice",
        };
        let answers = counted(self.answered, "answer", "answers");
        format!("{}. {} ({kind}, {answers})", self.num, self.title)
    }

    fn lines(&self) -> Vec<Line> {
        let line = |choice: &Choice<'_>| match choice.text {
            "" => Line::new("(empty)", choice.count),
            text => Line::new(text, choice.count),
        };
        with_rest(self.answers.iter().map(line).collect(), "(others)", self.other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::text::affects_terminal;
    use serde_json::{Value, json};

    fn report(rows: &[Value], check: impl Fn(&str, &str, Value)) {
        let mut counts = Counts::new();
        for row in rows {
            counts.add(&serde_json::from_value(row.clone()).unwrap());
        }
        let report = Report::new(&counts, 1, 1, false);
        let json = report.json().unwrap();
        check(&report.text(80), &json, serde_json::from_str(&json).unwrap());
    }

    #[test]
    fn terminal_sequences_are_escaped_in_json_and_removed_in_text() {
        let hostile = "a\x1b]0;x\x07\u{9b}2J\u{7f}\r\n\u{85}\u{202e}b";
        let answer = json!({
            "question_num": 1, "question_title": hostile, "question_type": 1, "special_type": 5,
            "answer_content": hostile,
        });
        let row = json!({"enroll_id": 1, "enroll_time": hostile, "answer_list": [answer]});
        report(&[row], |text, json, value| {
            let affects = |c: char| affects_terminal(c) && c != '\n';
            assert!(!text.contains(affects) && !json.contains(affects), "{text}{json}");
            assert_eq!(json.lines().count(), 1);
            assert_eq!(value["questions"][0]["title"], hostile);
            assert_eq!(value["companies"][0]["name"], hostile);
        });
    }

    #[test]
    fn unknown_numbers_and_days_without_sign_ups_are_listed() {
        let row = |status, time| json!({"enroll_id": 1, "status": status, "enroll_time": time});
        let times = ["2024-02-28 10:00:00", "2024-03-02 10:00:00", "2024-03-03 10:00:00"];
        let rows = [&times.map(|time| row(3, time))[..], &[row(9, "")]].concat();
        report(&rows, |text, _, value| {
            assert!(
                text.starts_with("4 rows and 1 malformed row of 1 meeting\nINCOMPLETE"),
                "{text}"
            );
            for words in
                ["unknown (9)", "approved", "(2 days without sign-ups)", "(unknown)", "unknown (0)"]
            {
                assert!(text.contains(words), "{words}: {text}");
            }
            assert_eq!(text.matches("without").count(), 1);
            assert_eq!(value["by_status"]["9"], json!({"name": "unknown", "count": 1}));
            assert_eq!(
                (&value["per_day"]["unknown"], &value["complete"]),
                (&json!(1), &json!(false))
            );
        });
    }

    #[test]
    fn company_counts_are_exact_for_many_companies() {
        let row = |name: String| {
            let answer = json!({
                "question_num": 1, "question_type": 3, "special_type": 5, "answer_content": name,
            });
            json!({"enroll_id": 1, "answer_list": [answer]})
        };
        let name = |n: u32| if n % 3 == 0 { "Acme".to_owned() } else { n.to_string() };
        let names = (0..3000).map(name).chain((0..200).map(|_| "Late".to_owned()));
        report(&names.map(row).collect::<Vec<_>>(), |text, _, value| {
            assert!(
                text.contains("Top companies (3,200 answers)") && text.contains("Late"),
                "{text}"
            );
            let companies = &value["companies"];
            assert_eq!(companies[0], json!({"name": "Acme", "count": 1000}));
            assert_eq!(companies[1], json!({"name": "Late", "count": 200}));
            assert_eq!(
                (companies.as_array().unwrap().len(), &value["other_companies"]),
                (10, &json!(0))
            );
        });
    }
}
