//! One subscriber's stream: history from the log, then live events, each exactly once and in order.
//!
//! A subscription is a cursor over the log. While it is behind it reads pages as fast as its client takes them; nothing is
//! queued for it meanwhile. Once it has reached the end it joins the hub, reads the little that came in between, and from then
//! on is fed by the hub. A client that does not keep up with the live feed is dropped with a note of where to resume. It is
//! pulled by the connection: it owns no task of its own.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep};
use tokio_util::task::AbortOnDropHandle;
use waybill_domain::id::TaskId;
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::TaskRow;
use waybill_log::{ReadError, Stream};

use super::filter::EventFilter;
use super::hub::{Hub, JoinError, Live, read};
use super::output::Output;
use super::roster::Reads;
use super::slots::Slot;
use super::view::{Milestone, Step};

/// A stream without events sends a heartbeat this often, so that a client can tell it from a dead connection.
pub const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a subscription checks that its credential is still valid.
const CREDENTIAL_CHECK: Duration = Duration::from_secs(1);
/// Records of history read at a time.
const PAGE: usize = 128;
/// Bytes of frames that go out together when more than one event is ready.
const CHUNK_BYTES: usize = 16 * 1024;
/// A log that cannot be read for this long ends the stream; the client reconnects, perhaps to another gateway.
const PATIENCE: Duration = Duration::from_secs(30);
/// First pause after the log could not be read; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Whether the credential that opened a stream is still valid.
pub type StillValid = Box<dyn Fn() -> bool + Send + Sync>;

/// Events that go out together.
#[derive(Debug, Default)]
struct Chunk {
    steps: Vec<Arc<Step>>,
    bytes: usize,
}

impl Chunk {
    fn has_room(&self) -> bool {
        self.bytes < CHUNK_BYTES
    }

    fn extend(&mut self, step: Option<Arc<Step>>) {
        if let Some(step) = step {
            // One frame serves all subscribers, so it is made in any case.
            self.bytes += step.frame().len();
            self.steps.push(step);
        }
    }

    fn output(self) -> Option<Output> {
        (!self.steps.is_empty()).then_some(Output::Steps(self.steps))
    }
}

/// What is still to come of one task: tells when its stream can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remainder {
    task: TaskId,
    webhook: bool,
    terminal: bool,
    webhook_done: bool,
}

impl Remainder {
    /// What a client that has seen everything up to `after` has still to see of a task.
    pub fn of(row: &TaskRow, after: StreamSeq) -> Self {
        let seen = row.seq <= after;
        Self {
            task: row.id,
            webhook: row.on_complete_url.is_some(),
            terminal: row.ended_seq.is_some_and(|ended| ended <= after),
            webhook_done: seen
                && row
                    .callback
                    .as_ref()
                    .is_some_and(|callback| callback.retry_at.is_none()),
        }
    }

    fn observe(&mut self, milestone: Milestone) {
        match milestone {
            Milestone::Begins { webhook } => self.webhook = webhook,
            Milestone::Underway => {}
            Milestone::Terminal => self.terminal = true,
            Milestone::WebhookDone => self.webhook_done = true,
        }
    }

    /// Whether no further event will come.
    pub fn is_empty(self) -> bool {
        self.terminal && (!self.webhook || self.webhook_done)
    }
}

/// A page of history.
struct Page {
    steps: Vec<Arc<Step>>,
    /// Everything up to here has been read.
    reached: StreamSeq,
    /// There is nothing between `reached` and the end that was aimed at.
    complete: bool,
    /// First position still stored, when something before the page may be gone.
    gap: Option<StreamSeq>,
}

/// What a subscription waits for while it is behind.
///
/// These run as tasks, which end with the subscription, and not inside it: a subscription is only polled while its client reads,
/// and a client that stops reading must not stop in the middle of something for which others wait (a turn to read, the start of
/// the tail).
enum Work {
    Page(AbortOnDropHandle<Result<Page, ReadError>>),
    Join(AbortOnDropHandle<Result<Live, JoinError>>),
}

