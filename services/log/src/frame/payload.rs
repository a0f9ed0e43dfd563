//! The payload of a frame of version 1.

use std::collections::HashMap;

use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::NewRecord;
use crate::subject::TaskSubject;

/// The table of strings to which events refer by number, and the encoded events.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    texts: Vec<&'a str>,
    #[serde(borrow)]
    events: Vec<Blob<'a>>,
}

/// An event. Its numbers are indexes into the table of strings.
#[derive(Serialize, Deserialize)]
struct Event<'a> {
    name: u16,
    team: u16,
    queue: u16,
    /// Last token of the subject that the event would have in a message of its own.
    token: u16,
    actor: u16,
    traceparent: Option<u16>,
    origin: Option<(u16, u16, Option<u16>)>,
    #[serde(borrow)]
    payload: Blob<'a>,
}

/// Bytes, encoded with their length.
struct Blob<'a>(&'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = &'de [u8];

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Borrowed).map(Self)
    }
}

/// Builds the table, which holds each string once.
#[derive(Default)]
struct Texts<'a> {
    all: Vec<&'a str>,
    places: HashMap<&'a str, u16>,
}

impl<'a> Texts<'a> {
    fn place(&mut self, text: &'a str) -> u16 {
        if let Some(&place) = self.places.get(text) {
            return place;
        }
        // Always fits: there are at most nine strings for each of 1,024 events.
        let place = u16::try_from(self.all.len()).unwrap_or(u16::MAX);
        self.all.push(text);
        self.places.insert(text, place);
        place
    }
}

pub(super) fn write<'a>(records: impl Iterator<Item = &'a NewRecord>) -> Vec<u8> {
    let mut texts = Texts::default();
    let mut events = Vec::new();
    for record in records {
        let (team, queue, token) = match TaskSubject::parse(&record.subject) {
            Some(TaskSubject::Event {
                team, queue, event, ..
            }) => (team, queue, event),
            Some(TaskSubject::Owner { .. }) | None => ("", "", ""),
        };
        let event = Event {
            name: texts.place(record.event),
            team: texts.place(team),
            queue: texts.place(queue),
            token: texts.place(token),
            actor: texts.place(&record.actor),
            traceparent: record.traceparent.as_deref().map(|text| texts.place(text)),
            origin: record.origin.as_ref().map(|origin| {
                (
                    texts.place(&origin.request_id),
                    texts.place(&origin.source),
                    origin.agent.as_deref().map(|agent| texts.place(agent)),
                )
            }),
            payload: Blob(&record.payload),
        };
        // Encoding cannot fail: the output is memory, and the data has no maps, floats or unknown
        // lengths.
        events.push(rmp_serde::to_vec(&event).unwrap_or_default());
    }
    let events = events.iter().map(|event| Blob(event)).collect();
    let texts = texts.all;
    rmp_serde::to_vec(&Payload { texts, events }).unwrap_or_default()
}

/// A decoded event, with its strings.
pub(super) struct Found<'a> {
    pub(super) name: &'a str,
    pub(super) team: &'a str,
    pub(super) queue: &'a str,
    pub(super) token: &'a str,
    pub(super) actor: &'a str,
    pub(super) traceparent: Option<&'a str>,
    pub(super) origin: Option<(&'a str, &'a str, Option<&'a str>)>,
    pub(super) payload: Bytes,
}

/// Calls `found` for each event with its index, the number of events, and the event or, if it is
/// malformed, its bytes. `None` if the frame as a whole is malformed.
pub(super) fn read<'a>(
    payload: &'a Bytes,
    mut found: impl FnMut(usize, usize, Result<Found<'a>, Bytes>),
) -> Option<()> {
    let frame: Payload<'a> = rmp_serde::from_slice(payload).ok()?;
    let count = frame.events.len();
    if !(1..=super::MAX_EVENTS).contains(&count) {
        return None;
    }
    for (index, Blob(bytes)) in frame.events.into_iter().enumerate() {
        let event = event(payload, &frame.texts, bytes);
        found(index, count, event.ok_or_else(|| payload.slice_ref(bytes)));
    }
    Some(())
}

fn event<'a>(frame: &'a Bytes, texts: &[&'a str], bytes: &'a [u8]) -> Option<Found<'a>> {
    let event: Event<'a> = rmp_serde::from_slice(bytes).ok()?;
    let text = |place: u16| texts.get(usize::from(place)).copied();
    // An index outside the table makes the event unreadable, even where the string is optional.
    let optional = |place: Option<u16>| match place {
        Some(place) => text(place).map(Some),
        None => Some(None),
    };
    Some(Found {
        name: text(event.name)?,
        team: text(event.team)?,
        queue: text(event.queue)?,
        token: text(event.token)?,
        actor: text(event.actor)?,
        traceparent: optional(event.traceparent)?,
        origin: match event.origin {
            Some((request, source, agent)) => {
                Some((text(request)?, text(source)?, optional(agent)?))
            }
            None => None,
        },
        payload: frame.slice_ref(event.payload.0),
    })
}
