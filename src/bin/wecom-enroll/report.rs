//! What was counted, as it is shown: a text with bars for people, one JSON object for machines.

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use indicatif::HumanCount;
use serde::Serialize;
use wecom_enroll::{EnrollSource, EnrollStatus, QuestionType};

use crate::{
    chart::{Line, bars, clean, fitted, is_obeyed},
    counts::{Bounded, Counts, Question},
    progress::counted,
    sketch::Ranked,
};

/// Companies shown.
const TOP: usize = 10;

#[derive(Serialize)]
pub(crate) struct Report<'a> {
    meetings: usize,
    rows: u64,
    bad_rows: u64,
    complete: bool,
    by_status: BTreeMap<String, Named>,
    by_source: BTreeMap<String, Named>,
    per_day: PerDay,
    questions: Vec<Choices<'a>>,
    other_questions: u64,
    company_answers: u64,
    companies: Vec<Ranked<'a>>,
}

#[derive(Serialize)]
struct Named {
    name: &'static str,
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
    /// Days without sign-ups since the one before this.
    #[serde(skip)]
    pause: u64,
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
    /// Of so many meetings; `complete` if each was walked to its end.
    pub(crate) fn new(counts: &'a Counts, meetings: usize, bad_rows: u64, complete: bool) -> Self {
        let mut questions: Vec<_> = counts.questions.iter().map(Choices::new).collect();
        questions.sort_by_key(|question| (question.num, question.title));
        Self {
            meetings,
            rows: counts.rows,
            bad_rows,
            complete,
            by_status: named(&counts.statuses, |number| match number.into() {
                EnrollStatus::Pending => "pending",
                EnrollStatus::Rejected => "rejected",
                EnrollStatus::Approved => "approved",
                _ => "unknown",
            }),
            by_source: named(&counts.sources, |number| match number.into() {
                EnrollSource::Manual => "manual",
                EnrollSource::Import => "import",
                _ => "unknown",
            }),
            per_day: PerDay::new(counts),
            questions,
            other_questions: counts.other_questions,
            company_answers: counts.companies.total(),
            companies: counts.companies.top(TOP),
        }
    }

    /// One line, without a character that a terminal would obey.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let mut escaped = String::new();
        // serde_json escapes the lower control characters only. Others stand in strings alone.
        for c in serde_json::to_string(self)?.chars() {
            if is_obeyed(c) {
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            } else {
                escaped.push(c);
            }
        }
        escaped.push('\n');
        Ok(escaped)
    }

    /// Lines that fit into `width` columns.
    pub(crate) fn text(&self, width: usize) -> String {
        let mut text = fitted(&self.head(), width) + "\n";
        if !self.complete {
            text += &fitted("INCOMPLETE: not every meeting was walked to its end", width);
            text.push('\n');
        }
        let mut section = |title: &str, lines: &[Line], whole| {
            if !lines.is_empty() {
                text.push('\n');
                text.push_str(&fitted(&clean(title), width));
                text.push('\n');
                text.push_str(&bars(lines, whole, width));
            }
        };
        section("Status", &numbers(&self.by_status), self.rows);
        section("Source", &numbers(&self.by_source), self.rows);
        section("Sign-ups per day (UTC+8)", &self.per_day.lines(), self.rows);
        for question in &self.questions {
            section(&question.head(), &question.lines(), question.answered);
        }
        let others = [Line::new("(not kept apart)", self.other_questions)];
        let others = if self.other_questions == 0 { &[][..] } else { &others };
        section("Answers to more choice questions", others, self.other_questions);
        let answers = counted(self.company_answers, "answer", "answers");
        section(&format!("Top companies, of {answers}"), &self.top(), self.company_answers);
        text
    }

    fn head(&self) -> String {
        let rows = counted(self.rows, "row", "rows");
        let bad = match self.bad_rows {
            0 => String::new(),
            bad => format!(" and {}", counted(bad, "bad row", "bad rows")),
        };
        format!("{rows}{bad} of {}", counted(self.meetings as u64, "meeting", "meetings"))
    }

    fn top(&self) -> Vec<Line> {
        let line = |company: &Ranked<'_>| Line {
            note: match company.overcount {
                0 => String::new(),
                more => format!("at most {} too many", HumanCount(more)),
            },
            ..Line::new(company.name, company.count)
        };
        // A count that is mostly doubt is noise; machines get it all the same.
        let known = |company: &&Ranked<'_>| 2 * company.overcount < company.count;
        self.companies.iter().filter(known).map(line).collect()
    }
}

fn named(numbers: &Bounded<u32>, name: fn(u32) -> &'static str) -> BTreeMap<String, Named> {
    let named =
        |(&number, &count): (&u32, &u64)| (number.to_string(), Named { name: name(number), count });
    let other = ("other".to_owned(), Named { name: "other", count: numbers.other });
    numbers.counts.iter().map(named).chain((numbers.other > 0).then_some(other)).collect()
}

