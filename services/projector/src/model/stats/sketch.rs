//! Counts of lengths of time in buckets, from which percentiles are read.
//!
//! The buckets are fixed, so counts of two times can be added, a length that was counted can be taken out
//! again, and the same lengths lead to the same bytes in whatever order they came.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets to each power of two, as a power of two. A bucket is at most a sixteenth as wide as its
/// values are large, and stands for its middle, so a percentile is at most 1/32 (3.2 %) off.
const SPLIT_BITS: u32 = 4;
/// Lengths below have a bucket each.
const EXACT: u64 = 1 << (SPLIT_BITS + 1);

/// How many lengths fell into each bucket.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Sketch(BTreeMap<u16, u32>);

impl Sketch {
    /// Counts a length in milliseconds.
    pub(super) fn add(&mut self, length: u64) {
        let count = self.0.entry(bucket(length)).or_default();
        *count = count.saturating_add(1);
    }

    /// Takes a counted length out; `None` if it was not counted.
    pub(super) fn remove(&mut self, length: u64) -> Option<()> {
        let bucket = bucket(length);
        let count = self.0.get_mut(&bucket)?;
        *count = count.checked_sub(1)?;
        if *count == 0 {
            self.0.remove(&bucket);
        }
        Some(())
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            let mine = self.0.entry(*bucket).or_default();
            *mine = mine.saturating_add(*count);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.values().map(|&count| u64::from(count)).sum()
    }

    /// The length in milliseconds that `hundredths` of 100 are not above; `None` if nothing was counted.
    pub(super) fn percentile(&self, hundredths: u64) -> Option<u64> {
        let rank = (self.count() * hundredths).div_ceil(100).max(1);
        let mut seen = 0;
        self.0.iter().find_map(|(bucket, count)| {
            seen += u64::from(*count);
            (seen >= rank).then(|| middle(*bucket))
        })
    }
}

fn bucket(length: u64) -> u16 {
    if length < EXACT {
        return u16::try_from(length).unwrap_or(u16::MAX);
    }
    let power = length.ilog2();
    let within = (length >> (power - SPLIT_BITS)) - (1 << SPLIT_BITS);
    let before = EXACT + (u64::from(power - SPLIT_BITS - 1) << SPLIT_BITS);
    u16::try_from(before + within).unwrap_or(u16::MAX)
}

/// The middle of the lengths in a bucket.
fn middle(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < EXACT {
        return bucket;
    }
    let (octave, within) = (
        (bucket - EXACT) >> SPLIT_BITS,
        (bucket - EXACT) % (1 << SPLIT_BITS),
    );
    let width = 1_u64 << (octave + 1).min(62);
    (width * ((1 << SPLIT_BITS) + within)).saturating_add(width / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_within_a_thirty_second_of_the_truth() {
        for length in (0..100_000).chain((1..40).map(|at| 12_345_678_901 / at)) {
            let mut sketch = Sketch::default();
            sketch.add(length);
            let read = sketch.percentile(50).expect("counted");
            assert!(
                read.abs_diff(length) * 32 <= length,
                "{length} is read as {read}"
            );
        }
        let mut even = Sketch::default();
        (1..=10_000).for_each(|length| even.add(length));
        for (of, truth) in [(50, 5_000_u64), (95, 9_500), (99, 9_900), (100, 10_000)] {
            let read = even.percentile(of).expect("counted");
            assert!(read.abs_diff(truth) * 32 <= truth, "p{of} is {read}");
        }
        assert_eq!(Sketch::default().percentile(99), None);
    }

    #[test]
    fn what_is_taken_out_leaves_nothing_and_order_does_not_matter() {
        let lengths = [5, 900, 31, 32, 33, 1_000_000, 900];
        let (mut forth, mut back) = (Sketch::default(), Sketch::default());
        lengths.iter().for_each(|length| forth.add(*length));
        lengths.iter().rev().for_each(|length| back.add(*length));
        assert_eq!(forth, back);
        assert_eq!(forth.count(), 7);
        for length in lengths {
            forth.remove(length).expect("counted before");
        }
        assert_eq!(forth, Sketch::default());
        assert_eq!(forth.remove(5), None, "nothing is left to take out");
        forth.merge(&back);
        assert_eq!(forth, back);
    }
}
