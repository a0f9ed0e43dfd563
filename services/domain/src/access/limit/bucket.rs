//! The credits of the current window that one gateway holds for one policy and holder.
//!
//! Windows follow the wall clock, since all gateways share them. The age of credits and the length
//! of a refusal are durations and follow the monotonic clock, so setting the wall clock back
//! refuses nobody for longer.

use super::Window;
use crate::access::plan::Policy;
use crate::time::{Elapsed, Times, Timestamp};

/// Whether a request can be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Yes; charge it with [`Bucket::spend`].
    Ready,
    /// No credits are left here: ask the counter.
    Ask,
    /// The quota is used up.
    Refused,
}

/// A request to the counter: add `wanted + owed`, and pass the answer to [`Bucket::granted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Number of the window; part of the counter's name.
    pub window: u64,
    /// Credits for requests that are not admitted yet.
    pub wanted: u64,
    /// Requests admitted while the counter was unavailable, which it does not include yet.
    pub owed: u64,
    /// Whether to read the total of the previous window too, for [`Bucket::learn_previous`].
    pub needs_previous: bool,
}

impl Ask {
    /// What to add to the counter.
    #[must_use]
    pub fn add(&self) -> i64 {
        signed(self.wanted + self.owed)
    }
}

/// Credits to subtract from the counter. Try only once: a lost credit goes unused, but one handed
/// back twice could be spent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandBack {
    pub window: u64,
    pub credits: u64,
}

impl HandBack {
    /// What to add to the counter.
    #[must_use]
    pub fn add(&self) -> i64 {
        -signed(self.credits)
    }
}

/// Credits of one policy and holder in one window, on one gateway.
#[derive(Debug, Clone, Default)]
pub struct Bucket {
    window: Option<u64>,
    /// Granted and not yet spent.
    credits: u64,
    /// Requests admitted by this gateway in this window.
    spent: u64,
    /// The part of `spent` that the counter does not include yet.
    owed: u64,
    /// The counter as last seen, less what this gateway has handed back since.
    total: u64,
    /// Total of the previous window, for a smooth policy.
    previous: Option<u64>,
    refused: Option<Refusal>,
    lease: Lease,
    /// Smoothed rate, in credits per second.
    rate: f64,
}

#[derive(Debug, Clone, Copy)]
struct Refusal {
    until: Elapsed,
    /// A refusal does not hold once the quota is larger.
    quota: u64,
}

/// The credits granted last, and when.
#[derive(Debug, Clone, Copy, Default)]
struct Lease {
    at: Elapsed,
    credits: u64,
}

impl Bucket {
    /// Whether a request can be admitted now. `live` is the number of serving gateways; `away` says
    /// that the counter is unavailable.
    ///
    /// Without the counter a gateway admits its share `floor(q / live)`, less what it has already
    /// admitted in this window.
    pub fn check(&mut self, policy: &Policy, now: Times, live: u32, away: bool) -> Check {
        self.roll(policy, now.wall);
        if self.credits > 0 {
            return Check::Ready;
        }
        let holds = |refused: &Refusal| now.elapsed < refused.until && policy.q() <= refused.quota;
        if self.refused.as_ref().is_some_and(holds) {
            return Check::Refused;
        }
        match away {
            false => Check::Ask,
            true if self.spent < share(policy, live) => Check::Ready,
            true => Check::Refused,
        }
    }

    /// Charges one request. Call it right after [`Check::Ready`], under the same lock.
    pub fn spend(&mut self) {
        match self.credits.checked_sub(1) {
            Some(left) => self.credits = left,
            None => self.owed += 1,
        }
        self.spent += 1;
    }

    /// Refunds one request that was charged in this window.
    pub fn unspend(&mut self, policy: &Policy, now: Timestamp) {
        self.roll(policy, now);
        if self.spent == 0 {
            // The request was charged in a window that has ended.
            return;
        }
        self.spent -= 1;
        match self.owed.checked_sub(1) {
            Some(owed) => self.owed = owed,
            None => self.credits += 1,
        }
    }

