//! A bar chart as an SVG file.

use std::fmt::Write as _;

const LINE: usize = 22;
const LABEL_WIDTH: usize = 210;
const BAR_WIDTH: usize = 420;
const WIDTH: usize = LABEL_WIDTH + BAR_WIDTH + 80;

/// One group of bars: a value for each client.
pub(crate) struct Bars {
    pub(crate) title: &'static str,
    pub(crate) values: Vec<f64>,
}

/// Draws the groups below each other. The longest bar of a group fills the width. The bars of this library
/// are highlighted.
pub(crate) fn svg(clients: &[String], groups: &[Bars]) -> String {
    let height = groups.len() * (clients.len() + 2) * LINE;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut y = LINE;
    for Bars { title, values } in groups {
        // Writing to a String cannot fail.
        let _ = writeln!(svg, "<text x=\"8\" y=\"{y}\" font-weight=\"bold\">{title}</text>");
        y += LINE;
        let longest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        for (client, value) in clients.iter().zip(values) {
            let color = if client.starts_with("wecom-enroll") { "#07c160" } else { "#9aa5b1" };
            #[expect(clippy::cast_precision_loss, reason = "a few hundred pixels")]
            let length = value / longest * BAR_WIDTH as f64;
            let (label, top, end) = (LABEL_WIDTH - 8, y - 13, LABEL_WIDTH + 6);
            let _ = writeln!(
                svg,
                "<text x=\"{label}\" y=\"{y}\" text-anchor=\"end\">{client}</text>\
                 <rect x=\"{LABEL_WIDTH}\" y=\"{top}\" width=\"{length:.1}\" height=\"16\" fill=\"{color}\"/>\
                 <text x=\"{:.1}\" y=\"{y}\">{value:.2}</text>",
                length + f64::from(u16::try_from(end).unwrap_or_default()),
            );
            y += LINE;
        }
        y += LINE;
    }
    svg.push_str("</svg>\n");
    svg
}
