//! The callers' side of the appender: a bounded queue, and a deadline after which a caller learns
//! whether its append may be stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use waybill_domain::trust::Trust;
use waybill_domain::trust::event::{self, Expected};

use super::super::wire::{self, Outgoing};
use super::appender::{self, Settings};
use super::content::Content;
use super::plan::Planned;
use crate::{
    Append, AppendError, AppendFailure, Appended, Expectation, MsgId, Positions, Stream, StreamSeq,
};

/// Limit of the bytes that wait or are in flight. With records of 512 bytes that is more than the
/// fastest server stores in a second. Beyond it callers wait for room, and are refused if there is
/// none by their deadline.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of one permit for room in the queue; each record takes at least one.
const GRAIN: usize = 1024;

/// Not yet passed to the connection: certainly not stored.
const WAITING: u8 = 0;
/// Passed to the connection: may be stored.
const SENT: u8 = 1;
/// Its caller has been told that it was not stored, so it must never be sent.
const ABANDONED: u8 = 2;

/// The progress of a request, shared by its caller and the appender. Each step is one
/// compare-and-swap, so that exactly one of "sent" and "certainly not stored" wins.
#[derive(Debug, Clone)]
pub(super) struct Progress(Arc<AtomicU8>);

impl Progress {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(WAITING)))
    }

    fn step(&self, from: u8, to: u8) -> bool {
        self.0
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// Marks it as sent: from now on it may be stored. `false` if its caller has given up.
    pub(super) fn send(&self) -> bool {
        self.step(WAITING, SENT) || self.0.load(Ordering::Acquire) == SENT
    }

    /// Takes back [`Self::send`] after the server has said that it was not stored.
    pub(super) fn not_stored(&self) {
        self.step(SENT, WAITING);
    }

    fn give_up(&self) -> bool {
        self.step(WAITING, ABANDONED)
    }
}

/// An append on its way.
pub(super) struct Request {
    pub(super) content: Content,
    /// In sequences of messages.
    pub(super) expect: Expectation,
    pub(super) msg_id: Option<MsgId>,
    pub(super) progress: Progress,
    /// It was in a batch that the server refused, and may be the cause.
    pub(super) goes_alone: bool,
    answer: oneshot::Sender<Result<Appended, AppendError>>,
    _room: OwnedSemaphorePermit,
}

impl Request {
    pub(super) fn answer(self, answer: Result<Appended, AppendError>) {
        // An error means that the caller no longer waits.
        let _ = self.answer.send(answer);
    }

    /// Whether the caller still waits for the answer.
    pub(super) fn is_awaited(&self) -> bool {
        !self.answer.is_closed()
    }

    pub(super) fn bytes(&self) -> usize {
        self.content.bytes()
    }
}

impl Planned for Request {
    fn fence(&self) -> Option<&str> {
        match &self.expect {
            Expectation::None => None,
            Expectation::LastOn { filter, .. } => Some(filter),
        }
    }

    fn goes_alone(&self) -> bool {
        self.goes_alone || self.msg_id.is_some()
    }

    fn subjects(&self) -> impl Iterator<Item = &str> {
        let messages = self.content.messages().iter();
        messages.map(|message| message.subject.as_str())
    }

    fn len(&self) -> usize {
        self.content.messages().len()
    }
}

/// The appender of one stream. Dropping it ends its task.
pub(in crate::jetstream) struct Appender {
    stream: Stream,
    queue: mpsc::Sender<Request>,
    room: Arc<Semaphore>,
    timeout: Duration,
    client: async_nats::Client,
    positions: Positions,
    /// Signs the records; for CONTROL only.
    trust: Option<Arc<Trust>>,
    /// The failure of the last append, if it concerned the log as a whole. Locked for one
    /// assignment, never across an await.
    failed: Mutex<Option<AppendFailure>>,
    _task: AbortOnDropHandle<()>,
}