    /// The request to the counter after [`Check::Ask`]. `waiting` is the number of requests that
    /// wait for the answer.
    ///
    /// Asks for what half a lease will need, but for no more than an Nth of half of what is left,
    /// so that the last credits are handed out one by one.
    #[must_use]
    pub fn ask(&mut self, policy: &Policy, now: Times, live: u32, waiting: u64) -> Ask {
        let window = self.roll(policy, now.wall);
        self.learn_rate(now.elapsed);
        let left = self.allowance(policy, now.wall).saturating_sub(self.total);
        let most = (left / (2 * u64::from(live.max(1)))).max(1);
        let needed = self.rate * policy.lease().as_secs_f64() / 2.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number, cut at the largest quota"
        )]
        let needed = needed.ceil().clamp(1.0, 1e9) as u64;
        Ask {
            window: window.id(),
            wanted: needed.max(waiting).min(most),
            owed: self.owed,
            needs_previous: policy.smooth && self.previous.is_none(),
        }
    }

    /// Stores the total of the window before the one of `ask`, for a smooth policy.
    pub fn learn_previous(&mut self, ask: &Ask, policy: &Policy, total: i64) {
        if self.window == Some(ask.window) {
            self.previous = Some(unsigned(total).min(policy.q()));
        }
    }

    /// Applies the answer to `ask`, the counter's new total. Returns the part of the increase that
    /// granted nothing and must be handed back.
    pub fn granted(
        &mut self,
        policy: &Policy,
        ask: &Ask,
        total: i64,
        now: Times,
    ) -> Option<HandBack> {
        let window = self.roll(policy, now.wall);
        if window.id() != ask.window {
            // Too late: a credit is valid in its own window only.
            return None;
        }
        let held = self.held();
        let before = total - ask.add();
        self.owed = self.owed.saturating_sub(ask.owed);
        let before_ours = unsigned(total - signed(ask.wanted));
        let (granted, total) = if before < signed(held) {
            // The counter includes everything held here, unless it has lost its state. Then it is
            // restored from here.
            self.owed += held;
            (0, before_ours)
        } else {
            let left = self.allowance(policy, now.wall).saturating_sub(before_ours);
            let granted = left.min(ask.wanted);
            if granted == 0 {
                self.refused = Some(Refusal {
                    until: now.place(self.asks_again(policy, window, before_ours, now.wall)),
                    quota: policy.q(),
                });
            }
            (granted, before_ours + granted)
        };
        self.credits += granted;
        self.total = total;
        if granted > 0 {
            self.lease = Lease {
                at: now.elapsed,
                credits: granted,
            };
        }
        let credits = ask.wanted - granted;
        (credits > 0).then_some(HandBack {
            window: ask.window,
            credits,
        })
    }

    /// Returns the credits that have been unused for a lease, so that other gateways may use them.
    pub fn lapse(&mut self, policy: &Policy, now: Times) -> Option<HandBack> {
        let window = Window::at(now.wall, policy);
        let is_over = self.window != Some(window.id());
        if is_over || self.credits == 0 || now.elapsed < self.lease.at.plus(policy.lease()) {
            return None;
        }
        let credits = std::mem::take(&mut self.credits);
        self.total = self.total.saturating_sub(credits);
        self.lease.credits = self.lease.credits.saturating_sub(credits);
        Some(HandBack {
            window: window.id(),
            credits,
        })
    }

    /// Requests that will still be admitted in this window, as far as this gateway knows. Exact
    /// with one gateway.
    #[must_use]
    pub fn remaining(&self, policy: &Policy, now: Timestamp, live: u32, away: bool) -> u64 {
        if self.window != Some(Window::at(now, policy).id()) {
            return policy.q();
        }
        let unspent = policy.q().saturating_sub(self.spent);
        let left = if away {
            share(policy, live).saturating_sub(self.spent)
        } else {
            self.allowance(policy, now)
                .saturating_sub(self.total + self.owed)
        };
        (self.credits + left).min(unspent)
    }

    /// Whether this bucket can be dropped without effect: its window has ended, and the counter
    /// includes everything.
    #[must_use]
    pub fn is_forgettable(&self, policy: &Policy, now: Timestamp) -> bool {
        self.owed == 0 || self.window != Some(Window::at(now, policy).id())
    }

    /// Whether there was no request for a whole window. Until then the rate is worth keeping.
    #[must_use]
    pub fn is_idle(&self, policy: &Policy, now: Timestamp) -> bool {
        let current = Window::at(now, policy).id();
        self.window
            .is_none_or(|window| window > current || window + 1 < current)
    }

    /// Credits that were granted and not spent.
    #[must_use]
    pub fn credits(&self) -> u64 {
        self.credits
    }

    /// The least that the counter must include for this gateway.
    fn held(&self) -> u64 {
        self.spent - self.owed + self.credits
    }

    /// Moves on to the current window if another one has begun.
    fn roll(&mut self, policy: &Policy, now: Timestamp) -> Window {
        let window = Window::at(now, policy);
        if self.window != Some(window.id()) {
            *self = Self {
                window: Some(window.id()),
                lease: self.lease,
                rate: self.rate,
                ..Self::default()
            };
        }
        window
    }

    /// Requests that the policy admits in this window up to now.
    fn allowance(&self, policy: &Policy, now: Timestamp) -> u64 {
        let Some(previous) = self.previous.filter(|_| policy.smooth) else {
            return policy.q();
        };
        let (left_ms, length_ms) = lengths_ms(Window::at(now, policy), now);
        let carried = u128::from(previous) * left_ms;
        let carried = u64::try_from(carried.div_ceil(length_ms)).unwrap_or(u64::MAX);
        policy.q().saturating_sub(carried)
    }

    /// When a refused gateway asks again: when credits of other gateways have been handed back, or
    /// enough of the previous window has passed.
    fn asks_again(&self, policy: &Policy, window: Window, total: u64, now: Timestamp) -> Timestamp {
        let latest = now.plus(policy.lease()).min(window.ends());
        match self
            .previous
            .filter(|_| policy.smooth && total < policy.q())
        {
            None | Some(0) => latest,
            Some(previous) => {
                let (_, length_ms) = lengths_ms(window, now);
                let carried = u128::from(policy.q() - total - 1);
                let left_ms = carried * length_ms / u128::from(previous);
                let left_ms = i64::try_from(left_ms).unwrap_or(i64::MAX);
                let at = Timestamp(window.ends().0.saturating_sub(left_ms));
                at.clamp(Timestamp(now.0 + 1).min(latest), latest)
            }
        }
    }

    fn learn_rate(&mut self, now: Elapsed) {
        let lease = std::mem::take(&mut self.lease);
        if lease.credits > 0 {
            let elapsed = now.since(lease.at).as_secs_f64().max(0.001);
            #[expect(clippy::cast_precision_loss, reason = "an estimate")]
            let sample = lease.credits as f64 / elapsed;
            self.rate = f64::midpoint(self.rate, sample);
        }
    }
}

/// What a gateway may admit on its own while the counter is unavailable.
fn share(policy: &Policy, live: u32) -> u64 {
    policy.q() / u64::from(live.max(1))
}

/// Remaining and total length of the window, in milliseconds.
fn lengths_ms(window: Window, now: Timestamp) -> (u128, u128) {
    (window.left(now).as_millis(), window.length().as_millis())
}

fn signed(credits: u64) -> i64 {
    i64::try_from(credits).unwrap_or(i64::MAX)
}

/// A negative counter has lost its state and counts as 0.
fn unsigned(total: i64) -> u64 {
    u64::try_from(total).unwrap_or(0)
}

#[cfg(test)]
mod tests;
