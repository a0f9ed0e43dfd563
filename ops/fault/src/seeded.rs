//! Random choices that a seed reproduces. Timing is not part of it: a seed reproduces the requests
//! and faults, not the interleaving of processes.

/// `SplitMix64` (Steele, Lea and Flood, 2014): small, and good enough to choose among cases.
#[derive(Debug, Clone)]
pub(crate) struct Seeded(u64);

impl Seeded {
    /// One of several independent streams of the same seed, numbered by `stream`.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut seeded = Self(seed ^ stream.wrapping_mul(0xA076_1D64_78BD_642F));
        seeded.next();
        seeded
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`, or 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }

    /// True in `of_hundred` percent of cases.
    pub(crate) fn percent(&mut self, of_hundred: u64) -> bool {
        self.below(100) < of_hundred
    }

    /// A random element; `None` if the slice is empty.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let at = self.below(from.len() as u64);
        from.get(usize::try_from(at).ok()?)
    }
}
