//! The picture of `growth`: a panel for each thing that grows, CPU time to the left, memory to the right.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use plotters::{
    coord::{
        Shift,
        combinators::{BindKeyPoints, IntoLogRange},
    },
    prelude::*,
};

use crate::growth::{CLIENTS, Cost, Panel, Point};

/// wecom-enroll's, and the loop's.
const COLOURS: [RGBColor; 2] = [RGBColor(0, 90, 181), RGBColor(220, 110, 10)];

const SIZE: (u32, u32) = (1200, 900);
const KEY_HEIGHT: i32 = 40;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(crate) fn draw(path: &Path, panels: &[Panel]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("no folder {}", folder.display()))?;
    }
    let whole = SVGBackend::new(path, SIZE).into_drawing_area();
    whole.fill(&WHITE)?;
    let (key, rest) = whole.split_vertically(KEY_HEIGHT);
    draw_key(&key)?;
    for (area, panel) in rest.split_evenly((2, 2)).iter().zip(panels) {
        draw_panel(area, panel)?;
    }
    whole.present().with_context(|| format!("{} cannot be written", path.display()))
}

/// What the lines mean, once for all panels.
fn draw_key(area: &Area) -> Result<()> {
    let middle = KEY_HEIGHT / 2;
    let mut x = 70;
    for (client, colour) in CLIENTS.iter().zip(COLOURS) {
        area.draw(&PathElement::new([(x, middle), (x + 40, middle)], colour.stroke_width(2)))?;
        area.draw(&Text::new(client.to_string(), (x + 50, middle - 8), font(16)))?;
        x += 220;
    }
    for how in ["solid, left axis: CPU time", "dashed, right axis: peak memory"] {
        area.draw(&Text::new(how, (x, middle - 8), font(16)))?;
        x += 230;
    }
    Ok(())
}

fn draw_panel(area: &Area, panel: &Panel) -> Result<()> {
    let points = &panel.points;
    // No logarithm has a zero: an axis that begins there is one of x + 1, under the same labels.
    let shift = if points.iter().any(|point| point.x == 0.0) { 1.0 } else { 0.0 };
    let at = |point: &Point| point.x + shift;
    let (first, last) = (at(&points[0]), at(&points[points.len() - 1]));
    let margin = (last / first).powf(0.04);
    let x = || {
        let range = (first / margin..last * margin).log_scale();
        range.with_key_points(points.iter().map(at).collect())
    };
    let label = |x: &f64| {
        let named = points.iter().find(|point| at(point).total_cmp(x).is_eq());
        named.map(|point| point.label.clone()).unwrap_or_default()
    };
    let y = |of: fn(&Cost) -> f64| {
        let ticks = ticks(points.iter().flat_map(|point| &point.costs).map(of));
        (ticks[0]..ticks[ticks.len() - 1]).log_scale().with_key_points(ticks)
    };
    let cpu = |cost: &Cost| cost.cpu_ns;
    let peak = |cost: &Cost| cost.peak_mb;
    let number = |tick: &f64| tick.to_string();

    let mut chart = ChartBuilder::on(area)
        .caption(panel.title, font(20))
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(64)
        .right_y_label_area_size(56)
        .build_cartesian_2d(x(), y(cpu))?
        .set_secondary_coord(x(), y(peak));
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&label)
        .y_label_formatter(&number)
        .y_desc(format!("CPU ns a {}", panel.unit))
        .label_style(font(14))
        .draw()?;
    chart
        .configure_secondary_axes()
        .y_label_formatter(&number)
        .y_desc("peak MB")
        .label_style(font(14))
        .draw()?;
    for (client, colour) in COLOURS.iter().enumerate() {
        let line = |of: fn(&Cost) -> f64| {
            points.iter().map(move |point| (at(point), of(&point.costs[client])))
        };
        chart.draw_series(LineSeries::new(line(cpu), colour.stroke_width(2)).point_size(3))?;
        let dashed = DashedLineSeries::new(line(peak), 6, 5, colour.stroke_width(1));
        chart.draw_secondary_series(dashed)?;
    }
    Ok(())
}

/// 1, 2, 5, 10, 20, 50 and so on, from below the least figure to above the greatest, and for a decade
/// at least: or the noise of a flat line looks like growth.
fn ticks(figures: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let (min, max) = (figures.clone().fold(f64::MAX, f64::min), figures.fold(0.0, f64::max));
    let series = (-3..9).flat_map(|power| [1.0, 2.0, 5.0].map(|step| step * 10f64.powi(power)));
    let series: Vec<_> = series.collect();
    let mut first = series.iter().rposition(|tick| *tick <= min).unwrap_or(0);
    let mut last = series.iter().position(|tick| *tick >= max).unwrap_or(series.len() - 1);
    while last - first < 3 {
        first = first.saturating_sub(1);
        last = (last + 1).min(series.len() - 1);
    }
    series[first..=last].to_vec()
}

fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().into()
}
