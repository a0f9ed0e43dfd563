//! The Merkle trees, and which events belong to which.

use super::fields;
use super::leaf::Stored;
use crate::id::TeamId;

/// Identifies a Merkle tree of events.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TreeId {
    /// All events of CONTROL.
    Control,
    /// The events of one team.
    Team(TeamId),
}

/// Begins every origin.
const PREFIX: &str = "waybill/";
const CONTROL: &str = "control";
/// Longest name of a deployment, in characters.
pub const MAX_DEPLOYMENT: usize = 63;

impl TreeId {
    /// The name in subjects: `control`, or the id of the team.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Control => CONTROL,
            Self::Team(team) => team.as_str(),
        }
    }

    /// Reads what [`TreeId::name`] writes.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == CONTROL {
            return Some(Self::Control);
        }
        let team = TeamId::parse(name).ok()?;
        (team == team.base()).then_some(Self::Team(team))
    }

    /// The permanent and globally unique name in checkpoints: `waybill/<deployment>/<name>`.
    #[must_use]
    pub fn origin(&self, deployment: &str) -> String {
        format!("{PREFIX}{deployment}/{}", self.name())
    }

    /// Parses the output of [`TreeId::origin`] into the deployment and the tree.
    #[must_use]
    pub fn of_origin(origin: &str) -> Option<(&str, Self)> {
        let (deployment, name) = origin.strip_prefix(PREFIX)?.split_once('/')?;
        is_deployment(deployment).then_some((deployment, Self::parse(name)?))
    }
}

/// Whether a text can be the name of a deployment: lower-case letters, digits, `-` and `.`, at most
/// [`MAX_DEPLOYMENT`].
#[must_use]
pub fn is_deployment(name: &str) -> bool {
    let fits = (1..=MAX_DEPLOYMENT).contains(&name.len());
    fits && name
        .bytes()
        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
}

/// The team that an event belongs to: the one that its payload names, or else the one of its
/// subject.
///
/// Derived from the bytes and not from the decoded event: a notary must file an event that it does
/// not know where a newer notary files it, or their trees would differ. For known events the result
/// equals `ControlEvent::team`.
#[must_use]
pub fn team_of(stored: &Stored) -> Option<TeamId> {
    let of_subject = || {
        let token = stored.subject.split('.').nth(1)?;
        TeamId::parse(token).ok()
    };
    let team = fields::team(&stored.payload).or_else(of_subject)?;
    Some(team.base())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Environment;
    use crate::seq::StreamSeq;
    use crate::time::Timestamp;
    use bytes::Bytes;

    #[test]
    fn a_tree_survives_its_names() {
        let team = TeamId::new(Timestamp(1), 2);
        for tree in [TreeId::Control, TreeId::Team(team.clone())] {
            assert_eq!(TreeId::parse(tree.name()), Some(tree.clone()));
            let origin = tree.origin("eu-1.example");
            assert_eq!(TreeId::of_origin(&origin), Some(("eu-1.example", tree)));
        }
        let test = team.in_environment(Environment::Test);
        for origin in [
            "waybill/x/other",
            "waybill//control",
            "waybill/X/control",
            "waybill/control",
            "x/y/control",
            &format!("waybill/x/{test}"),
        ] {
            assert_eq!(TreeId::of_origin(origin), None, "{origin}");
        }
    }

    #[test]
    fn the_payload_goes_before_the_subject() {
        let (one, two) = (TeamId::new(Timestamp(1), 2), TeamId::new(Timestamp(1), 3));
        let stored = |subject: &str, payload: Vec<u8>| Stored {
            seq: StreamSeq(1),
            time_ns: 0,
            subject: subject.into(),
            headers: Vec::new(),
            payload: Bytes::from(payload),
        };
        let payload = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("team", &one)]));
        let payload = payload.expect("plain data");
        let of_two = format!("control.{two}.key.key_1");
        assert_eq!(
            team_of(&stored(&of_two, payload.clone())),
            Some(one.clone())
        );
        assert_eq!(team_of(&stored("control._.grant.g", payload)), Some(one));
        assert_eq!(team_of(&stored(&of_two, vec![0xc1])), Some(two));
        assert_eq!(team_of(&stored("control._.user.u", vec![0x80])), None);
    }
}
