//! Subjects: every subject of CONTROL, TASKS and FENCE is built and parsed here, and nowhere else.
//!
//! `Display` writes a subject and `parse` reads it back without copying, so that events can be
//! routed by their subject without decoding a payload. The types of filters are like those of
//! subjects, with optional tokens.

use std::fmt;

use waybill_domain::access::fence::{FenceRecord, GatewayId, LeaseKind};
use waybill_domain::event::{Boundary, ControlEvent};
use waybill_domain::id::{KeyId, QueueName, TeamId};
use waybill_domain::partition::Partition;

/// Token in place of a team, for everything that belongs to no team.
const GLOBAL: &str = "_";
/// Last token of the subject on which owners of a partition announce themselves.
const OWNER: &str = "owner";
/// Event token of creations, the only events of TASKS that gateways append.
pub const CREATED: &str = "created";

/// A subject of TASKS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskSubject<'a> {
    /// `tasks.<partition>.<team>.<queue>.<event>`
    Event {
        /// Unit of order and ownership.
        partition: Partition,
        /// Text of the team's id.
        team: &'a str,
        /// Text of the queue's name.
        queue: &'a str,
        /// What happened, such as `created`.
        event: &'a str,
    },
    /// `tasks.<partition>.owner`
    Owner {
        /// The partition owned.
        partition: Partition,
    },
}

impl<'a> TaskSubject<'a> {
    /// The subject of an event of a task. `event` is the token of [`event_token`], such as
    /// `created`.
    #[must_use]
    pub fn event(
        partition: Partition,
        team: &'a TeamId,
        queue: &'a QueueName,
        event: &'a str,
    ) -> Self {
        debug_assert!(is_token(event), "{event} is no subject token");
        Self::Event {
            partition,
            team: team.as_str(),
            queue: queue.as_str(),
            event,
        }
    }

    /// The subject on which owners of a partition announce themselves. Its last message is the
    /// fence of everything that an owner appends.
    #[must_use]
    pub fn owner(partition: Partition) -> Self {
        Self::Owner { partition }
    }

    /// Reads what `Display` writes. `None` for anything else.
    #[must_use]
    pub fn parse(subject: &'a str) -> Option<Self> {
        let mut tokens = subject.strip_prefix("tasks.")?.split('.');
        let number = tokens.next()?;
        // Leading zeros and signs are refused, so that each partition has one spelling.
        let canonical = number.bytes().all(|b| b.is_ascii_digit())
            && (number == "0" || !number.starts_with('0'));
        let partition = Partition::new(number.parse().ok().filter(|_| canonical)?)?;
        let team = tokens.next()?;
        let Some(queue) = tokens.next() else {
            return (team == OWNER).then_some(Self::Owner { partition });
        };
        let event = tokens.next()?;
        let complete = tokens.next().is_none() && [team, queue, event].iter().all(|t| is_token(t));
        complete.then_some(Self::Event {
            partition,
            team,
            queue,
            event,
        })
    }

    /// The partition that the subject belongs to.
    #[must_use]
    pub fn partition(&self) -> Partition {
        match *self {
            Self::Event { partition, .. } | Self::Owner { partition } => partition,
        }
    }
}

impl fmt::Display for TaskSubject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event {
                partition,
                team,
                queue,
                event,
            } => write!(f, "tasks.{partition}.{team}.{queue}.{event}"),
            Self::Owner { partition } => write!(f, "tasks.{partition}.{OWNER}"),
        }
    }
}

/// A filter of subjects of TASKS. A field that is `None` matches anything; `Display` writes the
/// filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TaskFilter<'a> {
    /// Only of this partition.
    pub partition: Option<Partition>,
    /// Only of this team.
    pub team: Option<&'a TeamId>,
    /// Only of this queue.
    pub queue: Option<&'a QueueName>,
    /// Only this event, such as `created`.
    pub event: Option<&'a str>,
}

impl<'a> TaskFilter<'a> {
    /// Everything of a partition, including the announcements of its owners.
    #[must_use]
    pub fn partition(partition: Partition) -> Self {
        Self {
            partition: Some(partition),
            ..Self::default()
        }
    }

    /// Only the creations of a partition: `tasks.<p>.*.*.created`.
    #[must_use]
    pub fn created(partition: Partition) -> Self {
        Self {
            partition: Some(partition),
            event: Some(CREATED),
            ..Self::default()
        }
    }

