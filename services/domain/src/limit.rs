//! Limits that tasks of several queues share: a task names up to four keys, and starts only while
//! each of them lets it.
//!
//! # Who decides
//!
//! The tasks of a key lie in any number of partitions, and each partition starts its own. So each
//! key has a *home*: the owner of the partition that its name hashes to. It gives out *shares*: how
//! many tasks of the key a partition, the *holder*, may have running. A holder starts a task only
//! while fewer of them run than its share, so with the sum of the shares within the limit, the sum
//! of what runs is too.
//!
//! Nothing of this is stored. What a partition has running follows from its log; a share is only
//! ever needed while its holder and its home live, and whoever comes after them derives it anew:
//!
//! - **A share is a statement, not a difference.** A holder asks ([`LimitAsk`]) with what it holds now
//!   (the greater of its share and what runs), and the answer ([`LimitGrant`]) is its whole share
//!   from now on. Asks of an owner are numbered; one is on its way to a home at a time, and only its
//!   answer counts. So by asking, a holder declares all former answers void, and the home may take
//!   what the ask says for the truth, whatever was lost, late or doubled: until the next ask, it
//!   reckons with what it granted, or with what the ask said is held if that is more, since until
//!   the answer arrives the holder may start that many.
//! - **Only the holder gives back**, by asking with less, or by dying: a new owner has replayed
//!   what runs, and states that. A partition without an owner keeps its share. A holder that was
//!   granted less than it held asks again at once, and states what it still has.
//! - **A home that begins knows nothing**, and grants nothing before it has heard from the owner of
//!   every partition.
//!
//! # Who is the owner
//!
//! Former owners of either side may still believe in themselves. The log tells them apart, with no
//! clock and no lease: an owner is known by the sequence of the fence by which it took over (its
//! *term*), and every message has its sender's latest fence. After its own fence is stored, each
//! owner reads the last fence of every other partition, and listens to no sender with an older one.
//! Of any two owners that take over, one of the holder and one of the home, the later one reads the
//! earlier one's fence. That gives what is needed:
//!
//! - A home hears the *last* owner of each partition, or one after which the next owner has yet to
//!   store its fence. The latter will read this home's fence, and take shares from no older home.
//! - A holder that has answered a home takes no share from an older one. A home waits for such an
//!   answer from everybody, so shares of its predecessor are all known to it or void.
//! - A former owner of a holder starts nothing, since its appends are refused, and what it says it
//!   holds is no less than what is in the log. A home goes by the newest term that it has heard of.
//! - A former owner that holds the lease again, and has nothing to append that would be refused, would
//!   keep its partition from ever being listened to. Whoever knows better tells it, in what it asks
//!   ([`LimitAsk::later_home`]) and answers ([`LimitGrant::newer`]), and it takes the partition over anew.
//!
//! # Tasks with several keys
//!
//! A task takes all of its keys in one decision, of shares that its partition holds. Partitions that
//! gather the same keys must not take them from each other in turn, so keys have an order: a task
//! waits for the first that it lacks, in the order of [`LimitId`]. Of the keys before that one, a share is
//! kept for it for a second, which the home leaves to the holder ([`KeyAsk::keeps`]). Other tasks of the
//! same partition may still use it.
//!
//! # Pauses that targets ask for
//!
//! An answer 429 may pause a key. That is an event of the partition whose task was called, so it
//! holds there at once and outlives the owner. Asks tell the home of it, and answers tell the others, which
//! the home wants to be asked by at once, or which ask within a second anyway. A home that begins learns it from
//! the next ask.
//!
//! # Limits that change
//!
//! A limit is what was pinned for the key, or else what the task says that was created last among
//! those open tasks that say anything. Once it is lower than what runs, asks are answered with smaller shares: nothing
//! starts until enough has ended. A rate has no shares: the home hands out starts of one bucket, which
//! are void a moment after the holder asked ([`START_VALIDITY`]).

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::id::{LimitKey, TaskId, TeamId};
use crate::partition::{Partition, PartitionCount};
use crate::rate::StartRate;
use crate::seq::StreamSeq;
use crate::time::Timestamp;

/// Most keys of a task.
pub const MAX_LIMITS: usize = 4;
/// Highest concurrency of a key.
pub const MAX_CONCURRENCY: u32 = 1_000_000;
/// Highest limit and burst of a rate.
pub const MAX_RATE: u32 = 1_000_000;
/// Longest time that a rate counts in, in milliseconds: a day.
pub const MAX_RATE_MS: u32 = 86_400_000;
/// For how long after it asked a holder may use the starts that it was granted.
pub const START_VALIDITY: Duration = Duration::from_millis(900);

/// A key that a task shares with others. Read models store it by the places of its fields, so none is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskLimit {
    pub key: LimitKey,
    /// Most attempts at a time. Absent: the task says nothing about it.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Most starts in a time. Absent: the task says nothing about it.
    #[serde(default)]
    pub rate: Option<StartRate>,
}

/// What a key allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitBounds {
    /// Most attempts at a time; `None`: no limit.
    pub concurrency: Option<u32>,
    /// Most starts in a time; `None`: no limit.
    pub rate: Option<StartRate>,
}

impl LimitBounds {
    /// Whether they say nothing.
    #[must_use]
    pub fn are_none(self) -> bool {
        self == Self::default()
    }
}

/// A key of a team in an environment, as a number: a collision-resistant hash, since clients choose
/// the names. It is equal in every process and never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LimitId(pub u64);

