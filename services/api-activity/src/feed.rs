//! One follower's stream of activity: the entries of both logs after a position.
//!
//! A feed is a cursor over both logs. The hub (for TASKS) and the reader of CONTROL only say that something is new; the entries come
//! from a projector, which knows names, teams of people and environments, and is the same that the list shows. So nothing is lost or told
//! twice whatever happens to the wake-ups: a feed that missed some reads on from its cursor. It is pulled by the connection, and what
//! it waits for runs as tasks that end with it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tokio_util::task::AbortOnDropHandle;
use waybill_domain::id::TeamId;
use waybill_log::{Stream, StreamSeq};
use waybill_projector::QueryError;
use waybill_projector::query::{ActivityFilter, ActivityNews, FollowActivity, MAX_LIMIT, Position};

use waybill_streams::frame::{self, Gap};
use waybill_streams::{
    BadParameter, EventFilter, HEARTBEAT, JoinError, Live, Reads, Slot, StillValid,
};

use crate::entry::ActivityEntry;
use crate::state::ActivityApi;
use crate::stream::id;

/// How often a feed checks that its credential is still valid.
const CREDENTIAL_CHECK: Duration = Duration::from_millis(500);
/// Events of tasks that a credential can cause: they wake a feed at once, others with the next heartbeat.
const BY_CREDENTIAL: [&str; 2] = ["created", "cancelled"];
/// Pause between two queries of a feed that has caught up, so that a busy team costs ten a second and not one for each event.
const PAUSE: Duration = Duration::from_millis(100);
/// A projector that does not answer for this long ends the feed; the client reconnects, perhaps to another gateway.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause after a projector did not answer.
const RETRY: Duration = Duration::from_millis(500);

/// What is followed, from where on.
pub(crate) struct FeedQuery {
    pub(crate) team: TeamId,
    pub(crate) filter: ActivityFilter,
    pub(crate) after: Position,
}

/// What a feed waits for.
enum Work {
    Join(AbortOnDropHandle<Result<Live, JoinError>>),
    Ask(AbortOnDropHandle<Result<ActivityNews, QueryError>>),
}

enum Done {
    Joined(Result<Live, JoinError>),
    Answered(Result<ActivityNews, QueryError>),
    Aborted(tokio::task::JoinError),
}

/// What happened while a feed waited.
enum Woken {
    Stopping,
    Done(Done),
    Tick,
    Control,
    Tasks(Option<StreamSeq>),
}

/// One follower's stream of frames.
pub(crate) struct Feed {
    state: ActivityApi,
    team: TeamId,
    filter: ActivityFilter,
    wakes: Arc<EventFilter>,
    still_valid: StillValid,
    _slot: Slot,
    /// Everything up to here has been delivered, or is not wanted.
    cursor: Position,
    /// The ends of both logs, as far as is known.
    known_end: Position,
    control: watch::Receiver<StreamSeq>,
    live: Option<Live>,
    work: Option<Work>,
    asked: Option<Instant>,
    failing_since: Option<Instant>,
    tick: Pin<Box<Sleep>>,
    last_frame: Instant,
    opened: bool,
    ended: bool,
}

impl Feed {
    /// `ends`: how far both logs reach now.
    pub(crate) fn new(
        state: ActivityApi,
        query: FeedQuery,
        ends: Position,
        slot: Slot,
        still_valid: StillValid,
    ) -> Result<Self, BadParameter> {
        let kinds = BY_CREDENTIAL.map(str::to_owned);
        let wakes = EventFilter::team(query.team.clone()).narrowed(&[], &kinds, &[])?;
        Ok(Self {
            wakes: Arc::new(wakes),
            control: state.auth.applied_changes(),
            team: query.team,
            filter: query.filter,
            still_valid,
            _slot: slot,
            cursor: query.after,
            known_end: ends,
            live: None,
            work: None,
            asked: None,
            failing_since: None,
            tick: Box::pin(tokio::time::sleep(CREDENTIAL_CHECK)),
            last_frame: Instant::now(),
            opened: false,
            ended: false,
            state,
        })
    }