    /// Everything of a team.
    #[must_use]
    pub fn team(team: &'a TeamId) -> Self {
        Self {
            team: Some(team),
            ..Self::default()
        }
    }

    /// The same, of one queue only.
    #[must_use]
    pub fn in_queue(self, queue: &'a QueueName) -> Self {
        Self {
            queue: Some(queue),
            ..self
        }
    }

    /// The same, of one kind of event only.
    #[must_use]
    pub fn of_event(self, event: &'a str) -> Self {
        debug_assert!(is_token(event), "{event} is no subject token");
        Self {
            event: Some(event),
            ..self
        }
    }
}

impl fmt::Display for TaskFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tasks.")?;
        match self.partition {
            Some(partition) => write!(f, "{partition}")?,
            None => f.write_str("*")?,
        }
        let tokens = [
            self.team.map(TeamId::as_str),
            self.queue.map(QueueName::as_str),
            self.event,
        ];
        // A trailing `>` also covers `tasks.<p>.owner`, which has fewer tokens than an event's subject.
        let given = tokens
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |at| at + 1);
        for token in &tokens[..given] {
            write!(f, ".{}", token.unwrap_or("*"))?;
        }
        if given < tokens.len() {
            f.write_str(".>")?;
        }
        Ok(())
    }
}

/// The team that a subject of CONTROL belongs to, if any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlScope<'a> {
    Team(&'a str),
    /// No team: `control._.`
    Global,
}

impl ControlScope<'_> {
    fn token(&self) -> &str {
        match self {
            Self::Team(team) => team,
            Self::Global => GLOBAL,
        }
    }
}

/// `control.<team>.<aggregate>.<id>`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ControlSubject<'a> {
    /// The team it belongs to, if any.
    pub scope: ControlScope<'a>,
    /// Kind of thing, such as `key`.
    pub aggregate: &'a str,
    pub id: &'a str,
}

/// A string that cannot be a token of a subject: it is empty, or has a dot, a wildcard, white space
/// or a control character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be a token of a subject")]
pub struct NotAToken(pub String);

impl<'a> ControlSubject<'a> {
    /// Aggregate of a team itself.
    pub const TEAM: &'static str = "team";
    /// Aggregate of an API key.
    pub const KEY: &'static str = "key";
    /// Aggregate of a person, whose id is a hash of the e-mail address.
    pub const USER: &'static str = "user";

    /// Events of a team itself: `control.<team>.team.<team>`.
    #[must_use]
    pub fn team(team: &'a TeamId) -> Self {
        Self {
            scope: ControlScope::Team(team.as_str()),
            aggregate: Self::TEAM,
            id: team.as_str(),
        }
    }

    /// Events of an API key: `control.<team>.key.<key>`.
    #[must_use]
    pub fn key(team: &'a TeamId, key: &'a KeyId) -> Self {
        Self {
            scope: ControlScope::Team(team.as_str()),
            aggregate: Self::KEY,
            id: key.as_str(),
        }
    }

    /// Any other thing of a team.
    pub fn of_team(team: &'a TeamId, aggregate: &'a str, id: &'a str) -> Result<Self, NotAToken> {
        Self::checked(ControlScope::Team(team.as_str()), aggregate, id)
    }

    /// A thing that belongs to no team: `control._.<aggregate>.<id>`.
    pub fn global(aggregate: &'a str, id: &'a str) -> Result<Self, NotAToken> {
        Self::checked(ControlScope::Global, aggregate, id)
    }

    fn checked(
        scope: ControlScope<'a>,
        aggregate: &'a str,
        id: &'a str,
    ) -> Result<Self, NotAToken> {
        match [aggregate, id].into_iter().find(|token| !is_token(token)) {
            Some(bad) => Err(NotAToken(bad.to_owned())),
            None => Ok(Self {
                scope,
                aggregate,
                id,
            }),
        }
    }

    /// Reads what `Display` writes. `None` for anything else.
    #[must_use]
    pub fn parse(subject: &'a str) -> Option<Self> {
        let mut tokens = subject.strip_prefix("control.")?.split('.');
        let (team, aggregate, id) = (tokens.next()?, tokens.next()?, tokens.next()?);
        let complete = tokens.next().is_none() && [team, aggregate, id].iter().all(|t| is_token(t));
        complete.then_some(Self {
            scope: if team == GLOBAL {
                ControlScope::Global
            } else {
                ControlScope::Team(team)
            },
            aggregate,
            id,
        })
    }

