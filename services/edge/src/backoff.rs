//! `retryBackoff`: a word, or the pauses one by one.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;
use waybill_domain::task::{Backoff, BackoffRequest, OwnPauses};

use super::lengths::{Length, Seconds};

/// When retries are due: `exponential`, `linear`, `fixed`, `overnight`, or a list of up to 10 lengths such as `["10s", "5m", "2h"]`.
#[derive(Debug, Clone, PartialEq, ToSchema)]
#[schema(as = RetryBackoffWanted)]
#[serde(untagged)]
pub enum RetryBackoff {
    /// `exponential`, `linear`, `fixed` or `overnight`.
    #[schema(value_type = RetryBackoffName)]
    Word(String),
    /// The pause before each retry; the last one repeats.
    #[schema(value_type = Vec<String>)]
    Pauses(Vec<Length>),
}

impl<'de> Deserialize<'de> for RetryBackoff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RetryBackoff;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("exponential, linear, fixed, overnight or a list of pauses")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<RetryBackoff, E> {
                Ok(RetryBackoff::Word(word.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RetryBackoff, A::Error> {
                let mut pauses = Vec::new();
                while let Some(pause) = list.next_element()? {
                    pauses.push(pause);
                }
                Ok(RetryBackoff::Pauses(pauses))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl From<RetryBackoff> for BackoffRequest {
    fn from(wanted: RetryBackoff) -> Self {
        match wanted {
            RetryBackoff::Word(word) => Self::Word(word),
            RetryBackoff::Pauses(pauses) => {
                Self::Pauses(pauses.into_iter().map(|pause| pause.0).collect())
            }
        }
    }
}

/// When retries are due, as a task shows it: a word, or seconds before each retry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RetryBackoff)]
#[serde(untagged)]
pub enum ShownBackoff {
    /// `exponential`, `linear`, `fixed` or `overnight`.
    Word(RetryBackoffName),
    /// Seconds before each retry; the last one repeats.
    #[schema(value_type = Vec<f64>)]
    Pauses(Vec<Seconds>),
}

/// A back-off by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RetryBackoffName {
    /// `minDelay` (1 s), twice that, four times, eight times ...
    Exponential,
    /// `minDelay` (1 s), twice that, three times, four times ...
    Linear,
    /// Always `minDelay` (1 s).
    Fixed,
    /// Ten retries over almost 14 hours.
    Overnight,
}

impl From<Backoff> for RetryBackoffName {
    fn from(backoff: Backoff) -> Self {
        match backoff {
            Backoff::Exponential => Self::Exponential,
            Backoff::Linear => Self::Linear,
            Backoff::Fixed => Self::Fixed,
        }
    }
}

impl ShownBackoff {
    /// Of a task with that back-off and those pauses of its own.
    pub fn of(backoff: Backoff, own: &OwnPauses) -> Self {
        if own.is_empty() {
            return Self::Word(backoff.into());
        }
        if own.is_overnight() {
            return Self::Word(RetryBackoffName::Overnight);
        }
        let seconds = own.millis().iter().map(|millis| Seconds((*millis).into()));
        Self::Pauses(seconds.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_from_texts_and_numbers_and_shown_in_seconds() {
        let read: RetryBackoff =
            serde_json::from_str(r#"["10s", 1.5, 300]"#).expect("a list of lengths");
        let RetryBackoff::Pauses(pauses) = read else {
            panic!("a list");
        };
        assert_eq!(pauses.len(), 3);
        let own: OwnPauses = serde_json::from_str("[10000, 1500]").expect("milliseconds");
        let shown = ShownBackoff::of(Backoff::Exponential, &own);
        let shown = serde_json::to_string(&shown).expect("plain data");
        assert_eq!(shown, "[10,1.5]");
        let night = ShownBackoff::of(Backoff::Exponential, &OwnPauses::overnight());
        assert_eq!(night, ShownBackoff::Word(RetryBackoffName::Overnight));
        let linear = ShownBackoff::of(Backoff::Linear, &OwnPauses::default());
        assert_eq!(linear, ShownBackoff::Word(RetryBackoffName::Linear));
        let error = serde_json::from_str::<RetryBackoff>("7").expect_err("a number");
        assert!(error.to_string().contains("exponential, linear"), "{error}");
    }
}
