//! The header fields that tell clients where they stand. No other code writes them.
//!
//! Two families: `X-RateLimit-Limit`, `-Remaining` and `-Reset` for the policy closest to
//! exhaustion, and the structured fields `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers, syntax of -10, RFC 9651) for all policies.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Meter, Standing, Window};
use crate::access::plan::PolicyScope;
use crate::time::Timestamp;

/// `X-RateLimit-Limit` and `-Remaining` of an unlimited plan: the largest number that fits into 32
/// bits with a sign.
pub const UNLIMITED: u64 = 2_147_483_647;
/// `X-RateLimit-Reset` of an unlimited plan is a multiple of this many seconds.
const UNLIMITED_WINDOW_S: u64 = 60;

/// Values of the fields of one response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimitFields {
    /// `X-RateLimit-Limit`: requests per window.
    pub limit: u64,
    /// `X-RateLimit-Remaining`: requests left in the window.
    pub remaining: u64,
    /// `X-RateLimit-Reset`: seconds since the epoch at the end of the window.
    pub reset: u64,
    /// Whom the policy counts for that these are about. `None` without policies.
    pub scope: Option<PolicyScope>,
    /// `RateLimit-Policy` and `RateLimit`. `None` without policies: a structured list must not be
    /// empty.
    pub structured: Option<Structured>,
}

/// Values of the two structured fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structured {
    /// `RateLimit-Policy`: `"team";q=60;w=60;pk=:...:`
    pub policy: String,
    /// `RateLimit`: `"team";r=59;t=30;pk=:...:`
    pub limit: String,
}

/// The fields of a response that is sent at `now`.
#[must_use]
pub fn fields(standing: &Standing, now: Timestamp) -> RateLimitFields {
    let meters = standing.meters();
    let Some(nearest) = meters.iter().reduce(nearer) else {
        let now_s = u64::try_from(now.as_secs()).unwrap_or(0);
        return RateLimitFields {
            limit: UNLIMITED,
            remaining: UNLIMITED,
            reset: (now_s / UNLIMITED_WINDOW_S + 1) * UNLIMITED_WINDOW_S,
            scope: None,
            structured: None,
        };
    };
    RateLimitFields {
        limit: nearest.policy.q(),
        remaining: nearest.remaining,
        reset: nearest.window.ends_s(),
        scope: Some(nearest.policy.scope),
        structured: Some(structured(meters, now)),
    }
}

