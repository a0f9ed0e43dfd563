//! Headers as JSON has them.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Pairs, written as an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderMap<V = String>(pub Vec<(String, V)>);

impl<V: Serialize> Serialize for HeaderMap<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
