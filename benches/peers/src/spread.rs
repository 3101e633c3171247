//! How a figure that was measured several times spreads.

use serde::Serialize;

/// The median, and where it would lie if one measured for ever: between `low` and `high`, 95 times in
/// 100. That asks nothing of how the noise is distributed. Fewer than six figures cannot say it: then
/// these are the least and the greatest.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// Of at least one figure.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (last, outside) = (sorted.len() - 1, outside(sorted.len()));
        let median = f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]);
        Self { median, low: sorted[outside], high: sorted[last - outside] }
    }

    pub(crate) fn divided_by(self, divisor: f64) -> Self {
        let Self { median, low, high } = self;
        Self { median: median / divisor, low: low / divisor, high: high / divisor }
    }
}

/// How many of so many figures may be left out at either end. Each lies below the true median with
/// the chance of a coin, so this is how unlikely few heads are.
fn outside(figures: usize) -> usize {
    // The chances of no head, of one, of two, ...
    let mut chances = vec![1.0];
    for _ in 0..figures {
        let before = chances.clone();
        chances.push(0.0);
        for (chance, less) in chances.iter_mut().skip(1).zip(before) {
            *chance += less;
        }
        for chance in &mut chances {
            *chance /= 2.0;
        }
    }
    let at_most = chances.iter().scan(0.0, |sum, chance| {
        *sum += chance;
        Some(*sum)
    });
    at_most.take_while(|chance| 2.0 * chance <= 0.05).count().saturating_sub(1)
}
