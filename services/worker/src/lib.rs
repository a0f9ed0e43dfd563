//! Owns partitions, runs their dispatchers and calls targets.

pub mod callout;
