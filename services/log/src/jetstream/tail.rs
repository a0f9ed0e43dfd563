//! An endless ordered reader: a short-lived pull consumer, made anew from the next sequence whenever anything is doubtful.
//!
//! Pull, not push: no more arrives than was asked for, so a slow reader costs no memory and loses nothing. Every delivered
//! message names its place in the consumer's own count; a hole in that count, silence, or a new connection ends the consumer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::{StatusCode, Subscriber};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::api::Api;
use super::read::Reader;
use super::wire::{self, Delivery};
use crate::{ReadError, Record, Stream, StreamSeq, Tail};

/// Records asked for at once. Asked again when half of them have come, so that the server never waits for us.
const PULL: usize = 1000;
/// Bytes asked for at once: what a reader may hold in memory, twice.
const PULL_BYTES: usize = 8 * 1024 * 1024;
/// How long a pull waits at the server.
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// The server says that it is there, while there is nothing to deliver.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Two heartbeats missed: the consumer is gone.
const SILENCE: Duration = Duration::from_millis(2_500);
/// After so long a consumer is asked for under another name; then after twice as long, and so on.
const PATIENCE: Duration = Duration::from_secs(1);
/// The server forgets a consumer that nobody pulls from for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Rest before the next try to make a consumer: shortest and longest.
const REST: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Reads one stream for ever.
pub(super) struct JetStreamTail {
    api: Api,
    reader: Reader,
    stream: &'static str,
    filters: Vec<String>,
    /// Counts connections made: an answer to a pull is lost with its connection.
    connected: watch::Receiver<u64>,
    next: StreamSeq,
    /// Only of TASKS a reader must know what retention has dropped: other streams forget what nobody needs, or nothing.
    reports_gaps: bool,
    /// A hole in the sequences that no purge has made, as the leader says.
    hole: Option<StreamSeq>,
    /// Highest sequence delivered, and in which incarnation of the stream.
    seen: Option<(StreamSeq, i64)>,
    incarnation: i64,
    source: Option<Source>,
    ready: VecDeque<Record>,
    failures: u32,
}

/// A consumer and where its messages arrive.
struct Source {
    consumer: String,
    inbox: String,
    messages: Subscriber,
    /// Its own count of what it delivered.
    delivered: u64,
    /// Records asked for and not yet delivered.
    outstanding: usize,
}

/// What a message means for the consumer.
enum Heard {
    /// Go on.
    Fine,
    /// Make another one.
    Doubtful(&'static str),
}

impl JetStreamTail {
    pub(super) fn new(
        api: Api,
        reader: Reader,
        connected: watch::Receiver<u64>,
        stream: &'static str,
        filters: Vec<String>,
        from: StreamSeq,
    ) -> Self {
        Self {
            api,
            reader,
            stream,
            filters,
            connected,
            next: from,
            reports_gaps: stream == Stream::Tasks.name(),
            hole: None,
            seen: None,
            incarnation: 0,
            source: None,
            ready: VecDeque::new(),
            failures: 0,
        }
    }

    /// Makes a consumer that begins at the next sequence.
    async fn open(&mut self) -> Result<Source, ReadError> {
        // Before the consumer is made, so that a reconnection meanwhile is noticed.
        self.connected.mark_unchanged();
        let first = self.check_identity().await?;
        if self.next < first {
            let from = std::mem::replace(&mut self.next, first);
            if from.0 > 0 && self.reports_gaps {
                return Err(ReadError::Gap {
                    stream: self.stream,
                    from,
                    first,
                });
            }
        }
        let client = self.api.client();
        let inbox = client.new_inbox();
        let messages =
            client
                .subscribe(inbox.clone())
                .await
                .map_err(|error| ReadError::Unavailable {
                    reason: error.to_string(),
                })?;
        let consumer = self.make_consumer(&inbox).await?;
        Ok(Source {
            consumer,
            inbox,
            messages,
            delivered: 0,
            outstanding: 0,
        })
    }

