//! An endless ordered reader. It uses a short-lived pull consumer, and creates another one from the
//! next sequence whenever the present one is in doubt. Or it reads by direct gets ([`reads`]), if
//! the configuration says so.
//!
//! With pull instead of push, no more messages arrive than were requested, so a slow reader needs
//! little memory and loses nothing. Every delivered message has a number in the consumer's own
//! count. A gap in that count, silence, or a new connection ends the consumer.

mod caution;
pub(super) mod hints;
pub(super) mod pump;
mod reads;
mod source;
mod stall;
mod unseen;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use async_nats::StatusCode;
use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};

use super::api::Api;
use super::events::{Events, in_positions, switched};
use super::read::Reader;
use super::stored::ReadConnection;
use super::wire::{self, Delivery};
use caution::Caution;
use reads::Reads;
use source::{Heard, PULL, Source, nanoseconds};
use stall::Stall;
use unseen::Unseen;

use crate::frame::{NAME, expand, filters_of_frames, is_wanted, take_whole};
use crate::record::DAMAGED_HEADERS;
use crate::{Bounds, Positions, ReadError, Record, Stream, StreamSeq, Tail};

/// After this long without any message, two heartbeats are missing and the consumer counts as lost.
const SILENCE: Duration = Duration::from_millis(2_500);
/// First wait for a new consumer; after it another one is requested under another name, with twice
/// the wait, and so on.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time limit of a check with the leader; deliveries wait for it.
const LOOK: Duration = Duration::from_millis(500);
/// The server removes a consumer after this long without a pull request.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Shortest and longest pause before the next attempt to create a consumer.
const REST: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Reads one stream for ever.
pub(super) struct JetStreamTail {
    api: Api,
    reader: Reader,
    stream: &'static str,
    /// Filters of messages.
    filters: Vec<String>,
    /// Filters of records; empty where those of messages are sufficient.
    wanted: Vec<String>,
    positions: Positions,
    /// Records before this position are left out.
    from: StreamSeq,
    /// The connection on which messages arrive. If it breaks, answers to pull requests are lost.
    connection: ReadConnection,
    caution: Caution,
    /// Sequence of the next message.
    next: StreamSeq,
    /// Whether gaps are errors. They are in TASKS only: other streams drop only messages that are
    /// no longer needed, or none.
    reports_gaps: bool,
    /// A gap in the sequences that, according to the leader, was not made by a purge.
    hole: Option<StreamSeq>,
    /// Sequences that were passed without their messages. `None` if that is no gap, or always one.
    unseen: Option<Unseen>,
    /// `suspect`: a message that looks like a frame, in a stream that was not known to have frames,
    /// until the leader was asked. `foreign`: the last such message after the leader has confirmed
    /// that the stream has no frames.
    suspect: Option<StreamSeq>,
    foreign: Option<StreamSeq>,
    /// Highest sequence delivered, and the incarnation of the stream that it is from.
    seen: Option<(StreamSeq, i64)>,
    incarnation: i64,
    source: Option<Source>,
    /// Instead of a consumer, if tails are read by direct gets.
    reads: Option<Reads>,
    /// Detects a stalled consumer. `None` for a stream with one replica, which cannot lag.
    stall: Option<Stall>,
    ready: VecDeque<Record>,
    failures: u32,
}

impl JetStreamTail {
    pub(super) fn new(
        api: Api,
        events: &Events,
        stream: &'static str,
        filters: Vec<String>,
        from: StreamSeq,
    ) -> Self {
        let (reader, positions) = (events.messages().clone(), events.positions());
        let (filters, wanted) = if positions.has_frames() {
            (filters_of_frames(&filters), filters)
        } else {
            (filters, Vec::new())
        };
        let reports_gaps = stream == Stream::Tasks.name();
        let may_skip = reports_gaps && !filters.is_empty();
        Self {
            api,
            connection: reader.connection().clone(),
            caution: Caution::default(),
            reader,
            stream,
            filters,
            wanted,
            positions,
            from,
            next: StreamSeq(positions.message(from)),
            reports_gaps,
            hole: None,
            unseen: may_skip.then(|| Unseen::new(Instant::now())),
            suspect: None,
            foreign: None,
            seen: None,
            incarnation: 0,
            source: None,
            reads: None,
            stall: None,
            ready: VecDeque::new(),
            failures: 0,
        }
    }

    /// Checks that the stream is still the same one, and skips messages that retention has dropped.
    /// For TASKS that is reported as a gap.
    async fn begin(&mut self) -> Result<(), ReadError> {
        let bounds = self.reader.bounds().await?;
        self.settle(&bounds)
    }

    /// The same, by what the leader has said.
    fn settle(&mut self, bounds: &Bounds) -> Result<(), ReadError> {
        let first = self.check_identity(bounds)?;
        let unseen = self.unseen.as_mut();
        let unseen = unseen.and_then(|unseen| unseen.settle(first));
        let from = unseen.unwrap_or(self.next);
        self.next = self.next.max(first);
        if from < first && from.0 > 0 && self.reports_gaps {
            return Err(self.gap(from, first));
        }
        Ok(())
    }

