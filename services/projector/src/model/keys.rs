//! Keys of the trees: fixed widths and big-endian numbers, so that byte order is the intended
//! order.

use sha2::{Digest, Sha256};
use waybill_domain::id::{Environment, QueueName, ScheduleId, TaskId, TeamId, WorkflowId};
use waybill_domain::task::{Status, TaskRow};
use waybill_domain::time::Timestamp;
use waybill_log::{Stream, StreamSeq};

/// The characters of a ULID, which distinguish team ids, and one for the environment.
const TEAM_BYTES: usize = 27;
/// A team in one of its environments, with which keys begin.
pub(super) type TeamKey = [u8; TEAM_BYTES];
/// Stands for a missing team.
const NO_TEAM: TeamKey = [b'_'; TEAM_BYTES];
/// Ends the name of a queue, which cannot contain this byte.
const END: u8 = 0;
/// Length of an idempotency key's hash: a collision would need 2^64 keys of one team.
const HASH_BYTES: usize = 16;

/// Position of a task in lists: by time of creation, then by sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) at: u64,
    pub(super) seq: StreamSeq,
}

impl Place {
    pub(super) const BYTES: usize = 16;

    pub(super) fn of(row: &TaskRow) -> Self {
        Self {
            at: millis(row.created_at),
            seq: row.created_seq,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.at.to_be_bytes());
        bytes[8..].copy_from_slice(&self.seq.0.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let both = u128::from_be_bytes(bytes);
        let low = both & u128::from(u64::MAX);
        Self {
            at: u64::try_from(both >> 64).unwrap_or(u64::MAX),
            seq: StreamSeq(u64::try_from(low).unwrap_or(u64::MAX)),
        }
    }

    /// The position at the end of a key.
    pub(super) fn at_end_of(key: &[u8]) -> Option<Self> {
        key.last_chunk().copied().map(Self::from_bytes)
    }
}

pub(super) fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.0).unwrap_or(0)
}

pub(super) fn team(team: &TeamId) -> TeamKey {
    let mut key = NO_TEAM;
    let ulid = team.base_str().bytes().rev().take(TEAM_BYTES - 1);
    for (place, byte) in key[..TEAM_BYTES - 1].iter_mut().rev().zip(ulid) {
        *place = byte;
    }
    key[TEAM_BYTES - 1] = match team.environment() {
        Environment::Live => b'l',
        Environment::Test => b't',
    };
    key
}

/// The part of a key for a team that is only known as a token of a subject.
pub(super) fn team_token(token: &str) -> TeamKey {
    TeamId::parse(token).map_or(NO_TEAM, |id| team(&id))
}

pub(super) fn no_team() -> TeamKey {
    NO_TEAM
}

pub(super) fn task(created: StreamSeq) -> [u8; 8] {
    created.0.to_be_bytes()
}

pub(super) fn seq(bytes: &[u8]) -> Option<StreamSeq> {
    bytes
        .last_chunk()
        .map(|bytes| StreamSeq(u64::from_be_bytes(*bytes)))
}

pub(super) fn id(id: TaskId) -> Vec<u8> {
    id.to_string().into_bytes()
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(super) fn by_team(team_id: &TeamId, place: Place) -> Vec<u8> {
    join(&[&team(team_id), &place.to_bytes()])
}

pub(super) fn queue(team_id: &TeamId, queue: &QueueName) -> Vec<u8> {
    join(&[&team(team_id), queue.as_str().as_bytes(), &[END]])
}

pub(super) fn by_queue(team: &TeamId, name: &QueueName, place: Place) -> Vec<u8> {
    join(&[&queue(team, name), &place.to_bytes()])
}

fn status(team_id: &TeamId, status: Status) -> Vec<u8> {
    join(&[&team(team_id), &[status as u8]])
}

/// In which list a task is.
#[derive(Debug, Clone, Copy)]
pub(super) enum ListOf<'a> {
    Team,
    Queue(&'a QueueName),
    Status(Status),
}

/// Prefix of a list of tasks that workers pull, or of those that are called: each kind is in one piece,
/// so that a page of the one is no walk over the other.
pub(super) fn list(team_id: &TeamId, of: ListOf<'_>, pulled: bool) -> Vec<u8> {
    let mut key = match of {
        ListOf::Team => team(team_id).to_vec(),
        ListOf::Queue(name) => queue(team_id, name),
        ListOf::Status(of) => status(team_id, of),
    };
    key.push(u8::from(pulled));
    key
}

/// Where a task is in a list.
pub(super) fn listed(row: &TaskRow, of: ListOf<'_>) -> Vec<u8> {
    let prefix = list(&row.team, of, row.is_pulled());
    join(&[&prefix, &Place::of(row).to_bytes()])
}

pub(super) fn delayed(team: &TeamId, name: &QueueName, until: Timestamp, at: StreamSeq) -> Vec<u8> {
    join(&[
        &queue(team, name),
        &millis(until).to_be_bytes(),
        &at.0.to_be_bytes(),
    ])
}

pub(super) fn idempotency(team_id: &TeamId, key: &str) -> Vec<u8> {
    let hash = Sha256::digest(key);
    join(&[&team(team_id), &hash[..HASH_BYTES]])
}

pub(super) fn idempotency_at(team: &TeamId, key: &str, at: StreamSeq) -> Vec<u8> {
    join(&[&idempotency(team, key), &at.0.to_be_bytes()])
}

/// Prefix of the replays of a task. Ids have one length, so none is the beginning of another.
pub(super) fn replays(of: TaskId) -> Vec<u8> {
    id(of)
}

pub(super) fn replay_at(of: TaskId, at: StreamSeq) -> Vec<u8> {
    join(&[&id(of), &at.0.to_be_bytes()])
}

/// Prefix of the runs of a schedule. Ids have one length, so none is the beginning of another.
pub(super) fn runs(team_id: &TeamId, schedule: &ScheduleId) -> Vec<u8> {
    join(&[&team(team_id), schedule.as_str().as_bytes()])
}

pub(super) fn run_at(team: &TeamId, schedule: &ScheduleId, place: Place) -> Vec<u8> {
    join(&[&runs(team, schedule), &place.to_bytes()])
}

/// Prefix of the members of a workflow. Ids have one length, so none is the beginning of another.
pub(super) fn flow(team_id: &TeamId, workflow: &WorkflowId) -> Vec<u8> {
    join(&[&team(team_id), workflow.as_str().as_bytes()])
}

pub(super) fn flow_at(team: &TeamId, workflow: &WorkflowId, place: Place) -> Vec<u8> {
    join(&[&flow(team, workflow), &place.to_bytes()])
}

pub(super) fn counts(team_id: &TeamId, queue: &QueueName) -> Vec<u8> {
    join(&[&team(team_id), queue.as_str().as_bytes()])
}

/// Prefix of the figures of a step of time.
pub(super) fn step(fineness: u8, start: u64) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = fineness;
    key[1..].copy_from_slice(&start.to_be_bytes());
    key
}

