//! Rate limits, decided without a clock or a network.
//!
//! A [policy](super::plan::Policy) admits `q` requests in every [`Window`] of `w` seconds, counted for one holder (a team, a key, a
//! source network). Any number of gateways share one counter per policy, holder and window. Each has a [`Bucket`]: it takes credits
//! from the counter by fetch-and-add, a few at a time, spends them without asking anybody, and forgets them with the window.
//!
//! **Never more than `q` per window.** Let `v` be the counter and `out` the credits granted by it and not handed back. `out <= v`
//! always: a grant of `g <= n` adds `n` to `v`, and handing back takes the same from both. A grant is `clamp(q - (v - n), 0, n)`, where
//! `v - n` is the counter before it; with `out <= v - n` before, `out + g <= q` after. So whatever gateways do in whatever order, and
//! whenever one of them dies or an answer is lost, `out <= q`; and a credit is good in its own window only.
//!
//! **What goes unused.** A gateway asks only when it has nothing left, for at most `max(1, (q - v) / 2N)` credits of which it spends one
//! at once, so at any moment at most `N * (q / 2N - 1) <= q / 2 - N` credits lie unspent in N gateways, none of them when
//! `q < 4N`. Whatever lies for [`Policy::lease`](super::plan::Policy::lease) is handed back to the counter, and who was refused asks again
//! after as long: so the bound holds over the last lease of a window only. With one gateway nothing goes unused: it refuses only when it
//! has spent `q`.

mod bucket;
pub mod headers;
mod network;
mod standing;
mod window;

pub use bucket::{Ask, Bucket, Check, HandBack};
pub use network::Network;
pub use standing::{Limited, Meter, PartitionKey, Standing};
pub use window::Window;
