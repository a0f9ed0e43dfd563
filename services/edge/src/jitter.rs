//! `jitter`: how far pauses between attempts are spread, as a word or as a share of the pause.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use waybill_domain::task;

/// The most that is added to a pause: `none`, `tenth`, `full` (as much again), or a share of the pause from 0 to 1.
#[derive(Debug, Clone, PartialEq, ToSchema)]
#[schema(as = JitterWanted)]
#[serde(untagged)]
pub enum Jitter {
    /// `none`, `tenth` or `full`.
    #[schema(value_type = JitterName)]
    Word(String),
    /// A share of the pause, 0 to 1, rounded to thousandths.
    Share(f64),
}

impl<'de> Deserialize<'de> for Jitter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Jitter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("none, tenth, full or a share from 0 to 1")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Jitter, E> {
                Ok(Jitter::Word(word.to_owned()))
            }

            fn visit_f64<E: serde::de::Error>(self, share: f64) -> Result<Jitter, E> {
                Ok(Jitter::Share(share))
            }

            #[expect(clippy::cast_precision_loss, reason = "beyond the limit by then")]
            fn visit_u64<E: serde::de::Error>(self, share: u64) -> Result<Jitter, E> {
                self.visit_f64(share as f64)
            }

            #[expect(clippy::cast_precision_loss, reason = "beyond the limit by then")]
            fn visit_i64<E: serde::de::Error>(self, share: i64) -> Result<Jitter, E> {
                self.visit_f64(share as f64)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl From<Jitter> for task::JitterRequest {
    fn from(wanted: Jitter) -> Self {
        match wanted {
            Jitter::Word(word) => Self::Word(word),
            Jitter::Share(share) => Self::Share(share),
        }
    }
}

/// How far pauses are spread, as a task shows it: a word, or the share of a pause.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Jitter)]
#[serde(untagged)]
pub enum ShownJitter {
    /// `none`, `tenth` or `full`.
    Word(JitterName),
    /// The share of a pause, 0 to 1.
    Share(f64),
}

/// A jitter by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JitterName {
    /// Pauses are as long as they say.
    None,
    /// Up to a tenth is added.
    Tenth,
    /// Up to the whole pause is added.
    Full,
}

impl From<task::Jitter> for ShownJitter {
    fn from(jitter: task::Jitter) -> Self {
        match jitter {
            task::Jitter::NONE => Self::Word(JitterName::None),
            task::Jitter::TENTH => Self::Word(JitterName::Tenth),
            task::Jitter::FULL => Self::Word(JitterName::Full),
            #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
            other => Self::Share(other.thousandths() as f64 / 1000.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_from_numbers_and_shown_as_one() {
        for (text, read) in [
            ("0.25", Jitter::Share(0.25)),
            ("1", Jitter::Share(1.0)),
            ("-1", Jitter::Share(-1.0)),
            (r#""full""#, Jitter::Word("full".into())),
        ] {
            assert_eq!(serde_json::from_str::<Jitter>(text).ok(), Some(read));
        }
        let shown = |thousandths: &str| {
            let jitter: task::Jitter = serde_json::from_str(thousandths).expect("a number");
            serde_json::to_string(&ShownJitter::from(jitter)).expect("plain data")
        };
        assert_eq!(
            [shown("0"), shown("100"), shown("1000"), shown("250")],
            [r#""none""#, r#""tenth""#, r#""full""#, "0.25"]
        );
    }
}
