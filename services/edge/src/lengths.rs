//! Lengths of time as clients write them and as they read them.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use waybill_domain::task;

/// A length of time as the client wrote it: a text with units, or a number of seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Length(pub task::Length);

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Length;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length such as \"5m\", or a number of seconds")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Length, E> {
                Ok(Length(task::Length::Text(text.to_owned())))
            }

            fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<Length, E> {
                Ok(Length(task::Length::Seconds(seconds)))
            }

            #[expect(clippy::cast_precision_loss, reason = "beyond every limit by then")]
            fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<Length, E> {
                self.visit_f64(seconds as f64)
            }

            #[expect(clippy::cast_precision_loss, reason = "beyond every limit by then")]
            fn visit_i64<E: serde::de::Error>(self, seconds: i64) -> Result<Length, E> {
                self.visit_f64(seconds as f64)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Milliseconds, written as seconds: a whole number where they are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u64(self.0 / 1000)
        } else {
            #[expect(clippy::cast_precision_loss, reason = "at most a year")]
            serializer.serialize_f64(self.0 as f64 / 1000.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_whole_where_they_can_be() {
        let text = |ms| serde_json::to_string(&Seconds(ms)).expect("a number");
        assert_eq!((text(30_000), text(1_500)), ("30".into(), "1.5".into()));
    }
}