enum WorkResult {
    Page(Result<Page, ReadError>),
    Join(Result<Live, JoinError>),
}

/// One subscriber's stream.
pub struct Subscription {
    hub: Arc<Hub>,
    filter: Arc<EventFilter>,
    subjects: Arc<[String]>,
    still_valid: StillValid,
    _slot: Slot,
    /// Everything up to here has been delivered, or is not wanted.
    cursor: StreamSeq,
    /// What is still to come, when it is the stream of one task.
    remainder: Option<Remainder>,
    /// Read from the log, not delivered yet: at most a page.
    ready: VecDeque<Arc<Step>>,
    /// Cursor once `ready` is delivered.
    reached: StreamSeq,
    live: Option<Live>,
    /// History is exhausted: the next thing to do is to join.
    near: bool,
    work: Option<Work>,
    failing_since: Option<Instant>,
    retry: Duration,
    tick: Pin<Box<Sleep>>,
    last_frame: Instant,
    opened: bool,
    ended: bool,
}

impl Subscription {
    pub fn new(
        hub: Arc<Hub>,
        filter: EventFilter,
        after: StreamSeq,
        remainder: Option<Remainder>,
        slot: Slot,
        still_valid: StillValid,
    ) -> Self {
        Self {
            subjects: filter.subjects(hub.partitions).into(),
            filter: Arc::new(filter),
            still_valid,
            _slot: slot,
            cursor: after,
            remainder,
            ready: VecDeque::new(),
            reached: after,
            live: None,
            near: false,
            work: None,
            failing_since: None,
            retry: RETRY_MIN,
            tick: Box::pin(tokio::time::sleep(CREDENTIAL_CHECK)),
            last_frame: Instant::now(),
            opened: false,
            ended: false,
            hub,
        }
    }

    /// Starts at the end of the log, without reading history.
    pub fn at_the_end(mut self) -> Self {
        self.near = true;
        self
    }

