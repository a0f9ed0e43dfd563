//! The text of server-sent events, as Spooled's clients read it.

use bytes::Bytes;
use waybill_domain::seq::StreamSeq;

use crate::event::JobsEvent;
use crate::wanted::Wanted;

/// Tells a silent stream from a dead one.
pub(crate) fn ping() -> Bytes {
    Bytes::from_static(b": ping\n\n")
}

/// The same where nothing has happened up to a position: a reader whose events are rare comes back near the end of the log.
pub(crate) fn quiet(position: StreamSeq) -> Bytes {
    Bytes::from(format!(": ping\nid: {position}\n\n"))
}

/// The first thing on a stream: from here on, nothing is missed.
pub(crate) fn connected() -> Bytes {
    Bytes::from_static(b": connected\n\n")
}

/// A note for people who look at the stream.
pub(crate) fn comment(text: &str) -> Bytes {
    Bytes::from(format!(": {text}\n\n"))
}

/// How the frames of a stream are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// With the name of the event.
    Named,
    /// Without: what Node's client opens reads unnamed frames only.
    Unnamed,
}

impl Style {
    /// The style for a client, by its `User-Agent`.
    pub(crate) fn of(agent: Option<&[u8]>) -> Self {
        if agent == Some(b"node") {
            Self::Unnamed
        } else {
            Self::Named
        }
    }

    /// One event. `id`: where to resume after it, on the last event of a position.
    pub(crate) fn event(self, id: Option<StreamSeq>, event: &JobsEvent) -> String {
        // Plain texts and numbers: there is nothing that JSON cannot write, and no line break in it.
        let data = serde_json::to_string(event).unwrap_or_default();
        let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        let name = match self {
            Self::Named => format!("event: {}\n", event.name()),
            Self::Unnamed => String::new(),
        };
        format!("{id}{name}data: {data}\n\n")
    }

    /// Those events of a position that are wanted. Only the last has the id: who has it has all of them.
    pub(crate) fn events(self, seq: StreamSeq, events: &[JobsEvent], wanted: &Wanted) -> String {
        let wanted: Vec<_> = events.iter().filter(|event| wanted.has(event)).collect();
        let last = wanted.len().saturating_sub(1);
        let written = wanted.iter().enumerate().map(|(at, event)| {
            let id = (at == last).then_some(seq);
            self.event(id, event)
        });
        written.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_client_alone_gets_no_names() {
        for (agent, style) in [
            (Some(&b"node"[..]), Style::Unnamed),
            (Some(b"node-fetch/1.0"), Style::Named),
            (Some(b"python-httpx/0.28.1"), Style::Named),
            (None, Style::Named),
        ] {
            assert_eq!(Style::of(agent), style);
        }
        let event = JobsEvent::error("x");
        let named = Style::Named.event(Some(StreamSeq(7)), &event);
        assert!(named.starts_with("id: 7\nevent: error\ndata: {"), "{named}");
        let unnamed = Style::Unnamed.event(None, &event);
        assert!(unnamed.starts_with("data: {") && unnamed.ends_with("}\n\n"));
    }
}
