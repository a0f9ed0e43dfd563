//! A subscriber that reads the team's events over as many connections as necessary, always resuming
//! after the last event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::checker::{Streamed, Told};
use crate::client::Client;

/// Pause before connecting again.
const PAUSE: Duration = Duration::from_millis(200);
/// A gateway sends at least a heartbeat every 15 s, so a connection that is silent for longer is
/// dead.
const SILENCE: Duration = Duration::from_secs(20);

/// A subscriber.
pub(crate) struct Subscriber {
    pub(crate) name: String,
    pub(crate) client: Client,
    /// Hangs up after this time, to resume more often than faults alone would cause.
    pub(crate) hang_up_after: Option<Duration>,
    /// The position up to which it has read, shared with the run, which waits for it.
    pub(crate) position: Arc<AtomicU64>,
}

impl Subscriber {
    /// Reads from the beginning until it is stopped.
    pub(crate) async fn read(self, stop: CancellationToken) -> Result<(Streamed, Vec<Told>)> {
        let mut streamed = Streamed {
            name: self.name.clone(),
            after: 0,
            connections: 0,
            events: Vec::new(),
        };
        let mut told = Vec::new();
        let mut parser = Parser::default();
        while !stop.is_cancelled() {
            let last = parser.last_id;
            let opened = tokio::select! {
                opened = self.client.open_stream("/v1/events?after=0", last) => opened?,
                () = stop.cancelled() => break,
            };
            match opened {
                Ok(body) => {
                    streamed.connections += 1;
                    parser.begin();
                    self.follow(body, &mut parser, &mut streamed, &stop).await;
                }
                Err(reply) => told.extend(reply.trouble("stream")),
            }
            sleep(PAUSE).await;
        }
        Ok((streamed, told))
    }

    async fn follow(
        &self,
        mut body: Incoming,
        parser: &mut Parser,
        streamed: &mut Streamed,
        stop: &CancellationToken,
    ) {
        let hang_up = self.hang_up_after.map(|after| Instant::now() + after);
        loop {
            let silent = Instant::now() + SILENCE;
            let until = hang_up.map_or(silent, |at| at.min(silent));
            let frame = tokio::select! {
                frame = timeout_at(until, body.frame()) => frame,
                () = stop.cancelled() => return,
            };
            let Ok(Some(Ok(frame))) = frame else { return };
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            for event in parser.feed(&bytes) {
                streamed.events.push(event);
            }
            self.position
                .store(parser.last_id.unwrap_or(0), Ordering::Release);
        }
    }
}

/// Parser of server-sent events (WHATWG HTML, 9.2), as far as they are used here. An incomplete
/// event of a broken connection is dropped.
#[derive(Debug, Default)]
struct Parser {
    pending: Vec<u8>,
    id: Option<u64>,
    name: Option<String>,
    has_data: bool,
    /// Where to resume.
    last_id: Option<u64>,
}

impl Parser {
    fn begin(&mut self) {
        self.pending.clear();
        (self.id, self.name, self.has_data) = (None, None, false);
    }

    /// Adds bytes, and returns position and name of each event that they complete.
    fn feed(&mut self, bytes: &[u8]) -> Vec<(u64, String)> {
        self.pending.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).into_owned();
            if line.is_empty() {
                events.extend(self.dispatch());
            } else if let Some((field, value)) = line.split_once(':') {
                let value = value.strip_prefix(' ').unwrap_or(value);
                match field {
                    "id" => self.id = value.parse().ok().or(self.id),
                    "event" => self.name = Some(value.to_owned()),
                    "data" => self.has_data = true,
                    _ => {}
                }
            }
        }
        events
    }

    fn dispatch(&mut self) -> Option<(u64, String)> {
        self.last_id = self.id.or(self.last_id);
        let (name, has_data) = (self.name.take(), std::mem::take(&mut self.has_data));
        has_data.then(|| (self.last_id.unwrap_or(0), name.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_whatever_the_pieces_they_come_in() {
        let text = b": after=3\nretry: 2000\nid: 3\n\nid: 4\nevent: task.created\ndata: {\"a\":1}\n\n: heartbeat\nid: 9\n\nid: 10\nevent: task.dead\ndata: {}\n\n";
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let events: Vec<_> = text
                .chunks(size)
                .flat_map(|piece| parser.feed(piece))
                .collect();
            assert_eq!(
                events,
                [(4, "task.created".into()), (10, "task.dead".into())]
            );
            assert_eq!(parser.last_id, Some(10));
        }
    }

    #[test]
    fn what_is_cut_off_is_not_an_event_and_is_asked_for_again() {
        let mut parser = Parser::default();
        assert!(
            parser
                .feed(b"id: 4\nevent: task.created\ndata: {}\n\nid: 5\nevent: task.started\nda")
                .len()
                == 1
        );
        parser.begin();
        assert_eq!(parser.last_id, Some(4));
        assert_eq!(
            parser.feed(b"id: 5\nevent: task.started\ndata: {}\n\n"),
            [(5, "task.started".into())]
        );
    }
}