    /// Filter of everything of a team, `control.<team>.>`: the team is the consistency boundary of CONTROL.
    #[must_use]
    pub fn all_of_team(team: &TeamId) -> String {
        format!("control.{team}.>")
    }

    /// Filter of everything about one key, of whatever team.
    #[must_use]
    pub fn key_of_any_team(key: &KeyId) -> String {
        format!("control.*.key.{key}")
    }

    /// Filter of everything about one thing, of whatever team: for example about one person as a
    /// member of any team.
    pub fn of_any_team(aggregate: &str, id: &str) -> Result<String, NotAToken> {
        for token in [aggregate, id] {
            if !is_token(token) {
                return Err(NotAToken(token.to_owned()));
            }
        }
        Ok(format!("control.*.{aggregate}.{id}"))
    }

    /// Filter of all things of one kind that belong to no team: `control._.<aggregate>.*`.
    pub fn global_of_kind(aggregate: &str) -> Result<String, NotAToken> {
        if !is_token(aggregate) {
            return Err(NotAToken(aggregate.to_owned()));
        }
        Ok(format!("control.{GLOBAL}.{aggregate}.*"))
    }

    /// Filter of everything that belongs to no team.
    #[must_use]
    pub fn all_global() -> String {
        format!("control.{GLOBAL}.>")
    }
}

impl fmt::Display for ControlSubject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = self.scope.token();
        write!(f, "control.{scope}.{}.{}", self.aggregate, self.id)
    }
}

/// The subject of an event of CONTROL: gateways and `waybill` append it there, and it counts
/// nowhere else.
pub fn of_control(event: &ControlEvent) -> Result<String, NotAToken> {
    let (aggregate, id) = event.aggregate();
    let subject = match &event.boundary() {
        Some(Boundary::Team(team)) => ControlSubject::of_team(team, aggregate, id)?.to_string(),
        _ => ControlSubject::global(aggregate, id)?.to_string(),
    };
    Ok(subject)
}

/// A subject of FENCE, as `Display` writes it. A record that is stored on another subject than its
/// own is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FenceSubject<'a> {
    /// `fence.lease.<gateway>`
    Lease(&'a GatewayId),
    /// `fence.worker.<worker>`: the lease of a worker. Workers may not write to other subjects of
    /// FENCE.
    Worker(&'a GatewayId),
    /// `fence.mark.<gateway>`
    Mark(&'a GatewayId),
}

impl<'a> FenceSubject<'a> {
    /// Where a record is stored.
    #[must_use]
    pub fn of(record: &'a FenceRecord) -> Self {
        match record {
            FenceRecord::Lease(lease) => match lease.kind {
                LeaseKind::Gateway => Self::Lease(&lease.gateway),
                LeaseKind::Worker => Self::Worker(&lease.gateway),
            },
            FenceRecord::Mark(mark) => Self::Mark(&mark.gateway),
        }
    }

    /// Whether a subject is one that workers write to.
    #[must_use]
    pub fn is_of_workers(subject: &str) -> bool {
        subject.starts_with("fence.worker.")
    }
}

impl fmt::Display for FenceSubject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease(gateway) => write!(f, "fence.lease.{gateway}"),
            Self::Worker(worker) => write!(f, "fence.worker.{worker}"),
            Self::Mark(gateway) => write!(f, "fence.mark.{gateway}"),
        }
    }
}

/// The token of an event's type: `attempt_failed` of `task.attempt_failed.v1`.
#[must_use]
pub fn event_token(event: &str) -> Option<&str> {
    event.split('.').nth(1).filter(|token| is_token(token))
}

/// Whether a string can be a token of a subject that is published to.
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && !text
            .bytes()
            .any(|b| matches!(b, b'.' | b'*' | b'>') || b <= b' ' || b == 0x7f)
}

