//! The stream USAGE: how often credentials were used, and when last. It holds totals, no history: none of it is an event.
//!
//! Each subject is a counter that the server adds to, so any number of gateways sum up exactly. When something was last used, and from
//! where, travels beside the number. What nobody used for as long as the stream keeps things is forgotten.

use std::fmt;

use async_trait::async_trait;
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;

use crate::ReadError;
use crate::subject::is_token;

/// Before the subjects of USAGE.
const PREFIX: &str = "usage";
/// Additions in one call: they are one atomic batch on the server.
pub const MAX_ADDITIONS: usize = 1000;

/// What is counted within a team and its environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counted {
    /// Requests with one credential, by the credential's id.
    Credential(String),
    /// Requests of a day in UTC, such as `2026-11-21`.
    Day(String),
    /// Requests of a month in UTC, such as `2026-11`.
    Month(String),
}

impl Counted {
    fn kind(&self) -> &'static str {
        match self {
            Self::Credential(_) => "credential",
            Self::Day(_) => "day",
            Self::Month(_) => "month",
        }
    }

    fn id(&self) -> &str {
        match self {
            Self::Credential(id) | Self::Day(id) | Self::Month(id) => id,
        }
    }
}

/// Which tally: its subject is `usage.<team>.<kind>.<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TallyName {
    team: TeamId,
    counted: Counted,
}

impl TallyName {
    /// A tally of a team in its environment. `None` when the id of what is counted cannot be a token of a subject.
    #[must_use]
    pub fn new(team: TeamId, counted: Counted) -> Option<Self> {
        is_token(counted.id()).then_some(Self { team, counted })
    }

    #[must_use]
    pub fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Reads a subject.
    pub(crate) fn parse(subject: &str) -> Option<Self> {
        let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
        let (team, rest) = rest.split_once('.')?;
        let (kind, id) = rest.split_once('.')?;
        let id = id.to_owned();
        let counted = match kind {
            "credential" => Counted::Credential(id),
            "day" => Counted::Day(id),
            "month" => Counted::Month(id),
            _ => return None,
        };
        Self::new(TeamId::parse(team).ok()?, counted)
    }
}

impl fmt::Display for TallyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (team, kind, id) = (&self.team, self.counted.kind(), self.counted.id());
        write!(f, "{PREFIX}.{team}.{kind}.{id}")
    }
}

/// When and from where something was last used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub at: Timestamp,
    /// From which address.
    pub source: String,
}

/// What is added to a tally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    pub name: TallyName,
    pub count: u64,
    /// The last use, when it is kept.
    pub seen: Option<Seen>,
}

/// A tally as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    pub name: TallyName,
    pub count: u64,
    /// The last use that is known.
    pub seen: Option<Seen>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// These, as far as they exist.
    Named(Vec<TallyName>),
    /// All days of a team in its environment.
    Days(TeamId),
    /// All months of a team in its environment.
    Months(TeamId),
}

impl Wanted {
    /// As filters of subjects.
    pub(crate) fn filters(&self) -> Vec<String> {
        match self {
            Self::Named(names) => names.iter().map(ToString::to_string).collect(),
            Self::Days(team) => vec![format!("{PREFIX}.{team}.day.*")],
            Self::Months(team) => vec![format!("{PREFIX}.{team}.month.*")],
        }
    }
}

/// It is not known whether something was counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tallies do not answer: {reason}")]
pub struct TallyAway {
    /// For an operator.
    pub reason: String,
}

/// The stream USAGE.
#[async_trait]
pub trait Tallies: Send + Sync + 'static {
    /// Adds all of these or none; at most [`MAX_ADDITIONS`]. Called again with the same id (a token, unique for ever) within an hour
    /// after a failure, it adds what it did not add before, and nothing twice.
    async fn tally(&self, id: &str, additions: &[Addition]) -> Result<(), TallyAway>;

    /// Reads totals, of a copy of the stream that may lag a moment. What was never counted is left out.
    async fn tallies(&self, wanted: Wanted) -> Result<Vec<Tally>, ReadError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::id::Environment;

    #[test]
    fn a_name_is_read_from_its_subject() {
        let team = TeamId::new(Timestamp(1), 1).in_environment(Environment::Test);
        for counted in [
            Counted::Credential("key_4fG7aB2x".into()),
            Counted::Day("2026-11-21".into()),
            Counted::Month("2026-11".into()),
        ] {
            let name = TallyName::new(team.clone(), counted).expect("a token");
            assert_eq!(TallyName::parse(&name.to_string()), Some(name));
        }
        assert_eq!(
            TallyName::new(team, Counted::Credential("a.b".into())),
            None
        );
        for subject in ["usage", "usage.x.day.1", "limits.team.day.1", "usage.*.>"] {
            assert_eq!(TallyName::parse(subject), None, "{subject}");
        }
    }
}
