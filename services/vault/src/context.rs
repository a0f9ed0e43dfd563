//! The context of a sealed record: the associated data that both of its layers authenticate.

use crate::keys::KekId;

/// Format of envelopes and wrapped keys: their first byte, and a field of the associated data.
pub(crate) const FORMAT: u8 = 1;

/// Label of the associated data of an envelope.
const VALUE_LABEL: &[u8] = b"waybill vault value";
/// Label of the associated data of a wrapped data key, so that neither layer accepts that of the
/// other.
const WRAP_LABEL: &[u8] = b"waybill vault data key";

/// Version for the headers of a task, which are sealed only once.
const TASK_HEADERS_VERSION: u32 = 1;

/// Purpose of a plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The value of a vault token.
    TokenValue,
    /// The raw credentials in a task's headers.
    TaskHeaders,
    /// The raw credentials in the headers of the tasks of one epoch: only of their stored key, since
    /// each task's envelope is bound to the task.
    EpochHeaders,
}

impl Purpose {
    fn name(self) -> &'static [u8] {
        match self {
            Self::TokenValue => b"token-value",
            Self::TaskHeaders => b"task-headers",
            Self::EpochHeaders => b"epoch-headers",
        }
    }
}

/// The place that a record belongs to. Take the team from the caller, never from the record: that
/// is what detects a record that was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Context<'a> {
    pub purpose: Purpose,
    /// The team in its environment: `team_...` or `team_..._test`.
    pub team: &'a str,
    /// The id of the token (`tok_...`), of the task or of the epoch (`ep_...`).
    pub id: &'a str,
    /// Version of the token's value, from 1.
    pub version: u32,
}

impl<'a> Context<'a> {
    /// One version of a token's value.
    pub fn token(team: &'a str, token: &'a str, version: u32) -> Self {
        Self {
            purpose: Purpose::TokenValue,
            team,
            id: token,
            version,
        }
    }

    /// The sealed headers of one task.
    pub fn task(team: &'a str, task: &'a str) -> Self {
        Self {
            purpose: Purpose::TaskHeaders,
            team,
            id: task,
            version: TASK_HEADERS_VERSION,
        }
    }

    /// The stored key of an epoch of one credential.
    pub fn epoch(team: &'a str, epoch: &'a str) -> Self {
        Self {
            purpose: Purpose::EpochHeaders,
            team,
            id: epoch,
            version: TASK_HEADERS_VERSION,
        }
    }

    /// Associated data of the envelope.
    pub(crate) fn of_value(&self) -> Vec<u8> {
        self.fields(VALUE_LABEL, None)
    }

    /// Associated data of the data key, when wrapped to that KEK.
    pub(crate) fn of_wrap(&self, kek: KekId) -> Vec<u8> {
        self.fields(WRAP_LABEL, Some(kek))
    }

    /// Each field, preceded by its length, so that no two different contexts have the same bytes.
    fn fields(&self, label: &[u8], kek: Option<KekId>) -> Vec<u8> {
        let version = self.version.to_be_bytes();
        let kek = kek.map(KekId::to_bytes);
        let purpose = self.purpose.name();
        let (team, id) = (self.team.as_bytes(), self.id.as_bytes());
        let kek = kek.as_ref().map_or(&[][..], |id| &id[..]);
        let fields = [label, &[FORMAT], purpose, team, id, &version, kek];
        let size = fields.iter().map(|field| field.len() + size_of::<u64>());
        let mut bytes = Vec::with_capacity(size.sum());
        for field in fields {
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn purpose() -> impl Strategy<Value = Purpose> {
        prop_oneof![
            Just(Purpose::TokenValue),
            Just(Purpose::TaskHeaders),
            Just(Purpose::EpochHeaders),
        ]
    }

    proptest! {
        /// Short strings over a small alphabet, so that shifted borders between fields are likely.
        #[test]
        fn two_contexts_have_the_same_bytes_only_if_they_are_the_same(
            a in (purpose(), "[a_]{0,4}", "[a_]{0,4}", 0_u32..3),
            b in (purpose(), "[a_]{0,4}", "[a_]{0,4}", 0_u32..3),
        ) {
            let context = |(purpose, team, id, version): &(Purpose, String, String, u32)| {
                Context { purpose: *purpose, team, id, version: *version }.of_value()
            };
            prop_assert_eq!(a == b, context(&a) == context(&b));
        }
    }

    #[test]
    fn a_wrap_is_bound_to_its_kek_and_is_no_value() {
        let context = Context::token("team_1", "tok_1", 1);
        let [one, two]: [KekId; 2] =
            ["0011223344556677", "0011223344556678"].map(|id| id.parse().expect("an id"));
        assert_ne!(context.of_wrap(one), context.of_wrap(two));
        assert_ne!(context.of_wrap(one), context.of_value());
    }
}
