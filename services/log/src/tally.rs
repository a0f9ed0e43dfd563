//! The stream USAGE: how often credentials were used, and when last. It holds totals and no
//! history; none of its messages is an event.
//!
//! Each subject is a counter that the server adds to, so the total is exact with any number of
//! gateways. The time and the address of the last use are stored beside it. A counter that is not
//! used for the maximum age of the stream is dropped.

use std::fmt;

use async_trait::async_trait;
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;

use crate::ReadError;
use crate::subject::is_token;

/// First token of the subjects of USAGE.
const PREFIX: &str = "usage";
/// Limit of the additions in one call, which the server stores as one atomic batch.
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
    /// Requests of one credential that one scope let through, such as `tasks:read`.
    Scope {
        /// Id of the credential.
        credential: String,
        /// Name of the scope.
        scope: String,
    },
    /// Requests of one credential to one route that had one kind of answer, such as
    /// `GET:/v1/tasks/{id}:2xx`.
    Route {
        /// Id of the credential.
        credential: String,
        /// Method, route and kind of the answer.
        route: String,
    },
    /// Requests of one credential on a day in UTC, such as `2026-11-21`.
    CredentialDay {
        /// Id of the credential.
        credential: String,
        /// The day.
        day: String,
    },
}

impl Counted {
    fn kind(&self) -> &'static str {
        match self {
            Self::Credential(_) => "credential",
            Self::Day(_) => "day",
            Self::Month(_) => "month",
            Self::Scope { .. } => "scope",
            Self::Route { .. } => "route",
            Self::CredentialDay { .. } => "credentialday",
        }
    }

    /// Whose it is, and of what of theirs, if it is of a part.
    fn id(&self) -> (&str, Option<&str>) {
        match self {
            Self::Credential(id) | Self::Day(id) | Self::Month(id) => (id, None),
            Self::Scope {
                credential,
                scope: part,
            }
            | Self::Route {
                credential,
                route: part,
            }
            | Self::CredentialDay {
                credential,
                day: part,
            } => (credential, Some(part)),
        }
    }
}

/// The name of a tally. Its subject is `usage.<team>.<kind>.<id>`, and of a part of it
/// `usage.<team>.<kind>.<id>.<part>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TallyName {
    team: TeamId,
    counted: Counted,
}

impl TallyName {
    /// A tally of a team in its environment. `None` if the id cannot be a token of a subject.
    #[must_use]
    pub fn new(team: TeamId, counted: Counted) -> Option<Self> {
        let (id, part) = counted.id();
        let is_named = is_token(id) && part.is_none_or(is_token);
        is_named.then_some(Self { team, counted })
    }

    #[must_use]
    pub fn counted(&self) -> &Counted {
        &self.counted
    }

    /// Reads what `Display` writes; `None` for anything else.
    pub(crate) fn parse(subject: &str) -> Option<Self> {
        let rest = subject.strip_prefix(PREFIX)?.strip_prefix('.')?;
        let (team, rest) = rest.split_once('.')?;
        let (kind, id) = rest.split_once('.')?;
        let part = || {
            let (credential, part) = id.split_once('.')?;
            Some((credential.to_owned(), part.to_owned()))
        };
        let counted = match kind {
            "scope" => {
                let (credential, scope) = part()?;
                Counted::Scope { credential, scope }
            }
            "route" => {
                let (credential, route) = part()?;
                Counted::Route { credential, route }
            }
            "credentialday" => {
                let (credential, day) = part()?;
                Counted::CredentialDay { credential, day }
            }
            "credential" => Counted::Credential(id.to_owned()),
            "day" => Counted::Day(id.to_owned()),
            "month" => Counted::Month(id.to_owned()),
            _ => return None,
        };
        Self::new(TeamId::parse(team).ok()?, counted)
    }
}

impl fmt::Display for TallyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (team, kind, (id, part)) = (&self.team, self.counted.kind(), self.counted.id());
        write!(f, "{PREFIX}.{team}.{kind}.{id}")?;
        part.map_or(Ok(()), |part| write!(f, ".{part}"))
    }
}

/// When and from where something was last used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub at: Timestamp,
    /// The address that it was used from.
    pub source: String,
}

/// What is added to a tally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    pub name: TallyName,
    pub count: u64,
    /// The last use, if it is kept for this tally.
    pub seen: Option<Seen>,
}

/// The current value of a tally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    pub name: TallyName,
    pub count: u64,
    /// The last use, if one is known.
    pub seen: Option<Seen>,
}

/// The tallies that a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Those of these that exist.
    Named(Vec<TallyName>),
    /// All days of a team in its environment.
    Days(TeamId),
    /// All months of a team in its environment.
    Months(TeamId),
    /// All scopes, routes and days of a credential of a team, in its environment, by the id of the
    /// credential. Not more than a thousand may exist.
    Parts(TeamId, String),
}

impl Wanted {
    pub(crate) fn filters(&self) -> Vec<String> {
        match self {
            Self::Named(names) => names.iter().map(ToString::to_string).collect(),
            Self::Days(team) => vec![format!("{PREFIX}.{team}.day.*")],
            Self::Months(team) => vec![format!("{PREFIX}.{team}.month.*")],
            Self::Parts(team, credential) => ["scope", "route", "credentialday"]
                .map(|kind| format!("{PREFIX}.{team}.{kind}.{credential}.*"))
                .to_vec(),
        }
    }
}

/// The server did not answer. After an addition, it is not known whether it was counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stream USAGE does not answer: {reason}")]
pub struct TallyAway {
    /// What is wrong, for an operator.
    pub reason: String,
}

/// The stream USAGE.
#[async_trait]
pub trait Tallies: Send + Sync + 'static {
    /// Adds all of these or none; at most [`MAX_ADDITIONS`]. After a failure it can be called again
    /// within an hour with the same id, a token that is used only once: nothing is counted twice.
    async fn tally(&self, id: &str, additions: &[Addition]) -> Result<(), TallyAway>;

    /// Reads totals from a replica that may lag for a moment. Tallies that were never counted are
    /// left out.
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
            Counted::Scope {
                credential: "key_4fG7aB2x".into(),
                scope: "tasks:read".into(),
            },
            Counted::Route {
                credential: "key_4fG7aB2x".into(),
                route: "GET:/v1/tasks/{id}:2xx".into(),
            },
            Counted::CredentialDay {
                credential: "key_4fG7aB2x".into(),
                day: "2026-11-21".into(),
            },
        ] {
            let name = TallyName::new(team.clone(), counted).expect("a token");
            assert_eq!(TallyName::parse(&name.to_string()), Some(name));
        }
        assert_eq!(
            TallyName::new(team.clone(), Counted::Credential("a.b".into())),
            None
        );
        let wrong = Counted::Scope {
            credential: "key_4fG7aB2x".into(),
            scope: "a.b".into(),
        };
        assert_eq!(TallyName::new(team, wrong), None);
        for subject in [
            "usage",
            "usage.x.day.1",
            "limits.team.day.1",
            "usage.*.>",
            "usage.team_00000000010000000000000001.scope.key_1",
        ] {
            assert_eq!(TallyName::parse(subject), None, "{subject}");
        }
    }
}
