//! Rate limiting, decided without a clock or a network.
//!
//! A [policy](super::plan::Policy) admits `q` requests in every [`Window`] of `w` seconds, counted
//! per holder (a team, a key, a source network). Any number of gateways share one counter for each
//! policy, holder and window. Each gateway has a [`Bucket`]: it takes credits from the counter by
//! fetch-and-add, a few at a time, spends them without asking again, and drops them when the window
//! ends.
//!
//! **Never more than `q` per window.** Let `v` be the counter and `out` the credits that it granted
//! less those handed back. `out <= v` always: a grant of `g <= n` adds `n` to `v`, and handing back
//! subtracts the same from both. A grant is `clamp(q - (v - n), 0, n)`, where `v - n` is the
//! counter before it; with `out <= v - n` before, `out + g <= q` after. So in whatever order
//! gateways act, and whenever one of them dies or an answer is lost, `out <= q`; and a credit is
//! valid in its own window only.
//!
//! **What goes unused.** A gateway asks only when it has no credits left, for at most `max(1, (q -
//! v) / 2N)` credits, of which it spends one at once. So at any moment at most `N * (q / 2N - 1) <=
//! q / 2 - N` credits lie unspent in N gateways, and none when `q < 4N`. Credits that lie unspent
//! for [`Policy::lease`](super::plan::Policy::lease) are handed back to the counter, and a refused
//! gateway asks again after the same time: so the bound matters only during the last lease of a
//! window. With one gateway nothing goes unused: it refuses only when it has spent `q`.

mod bucket;
pub mod headers;
mod network;
mod standing;
mod window;

pub use bucket::{Ask, Bucket, Check, HandBack};
pub use network::Network;
pub use standing::{Limited, Meter, PartitionKey, Standing};
pub use window::Window;
