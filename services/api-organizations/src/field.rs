//! A member of an update: absent keeps, `null` clears, a value replaces.

use serde::{Deserialize, Deserializer};
use waybill_domain::access::team::organization::Change;

/// What a request says about one member.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Field<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Option::<T>::deserialize(deserializer)?;
        Ok(given.map_or(Self::Null, Self::Value))
    }
}

impl<T> Field<T> {
    /// The change that it asks for, its value read by `read`.
    pub(crate) fn change<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<Change<U>, E> {
        Ok(match self {
            Self::Absent => Change::Keep,
            Self::Null => Change::Clear,
            Self::Value(value) => Change::Set(read(value)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Update {
        #[serde(default)]
        rate: Field<u32>,
    }

    #[test]
    fn absent_null_and_a_value_are_three_things() {
        for (text, wanted) in [
            ("{}", Field::Absent),
            (r#"{"rate": null}"#, Field::Null),
            (r#"{"rate": 5}"#, Field::Value(5)),
        ] {
            let update: Update = serde_json::from_str(text).expect("the shape");
            assert_eq!(update.rate, wanted, "{text}");
        }
    }
}