    /// What goes out, as a stream that the connection pulls.
    pub fn into_stream(self) -> impl futures::Stream<Item = Bytes> + Send + 'static {
        futures::stream::unfold(self, |mut subscription| async move {
            let output = subscription.next().await?;
            Some((output.frame(), subscription))
        })
    }

    /// What goes out next; `None` after the end. Cancel safe: what a dropped call would have returned, the next one returns.
    pub async fn next(&mut self) -> Option<Output> {
        if self.ended {
            return None;
        }
        let output = self.advance().await;
        self.last_frame = Instant::now();
        Some(output)
    }

    async fn advance(&mut self) -> Output {
        if !self.opened {
            self.opened = true;
            return Output::Opening(self.cursor);
        }
        if !(self.still_valid)() {
            return self.finish("the key was revoked", "revoked");
        }
        loop {
            if let Some(steps) = self.take_ready() {
                return steps;
            }
            if self.remainder.is_some_and(Remainder::is_empty) {
                return self.end();
            }
            let behind = match &self.live {
                None => true,
                Some(live) => self.cursor < live.since,
            };
            let before = self.cursor;
            let output = if behind {
                self.catch_up().await
            } else {
                self.follow().await
            };
            if !self.ended && !(self.still_valid)() {
                // It was revoked while we waited: what arrived is not for this client any more.
                self.cursor = before;
                return self.finish("the key was revoked", "revoked");
            }
            if let Some(output) = output {
                return output;
            }
        }
    }

    /// Ends the stream early, with a note of where to resume.
    fn finish(&mut self, why: &'static str, reason: &'static str) -> Output {
        metrics::counter!("waybill_stream_ended_total", "reason" => reason).increment(1);
        self.ended = true;
        self.live = None;
        let position = self.cursor;
        Output::Closing { why, position }
    }

    /// Ends the stream of a task after its last event.
    fn end(&mut self) -> Output {
        self.ended = true;
        self.live = None;
        let task = self.remainder.map(|r| r.task.to_string());
        Output::End {
            task: task.unwrap_or_default(),
            position: self.cursor,
        }
    }

    /// Counts an event as delivered. `None`: it was delivered before.
    fn pass(&mut self, step: Arc<Step>) -> Option<Arc<Step>> {
        if step.seq <= self.cursor {
            return None;
        }
        self.cursor = step.seq;
        if let Some(remainder) = &mut self.remainder {
            remainder.observe(step.milestone);
        }
        Some(step)
    }

    /// History that has been read and not delivered, as one chunk.
    fn take_ready(&mut self) -> Option<Output> {
        let mut chunk = Chunk::default();
        while chunk.has_room() {
            let Some(step) = self.ready.pop_front() else {
                self.cursor = self.cursor.max(self.reached);
                break;
            };
            chunk.extend(self.pass(step));
        }
        chunk.output()
    }

    async fn catch_up(&mut self) -> Option<Output> {
        let mut work = match self.work.take() {
            Some(work) => work,
            None => self.next_work(),
        };
        let done = async {
            match &mut work {
                Work::Page(page) => {
                    WorkResult::Page(page.await.unwrap_or_else(|e| Err(broken(&e))))
                }
                Work::Join(join) => {
                    WorkResult::Join(join.await.unwrap_or_else(|e| Err(broken(&e).into())))
                }
            }
        };
        // The work is a task of its own and goes on while a heartbeat is sent; when the subscription is dropped, it is
        // aborted.
        let done = tokio::select! {
            biased;
            () = self.hub.stopping.cancelled() => None,
            done = done => Some(done),
            () = &mut self.tick => {
                self.work = Some(work);
                return self.on_tick(None);
            }
        };
        match done {
            None => Some(self.finish("this gateway is stopping", "stopping")),
            Some(WorkResult::Page(Ok(page))) => self.take_page(page),
            Some(WorkResult::Join(Ok(live))) => {
                self.succeeded();
                self.live = Some(live);
                None
            }
            Some(WorkResult::Page(Err(error)) | WorkResult::Join(Err(JoinError::Log(error)))) => {
                self.failed(&error)
            }
            Some(WorkResult::Join(Err(JoinError::Stopping | JoinError::NoRoom(_)))) => {
                Some(self.finish("this gateway is stopping", "stopping"))
            }
        }
    }

    /// The next step while behind: join once the end has been reached, otherwise read on.
    fn next_work(&mut self) -> Work {
        let hub = Arc::clone(&self.hub);
        let pause = self.failing_since.map(|_| self.retry);
        let paused = async move {
            if let Some(pause) = pause {
                tokio::time::sleep(pause).await;
            }
        };
        if self.live.is_none() && std::mem::take(&mut self.near) {
            let filter = Arc::clone(&self.filter);
            return Work::Join(spawn(async move {
                paused.await;
                hub.join(filter, Reads::Events).await
            }));
        }
        let to = self.live.as_ref().map(|live| live.since);
        let read = read_page(
            hub,
            Arc::clone(&self.filter),
            Arc::clone(&self.subjects),
            self.cursor,
            to,
        );
        Work::Page(spawn(async move {
            paused.await;
            read.await
        }))
    }

    fn take_page(&mut self, page: Page) -> Option<Output> {
        self.succeeded();
        self.near = page.complete && self.live.is_none();
        self.ready.extend(page.steps);
        self.reached = page.reached;
        if page.complete && self.live.as_ref().is_some_and(|live| live.inbox.lagged()) {
            // More came in while this page was read than the queue holds. That was not the client being slow: read on, join later.
            self.live = None;
        }
        let gap = page.gap.filter(|&first| first > self.cursor.next())?;
        let after = self.cursor;
        self.cursor = StreamSeq(gap.0.saturating_sub(1)).max(self.cursor);
        Some(Output::Gap {
            after,
            first_available: gap,
        })
    }

    fn succeeded(&mut self) {
        self.failing_since = None;
        self.retry = RETRY_MIN;
    }

    /// The log could not be read: tries again, for a while.
    fn failed(&mut self, error: &ReadError) -> Option<Output> {
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        if now.duration_since(since) > PATIENCE {
            tracing::warn!(%error, "an event stream ends because its history cannot be read; its client reconnects");
            return Some(self.finish("the log is unavailable", "log"));
        }
        self.retry = (self.retry * 2).min(RETRY_MAX);
        None
    }

    /// Waits for what the hub hands out.
    async fn follow(&mut self) -> Option<Output> {
        // Asked before looking into the queue: whatever was handed out up to there is in the queue by then.
        let handed_out = self.hub.position();
        let live = self.live.as_mut()?;
        // Receiving is cancellation safe: a step that was not taken stays in the queue.
        let step = tokio::select! {
            biased;
            () = self.hub.stopping.cancelled() => {
                return Some(self.finish("this gateway is stopping", "stopping"));
            }
            step = live.inbox.steps.recv() => step,
            () = &mut self.tick => return self.on_tick(handed_out),
        };
        let Some(step) = step else {
            if live.inbox.lagged() {
                return Some(self.finish("dropped: this reader is too slow", "slow"));
            }
            // The tail ended under us: join again, and read what came in between.
            self.live = None;
            return None;
        };
        let mut chunk = Chunk::default();
        let mut next = Some(step);
        while let Some(step) = next {
            chunk.extend(self.pass(step));
            next = match &mut self.live {
                Some(live) if chunk.has_room() => live.inbox.steps.try_recv().ok(),
                _ => None,
            };
        }
        chunk.output()
    }

    /// Sends a heartbeat when one is due. `handed_out`: how far the hub had come when the queue was last seen empty.
    fn on_tick(&mut self, handed_out: Option<StreamSeq>) -> Option<Output> {
        let now = Instant::now();
        self.tick.as_mut().reset(now + CREDENTIAL_CHECK);
        if now.duration_since(self.last_frame) < HEARTBEAT {
            return None;
        }
        if let Some(handed_out) = handed_out {
            self.cursor = self.cursor.max(handed_out);
        }
        Some(Output::Heartbeat(self.cursor))
    }
}

