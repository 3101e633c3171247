//! Text for people: sanitized, with numbers and units, and the lines for errors.

use std::{error::Error as _, iter, time::Duration};

use indicatif::HumanCount;
use wecom_enroll::{Error, MalformedRow};

/// The longest cause that is printed. Longer ones are dumps that do not help a person.
const MAX_CAUSE: usize = 200;

/// Replaces everything that could affect a terminal with spaces.
pub(crate) fn sanitized(text: &str) -> String {
    text.replace(affects_terminal, " ")
}

/// Replaces everything that could affect a terminal, except for line ends and tabs, with escape sequences like
/// `\u009b`, which mean the same in JSON.
pub(crate) fn escaped(text: &str) -> String {
    let escape = |c| {
        if affects_terminal(c) && !matches!(c, '\n' | '\t') {
            format!("\\u{:04x}", u32::from(c))
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

/// Returns whether the character is a control character, ends a line, or changes the direction of text.
pub(crate) fn affects_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns the number and the noun in its singular or plural.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(number), if number == 1 { one } else { many })
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// Returns the error, its causes, how long to wait, and the hint, in one line.
pub(crate) fn error_line(error: &Error, hint: Option<&str>) -> String {
    let mut line = vec![error.to_string()];
    let causes = iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string);
    for cause in causes.filter(|cause| cause.len() <= MAX_CAUSE) {
        // Some errors repeat their cause in their own text.
        if line.last().is_none_or(|last| !last.ends_with(&cause)) {
            line.push(cause);
        }
    }
    if let Some(seconds @ 1..) = error.retry_after().map(|wait| wait.as_secs()) {
        line.push(format!("wait {} first", counted(seconds, "second", "seconds")));
    }
    let line = line.join(": ");
    match hint {
        Some(hint) => line + "; hint: " + hint,
        None => line,
    }
}

/// Returns the line for an error of kind `Row`.
pub(crate) fn malformed_row_line(meeting: &str, error: &Error) -> String {
    let Some(MalformedRow { page, row, enroll_id, field, .. }) = error.malformed_row() else {
        return error.to_string();
    };
    let id = enroll_id.as_ref().map(|id| format!(", enroll_id {id}")).unwrap_or_default();
    let reason =
        if field.is_empty() { "not an object".into() } else { format!("invalid `{field}`") };
    format!("malformed row: meeting {meeting}, page {page}, row {row}{id}: {reason}")
}
