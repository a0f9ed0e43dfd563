//! The state of a fence's task, from its first look at FENCE on: it passes what arrives to the
//! state machines of the domain, and carries out what they decide.

use std::time::Duration;

use async_nats::Subscriber;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use metrics::{counter, gauge};
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::{
    FenceRecord, GatewayLease, Holders, LeaseKind, Position, Uptime,
};
use waybill_log::{Bounds, StreamSeq};

use crate::clock;
use crate::reader::{Content, FenceUpdate, Reader};
use crate::seldom::Seldom;
use crate::sending::{self, Known, Missed, Renewed, Sender, Sent};
use crate::task::FenceTask;

/// How far the wall clock may move against the uptime before the uptime is distrusted.
const MAX_WALL_JUMP: Duration = Duration::from_secs(1);
/// Interval between checks of the clocks, and of other work that is due.
const TICK: Duration = Duration::from_millis(250);
/// Pause before retrying something that must succeed.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// After this many renewals that failed, or were not worth sending, the connection and the reader
/// are replaced.
const MAX_MISSED: u32 = 2;
/// A stream that seems to end before what was already read of it is believed only after this many
/// checks. With several copies a leader that was deposed may answer, so the doubt must also last
/// longer than that ([`waybill_log::Fences::deposed_for`]).
const MAX_DOUBTS: u32 = 3;
/// Minimum interval between reconnects because of silence, so that a new connection has time to
/// prove itself.
const RECONNECT_PAUSE: Duration = Duration::from_secs(5);
/// Time limit for releasing the lease at the end.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

/// The log was replaced or has lost its end, so it is unknown what was revoked there.
#[derive(Debug, thiserror::Error)]
#[error("{stream} went backwards: {what}")]
struct WentBackwards {
    stream: &'static str,
    what: String,
}

/// Creation times of both streams when the task started, which identify them.
struct Streams {
    fence: i64,
    control: i64,
}

/// The task after its first look at FENCE.
pub(crate) struct Running {
    task: FenceTask,
    streams: Streams,
    position: Position,
    holders: Holders,
    lease: GatewayLease,
    reader: Reader,
    /// Where FENCE ended before the start event was appended to CONTROL.
    found: StreamSeq,
    /// Where the first start event is stored. Nothing of FENCE is read before it is.
    begun: Option<StreamSeq>,
    acknowledgements: Subscriber,
    sending: FuturesUnordered<BoxFuture<'static, Sent>>,
    missed_renewals: Seldom,
    failed_marks: Seldom,
    is_starting: bool,
    /// A record of FENCE asks for more than CONTROL was seen to hold, so another start event is
    /// due, whose position caps what is asked for.
    is_asked_too_much: bool,
    is_acknowledging: bool,
    /// The highest sequence in FENCE that is known to be stored.
    known: StreamSeq,
    acknowledged: StreamSeq,
    /// The last mark of another gateway that was read: the others wait for its acknowledgement.
    last_mark: StreamSeq,
    start_at: Uptime,
    renew_at: Uptime,
    reconnect_at: Uptime,
    missed: u32,
    doubts: u32,
    /// When the first of them came up.
    doubted: Uptime,
    wall_offset: Duration,
}

impl Running {
    pub(crate) fn new(
        task: FenceTask,
        fence: &Bounds,
        control: &Bounds,
        acknowledgements: Subscriber,
    ) -> Self {
        let now = clock::uptime();
        Self {
            streams: Streams {
                fence: fence.incarnation,
                control: control.incarnation,
            },
            position: Position::before(fence.first),
            holders: Holders::before(fence.first, now, &task.timing),
            lease: GatewayLease::new(task.timing),
            reader: Reader::start(&task.sender.fences, fence.first),
            found: fence.last,
            begun: None,
            acknowledgements,
            sending: FuturesUnordered::new(),
            missed_renewals: Seldom::default(),
            failed_marks: Seldom::default(),
            is_starting: false,
            is_asked_too_much: false,
            is_acknowledging: false,
            known: StreamSeq(0),
            acknowledged: StreamSeq(0),
            last_mark: StreamSeq(0),
            start_at: now,
            renew_at: now,
            reconnect_at: now,
            missed: 0,
            doubts: 0,
            doubted: now,
            wall_offset: clock::wall_offset(),
            task,
        }
    }

