//! Epochs: how long the tasks that bring the same credential along share one key for it, and when
//! that key may be destroyed.
//!
//! A gateway makes a key for a credential when a team brings it to a partition for the first time,
//! and seals every task with that credential under it until the epoch is over. The creation names
//! the epoch. The owner of the partition destroys the key once
//!
//! 1. nothing that names it can be on its way any more ([`SETTLED_AFTER`] the key was stored),
//! 2. the owner has read every creation that was stored before it looked at the key, and
//! 3. no task that is still to be called names it
//!    ([`needs_epoch`](crate::dispatcher::Dispatcher::needs_epoch)).
//!
//! Nothing is counted that a crash could lose: the third condition follows from the open tasks.
//! Teams and partitions share no key, so each key has one owner who knows all tasks that need it.

use std::time::Duration;

/// How long a gateway seals under the same key. Counted from before the key is stored, by a clock
/// that goes on while the machine sleeps.
pub const LASTS: Duration = Duration::from_secs(600);

/// Age of a stored key after which no creation that names it is on its way, unless a gateway stood
/// still for minutes. An append takes at most a minute.
pub const SETTLED_AFTER: Duration = Duration::from_secs(900);