    /// Makes a consumer, under another name whenever it takes long: a cluster may have given it to a node that has just gone, and would
    /// answer only when that is back.
    async fn make_consumer(&self, inbox: &str) -> Result<String, ReadError> {
        let base = inbox.rsplit('.').next().unwrap_or("tail");
        let give_up = Instant::now() + self.api.timeout();
        let mut patience = PATIENCE;
        for number in 0_u32.. {
            let consumer = format!("{base}-{number}");
            let (verb, body) = self.creation(&consumer);
            match tokio::time::timeout(patience, self.api.call(&verb, &body)).await {
                Ok(created) => return Ok(created.map(|_| consumer)?),
                Err(_) if Instant::now() >= give_up => break,
                Err(_) => patience *= 2,
            }
        }
        Err(ReadError::Unavailable {
            reason: format!(
                "{}: no consumer within {:?}",
                self.stream,
                self.api.timeout()
            ),
        })
    }

    fn creation(&self, consumer: &str) -> (String, Value) {
        let stream = self.stream;
        let body = json!({
            "stream_name": stream,
            "action": "create",
            "config": {
                "name": consumer,
                "deliver_policy": "by_start_sequence",
                "opt_start_seq": self.next.0,
                "ack_policy": "none",
                "replay_policy": "instant",
                "filter_subjects": self.filters,
                "mem_storage": true,
                "num_replicas": 1,
                "inactive_threshold": nanoseconds(FORGOTTEN_AFTER),
            },
        });
        (format!("CONSUMER.CREATE.{stream}.{consumer}"), body)
    }

    /// A stream that was made anew, or that has lost its end, would be read as one that has nothing new: its sequences are all
    /// below the next one wanted. That is an error until somebody decides what to do. Gives the first sequence that is left.
    async fn check_identity(&mut self) -> Result<StreamSeq, ReadError> {
        let bounds = self.reader.bounds().await?;
        if let Some((seen, incarnation)) = self.seen {
            let reason = if bounds.incarnation != incarnation {
                "it is another stream than the one read so far".to_owned()
            } else if bounds.last < seen {
                format!("it ends at {}, before {seen}, which was read", bounds.last)
            } else {
                return Ok(bounds.first);
            };
            let reason = format!("{}: {reason}", self.stream);
            return Err(ReadError::Unavailable { reason });
        }
        self.incarnation = bounds.incarnation;
        Ok(bounds.first)
    }

    /// Waits for one message and takes what else is there.
    async fn listen(&mut self) -> Result<Heard, ReadError> {
        let Some(source) = self.source.as_mut() else {
            return Ok(Heard::Doubtful("no consumer"));
        };
        if source.outstanding <= PULL / 2 {
            source.pull(&self.api, self.stream).await?;
        }
        let message = tokio::select! {
            message = tokio::time::timeout(SILENCE, source.messages.next()) => message,
            changed = self.connected.changed() => {
                return Ok(match changed {
                    Ok(()) => Heard::Doubtful("a new connection"),
                    Err(_) => Heard::Doubtful("the connection is closed"),
                });
            }
        };
        let mut message = match message {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(Heard::Doubtful("the subscription ended")),
            Err(_) => return Ok(Heard::Doubtful("silence")),
        };
        loop {
            if let doubt @ Heard::Doubtful(_) = self.hear(message) {
                return Ok(doubt);
            }
            let Some(source) = self.source.as_mut() else {
                return Ok(Heard::Fine);
            };
            match source.messages.next().now_or_never() {
                Some(Some(another)) if self.ready.len() < PULL => message = another,
                Some(Some(another)) => return Ok(self.hear(another)),
                Some(None) => return Ok(Heard::Doubtful("the subscription ended")),
                None => return Ok(Heard::Fine),
            }
        }
    }

    fn hear(&mut self, message: async_nats::Message) -> Heard {
        let Some(source) = self.source.as_mut() else {
            return Heard::Doubtful("no consumer");
        };
        if let Some(status) = message.status {
            return source.hear_status(status, &message);
        }
        let Some(delivery) = message.reply.as_deref().and_then(Delivery::parse) else {
            return Heard::Doubtful("a message without its place in the stream");
        };
        if delivery.consumer_seq != source.delivered + 1 {
            return Heard::Doubtful("a hole in what was delivered");
        }
        source.delivered = delivery.consumer_seq;
        source.outstanding = source.outstanding.saturating_sub(1);
        // A consumer made at a copy of the stream that lags begins earlier than asked for.
        if delivery.stream_seq < self.next {
            return Heard::Fine;
        }
        // Without filters each sequence follows the one before, so what is missing went by retention: the next consumer finds out.
        let is_hole = self.filters.is_empty() && delivery.stream_seq > self.next;
        if is_hole && self.reports_gaps && self.hole != Some(self.next) {
            self.hole = Some(self.next);
            return Heard::Doubtful("a hole in the stream");
        }
        self.next = delivery.stream_seq.next();
        self.seen = Some((delivery.stream_seq, self.incarnation));
        self.ready
            .push_back(wire::delivered(self.stream, delivery, message));
        Heard::Fine
    }

