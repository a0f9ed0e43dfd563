//! What one gateway holds of one policy for one holder: credits of the current window.
//!
//! Windows are by the wall clock, since all gateways share them. How long credits have lain here, and how long a refusal holds, are
//! lengths and run on the monotonic clock: a clock that is set back refuses nobody for longer.

use super::Window;
use crate::access::plan::Policy;
use crate::time::{Elapsed, Times, Timestamp};

/// May a request be admitted?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Yes; [`Bucket::spend`] charges it.
    Ready,
    /// There is no credit here: ask the counter.
    Ask,
    /// No.
    Refused,
}

/// A request to the counter: add `wanted + owed`, and give the answer to [`Bucket::granted`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Number of the window; a part of the counter's name.
    pub window: u64,
    /// Credits wanted.
    pub wanted: u64,
    /// Admitted while the counter was away, and not on it yet.
    pub owed: u64,
    /// Ask for the total of the window before too, by [`Bucket::learn_previous`].
    pub needs_previous: bool,
}

impl Ask {
    /// What to add to the counter.
    #[must_use]
    pub fn add(&self) -> i64 {
        signed(self.wanted + self.owed)
    }
}

/// Credits to subtract from the counter. Try once: a credit that gets lost is unused, one that is handed back twice is spent twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandBack {
    /// Number of the window.
    pub window: u64,
    /// How many.
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
    /// Granted and not spent.
    credits: u64,
    /// Admitted here in this window.
    spent: u64,
    /// Of those, what the counter does not know.
    owed: u64,
    /// The counter as last seen, less what went back to it from here since.
    total: u64,
    /// The total of the window before, for a smooth policy.
    previous: Option<u64>,
    refused: Option<Refusal>,
    lease: Lease,
    /// Credits spent per second, smoothed.
    rate: f64,
}

#[derive(Debug, Clone, Copy)]
struct Refusal {
    until: Elapsed,
    /// With a larger quota it does not count.
    quota: u64,
}

/// The credits granted last.
#[derive(Debug, Clone, Copy, Default)]
struct Lease {
    at: Elapsed,
    credits: u64,
}

impl Bucket {
    /// May a request be admitted now? `live`: gateways that serve; `away`: the counter does not answer.
    ///
    /// Without the counter a gateway admits its share `floor(q / live)`, less what it has admitted in this window already.
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

    /// Charges one request, right after [`Check::Ready`] and under the same lock.
    pub fn spend(&mut self) {
        match self.credits.checked_sub(1) {
            Some(left) => self.credits = left,
            None => self.owed += 1,
        }
        self.spent += 1;
    }

    /// Takes back the charge of one request of this window: its credit lies here again.
    pub fn unspend(&mut self, policy: &Policy, now: Timestamp) {
        self.roll(policy, now);
        if self.spent == 0 {
            // It was charged in a window that is over.
            return;
        }
        self.spent -= 1;
        match self.owed.checked_sub(1) {
            Some(owed) => self.owed = owed,
            None => self.credits += 1,
        }
    }

    /// What to ask of the counter, right after [`Check::Ask`]. `waiting`: requests that would be served by the answer.
    ///
    /// As much as half a lease will need, but no more than an Nth of half of what is left: so the last credits go out one by one.
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

    /// Takes the total of the window before the one of `ask`, for a smooth policy.
    pub fn learn_previous(&mut self, ask: &Ask, policy: &Policy, total: i64) {
        if self.window == Some(ask.window) {
            self.previous = Some(unsigned(total).min(policy.q()));
        }
    }

    /// Takes the answer to `ask`: the counter's new total. Gives back what the counter was raised by in vain.
    pub fn granted(
        &mut self,
        policy: &Policy,
        ask: &Ask,
        total: i64,
        now: Times,
    ) -> Option<HandBack> {
        let window = self.roll(policy, now.wall);
        if window.id() != ask.window {
            // Too late: a credit is good in its own window only.
            return None;
        }
        let held = self.held();
        let before = total - ask.add();
        self.owed = self.owed.saturating_sub(ask.owed);
        let before_ours = unsigned(total - signed(ask.wanted));
        let (granted, total) = if before < signed(held) {
            // All that is held here is on the counter, unless the counter has lost its memory. Then it learns it again.
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

    /// Gives back what has lain unused for a lease, so that another gateway may use it.
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

    /// Requests that will still be admitted in this window, as far as this gateway knows. Exact with one gateway.
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

    /// Would it matter if this were forgotten? Not after its window, and not when the counter knows everything.
    #[must_use]
    pub fn is_forgettable(&self, policy: &Policy, now: Timestamp) -> bool {
        self.owed == 0 || self.window != Some(Window::at(now, policy).id())
    }

    /// Has nobody asked for a whole window? Until then its rate is worth keeping.
    #[must_use]
    pub fn is_idle(&self, policy: &Policy, now: Timestamp) -> bool {
        let current = Window::at(now, policy).id();
        self.window
            .is_none_or(|window| window > current || window + 1 < current)
    }

    /// Credits that lie here unspent.
    #[must_use]
    pub fn credits(&self) -> u64 {
        self.credits
    }

    /// What the counter must hold of this gateway at least.
    fn held(&self) -> u64 {
        self.spent - self.owed + self.credits
    }

    /// Begins the current window, if it is another one.
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

    /// When a refused gateway asks again: when leases of others have lapsed, or enough of the window before has passed.
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

/// What a gateway may admit by itself while the counter is away.
fn share(policy: &Policy, live: u32) -> u64 {
    policy.q() / u64::from(live.max(1))
}

/// What is left of the window and how long it is, in milliseconds.
fn lengths_ms(window: Window, now: Timestamp) -> (u128, u128) {
    (window.left(now).as_millis(), window.length().as_millis())
}

fn signed(credits: u64) -> i64 {
    i64::try_from(credits).unwrap_or(i64::MAX)
}

/// A counter that is below nothing has lost its memory.
fn unsigned(total: i64) -> u64 {
    u64::try_from(total).unwrap_or(0)
}

#[cfg(test)]
mod tests;
