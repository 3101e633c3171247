//! Bar charts for a terminal: lines with a label, a count, a percentage and a bar.
//!
//! Widths are measured in terminal columns. A Chinese character takes two.

use indicatif::HumanCount;
use unicode_width::UnicodeWidthStr;

use crate::ui::text::sanitized;

/// The minimum width of a chart. A narrower terminal wraps its lines.
const MIN_WIDTH: usize = 40;
/// The maximum share of labels in the width of labels and bars.
const LABEL_SHARE: (usize, usize) = (3, 5);

pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) count: u64,
}

impl Line {
    pub(crate) fn new(label: impl Into<String>, count: u64) -> Self {
        Self { label: label.into(), count }
    }
}

/// Returns one line of text per line of the chart: label, count, percentage of `whole`, and a bar. The
/// longest bar ends at `width`.
pub(crate) fn bars(lines: &[Line], whole: u64, width: usize) -> String {
    let labels: Vec<_> = lines.iter().map(|line| sanitized(&line.label)).collect();
    let counts: Vec<_> = lines.iter().map(|line| HumanCount(line.count).to_string()).collect();
    let shares: Vec<_> = lines.iter().map(|line| percentage(line.count, whole)).collect();
    let [label_width, count_width, share_width] = [&labels, &counts, &shares]
        .map(|texts| texts.iter().map(|text| text.width()).max().unwrap_or(0));
    // Two spaces before each of the four parts.
    let free = width.max(MIN_WIDTH).saturating_sub(2 + 2 + count_width + 2 + share_width);
    let label_width = label_width.min((free * LABEL_SHARE.0 / LABEL_SHARE.1).max(1));
    let bar_width = free.saturating_sub(label_width + 2);
    let most = lines.iter().map(|line| line.count).max().unwrap_or(0);
    let mut out = String::new();
    for (((line, label), count), share) in lines.iter().zip(labels).zip(counts).zip(shares) {
        let label = fitted(&label, label_width);
        let pad = " ".repeat(label_width - label.width());
        let bar = bar(line.count, most, bar_width);
        let text = format!("  {label}{pad}  {count:>count_width$}  {share:>share_width$}  {bar}");
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// Returns a bar for `count`, in eighths of a column. A bar for `most` fills `width`; a bar for a count
/// greater than zero is never empty.
fn bar(count: u64, most: u64, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if count == 0 || width == 0 {
        return String::new();
    }
    let eighths = u128::from(count) * width as u128 * 8 / u128::from(most.max(count));
    let eighths = usize::try_from(eighths).unwrap_or(0).max(1);
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

fn percentage(count: u64, whole: u64) -> String {
    let whole = u128::from(whole.max(1));
    let tenths = (u128::from(count) * 1000 + whole / 2) / whole;
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// Returns the text, shortened to `width` columns with an ellipsis if it is longer.
pub(crate) fn fitted(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut start = String::new();
    for c in text.chars() {
        start.push(c);
        if start.width() >= width {
            start.pop();
            break;
        }
    }
    start.push('…');
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[(&str, u64)]) -> Vec<Line> {
        lines.iter().map(|&(label, count)| Line::new(label, count)).collect()
    }

    #[test]
    fn labels_align_and_longest_bar_ends_at_the_edge() {
        let chart = bars(&lines(&[("A. 产品经理", 50), ("plain", 25), ("🐟", 0)]), 100, 60);
        let (long, short) = ("█".repeat(34), "█".repeat(17));
        let wanted = format!(
            "  A. 产品经理  50  50.0%  {long}\n  plain        25  25.0%  {short}\n  🐟            0   0.0%\n"
        );
        assert_eq!(chart, wanted);
        assert_eq!(chart.lines().map(UnicodeWidthStr::width).max(), Some(60));
    }

    #[test]
    fn line_is_never_wider_than_the_terminal() {
        let texts = ["", "产", "x", "很长的答案", "e\u{301}", "👨‍👩‍👧‍👦"].map(|text| text.repeat(60));
        for width in 40..200 {
            for (label, other) in
                texts.iter().flat_map(|text| texts.iter().map(move |other| (&**text, &**other)))
            {
                let lines = lines(&[(label, u64::from(u32::MAX)), (other, 1), (label, 0)]);
                let chart = bars(&lines, u64::MAX, width);
                let widest = chart.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
                assert!(widest <= width, "{widest} > {width}: {chart}");
                assert_eq!(chart.lines().count(), 3);
            }
        }
    }

    #[test]
    fn text_is_shortened_by_columns_not_characters() {
        let cut = |width| fitted("会议abc", width);
        assert_eq!([7, 6, 5, 4, 3, 1].map(cut), ["会议abc", "会议a…", "会议…", "会…", "会…", "…"]);
    }

    #[test]
    fn bar_has_eighths_and_is_never_empty_for_a_count() {
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
}
