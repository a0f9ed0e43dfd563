//! Rate limits of requests: what [`waybill_domain::access::limit`] decides, with a clock, a lock and a counter around it.
//!
//! A request meets two limiters. A caller that is not recognised meets [`Limiter::charge_failure`]: it counts failed attempts to
//! authenticate by source network, in this process alone, so that guessing is slow and costs the gateway little; valid credentials from the same
//! network never meet it. Once team and credential are known, [`Limiter::take`] charges the policies of the team's plan, exactly and over all gateways: credits come in chunks from one
//! counter in the log ([`waybill_log::Counters`]) and are spent here without asking anybody. [`Limiter::guard`] does the same for what is
//! worth guessing or flooding (log-in, tokens, making keys), one credit at a time, and is closed while the counter does not answer.
//!
//! A [`LimitSlot`] goes through each request and collects where it stands; [`write_headers`] says so on every response.

mod buckets;
mod error;
mod limiter;
mod refill;
mod slot;
mod sources;

pub use error::LimitRefusal;
pub use limiter::{Guarded, Limiter};
pub use slot::{LimitSlot, write_headers};

#[cfg(test)]
mod tests;