    fn gap(&self, from: StreamSeq, first: StreamSeq) -> ReadError {
        ReadError::Gap {
            stream: self.stream,
            from,
            first,
        }
    }

    /// The gap that a purge has made of messages which were passed unseen, if the leader is to be
    /// asked now, and says so. Where it does not answer, or may have been deposed, it is asked again.
    async fn purged_unseen(&mut self) -> Option<ReadError> {
        let unseen = self.unseen.as_mut()?;
        if !unseen.asks(Instant::now()) {
            return None;
        }
        let bounds = tokio::time::timeout(LOOK, self.reader.bounds());
        let bounds = bounds.await.ok()?.ok()?;
        let is_behind = |&(seen, _): &(StreamSeq, i64)| bounds.last < seen;
        if bounds.incarnation != self.incarnation || self.seen.as_ref().is_some_and(is_behind) {
            return None;
        }
        let from = unseen.settle(bounds.first)?;
        self.next = self.next.max(bounds.first);
        Some(self.gap(from, bounds.first))
    }

    /// Reads the next record individually, as JSON. Returns `false` if there is none at the moment.
    async fn step_carefully(&mut self) -> Result<bool, ReadError> {
        self.begin().await?;
        let next = StreamSeq(self.next.0.max(1));
        let Some(record) = self.reader.next_of(&self.filters, next).await? else {
            return Ok(false);
        };
        if self.is_hole(record.seq) {
            return Ok(true);
        }
        self.caution.has_read(record.event == DAMAGED_HEADERS);
        if let Some(unseen) = &mut self.unseen {
            unseen.got(self.next, record.seq);
        }
        self.next = record.seq.next();
        self.seen = Some((record.seq, self.incarnation));
        self.take_in(record);
        Ok(true)
    }

    /// Adds the wanted records of a message to `ready`.
    fn take_in(&mut self, message: Record) {
        let Self {
            ready,
            wanted,
            positions,
            from,
            ..
        } = self;
        expand(
            message,
            *positions,
            |position, subject| position >= *from && is_wanted(wanted, subject),
            |record| ready.push_back(record),
        );
    }

    /// Creates a consumer that starts at the next sequence.
    async fn open(&mut self) -> Result<Source, ReadError> {
        // Before the consumer is created, so that a reconnection from here on is noticed.
        self.connection.made.mark_unchanged();
        self.begin().await?;
        let client = &self.connection.client;
        let inbox = client.new_inbox();
        let messages =
            client
                .subscribe(inbox.clone())
                .await
                .map_err(|error| ReadError::Unavailable {
                    reason: error.to_string(),
                })?;
        let consumer = self.make_consumer(&inbox).await?;
        if let Some(unseen) = &mut self.unseen {
            unseen.begins();
        }
        Ok(Source {
            consumer,
            inbox,
            messages,
            delivered: 0,
            outstanding: 0,
        })
    }

    /// Creates a consumer, and tries again under another name if that takes long: a cluster may
    /// have assigned the consumer to a node that has just failed, and would answer only after that
    /// node is back.
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

