//! Protects the text of CSV cells from spreadsheet programs, with one character before the text.
//!
//! - A text that starts like a formula gets an apostrophe, as OWASP recommends. It is visible, and the formula is not
//!   executed.
//! - A text that would be read as a number or date gets a tab, which is not displayed. Otherwise 13800138000 becomes
//!   1.38E+10, 0012345 loses its zeros, an id of more than 15 digits loses its last digits, and 10-50 or 3月5日 becomes
//!   a date. Alternatives are worse: an apostrophe would be visible before every phone number, and `="13800138000"` is
//!   itself a formula.

use std::borrow::Cow;

/// Without it, Excel decodes the file with the machine's code page instead of UTF-8.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Characters that start a formula, including the full-width ones of East Asian input methods.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '＝', '＋', '－', '＠'];

/// Returns the text with the character that protects it.
pub(crate) fn protected(text: Cow<'_, str>) -> Cow<'_, str> {
    // A spreadsheet program may skip invisible characters.
    let visible = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control());
    let is_formula = visible.starts_with(FORMULA);
    // After a sign, a word such as DEC5 is a cell and not a date, so the text is a formula. 1E5 is a number.
    let mut words = text.split(|c: char| !c.is_alphanumeric());
    let has_cells = is_formula && words.any(|word| word.starts_with(char::is_alphabetic));
    if is_number(&text) && !has_cells {
        format!("\t{text}").into()
    } else if is_formula {
        format!("'{text}").into()
    } else {
        text
    }
}

/// What a spreadsheet program reads as a truth value or an error.
const VALUES: &str = "true false #n/a #ref! #div/0! #value! #name? #num! #null!";
/// The words of dates, times and amounts. Months and days can be abbreviated to three letters.
const NAMES: &str = "january february march april may june july august september october november december \
    monday tuesday wednesday thursday friday saturday sunday";
const WORDS: &str = "e am pm us hk nt usd eur gbp jpy cny rmb hkd twd krw";
/// Words between the numbers of a time like `10:00:00Z` or `9:30p`.
const CLOCK_WORDS: &str = "a p t z";

/// Returns whether the text could be read as a number, amount, date, time, truth value or error.
fn is_number(text: &str) -> bool {
    if VALUES.split(' ').any(|value| text.trim().eq_ignore_ascii_case(value)) {
        return true;
    }
    if !text.contains(char::is_numeric) {
        return false;
    }
    let text = text.trim().to_lowercase();
    // "9 p" is a time, but "9p" is not.
    let hour = text.strip_suffix(['a', 'p']).filter(|hour| hour.ends_with(char::is_whitespace));
    let is_time = text.contains([':', '：']);
    hour.unwrap_or(&text).split(is_separator).all(|word| is_word(word, is_time))
}

/// Returns whether the character is a digit, or may occur between the digits and words of a number, amount, date or
/// time.
fn is_separator(c: char) -> bool {
    c.is_numeric()
        || c.is_whitespace()
        || c.is_control()
        || "+-.,/:()%'’−＋－．，／：（）％年月日時时分秒上下午前後".contains(c)
        // Currency signs.
        || matches!(c, '$' | '¢'..='¥' | '฿' | '៛' | '\u{20a0}'..='\u{20cf}' | '﹩' | '＄' | '￠' | '￡' | '￥' | '￦')
}

/// Returns whether the text between separators may be a part of a number, amount, date or time.
fn is_word(word: &str, is_time: bool) -> bool {
    let is_in = |words: &str| words.split(' ').any(|known| known == word);
    let is_name = |name: &str| word.len() >= 3 && name.starts_with(word);
    word.is_empty()
        || is_in(WORDS)
        || (is_time && is_in(CLOCK_WORDS))
        || NAMES.split(' ').any(is_name)
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
             \r\n=1; \u{3000}＝1; \0=1; =; -; --; =13800138000; +DEC5; -E5; +A1:A2; -HK5; ＋Ｐ1:Ｔ2; -1 + Mar 5; -$A$1",
        ) {
            assert_eq!(before(text), "'", "{text:?}");
        }
    }

    #[test]
    fn number_or_date_gets_a_tab() {
        for text in texts(
            "13800138000; +8613800138000; +86 138-0013-8000; (021) 6888 8888; 0012345; 12345678901234567890; 10-50; \
             3/4; 12:30; 1E5; -1e5; -5; 50%; １３８; 3月5日; 上午 9:30; Mar 5; 5 Sept 2024; 9:30 PM; TRUE; $0012; ¥1,000; \
             ￥1,000; €5; 5 €; £5; -$5; ($5); 5¢; ₩5; ₿1; HK$5; US$ 5; USD 5; 5 RMB; 1'000; 1’000,50; 9:30 p; 9 a; 9 AM; 9AM; \
             9:30p; 下午9時30分; 午後 3:00; 2026-01-01T10:00:00Z; １，０００．５; １：３０; （１２）; １２％; −5; \u{a0}5; \
             5\n; ½; 1 1/2; Thu, 5 Mar 2026; SEPT2; (12); .5; 1.; 1e-7; 2026/1/1; 5%\u{3000}; #N/A; #div/0!; False; \u{0}5",
        ) {
            assert_eq!(before(text), "\t", "{text:?}");
        }
    }

    #[test]
    fn other_text_is_unchanged() {
        for text in texts(
            "; 王伟; A. 产品经理; a=b; mso_12; 10 人; user@example.com; e; (); May; 3号楼; A3; 3A; 3p; P2; T5; 5Z; #1; No.5; 5元; \
             10k; 1_000; 2^3; v1.2; COVID-19; MP3; iPhone 15; a 5; $; ¥; 9:30 pq; 12:30 见; 50%off; true story; N/A; #N; a:b",
        ) {
            assert_eq!(before(text), "", "{text:?}");
        }
    }
}