fn spawn<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> AbortOnDropHandle<T> {
    AbortOnDropHandle::new(tokio::spawn(work))
}

/// The error of work that panicked, or that a stopping runtime dropped.
fn broken(error: &tokio::task::JoinError) -> ReadError {
    ReadError::Unavailable {
        reason: format!("reading for a stream was broken off: {error}"),
    }
}

/// Reads one page after `cursor`, up to `to` or the end of the log.
async fn read_page(
    hub: Arc<Hub>,
    filter: Arc<EventFilter>,
    subjects: Arc<[String]>,
    cursor: StreamSeq,
    to: Option<StreamSeq>,
) -> Result<Page, ReadError> {
    let unavailable = |_| ReadError::Unavailable {
        reason: "the gateway is stopping".into(),
    };
    let _turn = hub.page_reads.acquire().await.map_err(unavailable)?;
    let to = match to {
        Some(to) => to,
        None => hub.log.bounds(Stream::Tasks).await?.last,
    };
    let from = cursor.next();
    let found = if from <= to {
        hub.log
            .range(Stream::Tasks, &subjects, from, to, PAGE)
            .await
    } else {
        Ok(Vec::new())
    };
    let records = match found {
        Ok(records) => records,
        // The gap is reported first; the next page starts where the log now begins.
        Err(ReadError::Gap { first, .. }) => {
            return Ok(Page {
                steps: Vec::new(),
                reached: StreamSeq(first.0.saturating_sub(1)).max(cursor),
                complete: first > to,
                gap: Some(first),
            });
        }
        Err(error) => return Err(error),
    };
    let complete = records.len() < PAGE;
    let reached = match records.last() {
        Some(last) if !complete => last.seq,
        _ => to.max(cursor),
    };
    let mut steps: Vec<Step> = records
        .iter()
        .filter_map(read)
        .filter(|step| filter.matches(step))
        .collect();
    let mut all: Vec<&mut Step> = steps.iter_mut().collect();
    hub.labels.complete(&mut all).await;
    Ok(Page {
        steps: steps.into_iter().map(Arc::new).collect(),
        reached,
        complete,
        gap: None,
    })
}