    /// Runs until stopped; gives the task back when the log turns out to be another one.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Option<FenceTask> {
        let kind = self.task.fence.name;
        gauge!("waybill_fence_log_went_backwards", "kind" => kind).set(0.0);
        // If it is dropped in the middle, a renewal may be stored without being used, which is
        // safe.
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            gone = self.serve() => Err(gone),
        };
        // The order matters: others must not learn of the release while requests are still decided.
        self.lease.release();
        self.task.fence.set_until(None);
        if ended.is_err() {
            self.task.fence.forget_log();
        }
        let (applied, control) = match &ended {
            Ok(()) => (self.position.applied(), self.position.control()),
            // Positions in the former log would ask for what the current one does not hold.
            Err(_) => (StreamSeq(0), StreamSeq(0)),
        };
        let release = self.task.sender.clone().release(applied, control);
        if tokio::time::timeout(RELEASE_WITHIN, release).await.is_err() {
            tracing::warn!("releasing the lease took too long; revocations wait until it expires");
        }
        let Err(error) = ended else {
            return None;
        };
        // Until the copy was compared, every credential may be a revoked one.
        tracing::error!(%error, "the log went backwards: this process refuses every decision until its copy of CONTROL was compared with the log that there is now (runbook: the log went backwards)");
        gauge!("waybill_fence_log_went_backwards", "kind" => kind).set(1.0);
        counter!("waybill_fence_log_went_backwards_total", "kind" => kind).increment(1);
        Some(self.task)
    }

    /// Runs for ever, unless the log went backwards.
    async fn serve(&mut self) -> WentBackwards {
        loop {
            self.settle();
            let look = self.next_look();
            // Every branch is cancellation safe: what it would have received is still there in the
            // next iteration.
            let done = tokio::select! {
                updates = self.reader.next(), if self.begun.is_some() => self.on_records(updates),
                changed = self.task.control.changed() => {
                    if changed.is_err() {
                        // CONTROL is not applied any more, so no further mark will be met, and the
                        // lease expires by itself.
                        tokio::time::sleep(TICK).await;
                    }
                    Ok(())
                }
                Some(sent) = self.sending.next(), if !self.sending.is_empty() => self.sent(sent),
                message = self.acknowledgements.next() => {
                    self.on_acknowledgement(message).await;
                    Ok(())
                }
                Some(call) = self.task.calls.recv() => {
                    self.task.barriers.call(call);
                    Ok(())
                }
                () = tokio::time::sleep(look) => Ok(()),
            };
            if let Err(gone) = done {
                return gone;
            }
        }
    }

    /// Updates everything to what is known now.
    fn settle(&mut self) {
        let now = clock::uptime();
        self.check_wall_clock(now);
        let control = *self.task.control.borrow_and_update();
        self.position.applied_control(control);
        let before = self.lease.until();
        self.lease.settle(&self.position, now);
        if self.lease.until() > before {
            self.missed = 0;
        }
        self.task.fence.set_until(self.lease.until());
        let applied = self.position.applied();
        let this = self.task.sender.holder.clone();
        self.holders.acknowledged(&this, applied, now);
        if let Some(everywhere) = self.task.barriers.settle(&self.holders, now) {
            self.task.fence.set_everywhere(everywhere);
        }
        self.holders.forget(now);
        self.send_what_is_due(now);
        self.measure(now);
    }

    fn send_what_is_due(&mut self, now: Uptime) {
        let applied = self.position.applied();
        // Others only wait for acknowledgements of marks; for everything else, renewals suffice.
        if applied > self.acknowledged
            && self.acknowledged < self.last_mark
            && !self.is_acknowledging
        {
            self.is_acknowledging = true;
            self.acknowledged = applied;
            self.send(|sender| sender.acknowledge(applied).boxed());
        }
        if let Some(raised) = self.task.barriers.raise(now) {
            self.send(|sender| sender.mark(raised).boxed());
        }
        let needs_start = self.lease.needs_start(now);
        if (needs_start || self.is_asked_too_much) && !self.is_starting && now >= self.start_at {
            self.is_starting = true;
            let read = self.position.before_append();
            self.send(|sender| sender.start(read).boxed());
        }
        // No lease is usable before the start event is stored, so none is renewed.
        if !needs_start && now >= self.renew_at && self.lease.is_started(&self.position) {
            self.renew_at = now.plus(self.task.timing.renewal);
            if self.lease.may_renew() {
                let known = Known {
                    fence: self.known,
                    control: self.position.control(),
                    demanded: self.position.demanded(),
                };
                self.send(|sender| sender.renew(known, applied).boxed());
            } else {
                tracing::warn!(%applied, read = %self.position.last_read(), "the reader of FENCE lags behind stored leases; the lease is not renewed until it has caught up");
                self.on_renewal_missed();
            }
        }
    }

    fn send(&mut self, what: impl FnOnce(Sender) -> BoxFuture<'static, Sent>) {
        self.sending.push(what(self.task.sender.clone()));
    }

    fn sent(&mut self, sent: Sent) -> Result<(), WentBackwards> {
        let now = clock::uptime();
        match sent {
            Sent::Renewal {
                at,
                known,
                result: Ok(renewed),
            } => {
                self.task.fence.set_full(false);
                return self.renewed(at, known, &renewed, now);
            }
            Sent::Renewal {
                result: Err(Missed { reason, is_full }),
                ..
            } => {
                self.task.fence.set_full(is_full);
                match self.missed_renewals.another(now) {
                    Some(missed) if is_full => tracing::error!(
                        missed,
                        reason,
                        "FENCE has no room for a lease: without one nothing is decided here; retrying (runbook: the log is full)"
                    ),
                    Some(missed) => {
                        tracing::warn!(missed, reason, "the lease was not renewed; retrying");
                    }
                    // The next warning counts it.
                    None => tracing::debug!(reason, "the lease was not renewed; retrying"),
                }
                let kind = self.task.fence.name;
                counter!("waybill_fence_renewals_missed_total", "kind" => kind).increment(1);
                self.renew_at = self.renew_at.min(now.plus(self.retry_pause()));
                // The server has answered; another connection would only disturb the others.
                if !is_full {
                    self.on_renewal_missed();
                }
            }
            Sent::Start { at, read, result } => {
                self.is_starting = false;
                self.start_at = now.plus(RETRY_PAUSE);
                match result {
                    Ok(seq) => {
                        self.begun.get_or_insert(seq);
                        self.lease.started(at, seq);
                        self.cap_demands(read, seq);
                    }
                    Err(reason) => tracing::warn!(
                        reason,
                        "the start event was not stored in CONTROL, so no lease can be used yet; retrying"
                    ),
                }
            }
            Sent::Mark {
                raised,
                result: Ok(mark),
            } => {
                self.known = self.known.max(mark);
                self.task
                    .barriers
                    .stored(raised, mark, now, &self.task.timing);
            }
            Sent::Mark {
                result: Err(reason),
                ..
            } => {
                if let Some(failed) = self.failed_marks.another(now) {
                    tracing::warn!(
                        failed,
                        reason,
                        "a mark was not stored; the revocations that wait for it share the next one"
                    );
                }
                self.task.barriers.failed();
            }
            Sent::Acknowledgement => self.is_acknowledging = false,
            Sent::Reconnection => {}
        }
        Ok(())
    }

    fn retry_pause(&self) -> Duration {
        RETRY_PAUSE.min(self.task.timing.renewal / 4)
    }

    fn renewed(
        &mut self,
        at: Uptime,
        known: Known,
        renewed: &Renewed,
        now: Uptime,
    ) -> Result<(), WentBackwards> {
        let Renewed {
            seq,
            fence,
            control,
        } = renewed;
        if *seq <= known.fence {
            let what = format!(
                "a new record got place {seq}, but {} was taken",
                known.fence
            );
            return Err(WentBackwards {
                stream: "FENCE",
                what,
            });
        }
        for (stream, bounds, incarnation, known) in [
            ("FENCE", fence, self.streams.fence, known.fence),
            ("CONTROL", control, self.streams.control, known.control),
        ] {
            if bounds.incarnation != incarnation {
                let what = "it is another stream than at the start".to_owned();
                return Err(WentBackwards { stream, what });
            }
            if bounds.last < known {
                return self.on_log_behind(stream, bounds.last, known, now);
            }
        }
        self.doubts = 0;
        self.task.barriers.looked(fence);
        self.wall_offset = clock::wall_offset();
        self.known = self.known.max(*seq);
        // An answer of a deposed leader shows this too. It costs a start event, which then caps
        // nothing.
        self.is_asked_too_much |= control.last < known.demanded;
        self.lease.granted(at, *seq);
        Ok(())
    }

    /// A start event that was sent after the records up to `read` had been read is stored at
    /// `begun`. Whatever they ask for beyond that belongs to a history of CONTROL that was lost, and
    /// would keep this process from serving until CONTROL has grown as long. The bounds of CONTROL
    /// are no such limit: they may be older than the records, and may come from a deposed leader.
    fn cap_demands(&mut self, read: StreamSeq, begun: StreamSeq) {
        self.is_asked_too_much = false;
        let demanded = self.position.demanded();
        if self.position.cap(read, begun) {
            tracing::warn!(%demanded, %begun, "records of FENCE ask for a position that CONTROL does not hold: they are of a history that was lost, so this process serves once it has applied its own start event (runbook: the log went backwards)");
            let kind = self.task.fence.name;
            counter!("waybill_fence_demands_refused_total", "kind" => kind).increment(1);
        }
    }

    /// A stream ends before what was already read of it. Believed only after several checks, since
    /// a leader that was deposed may answer. The next check goes through another server; if that
    /// one says the same, nothing is decided here until the doubt is over.
    fn on_log_behind(
        &mut self,
        stream: &'static str,
        last: StreamSeq,
        known: StreamSeq,
        now: Uptime,
    ) -> Result<(), WentBackwards> {
        let what = format!("it ends at {last}, before {known}");
        self.doubts += 1;
        if self.doubts == 1 {
            self.doubted = now;
        }
        let deposed_for = self.task.sender.fences.deposed_for();
        if self.doubts >= MAX_DOUBTS && now.since(self.doubted) > deposed_for {
            return Err(WentBackwards { stream, what });
        }
        tracing::error!(
            stream,
            what,
            "a stream ends before what was already read of it: the log lost its end, or a deposed leader answered; the stream is checked again"
        );
        if self.doubts > 1 {
            self.lease.drop_all(now);
        }
        self.renew_at = now.plus(RETRY_PAUSE);
        self.reconnect(now);
        Ok(())
    }

    /// A renewal was missed. After two, the connection to NATS and the reader are replaced, since
    /// one of them may hang.
    fn on_renewal_missed(&mut self) {
        self.missed += 1;
        if self.missed >= MAX_MISSED {
            self.reconnect(clock::uptime());
        }
    }

    /// To another server, if there is one, unless that was done a moment ago.
    fn reconnect(&mut self, now: Uptime) {
        if now < self.reconnect_at {
            return;
        }
        self.missed = 0;
        self.reconnect_at = now.plus(RECONNECT_PAUSE);
        tracing::warn!(
            "several renewals came to nothing; reconnecting to NATS and reading FENCE again"
        );
        let from = self.position.last_read().next();
        self.reader = Reader::start(&self.task.sender.fences, from);
        self.send(|sender| sender.reconnect().boxed());
    }

    fn on_records(&mut self, updates: Option<Vec<FenceUpdate>>) -> Result<(), WentBackwards> {
        let Some(updates) = updates else {
            // The reading task has died; another one continues where it was.
            self.reader = Reader::start(&self.task.sender.fences, self.position.last_read().next());
            return Ok(());
        };
        let now = clock::uptime();
        for FenceUpdate { seq, content } in updates {
            let is_unknown = matches!(content, Content::Unknown);
            let is_void = matches!(content, Content::Void);
            let record = match content {
                Content::Record(record) => Some(record),
                Content::Unknown | Content::UnknownOfWorker | Content::Void => None,
            };
            let demands = record.as_ref().map_or(StreamSeq(0), FenceRecord::demands);
            let read = self.position.read(seq, self.possible(seq, demands));
            if read.is_err() || is_unknown {
                if let Err(gap) = read {
                    tracing::error!(%gap, "records of FENCE were deleted before they were read; this process starts a new lease");
                }
                self.lease.missed_records(now);
            }
            match &record {
                Some(FenceRecord::Mark(mark)) if mark.gateway != self.task.sender.holder.id => {
                    self.last_mark = seq;
                }
                _ => {}
            }
            if is_void {
                self.holders.passed(seq, now);
            } else {
                self.holders.read(seq, record.as_ref(), now);
            }
        }
        self.known = self.known.max(self.position.last_read());
        Ok(())
    }

    /// What a record can ask for. One that was there before the start event refers to what CONTROL
    /// held by then, which lies before that event. If it asks for more, it was written by a process
    /// that had read a longer CONTROL, which was then replaced: nothing else of it will ever exist.
    fn possible(&self, place: StreamSeq, demands: StreamSeq) -> StreamSeq {
        match self.begun {
            Some(begun) if place <= self.found => demands.min(begun),
            _ => demands,
        }
    }

    async fn on_acknowledgement(&mut self, message: Option<async_nats::Message>) {
        let Some(message) = message else {
            // The client is closed for good. Renewals fail too, so the lease expires.
            tokio::time::sleep(TICK).await;
            return;
        };
        match sending::acknowledged(&message, &self.task.fence.trust) {
            Ok((who, applied)) => self.holders.acknowledged(&who, applied, clock::uptime()),
            Err(reason) => {
                let subject = &message.subject;
                tracing::warn!(%subject, reason, "a message on the subject of acknowledgements is invalid; it is ignored");
                counter!("waybill_fence_messages_refused_total").increment(1);
            }
        }
    }

    /// Detects that the machine was suspended without its clocks noticing: the wall clock jumps
    /// once it is corrected.
    fn check_wall_clock(&mut self, now: Uptime) {
        let offset = clock::wall_offset();
        let jump = offset.abs_diff(self.wall_offset);
        if jump > MAX_WALL_JUMP {
            self.wall_offset = offset;
            tracing::warn!(?jump, "the wall clock has jumped: the lease is dropped");
            self.lease.drop_all(now);
            self.renew_at = now;
        }
    }

    fn next_look(&self) -> Duration {
        let now = clock::uptime();
        let looks = [
            self.task.barriers.next_look(&self.holders, now),
            (self.renew_at > now).then_some(self.renew_at),
        ];
        let soonest = looks.into_iter().flatten().map(|at| at.since(now)).min();
        // At the reading of a deadline itself, it has not passed yet.
        let rounded = soonest.map_or(TICK, |wait| wait + Duration::from_millis(1));
        rounded.min(TICK)
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge; the counts are small")]
    fn measure(&self, now: Uptime) {
        let kind = self.task.fence.name;
        let remaining = self
            .lease
            .until()
            .map_or(Duration::ZERO, |until| until.since(now));
        gauge!("waybill_fence_lease_remaining_seconds", "kind" => kind)
            .set(remaining.as_secs_f64());
        for kind in [LeaseKind::Gateway, LeaseKind::Worker] {
            let holders = self.holders.count(kind, now);
            gauge!("waybill_fence_holders", "kind" => kind.as_str()).set(holders as f64);
        }
        let live = self.holders.count(LeaseKind::Gateway, now);
        let live = u32::try_from(live).unwrap_or(u32::MAX).max(1);
        self.task
            .fence
            .live
            .store(live, std::sync::atomic::Ordering::Relaxed);
        let lag = self.position.last_read().0 - self.position.applied().0;
        gauge!("waybill_fence_records_unapplied", "kind" => kind).set(lag as f64);
    }
}
