//! Bars on a terminal: labels of any script, counts and percentages, in lines that fit.
//!
//! Widths are the terminal's columns: a Chinese character takes two.

use std::fmt::Write as _;

use indicatif::HumanCount;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Below that, lines would hold nothing; a narrower terminal breaks them.
const MIN_WIDTH: usize = 40;
/// A label may take as much of it as its bar, and a bit more.
const LABEL_SHARE: (usize, usize) = (3, 5);

pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) count: u64,
    /// Stands before the bar.
    pub(crate) note: String,
}

impl Line {
    pub(crate) fn new(label: impl Into<String>, count: u64) -> Self {
        Self { label: label.into(), count, note: String::new() }
    }
}

/// A line each: label, count, percentage of `whole`, note, and a bar; the longest bar fills `width`.
pub(crate) fn bars(lines: &[Line], whole: u64, width: usize) -> String {
    let labels: Vec<_> = lines.iter().map(|line| clean(&line.label)).collect();
    let counts: Vec<_> = lines.iter().map(|line| HumanCount(line.count).to_string()).collect();
    let shares: Vec<_> = lines.iter().map(|line| percentage(line.count, whole)).collect();
    let longest = |texts: &mut dyn Iterator<Item = &str>| {
        texts.map(UnicodeWidthStr::width).max().unwrap_or(0)
    };
    let label_width = longest(&mut labels.iter().map(String::as_str));
    let count_width = longest(&mut counts.iter().map(String::as_str));
    let share_width = longest(&mut shares.iter().map(String::as_str));
    let note_width = longest(&mut lines.iter().map(|line| &*line.note));
    // Each column stands two behind the one before it, and the first one two behind the margin.
    let taken =
        2 + 2 + count_width + 2 + share_width + if note_width == 0 { 0 } else { 2 + note_width };
    let room = width.max(MIN_WIDTH).saturating_sub(taken);
    let label_width = label_width.min((room * LABEL_SHARE.0 / LABEL_SHARE.1).max(1));
    let room = room.saturating_sub(label_width + 2);
    let most = lines.iter().map(|line| line.count).max().unwrap_or(0);
    let mut out = String::new();
    for (((line, label), count), share) in lines.iter().zip(labels).zip(counts).zip(shares) {
        let label = fitted(&label, label_width);
        let pad = " ".repeat(label_width - label.width());
        let mut text = format!("  {label}{pad}  {count:>count_width$}  {share:>share_width$}");
        if note_width > 0 {
            // Notes are ours: as many columns as characters.
            let _ = write!(text, "  {:note_width$}", line.note);
        }
        text.push_str("  ");
        text.push_str(&bar(line.count, most, room));
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// `count` of `most`, who fill `room`: in eighths of a column, and never nothing for something.
fn bar(count: u64, most: u64, room: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if count == 0 || room == 0 {
        return String::new();
    }
    let eighths = u128::from(count) * room as u128 * 8 / u128::from(most.max(count));
    let eighths = usize::try_from(eighths).unwrap_or(0).max(1);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn percentage(count: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    let tenths = (u128::from(count) * 1000 + whole / 2) / whole;
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// As much of the text as `width` columns hold, and an ellipsis where that is not all.
pub(crate) fn fitted(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    // Character by character: what a terminal joins to one, an emoji for instance, is cut too early
    // rather than too late.
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| {
        let fits = c.width().unwrap_or(0) <= left;
        left = left.saturating_sub(c.width().unwrap_or(0));
        fits
    };
    let mut start: String = text.chars().take_while(fits).collect();
    while start.width() >= width.max(1) {
        start.pop();
    }
    start.push('…');
    start
}

/// The text without what a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    text.replace(is_obeyed, " ")
}

/// Control characters, line ends, and directions that would turn the rest of the line around.
pub(crate) fn is_obeyed(c: char) -> bool {
    let turns = '\u{202a}'..='\u{202e}';
    let isolates = '\u{2066}'..='\u{2069}';
    c.is_control()
        || turns.contains(&c)
        || isolates.contains(&c)
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[(&str, u64)]) -> Vec<Line> {
        lines.iter().map(|&(label, count)| Line::new(label, count)).collect()
    }

    #[test]
    fn labels_of_any_script_line_up_and_the_longest_bar_ends_at_the_edge() {
        let chart = bars(&lines(&[("A. 产品经理", 50), ("plain", 25), ("🐟", 0)]), 100, 60);
        let wanted = "  A. 产品经理  50  50.0%  ".to_owned()
            + &"█".repeat(34)
            + "\n"
            + "  plain        25  25.0%  "
            + &"█".repeat(17)
            + "\n"
            + "  🐟            0   0.0%\n";
        assert_eq!(chart, wanted);
        assert_eq!(chart.lines().map(UnicodeWidthStr::width).max(), Some(60));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let texts = [
            "",
            "产",
            "x",
            "很长的答案".repeat(40).leak(),
            "e\u{301}".repeat(99).leak(),
            "👨‍👩‍👧‍👦".repeat(30).leak(),
        ];
        for width in 40..200 {
            for (label, other) in texts.iter().flat_map(|text| texts.map(|other| (*text, other))) {
                let mut lines = lines(&[(label, u64::from(u32::MAX)), (other, 1), (label, 0)]);
                lines[0].note = "at most 1 too many".to_owned();
                for with_note in [true, false] {
                    if !with_note {
                        lines[0].note.clear();
                    }
                    let chart = bars(&lines, u64::MAX, width);
                    let widest = chart.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
                    assert!(
                        widest <= width || (with_note && width < 60),
                        "{widest} > {width}: {chart}"
                    );
                    assert_eq!(chart.lines().count(), 3);
                }
            }
        }
    }

    #[test]
    fn a_text_is_cut_by_columns_and_a_wide_character_is_never_halved() {
        let cut = |width| fitted("会议abc", width);
        assert_eq!([7, 6, 5, 4, 3, 1].map(cut), ["会议abc", "会议a…", "会议…", "会…", "会…", "…"]);
    }

    #[test]
    fn a_bar_has_eighths_and_shows_that_there_is_something() {
        let bar = |count| bar(count, 800, 10);
        assert_eq!([0, 1, 10, 15, 80, 800].map(bar), ["", "▏", "▏", "▏", "█", "██████████"]);
        assert_eq!((bar(30).as_str(), super::bar(3, 3, 0).as_str()), ("▍", ""));
        assert_eq!(
            (super::bar(u64::MAX, u64::MAX, 9), percentage(u64::MAX, u64::MAX)),
            ("█████████".into(), "100.0%".into())
        );
        assert_eq!(
            [percentage(1, 3), percentage(1, 0), percentage(0, 0)],
            ["33.3%", "100.0%", "0.0%"]
        );
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let hostile = "a\x1b[2J\r\n\u{9b}31m\u{7f}\u{202e}b\u{2028}\0";
        let chart = bars(&lines(&[(hostile, 1)]), 1, 80);
        assert_eq!(chart.lines().count(), 1);
        assert!(chart.starts_with("  a [2J   31m  b "), "{chart:?}");
        assert!(!chart.trim_end().chars().any(|c| c.is_control() || c == '\u{202e}'));
    }
}