    fn rest(&self) -> Duration {
        let (shortest, longest) = REST;
        shortest
            .saturating_mul(1 << self.failures.min(10))
            .min(longest)
    }
}

impl Source {
    async fn pull(&mut self, api: &Api, stream: &str) -> Result<(), ReadError> {
        let verb = format!("CONSUMER.MSG.NEXT.{stream}.{}", self.consumer);
        let body = json!({
            "batch": PULL,
            "max_bytes": PULL_BYTES,
            "expires": nanoseconds(PULL_EXPIRES),
            "idle_heartbeat": nanoseconds(HEARTBEAT),
        });
        let sent = api.client().publish_with_reply(
            Api::subject(&verb),
            self.inbox.clone(),
            body.to_string().into(),
        );
        let away = |reason: String| ReadError::Unavailable { reason };
        // While disconnected, the client's own queue may be full.
        match tokio::time::timeout(api.timeout(), sent).await {
            Ok(Ok(())) => {
                self.outstanding += PULL;
                Ok(())
            }
            Ok(Err(error)) => Err(away(error.to_string())),
            Err(_) => Err(away("the connection takes no requests".to_owned())),
        }
    }

    fn hear_status(&mut self, status: StatusCode, message: &async_nats::Message) -> Heard {
        /// Of a consumer: a pull has ended, because it expired or its bytes are used up.
        const CONFLICT: u16 = 409;
        let header = |name: &str| {
            let headers = message.headers.as_ref()?;
            headers.get_last(name)?.as_str().parse::<usize>().ok()
        };
        let description = message.description.as_deref().unwrap_or_default();
        match status {
            StatusCode::IDLE_HEARTBEAT => {
                // It says how many it has delivered: more than arrived means that some were lost on the way.
                match header("Nats-Last-Consumer") {
                    Some(said) if said as u64 > self.delivered => Heard::Doubtful("lost messages"),
                    _ => Heard::Fine,
                }
            }
            StatusCode::TIMEOUT => {
                self.pull_ended(header("Nats-Pending-Messages"));
                Heard::Fine
            }
            status if status.as_u16() == CONFLICT && description.contains("MaxBytes") => {
                self.pull_ended(header("Nats-Pending-Messages"));
                Heard::Fine
            }
            StatusCode::NO_RESPONDERS => Heard::Doubtful("the consumer is gone"),
            _ => Heard::Doubtful("the consumer ended"),
        }
    }

    fn pull_ended(&mut self, undelivered: Option<usize>) {
        self.outstanding = match undelivered {
            Some(undelivered) => self.outstanding.saturating_sub(undelivered),
            None => 0,
        };
    }
}

#[async_trait]
impl Tail for JetStreamTail {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        loop {
            if !self.ready.is_empty() {
                let count = self.ready.len().min(max.max(1));
                return Ok(self.ready.drain(..count).collect());
            }
            if self.source.is_none() {
                if self.failures > 0 {
                    tokio::time::sleep(self.rest()).await;
                }
                match self.open().await {
                    Ok(source) => {
                        self.source = Some(source);
                        self.failures = 0;
                    }
                    Err(error) => {
                        self.failures += 1;
                        return Err(error);
                    }
                }
            }
            match self.listen().await {
                Ok(Heard::Fine) => {}
                Ok(Heard::Doubtful(why)) => {
                    let (stream, next) = (self.stream, self.next);
                    tracing::debug!(stream, %next, why, "the tail begins anew");
                    self.source = None;
                }
                Err(error) => {
                    self.source = None;
                    self.failures += 1;
                    return Err(error);
                }
            }
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
