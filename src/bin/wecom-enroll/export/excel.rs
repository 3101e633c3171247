//! Protects the text of CSV cells from spreadsheet programs, with one character before the text.
//!
//! - A text that starts like a formula gets an apostrophe, as OWASP recommends. It is visible, and the
//!   formula is not executed.
//! - A text that would be read as a number or date gets a tab, which is not displayed. Otherwise
//!   13800138000 becomes 1.38E+10, 0012345 loses its zeros, an ID of more than 15 digits loses its last
//!   digits, and 10-50 or 3月5日 becomes a date. Alternatives are worse: an apostrophe would be visible
//!   before every phone number, and `="13800138000"` is itself a formula.

use std::borrow::Cow;

/// Without it, Excel decodes the file with the machine's code page instead of UTF-8.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Characters that start a formula, including the full-width ones of East Asian input methods.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Returns the text with the character that protects it.
pub(crate) fn protected(text: Cow<'_, str>) -> Cow<'_, str> {
    // A spreadsheet program may skip invisible characters.
    let visible = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    if is_number(&text) {
        format!("\t{text}").into()
    } else if visible.starts_with(FORMULA) {
        format!("'{text}").into()
    } else {
        text
    }
}

const MONTHS: &str =
    "january february march april may june july august september october november december";

/// Returns whether the text could be read as a number, date, time or truth value. Such a text cannot be a
/// harmful formula, even if it starts with a sign.
fn is_number(text: &str) -> bool {
    let is_truth = ["true", "false"].iter().any(|value| text.trim().eq_ignore_ascii_case(value));
    is_truth || text.contains(char::is_numeric) && text.split(is_separator).all(is_date_word)
}

/// Returns whether the character is a digit, or may occur between the digits and words of a date.
fn is_separator(c: char) -> bool {
    c.is_numeric() || " +-.,/:()%＋－年月日时分秒上下午".contains(c)
}

/// Returns whether the text between separators may be a part of a number, date or time.
fn is_date_word(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let is_month = |name: &str| word.len() >= 3 && name.starts_with(&*word);
    ["", "e", "am", "pm"].contains(&&*word) || MONTHS.split(' ').any(is_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(text: &str) -> String {
        let protected = protected(text.into());
        protected.strip_suffix(text).unwrap().to_owned()
    }

    fn texts(list: &str) -> impl Iterator<Item = &str> {
        list.split("; ")
    }

    #[test]
    fn formula_gets_an_apostrophe() {
        for text in texts(
            "=1+1; =cmd|'/C calc'!A1; +cmd|1; -2+3+cmd|' /C calc'!A0; @SUM(1); ＝1+1; ＋A1; －A1; ＠SUM;  =1; \t=1; \
             \r\n=1; \u{3000}＝1; \0=1; =; -; --; =13800138000",
        ) {
            assert_eq!(before(text), "'", "{text:?}");
        }
    }

    #[test]
    fn number_or_date_gets_a_tab() {
        for text in texts(
            "13800138000; +8613800138000; +86 138-0013-8000; (021) 6888 8888; 0012345; 12345678901234567890; 10-50; \
             3/4; 12:30; 1E5; -5; 50%; １３８; 3月5日; 上午 9:30; Mar 5; 5 Sept 2024; 9:30 PM; TRUE",
        ) {
            assert_eq!(before(text), "\t", "{text:?}");
        }
    }

    #[test]
    fn other_text_is_unchanged() {
        for text in
            texts("; 王伟; A. 产品经理; a=b; mso_12; 10 人; user@example.com; e; (); May; 3号楼")
        {
            assert_eq!(before(text), "", "{text:?}");
        }
    }
}