impl Appender {
    pub(in crate::jetstream) async fn start(
        settings: Settings,
        timeout: Duration,
        trust: Option<Arc<Trust>>,
    ) -> Result<Self, async_nats::SubscribeError> {
        let room = QUEUE_BYTES / GRAIN;
        // Each request holds at least one permit for room, so this channel is never full.
        let (queue, requests) = mpsc::channel(room);
        let (stream, positions) = (settings.stream, settings.positions);
        let client = settings.client.clone();
        let task = appender::start(settings, requests).await?;
        Ok(Self {
            stream,
            queue,
            room: Arc::new(Semaphore::new(room)),
            timeout,
            client,
            positions,
            trust,
            failed: Mutex::default(),
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Appends, and returns by the deadline in any case.
    ///
    /// Cancelling the call does not undo the append: it may still be stored.
    pub(in crate::jetstream) async fn append(
        &self,
        append: Append,
    ) -> Result<Appended, AppendError> {
        let start = Instant::now();
        let answer = self.append_by_deadline(append).await;
        let stream = self.stream.name();
        metrics::histogram!("waybill_log_append_seconds", "stream" => stream)
            .record(start.elapsed().as_secs_f64());
        if let Err(error) = &answer {
            let kind = kind(error);
            metrics::counter!("waybill_log_append_errors_total", "stream" => stream, "kind" => kind)
                .increment(1);
        }
        self.remember(&answer);
        answer
    }

    /// The failure of the last append, if it concerned the log as a whole.
    pub(in crate::jetstream) fn last_failed(&self) -> Option<AppendFailure> {
        self.failed.lock().clone()
    }

    fn remember(&self, answer: &Result<Appended, AppendError>) {
        let failure = match answer {
            Err(error) if error.is_of_the_log() => Some(AppendFailure {
                at: Instant::now(),
                error: error.clone(),
            }),
            // The log answered: with a success, or with a refusal of this append only.
            _ => None,
        };
        *self.failed.lock() = failure;
    }

    async fn append_by_deadline(&self, append: Append) -> Result<Appended, AppendError> {
        debug_assert_eq!(append.stream, self.stream);
        append.check()?;
        check_expectation(&append.expect)?;
        if let Some(MsgId(id)) = &append.msg_id {
            wire::check_msg_id(id)?;
        }
        let max_payload = self.client.max_payload();
        // The server refuses a repeated client's id together with the whole message, so a record
        // with one is a message of its own, and several with one share a frame with no others.
        let has_frames =
            self.positions.has_frames() && (append.msg_id.is_none() || append.records.len() > 1);
        let mut content = if has_frames {
            Content::framed(append.records, max_payload)?
        } else {
            Content::singles(append.records, max_payload)?
        };
        let expect = in_messages(append.expect, self.positions);
        if let (Some(trust), Content::Messages { messages, .. }) = (&self.trust, &mut content) {
            sign(trust, messages, &expect)?;
        }
        let deadline = tokio::time::Instant::now() + self.timeout;
        let room = self.room_for(&content, deadline).await?;
        let (answer, answered) = oneshot::channel();
        let progress = Progress::new();
        let request = Request {
            content,
            expect,
            msg_id: append.msg_id,
            progress: progress.clone(),
            goes_alone: false,
            answer,
            _room: room,
        };
        self.queue
            .try_send(request)
            .map_err(|_| unavailable("the appender has stopped"))?;
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) if progress.give_up() => Err(unavailable("the appender has stopped")),
            Ok(Err(_)) => Err(unknown("the appender stopped before the log answered")),
            Err(_) if progress.give_up() => Err(AppendError::Unavailable {
                reason: format!("not sent within {:?}", self.timeout),
            }),
            Err(_) => Err(AppendError::Unknown {
                reason: format!("sent, but no answer within {:?}", self.timeout),
            }),
        }
    }

    async fn room_for(
        &self,
        content: &Content,
        deadline: tokio::time::Instant,
    ) -> Result<OwnedSemaphorePermit, AppendError> {
        // Each record takes at least one permit; beyond that their bytes are counted together.
        let grains = content.events().max(content.bytes().div_ceil(GRAIN));
        // An append larger than the whole queue is allowed when the queue is empty.
        let grains = grains.min(QUEUE_BYTES / GRAIN);
        let grains = u32::try_from(grains).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(grains);
        match tokio::time::timeout_at(deadline, room).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(unavailable("the appender has stopped")),
            Err(_) => Err(unavailable("the queue of appends is full")),
        }
    }
}

/// Signs each record for the place where the server is asked to store it.
fn sign(trust: &Trust, records: &mut [Outgoing], expect: &Expectation) -> Result<(), AppendError> {
    let Some(signer) = &trust.signer else {
        let counts =
            |record: &Outgoing| event::is_of_workers(&record.subject) && !trust.keys.has_worker();
        if trust.is_in_force() && !records.iter().all(counts) {
            let reason =
                "signatures are required on CONTROL, and this process has no key to sign with";
            return Err(AppendError::Rejected {
                reason: reason.to_owned(),
            });
        }
        return Ok(());
    };
    let expected = match expect {
        Expectation::None => None,
        Expectation::LastOn { filter, seq } => Some(Expected {
            boundary: filter,
            after: *seq,
        }),
    };
    for (index, record) in records.iter_mut().enumerate() {
        let headers = wire::headers_of_leaf(&record.headers);
        let (subject, payload) = (&record.subject, &record.payload);
        let added = event::sign(
            signer,
            trust.stream,
            subject,
            &headers,
            payload,
            expected,
            index,
        );
        wire::add(&mut record.headers, added)?;
    }
    Ok(())
}

/// Translates an expectation from positions to sequences, which the server compares.
fn in_messages(expect: Expectation, positions: Positions) -> Expectation {
    match expect {
        Expectation::LastOn { filter, seq } => Expectation::LastOn {
            filter,
            seq: StreamSeq(positions.message(seq)),
        },
        Expectation::None => Expectation::None,
    }
}

fn check_expectation(expect: &Expectation) -> Result<(), AppendError> {
    match expect {
        Expectation::LastOn { filter, .. } if !wire::is_filter(filter) => {
            Err(AppendError::Rejected {
                reason: format!("{filter:?} is not a valid subject filter"),
            })
        }
        Expectation::LastOn { .. } | Expectation::None => Ok(()),
    }
}

fn kind(error: &AppendError) -> &'static str {
    match error {
        AppendError::Conflict { .. } => "conflict",
        AppendError::Full { .. } => "full",
        AppendError::Rejected { .. } => "rejected",
        AppendError::Unavailable { .. } => "unavailable",
        AppendError::Unknown { .. } => "unknown",
    }
}

pub(super) fn unavailable(reason: &str) -> AppendError {
    AppendError::Unavailable {
        reason: reason.to_owned(),
    }
}

pub(super) fn unknown(reason: &str) -> AppendError {
    AppendError::Unknown {
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_never_sent_and_what_was_sent_is_never_given_up() {
        let progress = Progress::new();
        assert!(progress.give_up());
        assert!(!progress.send());
        let progress = Progress::new();
        assert!(progress.send());
        assert!(!progress.give_up());
        progress.not_stored();
        assert!(progress.give_up());
        assert!(!progress.send());
    }
}
