//! The most frequent of any number of names, in bounded memory: the Space-Saving sketch.
//!
//! A name without a counter takes over the smallest one, and inherits its count as an error that is
//! known. So a count is never too small, too large by at most a `limit`th of all, and a name that is
//! more frequent than that is never lost (Metwally, Agrawal and El Abbadi, 2005). With no more names
//! than counters, all counts are exact.

use std::{cmp::Reverse, collections::HashMap};

use serde::Serialize;

pub(crate) struct Sketch {
    limit: usize,
    total: u64,
    counters: HashMap<String, Counter>,
}

#[derive(Clone, Copy)]
struct Counter {
    count: u64,
    overcount: u64,
}

/// A name, and how often it came: at most `count` times, and at least `count - overcount` times.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Ranked<'a> {
    pub(crate) name: &'a str,
    pub(crate) count: u64,
    pub(crate) overcount: u64,
}

impl Sketch {
    /// An empty one of `limit` counters, at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), total: 0, counters: HashMap::new() }
    }

    pub(crate) fn add(&mut self, name: &str) {
        self.total += 1;
        if let Some(counter) = self.counters.get_mut(name) {
            counter.count += 1;
            return;
        }
        let overcount = if self.counters.len() < self.limit { 0 } else { self.take_smallest() };
        self.counters.insert(name.to_owned(), Counter { count: overcount + 1, overcount });
    }

    /// Frees the smallest counter. A search through all: they are few, and mostly names come again.
    fn take_smallest(&mut self) -> u64 {
        // By name where counts are the same, so that the same rows give the same result.
        let smallest = self.counters.iter().min_by_key(|&(name, counter)| (counter.count, name));
        let Some((name, count)) = smallest.map(|(name, counter)| (name.clone(), counter.count))
        else {
            return 0;
        };
        self.counters.remove(&name);
        count
    }

    /// How many names were added, each as often as it came.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The most frequent names, the first ones first.
    pub(crate) fn top(&self, number: usize) -> Vec<Ranked<'_>> {
        let ranked = self.counters.iter().map(|(name, &Counter { count, overcount })| Ranked {
            name,
            count,
            overcount,
        });
        let mut top: Vec<_> = ranked.collect();
        top.sort_unstable_by_key(|ranked| (Reverse(ranked.count), ranked.overcount, ranked.name));
        top.truncate(number);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(sketch: &mut Sketch, names: &[String]) {
        for name in names {
            sketch.add(name);
        }
    }

    fn counted(names: &[String]) -> HashMap<&str, u64> {
        let mut counts = HashMap::new();
        for name in names {
            *counts.entry(name.as_str()).or_default() += 1;
        }
        counts
    }

    /// Few names often and many names seldom, in a random order.
    fn names(different: u64) -> Vec<String> {
        (0..20_000)
            .map(|_| {
                (different * fastrand::u64(1..1000) / fastrand::u64(1..1000))
                    .min(3 * different)
                    .to_string()
            })
            .collect()
    }

    #[test]
    fn counts_are_exact_where_there_are_no_more_names_than_counters() {
        let names: Vec<_> = (0..10_000).map(|_| fastrand::u8(..).to_string()).collect();
        let mut sketch = Sketch::new(256);
        add(&mut sketch, &names);
        let counts = counted(&names);
        let top = sketch.top(usize::MAX);
        assert_eq!((top.len(), sketch.total()), (counts.len(), 10_000));
        assert!(top.is_sorted_by(|a, b| a.count >= b.count));
        for Ranked { name, count, overcount } in top {
            assert_eq!((count, overcount), (counts[name], 0), "{name}");
        }
    }

    #[test]
    fn counters_stay_within_the_limit_whatever_comes() {
        let mut sketch = Sketch::new(256);
        for name in 0..20_000 {
            sketch.add(&name.to_string());
            assert!(sketch.counters.len() <= 256);
        }
        assert!(sketch.counters.capacity() < 2048);
        assert_eq!(sketch.top(usize::MAX).iter().map(|ranked| ranked.count).sum::<u64>(), 20_000);
        let mut one = Sketch::new(0);
        add(&mut one, &["a", "b", "a"].map(str::to_owned));
        assert_eq!(one.top(10), [Ranked { name: "a", count: 3, overcount: 2 }]);
    }

    #[test]
    fn a_count_is_never_too_small_and_too_large_by_what_it_says_at_most() {
        for different in [300, 1000, 5000] {
            let names = names(different);
            let mut sketch = Sketch::new(256);
            add(&mut sketch, &names);
            let counts = counted(&names);
            for Ranked { name, count, overcount } in sketch.top(usize::MAX) {
                assert!((count - overcount..=count).contains(&counts[name]), "{name}");
                assert!(overcount <= sketch.total() / 256, "{overcount}");
            }
        }
    }

    #[test]
    fn a_name_above_its_share_is_never_lost() {
        for _ in 0..4 {
            // The worst order, too: the heavy one first, then nothing but new names.
            let heavy = 1 + 20_000 / 256;
            let mut names: Vec<_> = vec!["heavy".to_owned(); heavy];
            names.extend((0..20_000 - heavy).map(|name| name.to_string()));
            if fastrand::bool() {
                fastrand::shuffle(&mut names);
            }
            let mut sketch = Sketch::new(256);
            add(&mut sketch, &names);
            assert!(sketch.top(256).iter().any(|ranked| ranked.name == "heavy"));
        }
    }
}
