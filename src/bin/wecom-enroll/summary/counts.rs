//! [`Counts`]: what a summary counts, in bounded memory.
//!
//! Each kind of count has a maximum number of different values. Further values are counted together. Texts are
//! shortened, and free-text answers are not kept, except for companies.

use std::collections::BTreeMap;

use jiff::civil::Date;
use wecom_enroll::{Answer, Enroll, QuestionType, SpecialType};

use crate::listing::enroll_time;

/// The maximum number of characters of a text. Texts that differ only after them are counted as one.
const TEXT: usize = 120;
/// The maximum number of statuses and of sources: the documented ones, and some that WeCom may add.
const NUMBERS: usize = 16;
const DAYS: usize = 400;
const QUESTIONS: usize = 64;
const CHOICES: usize = 64;
/// The maximum number of companies, as many as a webinar has enrollees; further ones are counted as other.
const COMPANIES: usize = 50_000;

pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) statuses: Bounded<u32>,
    pub(crate) sources: Bounded<u32>,
    /// Days in UTC+8, as WeCom sends them.
    pub(crate) days: Bounded<Date>,
    /// Rows whose `enroll_time` has neither of the documented formats.
    pub(crate) unknown_days: u64,
    /// Choice questions.
    pub(crate) questions: Vec<Question>,
    /// Answers to choice questions beyond the limit.
    pub(crate) other_questions: u64,
    pub(crate) companies: Bounded<String>,
}

pub(crate) struct Question {
    pub(crate) num: u32,
    pub(crate) title: String,
    pub(crate) kind: QuestionType,
    /// The number of rows that answer it.
    pub(crate) answered: u64,
    pub(crate) choices: Bounded<String>,
}

/// How often each of the first `limit` values occurred, and all other values together.
pub(crate) struct Bounded<T> {
    limit: usize,
    pub(crate) counts: BTreeMap<T, u64>,
    pub(crate) other: u64,
}

impl<T: Ord> Bounded<T> {
    fn new(limit: usize) -> Self {
        Self { limit, counts: BTreeMap::new(), other: 0 }
    }

    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.other
    }

    fn add(&mut self, value: T) {
        if self.counts.len() < self.limit || self.counts.contains_key(&value) {
            *self.counts.entry(value).or_default() += 1;
        } else {
            self.other += 1;
        }
    }
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self {
            rows: 0,
            statuses: Bounded::new(NUMBERS),
            sources: Bounded::new(NUMBERS),
            days: Bounded::new(DAYS),
            unknown_days: 0,
            questions: Vec::new(),
            other_questions: 0,
            companies: Bounded::new(COMPANIES),
        }
    }

    pub(crate) fn add(&mut self, row: &Enroll) {
        self.rows += 1;
        self.statuses.add(row.status().into());
        self.sources.add(row.source().into());
        match enroll_time(row) {
            Some(time) => self.days.add(time.date()),
            None => self.unknown_days += 1,
        }
        for answer in row.answers() {
            if answer.special_type() == SpecialType::Company {
                // People often type spaces around it.
                let names = answer.content().map(str::trim).filter(|name| !name.is_empty());
                names.for_each(|name| self.companies.add(shortened(name).to_owned()));
            }
            if let QuestionType::SingleChoice | QuestionType::MultipleChoice =
                answer.question_type()
            {
                self.choose(answer);
            }
        }
    }

    fn choose(&mut self, answer: Answer<'_>) {
        let (num, title) = (answer.question_num(), shortened(answer.question_title()));
        let known = |question: &Question| question.num == num && question.title == title;
        let index = match self.questions.iter().position(known) {
            Some(index) => index,
            None if self.questions.len() < QUESTIONS => {
                let (title, kind) = (title.to_owned(), answer.question_type());
                let choices = Bounded::new(CHOICES);
                self.questions.push(Question { num, title, kind, answered: 0, choices });
                self.questions.len() - 1
            }
            None => {
                self.other_questions += 1;
                return;
            }
        };
        let question = &mut self.questions[index];
        question.answered += 1;
        answer.content().for_each(|choice| question.choices.add(shortened(choice).to_owned()));
    }
}

/// Returns the part of the text that is kept.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(TEXT).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn counts(rows: impl IntoIterator<Item = Value>) -> Counts {
        let mut counts = Counts::new();
        rows.into_iter().for_each(|row| counts.add(&serde_json::from_value(row).unwrap()));
        counts
    }

    fn answer(num: u32, title: &str, kind: u32, special: u32, content: &Value) -> Value {
        json!({
            "question_num": num, "question_title": title, "question_type": kind, "special_type": special,
            "answer_content": content,
        })
    }

    #[test]
    fn choices_are_counted_and_free_texts_are_not() {
        let answers = json!([
            answer(1, "role", 1, 1, &json!("A")),
            answer(2, "topics", 2, 1, &json!(["x", "y"])),
            answer(3, "free", 3, 1, &json!("words")),
            answer(4, "company", 3, 5, &json!("  Acme ")),
            answer(5, "new kind", 7, 1, &json!("?")),
        ]);
        let row = json!({"enroll_id": 1, "answer_list": answers});
        let counts = counts([row.clone(), row]);
        let titles: Vec<_> = counts.questions.iter().map(|question| &*question.title).collect();
        assert_eq!(titles, ["role", "topics"]);
        assert_eq!(counts.questions[1].choices.counts.values().sum::<u64>(), 4);
        assert_eq!(counts.questions[1].answered, 2);
        assert_eq!(counts.companies.counts, BTreeMap::from([("Acme".to_owned(), 2)]));
    }

    #[test]
    fn counts_stay_within_limits_and_count_everything() {
        let long = "长".repeat(150);
        let row = |n: u32| {
            let answers: Vec<_> = (0..70)
                .map(|q| {
                    answer(q, &format!("{q}{long}"), 1 + q % 2, 5, &json!([format!("{n}{long}")]))
                })
                .collect();
            let day = format!("{}-{:02}-{:02} 00:00:00", 1000 + n, 1 + n % 12, 1 + n % 28);
            json!({"enroll_id": n, "status": n, "enroll_source_type": n, "enroll_time": day, "answer_list": answers})
        };
        // The first values occur again after the limit.
        let counts = counts((0..420).chain(0..400).map(row));
        assert_eq!((counts.days.counts.len(), counts.days.other), (400, 20));
        assert_eq!((counts.statuses.counts.len(), counts.statuses.other), (16, 404 + 384));
        assert!(counts.statuses.counts.values().all(|&count| count == 2));
        assert_eq!((counts.questions.len(), counts.other_questions), (64, 6 * 820));
        for question in &counts.questions {
            assert!(question.title.chars().count() <= 120);
            let choices = &question.choices;
            assert_eq!((choices.counts.len(), choices.other), (64, 820 - 2 * 64));
            assert!(choices.counts.keys().all(|text| text.chars().count() <= 120));
        }
        assert_eq!(counts.companies.counts.len(), 420);
        assert!(counts.companies.counts.keys().all(|name| name.chars().count() <= 120));
        assert_eq!(counts.companies.total(), 70 * 820);
    }
}
