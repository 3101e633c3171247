//! [`Value`] and [`Row`]: what statements take and return. [`List`]: the key of a list. [`Failure`]: why a
//! statement failed.

use std::borrow::Cow;

use jiff::{Timestamp, civil::DateTime, fmt::temporal::DateTimePrinter, tz::TimeZone};

use crate::exit::Stop;

/// A value of a column or parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Null,
    Int(i64),
    Text(Cow<'a, str>),
    Json(&'a [u8]),
    Time(Timestamp),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(time: Timestamp) -> Self {
        Self::Time(time)
    }
}

/// The key of a list.
#[derive(Clone, Copy)]
pub(crate) struct List<'a> {
    /// `webinar` or `meeting`.
    pub(crate) kind: &'static str,
    pub(crate) meeting: &'a str,
}

impl<'a> List<'a> {
    pub(crate) fn key(self) -> Vec<Value<'a>> {
        vec![self.kind.into(), self.meeting.into()]
    }

    /// Returns the parameters of a statement that starts with the list's key.
    pub(crate) fn with<const N: usize>(self, more: [Value<'a>; N]) -> Vec<Value<'a>> {
        self.key().into_iter().chain(more).collect()
    }
}

/// Returns a time as SQLite's functions for dates and times write it.
pub(crate) fn sqlite_time(time: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().separator(b' ').precision(Some(0));
    PRINTER.datetime_to_string(&TimeZone::UTC.to_datetime(time))
}

/// A row of a query.
#[derive(Debug, PartialEq)]
pub(crate) struct Row(pub(crate) Vec<Value<'static>>);

impl Row {
    pub(crate) fn get(&self, column: usize) -> &Value<'static> {
        self.0.get(column).unwrap_or(&Value::Null)
    }

    pub(crate) fn is_null(&self, column: usize) -> bool {
        *self.get(column) == Value::Null
    }

    pub(crate) fn int(&self, column: usize) -> Result<i64, Failure> {
        match self.get(column) {
            Value::Int(number) => Ok(*number),
            _ => Err(Failure::altered()),
        }
    }

    pub(crate) fn text(&self, column: usize) -> Result<&str, Failure> {
        self.optional_text(column)?.ok_or_else(Failure::altered)
    }

    pub(crate) fn optional_text(&self, column: usize) -> Result<Option<&str>, Failure> {
        match self.get(column) {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            _ => Err(Failure::altered()),
        }
    }

    pub(crate) fn time(&self, column: usize) -> Result<Timestamp, Failure> {
        if let Value::Time(time) = self.get(column) {
            return Ok(*time);
        }
        let time = self.text(column)?.parse::<DateTime>();
        let time = time.and_then(|time| TimeZone::UTC.to_timestamp(time));
        time.map_err(|_| Failure::altered())
    }
}

/// Why the database could not be used. The message contains no data.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    /// Whether the same operation may succeed later.
    pub(crate) transient: bool,
}

impl Failure {
    pub(crate) fn permanent(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: false }
    }

    pub(crate) fn busy(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: true }
    }

    /// Creates the failure for tables that another program has changed.
    pub(crate) fn altered() -> Self {
        Self::permanent(
            "another program has changed the tables of sync; restore the database, or use another one",
        )
    }
}

impl From<Failure> for Stop {
    fn from(Failure { message, transient }: Failure) -> Self {
        if transient { Self::Temporary(message) } else { Self::Failed(message) }
    }
}
