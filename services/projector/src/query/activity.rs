//! Queries for activity, and for proofs that its log is complete.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use waybill_domain::actor::Actor;
use waybill_domain::audit::Hash;
use waybill_domain::id::{Environment, KeyId, QueueName, TaskId, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::{Stream, StreamSeq};

use super::Position;

/// Who did what, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListActivity {
    /// The team; `None` for events that belong to no team, such as changes of a partition's owner.
    pub team: Option<TeamId>,
    #[serde(default)]
    pub filter: ActivityFilter,
    /// From 1 to [`MAX_LIMIT`].
    pub limit: u16,
    /// `next` of an earlier answer.
    #[serde(default)]
    pub cursor: Option<String>,
}

query!(ListActivity => ActivityPage, "wb.query.activity");

/// Filter of activity; all given conditions must hold. Looks at up to [`MAX_SCAN`] entries per
/// page.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivityFilter {
    /// Only of this log.
    pub stream: Option<Stream>,
    /// Only by this actor.
    pub actor: Option<Actor>,
    /// Prefix of the event type, such as `key.` or `task.created`.
    pub event: Option<String>,
    /// Only about this task.
    pub task: Option<TaskId>,
    /// Only about the thing with this id.
    pub target: Option<String>,
    /// Only from this source address.
    pub source: Option<String>,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
    /// Only at this time or later.
    pub after: Option<Timestamp>,
    /// Only before this time.
    pub before: Option<Timestamp>,
}

/// Outcome of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ActivityOutcome)]
pub enum Outcome {
    /// The action was carried out.
    #[default]
    Ok,
    /// The action was refused.
    Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityPage {
    /// Newest first.
    pub entries: Vec<Activity>,
    /// Cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

/// An action and its actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    pub stream: Stream,
    /// Sequence in the stream.
    pub seq: StreamSeq,
    /// When the event was stored.
    pub at: Timestamp,
    /// Type and version, such as `task.created.v1`.
    pub event: String,
    pub actor: Actor,
    /// Name of the acting key, application or person at that time; a revoked key keeps its name.
    pub actor_name: Option<String>,
    /// Email address of the acting person.
    #[serde(default)]
    pub actor_email: Option<String>,
    /// What the event is about.
    #[serde(default)]
    pub target: Option<ActivityTarget>,
    /// The task it is about.
    pub task: Option<TaskId>,
    /// The queue of that task.
    pub queue: Option<QueueName>,
    /// The key it is about.
    pub key: Option<KeyId>,
    /// Environment that it belongs to; `None` for both.
    #[serde(default)]
    pub environment: Option<Environment>,
    /// Id of the request that caused it.
    #[serde(default)]
    pub request_id: Option<String>,
    /// Source address of the request.
    #[serde(default)]
    pub source: Option<String>,
    /// The client's `User-Agent`.
    #[serde(default)]
    pub agent: Option<String>,
    #[serde(default)]
    pub outcome: Outcome,
    /// Details, if the action was refused.
    #[serde(default)]
    pub refusal: Option<Refusal>,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityTarget {
    /// `task`, `key`, `member`, `invitation`, `app`, `grant`, `team`, `user`, `session`, or `route`
    /// for a refusal.
    pub kind: String,
    pub id: String,
    /// Its name at that time.
    pub name: Option<String>,
}

/// Attempts that were refused with the same error code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The error code that clients received.
    pub code: String,
    /// Number of such attempts since the previous entry of this kind.
    pub count: u64,
}

/// Follows what people and credentials do: everything in CONTROL that [`ListActivity`] shows, and
/// the events of TASKS caused by a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowActivity {
    pub team: TeamId,
    #[serde(default)]
    pub filter: ActivityFilter,
    /// Only what is after this position.
    pub after: Position,
    /// From 1 to [`MAX_LIMIT`].
    pub limit: u16,
}

query!(FollowActivity => ActivityNews, "wb.query.activity.follow");

/// The activity after a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivityNews {
    /// Oldest first; the entries of each log are in its order.
    pub entries: Vec<Activity>,
    /// The entries are complete up to here.
    pub reached: Position,
    /// The first sequence of TASKS that is still kept.
    pub first_task: StreamSeq,
}

/// Asks for a proof that an event of CONTROL is a leaf of an audit tree, and for its index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProveInclusion {
    /// The team of the tree; `None` for that of all of CONTROL.
    pub team: Option<TeamId>,
    pub seq: StreamSeq,
    /// Size of the tree that the proof is for, such as that of a checkpoint.
    pub size: u64,
}

// `None` if the tree has no such event.
query!(ProveInclusion => Option<Inclusion>, "wb.query.audit.inclusion");

/// An inclusion proof, checked according to RFC 9162, 2.1.3.2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inclusion {
    /// Index of the leaf, from 0.
    pub index: u64,
    /// Hash of the leaf.
    pub leaf: Hash,
    /// Siblings from the leaf up to the root.
    pub path: Vec<Hash>,
    /// Root of the tree of that size.
    pub root: Hash,
}

/// Asks for a proof that an audit tree is an extension of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProveConsistency {
    /// The team of the tree; `None` for that of all of CONTROL.
    pub team: Option<TeamId>,
    /// Size of the older tree.
    pub from: u64,
    /// Size of the newer tree.
    pub to: u64,
}

query!(ProveConsistency => Consistency, "wb.query.audit.consistency");

/// A consistency proof, checked according to RFC 9162, 2.1.4.2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consistency {
    /// Hashes of subtrees.
    pub path: Vec<Hash>,
    /// Root of the older tree.
    pub from_root: Hash,
    /// Root of the newer tree.
    pub to_root: Hash,
}

/// Asks for the public keys that sign checkpoints. Only answered by replicas that have them
/// configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditKeys {}

// One key per line, in the format of `waybill_domain::audit::TrustedKeys`.
query!(AuditKeys => String, "wb.query.audit.keys");

/// Asks to sign a tree now, if it has grown since its newest checkpoint. Only the notary answers,
/// not every replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignNow {
    /// The team of the tree; `None` for that of all of CONTROL.
    pub team: Option<TeamId>,
}

// The newest checkpoint as a signed note; `None` if the team has no events.
query!(SignNow => Option<String>, "wb.notary.sign");
