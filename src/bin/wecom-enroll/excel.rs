//! What a spreadsheet would make of a CSV cell, and the one character before the cell that prevents it.
//!
//! A text that begins like a formula gets an apostrophe, as OWASP has it: it shows, and nothing runs.
//! A text of digits gets a tab, which does not show: otherwise 13800138000 becomes 1.38E+10, 0012345
//! loses its zeros, an id of more than 15 digits its last ones, and 10-50 or 3月5日 becomes a date. An
//! apostrophe would stand before every phone number, and `="13800138000"` is a formula itself.

use std::borrow::Cow;

/// Without it Excel takes UTF-8 for the machine's old code page.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// The full-width ones begin a formula where they are the usual ones to type.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// The text as a cell that a spreadsheet shows and leaves alone.
pub(crate) fn guarded(text: Cow<'_, str>) -> Cow<'_, str> {
    // A program may skip what does not show.
    let begin = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    if is_number(&text) {
        format!("\t{text}").into()
    } else if begin.starts_with(FORMULA) {
        format!("'{text}").into()
    } else {
        text
    }
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

/// Whether it could be read as a number, a phone number, a date, a time or a truth value. Such a text
/// names nothing that a formula could reach, also where it begins with a sign.
fn is_number(text: &str) -> bool {
    let is_mark = |c: char| c.is_numeric() || " +-.,/:()%＋－年月日时分秒上下午".contains(c);
    let in_a_date = |word: &str| {
        let word = word.to_ascii_lowercase();
        let is_month = |name: &&str| word.len() >= 3 && name.starts_with(&*word);
        ["", "e", "am", "pm"].contains(&&*word) || MONTHS.iter().any(is_month)
    };
    let is_truth = ["true", "false"].iter().any(|value| text.trim().eq_ignore_ascii_case(value));
    is_truth || text.contains(char::is_numeric) && text.split(is_mark).all(in_a_date)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(text: &str) -> String {
        let guarded = guarded(text.into());
        guarded.strip_suffix(text).unwrap().to_owned()
    }

    #[test]
    fn a_text_that_begins_like_a_formula_gets_an_apostrophe() {
        for text in [
            "=1+1",
            "=cmd|'/C calc'!A1",
            "+cmd|1",
            "-2+3+cmd|' /C calc'!A0",
            "@SUM(1)",
            "＝1+1",
            "＋A1",
            "－A1",
            "＠SUM",
            " =1",
            "\t=1",
            "\r\n=1",
            "\u{3000}＝1",
            "\0=1",
            "=",
            "-",
            "--",
            "=13800138000",
        ] {
            assert_eq!(before(text), "'", "{text:?}");
        }
    }

    #[test]
    fn a_text_of_digits_gets_a_tab() {
        for text in [
            "13800138000",
            "+8613800138000",
            "+86 138-0013-8000",
            "(021) 6888 8888",
            "0012345",
            "12345678901234567890",
            "10-50",
            "3/4",
            "12:30",
            "1E5",
            "-5",
            "50%",
            "１３８",
            "3月5日",
            "上午 9:30",
            "Mar 5",
            "5 Sept 2024",
            "9:30 PM",
            "TRUE",
        ] {
            assert_eq!(before(text), "\t", "{text:?}");
        }
    }

    #[test]
    fn other_texts_are_left_alone() {
        for text in [
            "",
            "王伟",
            "A. 产品经理",
            "a=b",
            "mso_12",
            "10 人",
            "user@example.com",
            "e",
            "()",
            "May",
            "3号楼",
        ] {
            assert_eq!(before(text), "", "{text:?}");
        }
    }
}