/// Seconds until the window ends, rounded up, so that a client that waits this long has waited long
/// enough.
#[must_use]
pub(super) fn delta_s(window: Window, now: Timestamp) -> u64 {
    let left = window.left(now);
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

/// The meter with the smaller fraction left; between equals, the one with the longer window.
fn nearer<'a>(a: &'a Meter, b: &'a Meter) -> &'a Meter {
    let fraction = |meter: &Meter, other: &Meter| meter.remaining * other.policy.q();
    let later = std::cmp::Reverse;
    let of_a = (fraction(a, b), later(a.window.ends_s()));
    let of_b = (fraction(b, a), later(b.window.ends_s()));
    if of_b < of_a { b } else { a }
}

fn structured(meters: &[Meter], now: Timestamp) -> Structured {
    /// Estimated bytes of one member, to allocate once.
    const MEMBER: usize = 64;
    let mut policy = String::with_capacity(meters.len() * MEMBER);
    let mut limit = String::with_capacity(meters.len() * MEMBER);
    for meter in meters {
        if !policy.is_empty() {
            policy.push_str(", ");
            limit.push_str(", ");
        }
        // Names need no escaping: the catalogue allows only `a-z 0-9 -`.
        let (name, q, w) = (&meter.policy.name, meter.policy.q(), meter.policy.window_s);
        let mut key = [0; 12];
        let written = STANDARD.encode_slice(meter.partition.0, &mut key);
        let key = std::str::from_utf8(&key[..written.unwrap_or(0)]).unwrap_or("");
        // Writing to a string cannot fail.
        let _ = write!(policy, "\"{name}\";q={q};w={w};pk=:{key}:");
        let (r, t) = (meter.remaining, delta_s(meter.window, now));
        let _ = write!(limit, "\"{name}\";r={r};t={t};pk=:{key}:");
    }
    Structured { policy, limit }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::sync::Arc;

    use proptest::prelude::*;
    use sfv::{BareItem, List, ListEntry, Parser};

    use super::super::{Limited, PartitionKey};
    use super::*;
    use crate::access::plan::{Policy, PolicyScope};

    const NOW: Timestamp = Timestamp(1_705_312_230_500);

    fn a_meter(name: &str, q: u32, w: u32, remaining: u64, now: Timestamp) -> Meter {
        let policy = Arc::new(Policy {
            name: name.into(),
            scope: PolicyScope::Team,
            quota: NonZeroU32::new(q).expect("not 0"),
            window_s: NonZeroU32::new(w).expect("not 0"),
            smooth: false,
        });
        Meter {
            window: Window::at(now, &policy),
            policy,
            partition: PartitionKey::of("team_x"),
            remaining,
            violated: remaining == 0,
        }
    }

    #[test]
    fn the_older_fields_tell_of_the_policy_with_the_smallest_fraction_left() {
        let standing = Standing::Metered(vec![
            a_meter("sustained", 1000, 60, 500, NOW),
            a_meter("burst", 100, 1, 20, NOW),
            a_meter("key", 60, 60, 30, NOW),
        ]);
        let fields = fields(&standing, NOW);
        assert_eq!((fields.limit, fields.remaining), (100, 20));
        assert_eq!(fields.reset, 1_705_312_231);
        let structured = fields.structured.expect("there are policies");
        assert_eq!(
            structured.policy,
            "\"sustained\";q=1000;w=60;pk=:++pe2GStBlo=:, \"burst\";q=100;w=1;pk=:++pe2GStBlo=:, \
             \"key\";q=60;w=60;pk=:++pe2GStBlo=:"
        );
        assert_eq!(
            structured.limit,
            "\"sustained\";r=500;t=30;pk=:++pe2GStBlo=:, \"burst\";r=20;t=1;pk=:++pe2GStBlo=:, \
             \"key\";r=30;t=30;pk=:++pe2GStBlo=:"
        );
    }

    #[test]
    fn an_unlimited_plan_still_has_the_older_fields() {
        let fields = fields(&Standing::Unlimited, NOW);
        assert_eq!((fields.limit, fields.remaining), (UNLIMITED, UNLIMITED));
        assert_eq!(fields.reset, 1_705_312_260);
        assert_eq!(fields.structured, None);
    }

    fn integer(item: &ListEntry, parameter: &str) -> u64 {
        let ListEntry::Item(item) = item else {
            panic!("an inner list");
        };
        let (_, value) = item
            .params
            .iter()
            .find(|(key, _)| key.as_str() == parameter)
            .expect("the parameter is there");
        let BareItem::Integer(value) = value else {
            panic!("{parameter} is no integer");
        };
        u64::try_from(i64::from(*value)).expect("not negative")
    }

    proptest! {
        /// L14: an independent parser of structured fields reads back what was meant.
        #[test]
        fn draft_10_structured_fields_are_valid_lists(
            policies in proptest::collection::vec(("[a-z0-9-]{1,32}", 1_u32..=1_000_000_000, 1_u32..=1200, any::<u32>()), 1..8),
            now in 0_i64..4_000_000_000_000,
        ) {
            let now = Timestamp(now);
            let meters: Vec<Meter> = policies
                .iter()
                .map(|(name, q, w, r)| a_meter(name, *q, *w, u64::from(*r) % u64::from(q + 1), now))
                .collect();
            let limited = Limited { meters: meters.clone() };
            let fields = fields(&Standing::Metered(meters.clone()), now);
            let structured = fields.structured.expect("there are policies");
            let policy: List = Parser::new(&structured.policy).parse().expect("a list");
            let limit: List = Parser::new(&structured.limit).parse().expect("a list");
            prop_assert_eq!(policy.len(), meters.len());
            for ((meter, policy), limit) in meters.iter().zip(&policy).zip(&limit) {
                prop_assert_eq!(integer(policy, "q"), meter.policy.q());
                prop_assert_eq!(integer(policy, "w"), u64::from(meter.policy.window_s.get()));
                prop_assert_eq!(integer(limit, "r"), meter.remaining);
                let t = integer(limit, "t");
                prop_assert!(t >= 1 && t <= u64::from(meter.policy.window_s.get()));
                prop_assert!(!meter.violated || limited.retry_after_s(now) >= t);
            }
            let shown = meters.iter().find(|m| m.policy.q() == fields.limit && m.window.ends_s() == fields.reset);
            let shown = shown.expect("it is one of them");
            prop_assert_eq!(fields.reset % u64::from(shown.policy.window_s.get()), 0);
        }
    }
}
