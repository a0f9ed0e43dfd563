//! What several rounds of the same measurement found.

/// A median and its range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Zeros of no values.
    pub(crate) fn of(mut sorted: Vec<f64>) -> Self {
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        Self {
            least: at(0),
            median: at(sorted.len() / 2),
            most: at(sorted.len().saturating_sub(1)),
        }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.median, f)?;
        if self.least < self.most {
            f.write_str(" (")?;
            std::fmt::Display::fmt(&self.least, f)?;
            f.write_str("-")?;
            std::fmt::Display::fmt(&self.most, f)?;
            f.write_str(")")?;
        }
        Ok(())
    }
}