/// The figures of a step, of one queue of a team or, without a queue, of all.
pub(super) fn stats(
    fineness: u8,
    start: u64,
    team_id: &TeamId,
    queue: Option<&QueueName>,
) -> Vec<u8> {
    let queue = queue.map_or("", QueueName::as_str);
    join(&[&step(fineness, start), &team(team_id), queue.as_bytes()])
}

/// The queue in a key of figures; `None` for those of all queues.
pub(super) fn queue_of_stats(key: &[u8]) -> Option<QueueName> {
    let name = std::str::from_utf8(key.get(9 + TEAM_BYTES..)?).ok()?;
    QueueName::parse(name).ok()
}

/// The queue in a key of the counts.
pub(super) fn queue_of_counts(key: &[u8]) -> Option<QueueName> {
    let name = std::str::from_utf8(key.get(TEAM_BYTES..)?).ok()?;
    QueueName::parse(name).ok()
}

fn stream_byte(stream: Stream) -> u8 {
    match stream {
        Stream::Control => 0,
        Stream::Tasks => 1,
    }
}

/// Prefix of the activity of one stream; `team` comes from [`team`] or [`no_team`].
pub(super) fn activity(team: &[u8], stream: Stream) -> Vec<u8> {
    join(&[team, &[stream_byte(stream)]])
}

pub(super) fn activity_at(team: &[u8], stream: Stream, at: StreamSeq) -> Vec<u8> {
    join(&[team, &[stream_byte(stream)], &at.0.to_be_bytes()])
}

/// The team part of an activity key.
pub(super) fn team_of_activity(key: &[u8]) -> Option<&[u8]> {
    key.get(..TEAM_BYTES)
}

pub(super) fn quarantine(stream: Stream) -> [u8; 1] {
    [stream_byte(stream)]
}

pub(super) fn quarantine_at(stream: Stream, at: StreamSeq) -> Vec<u8> {
    join(&[&[stream_byte(stream)], &at.0.to_be_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_bytes_and_sorts_like_them() {
        let early = Place {
            at: 5,
            seq: StreamSeq(9),
        };
        let late = Place {
            at: 6,
            seq: StreamSeq(1),
        };
        assert_eq!(Place::from_bytes(early.to_bytes()), early);
        assert!(early < late);
        assert!(early.to_bytes() < late.to_bytes());
        assert_eq!(Place::at_end_of(b"short"), None);
    }

    #[test]
    fn environments_of_a_team_share_no_rows() {
        let live = TeamId::new(Timestamp(1), 2);
        let test = live.in_environment(Environment::Test);
        assert_ne!(team(&live), team(&test));
        for id in [&live, &test] {
            assert_eq!(team_token(id.as_str()), team(id));
            assert_ne!(team(id), no_team());
        }
        assert_eq!(team_token("_"), no_team());
    }

    #[test]
    fn a_queue_is_no_prefix_of_another_one() {
        let team = TeamId::new(Timestamp(1), 1);
        let name = |text| QueueName::parse(text).expect("a name");
        let of_longer = queue(&team, &name("mailing"));
        assert!(!of_longer.starts_with(&queue(&team, &name("mail"))));
    }
}
