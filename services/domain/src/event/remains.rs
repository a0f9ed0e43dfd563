//! What can be read of an event with a damaged payload: the fields before the damage.

use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};

use crate::id::TaskId;
use crate::task::method::Method;
use crate::task::priority::Priority;

/// The fields of a `task.*` event that could be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    pub id: Option<TaskId>,
    /// Of a creation: the target's URL.
    pub url: Option<String>,
    /// Of a creation: the HTTP method.
    pub method: Option<Method>,
    /// Of a creation: the priority.
    pub priority: Option<Priority>,
}

impl Remains {
    /// Reads a payload up to the first damaged part.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        let mut remains = Self::default();
        let mut payload = rmp_serde::Deserializer::from_read_ref(payload);
        // Decoding is expected to fail, since the payload is damaged. What was read before is in
        // `remains`.
        let _ = Reading(&mut remains).deserialize(&mut payload);
        remains
    }
}

/// Fills the borrowed value field by field, so that a later failure undoes nothing.
struct Reading<'a>(&'a mut Remains);

impl<'de> DeserializeSeed<'de> for Reading<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reading<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event with named fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "id" => self.0.id = Some(map.next_value()?),
                // A restatement has the task as it was created in a field.
                "created" => map.next_value_seed(Reading(self.0))?,
                "url" => self.0.url = Some(map.next_value()?),
                "method" => self.0.method = Some(map.next_value()?),
                "priority" => self.0.priority = Some(map.next_value()?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{TaskEvent, samples};

    #[test]
    fn a_whole_event_is_read_and_of_a_cut_one_what_stands_before_the_cut() {
        for event in samples::task_events() {
            let payload = event.encode();
            assert_eq!(Remains::of(&payload).id, Some(event.id()));
            let cut = Remains::of(&payload[..payload.len() - 1]);
            assert_eq!(cut.id, Some(event.id()), "{}", event.name());
            if let TaskEvent::Created(created) = &event {
                assert_eq!(cut.url.as_deref(), Some(&*created.url));
            }
        }
    }

    #[test]
    fn of_anything_else_nothing_remains() {
        for payload in [
            &b""[..],
            b"\xc1",
            b"hello",
            b"\xdf\xff\xff\xff\xff",
            &[0x93, 1, 2, 3],
        ] {
            assert_eq!(Remains::of(payload), Remains::default());
        }
    }
}