    /// What goes out next; `None` after the end. Cancel safe: what a dropped call would have returned, the next one returns.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let chunk = if self.opened {
            self.advance().await
        } else {
            self.opened = true;
            frame::opening(id(self.cursor))
        };
        self.last_frame = Instant::now();
        Some(chunk)
    }

    /// What goes out, as a stream that the connection pulls.
    pub(crate) fn into_stream(self) -> impl futures::Stream<Item = Bytes> + Send + 'static {
        futures::stream::unfold(self, |mut feed| async move {
            let chunk = feed.next().await?;
            Some((chunk, feed))
        })
    }

    async fn advance(&mut self) -> Bytes {
        loop {
            if !(self.still_valid)() {
                return self.finish("the credential has ended", "revoked");
            }
            if self.work.is_none() {
                self.work = self.next_work();
            }
            let woken = self.wait().await;
            // The credential may have ended during the wait: what arrived is not for this client any more.
            if !(self.still_valid)() {
                return self.finish("the credential has ended", "revoked");
            }
            let chunk = match woken {
                Woken::Stopping => Some(self.finish("this gateway is stopping", "stopping")),
                Woken::Done(done) => {
                    self.work = None;
                    self.done(done)
                }
                Woken::Tick => self.on_tick(),
                Woken::Control => None,
                Woken::Tasks(Some(seq)) => {
                    self.known_end.tasks = self.known_end.tasks.max(seq);
                    None
                }
                Woken::Tasks(None) => {
                    // The feed was too slow, or the tail of the hub ended: join again, and read what came in between.
                    self.live = None;
                    None
                }
            };
            self.known_end.control = self
                .known_end
                .control
                .max(*self.control.borrow_and_update());
            if let Some(chunk) = chunk {
                return chunk;
            }
        }
    }

    /// The next step: join the hub first, then query, so that nothing falls between the two.
    fn next_work(&self) -> Option<Work> {
        let pause = if self.failing_since.is_some() {
            RETRY
        } else {
            PAUSE
        };
        let begin = self.asked.map(|asked| asked + pause);
        if self.live.is_none() {
            let (hub, wakes) = (Arc::clone(&self.state.hub), Arc::clone(&self.wakes));
            let join = tokio::spawn(async move {
                wait_until(begin).await;
                hub.join(wakes, Reads::Changes).await
            });
            return Some(Work::Join(AbortOnDropHandle::new(join)));
        }
        if self.cursor.covers(self.known_end) {
            return None;
        }
        let query = FollowActivity {
            team: self.team.clone(),
            filter: self.filter.clone(),
            after: self.cursor,
            limit: MAX_LIMIT,
        };
        let (queries, there) = (self.state.queries.clone(), self.known_end);
        let ask = tokio::spawn(async move {
            wait_until(begin).await;
            Ok(queries.ask(query, there).await?.value)
        });
        Some(Work::Ask(AbortOnDropHandle::new(ask)))
    }

    async fn wait(&mut self) -> Woken {
        let (work, live) = (&mut self.work, &mut self.live);
        let working = work.is_some();
        let done = async {
            match work {
                Some(Work::Join(join)) => join.await.map_or_else(Done::Aborted, Done::Joined),
                Some(Work::Ask(ask)) => ask.await.map_or_else(Done::Aborted, Done::Answered),
                None => std::future::pending().await,
            }
        };
        let of_tasks = async {
            match live {
                Some(live) => {
                    let step = live.inbox.steps.recv().await?;
                    let mut newest = step.seq;
                    while let Ok(step) = live.inbox.steps.try_recv() {
                        newest = step.seq;
                    }
                    Some(newest)
                }
                None => std::future::pending().await,
            }
        };
        // Biased: a stop and a finished query come before further waiting. Each branch is cancellation safe: handles and
        // channels keep what they have.
        tokio::select! {
            biased;
            () = self.state.hub.stopping.cancelled() => Woken::Stopping,
            done = done => Woken::Done(done),
            () = &mut self.tick => Woken::Tick,
            Ok(()) = self.control.changed(), if !working => Woken::Control,
            newest = of_tasks, if !working => Woken::Tasks(newest),
        }
    }

    fn done(&mut self, done: Done) -> Option<Bytes> {
        match done {
            Done::Joined(Ok(live)) => {
                self.known_end.tasks = self.known_end.tasks.max(live.since);
                self.live = Some(live);
                None
            }
            Done::Answered(Ok(news)) => {
                self.failing_since = None;
                let caught_up = news.reached.covers(self.known_end);
                self.asked = caught_up.then(Instant::now);
                self.frames(news)
            }
            Done::Joined(Err(JoinError::Stopping | JoinError::NoRoom(_))) => {
                Some(self.finish("this gateway is stopping", "stopping"))
            }
            Done::Joined(Err(JoinError::Log(error))) => self.failed(&error),
            Done::Answered(Err(error)) => self.failed(&error),
            Done::Aborted(error) => self.failed(&error),
        }
    }

    /// New entries, as one chunk. `None`: none that is wanted.
    fn frames(&mut self, news: ActivityNews) -> Option<Bytes> {
        let mut chunk = BytesMut::new();
        let mut at = self.cursor;
        let of_tasks = self.filter.stream != Some(Stream::Control);
        if of_tasks && news.first_task > at.tasks.next() {
            let data = Gap {
                after: at.tasks.0,
                first_available: news.first_task.0,
            };
            at.tasks = StreamSeq(news.first_task.0.saturating_sub(1));
            chunk.extend_from_slice(&frame::event(id(at), "gap", &data));
        }
        for entry in news.entries {
            match entry.stream {
                Stream::Control => at.control = entry.seq,
                Stream::Tasks => at.tasks = entry.seq,
            }
            let entry = ActivityEntry::from(entry);
            chunk.extend_from_slice(&frame::event(id(at), &entry.kind, &entry));
        }
        self.cursor = Position {
            control: at.control.max(news.reached.control),
            tasks: at.tasks.max(news.reached.tasks),
        };
        (!chunk.is_empty()).then(|| chunk.freeze())
    }

    /// Tries again, for a while.
    fn failed(&mut self, error: &dyn std::error::Error) -> Option<Bytes> {
        let now = Instant::now();
        self.asked = Some(now);
        let since = *self.failing_since.get_or_insert(now);
        if now.duration_since(since) > PATIENCE {
            tracing::warn!(%error, "an activity stream ends because the projector does not answer; its client reconnects");
            return Some(self.finish("the activity log is unavailable", "log"));
        }
        None
    }

    /// Sends a heartbeat when one is due.
    fn on_tick(&mut self) -> Option<Bytes> {
        let now = Instant::now();
        self.tick.as_mut().reset(now + CREDENTIAL_CHECK);
        if now.duration_since(self.last_frame) < HEARTBEAT {
            return None;
        }
        if let Some(handed_out) = self.state.hub.position() {
            self.known_end.tasks = self.known_end.tasks.max(handed_out);
        }
        Some(frame::heartbeat(id(self.cursor)))
    }

    /// Ends the stream early, with a note of where to resume.
    fn finish(&mut self, why: &'static str, reason: &'static str) -> Bytes {
        metrics::counter!("waybill_stream_ended_total", "reason" => reason).increment(1);
        self.ended = true;
        self.live = None;
        self.work = None;
        frame::closing(why, id(self.cursor))
    }
}

async fn wait_until(begin: Option<Instant>) {
    if let Some(begin) = begin {
        tokio::time::sleep_until(begin).await;
    }
}
