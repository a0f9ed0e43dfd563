//! The range of keys to read, and the direction.

/// Bounds on keys. Every bound narrows the range further, so `prefix(team).after(cursor)` pages
/// through a prefix.
///
/// Byte strings have an exact successor (the string with a zero byte appended), so any mix of open
/// and closed bounds can be stored as one half-open range. Engines only see half-open ranges; they
/// differ in how they handle excluded bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    start: Vec<u8>,
    /// Exclusive; `None` for the end of the tree.
    end: Option<Vec<u8>>,
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

impl KeyRange {
    #[must_use]
    pub fn all() -> Self {
        Self {
            start: Vec::new(),
            end: None,
            order: Order::Ascending,
        }
    }

    /// Keys with this prefix; an empty prefix matches every key.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        Self {
            start: prefix.to_vec(),
            end: first_beyond_prefix(prefix),
            order: Order::Ascending,
        }
    }

    /// Keys greater than or equal to `key`.
    #[must_use]
    pub fn from(self, key: &[u8]) -> Self {
        self.start_at(key.to_vec())
    }

    /// Keys greater than `key`.
    #[must_use]
    pub fn after(self, key: &[u8]) -> Self {
        self.start_at(successor(key))
    }

    /// Keys less than or equal to `key`.
    #[must_use]
    pub fn to(self, key: &[u8]) -> Self {
        self.end_before(successor(key))
    }

    /// Keys less than `key`.
    #[must_use]
    pub fn before(self, key: &[u8]) -> Self {
        self.end_before(key.to_vec())
    }

    /// Iterates from the highest key to the lowest.
    #[must_use]
    pub fn descending(mut self) -> Self {
        self.order = Order::Descending;
        self
    }

    fn start_at(mut self, start: Vec<u8>) -> Self {
        self.start = self.start.max(start);
        self
    }

    fn end_before(mut self, end: Vec<u8>) -> Self {
        self.end = Some(match self.end {
            Some(present) => present.min(end),
            None => end,
        });
        self
    }

    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    pub(crate) fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
    }

    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Whether no key can match. Engines are not asked for an empty range: some panic if a range
    /// ends before it starts.
    pub(crate) fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// The lowest key greater than every key with this prefix; `None` if there is none, because the
/// prefix is all `0xff`.
fn first_beyond_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut beyond = prefix[..=last].to_vec();
    beyond[last] += 1;
    Some(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_its_last_raisable_byte_is_raised() {
        assert_eq!(first_beyond_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(first_beyond_prefix(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(first_beyond_prefix(&[0xff, 0xff]), None);
        assert_eq!(first_beyond_prefix(b""), None);
    }

    #[test]
    fn bounds_only_ever_narrow() {
        let range = KeyRange::prefix(b"b").from(b"a").to(b"c");
        assert_eq!(range, KeyRange::prefix(b"b"));
        assert!(KeyRange::prefix(b"b").after(b"c").is_empty());
        assert!(KeyRange::all().from(b"k").before(b"k").is_empty());
        assert!(!KeyRange::all().from(b"k").to(b"k").is_empty());
    }
}