impl LimitId {
    #[must_use]
    pub fn of(team: &TeamId, key: &LimitKey) -> Self {
        let digest = Sha256::new()
            .chain_update("limit")
            .chain_update([0])
            .chain_update(team.as_str())
            .chain_update([0])
            .chain_update(key.as_str())
            .finalize();
        let mut head = [0; 8];
        head.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(head))
    }

    /// The partition whose owner grants the shares of the key.
    #[must_use]
    pub fn home(self, count: PartitionCount) -> Partition {
        let number = self.0 % u64::from(count.get());
        u16::try_from(number)
            .ok()
            .and_then(Partition::new)
            .unwrap_or_default()
    }
}

/// What a holder has and wants of some keys of one home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitAsk {
    /// Partition that asks for shares.
    pub holder: Partition,
    /// The fence by which its owner took over.
    pub term: StreamSeq,
    /// Its owner's latest fence.
    pub fence: StreamSeq,
    /// Grows with every ask of this owner to this home.
    pub number: u64,
    /// The newest term of the home that the holder has heard of, and the oldest that it takes
    /// shares from; 0: none yet.
    pub home_term: StreamSeq,
    /// Whether the holder holds nothing of the home's other keys.
    pub is_full: bool,
    pub keys: Vec<KeyAsk>,
    /// The last fence of the home's partition that the holder has read; 0: none.
    #[serde(default)]
    pub home_fence: StreamSeq,
}

impl LimitAsk {
    /// A later owner of the home than the one with this term and this latest fence, if the holder knows
    /// of one. Of the two it listens only to the later one.
    #[must_use]
    pub fn later_home(&self, term: StreamSeq, fence: StreamSeq) -> Option<StreamSeq> {
        let heard_of = (self.home_term > term).then_some(self.home_term);
        let read = (self.home_fence > fence).then_some(self.home_fence);
        heard_of.max(read)
    }
}

/// What a holder has and wants of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAsk {
    pub limit: LimitId,
    /// It starts nothing beyond that many until it has an answer; never less than `running`.
    pub held: u32,
    /// How many attempts run or are about to.
    pub running: u32,
    /// How many attempts it would have running, were there no limit.
    pub wants: u32,
    /// How many more starts it needs.
    pub starts: u32,
    /// What its newest task says that says anything, and where that task was created.
    pub says: Option<(StreamSeq, LimitBounds)>,
    /// How many of those held, beside the running ones, are kept for tasks that wait for a later one of
    /// their keys: they are not taken away.
    #[serde(default)]
    pub keeps: u32,
    /// The pause that a target has asked for, as far as it knows.
    #[serde(default)]
    pub paused: Option<KeyPause>,
}

/// A pause of a key that a target has asked for. Whoever is told of it starts nothing with the key for
/// that long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPause {
    /// The task that was called.
    pub task: TaskId,
    pub since: Timestamp,
    /// Of two pauses of a key the one counts that ends later by these.
    pub until: Timestamp,
    /// What is left of it when it is told.
    pub left_ms: u64,
}

/// The answer of a home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitGrant {
    /// The fence by which the home's owner took over.
    pub term: StreamSeq,
    /// Its latest fence.
    pub fence: StreamSeq,
    /// Number of the ask.
    pub number: u64,
    /// Whether the keys were granted. If not, the holder states everything that it holds to this
    /// term, or waits until others have.
    pub is_open: bool,
    /// The keys that were asked for.
    pub keys: Vec<KeyGrant>,
    /// The latest fence of the holder's partition, if it is newer than that of the ask: whoever asked
    /// owns the partition no more, and may not know it yet.
    #[serde(default)]
    pub newer: Option<StreamSeq>,
}

impl LimitGrant {
    /// An answer that grants nothing.
    #[must_use]
    pub fn of_nothing(term: StreamSeq, fence: StreamSeq, number: u64) -> Self {
        Self {
            term,
            fence,
            number,
            is_open: false,
            keys: Vec::new(),
            newer: None,
        }
    }
}

/// What a holder may use of a key from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGrant {
    pub limit: LimitId,
    /// It starts nothing while at least that many run.
    pub share: u32,
    /// How many starts it may make within [`START_VALIDITY`] of its ask; `None`: there is no rate.
    pub starts: Option<u32>,
    /// After how many milliseconds it may ask for more starts.
    pub again_ms: u32,
    /// Whether others wait, so that it asks again as soon as an attempt has ended.
    pub is_wanted: bool,
    /// The pause that a target has asked for, in whichever partition.
    #[serde(default)]
    pub paused: Option<KeyPause>,
}

/// A home wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitNudge {
    pub home: Partition,
    /// The fence by which the home's owner took over.
    pub term: StreamSeq,
    /// Its latest fence.
    pub fence: StreamSeq,
    /// About these keys. The holder tells in any case all that it holds if the term is new to it.
    pub keys: Vec<LimitId>,
}

/// How the tasks of a key in one partition stand, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyStanding {
    pub key: LimitKey,
    /// Attempts that run or are about to.
    pub running: u32,
    /// Tasks that nothing but their keys keeps from starting.
    pub waiting: u32,
    /// What its newest task says that says anything, and where that task was created.
    pub says: Option<(StreamSeq, LimitBounds)>,
    /// When a task may start at the earliest that waits for the rate of the key.
    pub next_start: Option<Timestamp>,
    /// The pause that a target has asked for.
    #[serde(default)]
    pub paused: Option<KeyPause>,
}