fn numbers(numbers: &BTreeMap<String, Named>) -> Vec<Line> {
    let line = |(number, named): (&String, &Named)| match named.name {
        "unknown" => Line::new(format!("unknown ({number})"), named.count),
        name => Line::new(name, named.count),
    };
    let mut lines: Vec<_> = numbers.iter().map(line).collect();
    lines.sort_by_key(|line| Reverse(line.count));
    lines
}

impl PerDay {
    fn new(counts: &Counts) -> Self {
        let mut before = None;
        let mut day = |(&date, &count): (&jiff::civil::Date, &u64)| {
            let since = before.replace(date).map(|before| date.duration_since(before).as_hours());
            let pause = since.and_then(|hours| u64::try_from(hours / 24 - 1).ok()).unwrap_or(0);
            Dated { day: date.to_string(), count, pause }
        };
        let days = counts.days.counts.iter().map(&mut day).collect();
        Self { days, unknown: counts.unknown_days, other: counts.days.other }
    }

    fn lines(&self) -> Vec<Line> {
        let day = |day: &Dated| {
            let pause = counted(day.pause, "day without", "days without");
            let pause = (day.pause > 0).then(|| Line::new(format!("({pause})"), 0));
            pause.into_iter().chain([Line::new(day.day.as_str(), day.count)])
        };
        let rest = [("(other days)", self.other), ("(unknown)", self.unknown)];
        let rest = rest.into_iter().filter(|(_, count)| *count > 0);
        let rest = rest.map(|(label, count)| Line::new(label, count));
        self.days.iter().flat_map(day).chain(rest).collect()
    }
}

impl<'a> Choices<'a> {
    fn new(question: &'a Question) -> Self {
        let Question { num, title, kind, answered, choices } = question;
        let choice = |(text, &count): (&'a String, &u64)| Choice { text, count };
        let mut answers: Vec<_> = choices.counts.iter().map(choice).collect();
        // The texts are in order, and stay so where counts are the same.
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
        let other = (self.other > 0).then(|| Line::new("(others)", self.other));
        self.answers.iter().map(line).chain(other).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
    fn what_a_terminal_would_obey_stands_escaped_in_json_and_not_at_all_in_text() {
        let hostile = "a\x1b]0;x\x07\u{9b}2J\u{7f}\r\n\u{85}\u{202e}b";
        let answers = json!([
            {"question_num": 1, "question_title": hostile, "question_type": 1, "special_type": 5, "answer_content": hostile},
        ]);
        let row = json!({"enroll_id": 1, "enroll_time": hostile, "answer_list": answers});
        report(&[row], |text, json, value| {
            let obeyed = |c: char| is_obeyed(c) && c != '\n';
            assert!(!text.contains(obeyed) && !json.contains(obeyed), "{text}{json}");
            assert_eq!(json.lines().count(), 1);
            assert_eq!(value["questions"][0]["title"], hostile);
            assert_eq!(value["companies"][0]["name"], hostile);
        });
    }

    #[test]
    fn numbers_that_are_not_documented_and_days_without_sign_ups_show() {
        let row = |status, time| json!({"enroll_id": 1, "status": status, "enroll_time": time});
        let rows = [
            row(3, "2024-02-28 10:00:00"),
            row(3, "2024-03-02 10:00:00"),
            row(3, "2024-03-03 10:00:00"),
            row(9, ""),
        ];
        report(&rows, |text, _, value| {
            assert!(text.starts_with("4 rows and 1 bad row of 1 meeting\nINCOMPLETE"), "{text}");
            for words in ["unknown (9)", "approved", "(2 days without)", "(unknown)", "unknown (0)"]
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
    fn companies_beyond_the_counters_say_how_wrong_they_can_be() {
        let row = |n: u32| {
            let name = if n % 3 == 0 { "Acme".to_owned() } else { n.to_string() };
            let answer = json!({"question_num": 1, "question_type": 3, "special_type": 5, "answer_content": name});
            json!({"enroll_id": n, "answer_list": [answer]})
        };
        let mut rows: Vec<_> = (0..3000).map(row).collect();
        rows.extend((0..200).map(|_| {
            let answer = json!({"question_num": 1, "question_type": 3, "special_type": 5, "answer_content": "Late"});
            json!({"enroll_id": 1, "answer_list": [answer]})
        }));
        report(&rows, |text, _, value| {
            assert!(text.contains("of 3,200 answers") && text.contains("Late"), "{text}");
            // Whatever else is in the counters was met once or twice.
            assert_eq!(text.matches(" too many").count(), 1, "{text}");
            assert_eq!(
                value["companies"][0],
                json!({"name": "Acme", "count": 1000, "overcount": 0})
            );
            assert_eq!(value["companies"].as_array().unwrap().len(), 10);
        });
    }
}
