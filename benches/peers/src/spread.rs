//! The median of repeated measurements, and its confidence interval.

/// The median, and the 95 % confidence interval of the true median. The interval assumes nothing about the
/// distribution. With fewer than six values, it is the range from the minimum to the maximum.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// Computes the spread of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<_> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (last, outside) = (sorted.len() - 1, outside(sorted.len()));
        let median = f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]);
        Self { median, low: sorted[outside], high: sorted[last - outside] }
    }

    /// Formats the interval.
    pub(crate) fn interval(&self) -> String {
        format!("{:.2}..{:.2}", self.low, self.high)
    }
}

/// Returns how many of `count` sorted values are outside the interval at each end. A value is below
/// the true median with probability 1/2, so the number of such values has a binomial distribution.
fn outside(count: usize) -> usize {
    // The probabilities of 0, 1, 2, ... values below the median.
    let mut probabilities = vec![1.0];
    for _ in 0..count {
        let before = probabilities.clone();
        probabilities.push(0.0);
        for (probability, less) in probabilities.iter_mut().skip(1).zip(before) {
            *probability += less;
        }
        for probability in &mut probabilities {
            *probability /= 2.0;
        }
    }
    let at_most = probabilities.iter().scan(0.0, |sum, probability| {
        *sum += probability;
        Some(*sum)
    });
    at_most.take_while(|probability| 2.0 * probability <= 0.05).count().saturating_sub(1)
}
