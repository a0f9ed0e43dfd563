//! Counters that gateways share, one for each policy, holder and window of a rate limit. They keep
//! no history and are held in memory by the server.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::subject::is_token;

/// First token of the subjects of LIMITS.
const PREFIX: &str = "limits";

/// How long an answer of a counter may take. A request waits for it, and can be decided without it.
pub(crate) const COUNTER_TIMEOUT: Duration = Duration::from_millis(250);

/// Which counter: its subject is `limits.<policy>.<holder>.<window>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CounterName<'a> {
    policy: &'a str,
    holder: &'a str,
    window: u64,
}

impl<'a> CounterName<'a> {
    /// The name of a counter. `None` if policy or holder cannot be a token of a subject.
    #[must_use]
    pub fn new(policy: &'a str, holder: &'a str, window: u64) -> Option<Self> {
        (is_token(policy) && is_token(holder)).then_some(Self {
            policy,
            holder,
            window,
        })
    }
}

impl fmt::Display for CounterName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (policy, holder, window) = (self.policy, self.holder, self.window);
        write!(f, "{PREFIX}.{policy}.{holder}.{window}")
    }
}

/// The counter did not answer in time; it may or may not have counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the counter of rate limits does not answer: {reason}")]
pub struct CounterAway {
    /// What is wrong, for an operator.
    pub reason: String,
}

/// Counters whose additions have one total order each.
#[async_trait]
pub trait Counters: Send + Sync + 'static {
    /// Adds `by`, which may be negative or 0, and returns the new total. The request is sent once
    /// and never repeated, so nothing is counted twice. Returns within half a second.
    async fn add(&self, counter: CounterName<'_>, by: i64) -> Result<i64, CounterAway>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_has_a_subject_of_four_tokens() {
        let name = CounterName::new("team", "team_01", 28_421_871).expect("tokens");
        assert_eq!(name.to_string(), "limits.team.team_01.28421871");
        for (policy, holder) in [("a.b", "x"), ("a", "127.0.0.1"), ("a", "*"), ("", "x")] {
            assert_eq!(CounterName::new(policy, holder, 1), None);
        }
    }
}
