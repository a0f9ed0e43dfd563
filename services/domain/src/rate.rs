//! Rates of starts, as teams set them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many tasks may start in a time. Every attempt counts as a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StartRate {
    /// Starts in each `per_ms`, evenly spaced; at least 1.
    pub limit: u32,
    /// Milliseconds; at least 1.
    pub per_ms: u32,
    /// How many unused starts may be made up for at once; at least 1.
    pub burst: u32,
}