    /// Checks that the stream is the one read so far, and returns its first sequence. If the stream
    /// was recreated or has lost its end, its sequences are all below the next one wanted, and it
    /// would seem to have no new messages. That is an error until an operator decides what to do.
    fn check_identity(&mut self, bounds: &Bounds) -> Result<StreamSeq, ReadError> {
        if bounds.positions != self.positions {
            return Err(switched(self.stream));
        }
        self.foreign = self.suspect.take();
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

    /// Waits for one message, and then takes all others that have already arrived.
    async fn listen(&mut self) -> Result<Heard, ReadError> {
        let Some(source) = self.source.as_mut() else {
            return Ok(Heard::Doubtful("no consumer"));
        };
        if source.outstanding <= PULL / 2 {
            source
                .pull(&self.connection, &self.api, self.stream)
                .await?;
        }
        let silent = Instant::now() + SILENCE;
        let mut message = loop {
            let Some(source) = self.source.as_mut() else {
                return Ok(Heard::Doubtful("no consumer"));
            };
            let look = self.stall.as_ref().map_or(silent, Stall::due);
            let wait = tokio::time::Instant::from_std(silent.min(look));
            // Cancellation safe: a subscription keeps its messages, and a new connection ends this consumer.
            let message = tokio::select! {
                message = tokio::time::timeout_at(wait, source.messages.next()) => message,
                changed = self.connection.made.changed() => {
                    self.caution.lost();
                    return Ok(match changed {
                        Ok(()) => Heard::Doubtful("a new connection"),
                        Err(_) => Heard::Doubtful("the connection is closed"),
                    });
                }
            };
            match message {
                Ok(Some(message)) => break message,
                Ok(None) => return Ok(Heard::Doubtful("the subscription ended")),
                Err(_) if Instant::now() >= silent => return Ok(Heard::Doubtful("silence")),
                Err(_) if self.has_stalled().await => {
                    return Ok(Heard::Doubtful("the leader has more"));
                }
                Err(_) => {}
            }
        };
        loop {
            if let doubt @ Heard::Doubtful(_) = self.hear(message) {
                return Ok(doubt);
            }
            if self.ready.is_empty() && self.has_stalled().await {
                return Ok(Heard::Doubtful("the leader has more"));
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
        let Some(delivery) = message.reply.as_deref().and_then(Delivery::parse) else {
            return match message.status {
                Some(status) => {
                    let heard = source.hear_status(status, &message);
                    if let (StatusCode::IDLE_HEARTBEAT, Some(unseen)) = (status, &mut self.unseen) {
                        unseen.got_nothing(self.next);
                    }
                    heard
                }
                None => Heard::Doubtful("a message without its place in the stream"),
            };
        };
        if delivery.consumer_seq != source.delivered + 1 {
            return Heard::Doubtful("a hole in what was delivered");
        }
        source.delivered = delivery.consumer_seq;
        source.outstanding = source.outstanding.saturating_sub(1);
        // A consumer on a lagging replica may start earlier than requested.
        if delivery.stream_seq < self.next {
            return Heard::Fine;
        }
        let message = wire::delivered(self.stream, delivery, message);
        self.accept(message)
    }

    /// Takes in the message that comes next.
    fn accept(&mut self, message: Record) -> Heard {
        let seq = message.seq;
        if self.is_hole(seq) {
            return Heard::Doubtful("a hole in the stream");
        }
        // A valid frame must not be skipped, since its events would never be read.
        let has_no_frames = self.positions == Positions::OF_MESSAGES;
        if has_no_frames && message.event == NAME && self.foreign != Some(seq) {
            self.suspect = Some(seq);
            return Heard::Doubtful("a frame, which the stream was not known to hold");
        }
        if let Some(unseen) = &mut self.unseen {
            unseen.got(self.next, seq);
        }
        self.next = seq.next();
        self.seen = Some((seq, self.incarnation));
        if let Some(stall) = &mut self.stall {
            stall.delivered(Instant::now());
        }
        self.take_in(message);
        Heard::Fine
    }

    /// Whether the leader has had more messages for some time than this consumer delivers. Without
    /// a leader nothing can be missing.
    async fn has_stalled(&mut self) -> bool {
        let Some(stall) = &mut self.stall else {
            return false;
        };
        if !stall.is_due(Instant::now()) {
            return false;
        }
        let next = StreamSeq(self.next.0.max(1));
        let asked = self.reader.next_of(&self.filters, next);
        let more = matches!(tokio::time::timeout(LOOK, asked).await, Ok(Ok(Some(_))));
        stall.leader_has_more(Instant::now(), more)
    }

    /// Whether messages are missing before `seq`. Without filters the sequences are consecutive, so
    /// retention must have dropped the missing ones, which is checked by starting a new consumer.
    fn is_hole(&mut self, seq: StreamSeq) -> bool {
        let is_hole = self.reports_gaps
            && self.filters.is_empty()
            && seq > self.next
            && self.hole != Some(self.next);
        if is_hole {
            self.hole = Some(self.next);
        }
        is_hole
    }

    /// Takes one step towards the next record. Errors are temporary.
    async fn advance(&mut self) -> Result<(), ReadError> {
        if !self.is_open() && self.caution.is_due() {
            if !self.step_carefully().await? {
                self.caution.nothing_there().await;
            }
            return Ok(());
        }
        let heard = if self.connection.tails_have_consumers() {
            self.listen_on().await?
        } else {
            self.read_on().await?
        };
        if let Heard::Doubtful(why) = heard {
            let (stream, next) = (self.stream, self.next);
            tracing::debug!(stream, %next, why, "a tail begins anew from its next message");
            self.close();
        }
        Ok(())
    }

    /// Takes one step with a consumer.
    async fn listen_on(&mut self) -> Result<Heard, ReadError> {
        if self.source.is_none() {
            self.source = Some(self.open().await?);
            self.stall = self
                .reader
                .is_replicated()
                .then(|| Stall::new(Instant::now()));
            self.failures = 0;
        }
        self.listen().await
    }

    fn is_open(&self) -> bool {
        self.source.is_some() || self.reads.is_some()
    }

    fn close(&mut self) {
        (self.source, self.reads) = (None, None);
    }

    fn rest(&self) -> Duration {
        let (shortest, longest) = REST;
        shortest
            .saturating_mul(1 << self.failures.min(10))
            .min(longest)
    }
}

#[async_trait]
impl Tail for JetStreamTail {
    async fn next_batch(&mut self, max: usize) -> Result<Vec<Record>, ReadError> {
        loop {
            if !self.ready.is_empty() {
                return Ok(take_whole(&mut self.ready, max, self.positions));
            }
            if !self.is_open() && self.failures > 0 {
                tokio::time::sleep(self.rest()).await;
            }
            if let Some(gap) = self.purged_unseen().await {
                return Err(in_positions(gap, self.positions));
            }
            if let Err(error) = self.advance().await {
                self.close();
                self.failures += 1;
                return Err(in_positions(error, self.positions));
            }
        }
    }
}