/// Whether a subject matches a filter. As in NATS, `*` matches one token, and `>` at the end
/// matches one or more.
#[must_use]
pub fn matches(filter: &str, subject: &str) -> bool {
    let mut subject = subject.split('.');
    let mut filter = filter.split('.').peekable();
    while let Some(wanted) = filter.next() {
        let Some(token) = subject.next() else {
            return false;
        };
        match wanted {
            ">" if filter.peek().is_none() => return true,
            "*" => {}
            literal if literal == token => {}
            _ => return false,
        }
    }
    subject.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::time::Timestamp;

    fn parts() -> (Partition, TeamId, QueueName) {
        (
            Partition::new(7).expect("in range"),
            TeamId::new(Timestamp(1), 2),
            QueueName::parse("mail-out_1").expect("a name"),
        )
    }

    #[test]
    fn a_task_subject_survives_its_text() {
        let (partition, team, queue) = parts();
        for subject in [
            TaskSubject::event(partition, &team, &queue, "created"),
            TaskSubject::owner(partition),
        ] {
            let text = subject.to_string();
            assert_eq!(TaskSubject::parse(&text), Some(subject), "{text}");
            assert_eq!(subject.partition(), partition);
        }
    }

    #[test]
    fn what_is_no_task_subject_is_refused() {
        for text in [
            "",
            "tasks",
            "tasks.",
            "tasks.7",
            "tasks.07.owner",
            "tasks.+7.owner",
            "tasks.x.owner",
            "tasks.1024.owner",
            "tasks.7.other",
            "tasks.7.a.b",
            "tasks.7.a.b.c.d",
            "tasks.7.a..c",
            "tasks.7.a.*.c",
            "control.7.a.b.c",
        ] {
            assert_eq!(TaskSubject::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_control_subject_survives_its_text() {
        let (_, team, _) = parts();
        let key = KeyId::from_public("abcdEFG1").expect("a key id");
        for subject in [
            ControlSubject::team(&team),
            ControlSubject::key(&team, &key),
            ControlSubject::of_team(&team, "member", "m1").expect("tokens"),
            ControlSubject::global(ControlSubject::USER, "0af3").expect("tokens"),
        ] {
            let text = subject.to_string();
            assert_eq!(ControlSubject::parse(&text), Some(subject), "{text}");
        }
        assert!(ControlSubject::global("user", "a.b").is_err());
        let kind = ControlSubject::global_of_kind("user").expect("a token");
        assert!(matches(&kind, "control._.user.0af3"));
        assert!(!matches(&kind, "control.t.user.0af3"));
        assert!(ControlSubject::global_of_kind("*").is_err());
        assert!(ControlSubject::of_team(&team, "", "x").is_err());
        assert_eq!(ControlSubject::parse("control.t.key"), None);
        assert_eq!(ControlSubject::parse("control.t.key.k.x"), None);
    }

    #[test]
    fn filters_match_what_they_say() {
        let (partition, team, queue) = parts();
        let other = Partition::new(8).expect("in range");
        let created = TaskSubject::event(partition, &team, &queue, CREATED).to_string();
        let started = TaskSubject::event(partition, &team, &queue, "started").to_string();
        let owner = TaskSubject::owner(partition).to_string();
        for (filter, wanted) in [
            (TaskFilter::partition(partition), [true, true, true]),
            (TaskFilter::partition(other), [false, false, false]),
            (TaskFilter::created(partition), [true, false, false]),
            (TaskFilter::team(&team), [true, true, false]),
            (
                TaskFilter::team(&team).in_queue(&queue),
                [true, true, false],
            ),
            (
                TaskFilter::team(&team).of_event("started"),
                [false, true, false],
            ),
            (TaskFilter::default(), [true, true, true]),
        ] {
            let filter = filter.to_string();
            let found = [&created, &started, &owner].map(|subject| matches(&filter, subject));
            assert_eq!(found, wanted, "{filter}");
        }
        assert_eq!(
            TaskFilter::created(partition).to_string(),
            "tasks.7.*.*.created"
        );
        assert!(matches(
            &ControlSubject::all_of_team(&team),
            &ControlSubject::team(&team).to_string()
        ));
        assert!(!matches("a.>", "a"));
        assert!(!matches("a", "a.b"));
        assert!(matches("a.*.c", "a.b.c"));
    }

    #[test]
    fn an_event_names_its_token() {
        assert_eq!(
            event_token("task.attempt_failed.v1"),
            Some("attempt_failed")
        );
        assert_eq!(event_token("task"), None);
    }
}
