//! What the task of a fence does from its first look at FENCE on: what comes goes into the machines of the domain, and what they say
//! is done.

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

use crate::barriers::Barriers;
use crate::clock;
use crate::reader::{Came, Reader, What};
use crate::sending::{self, Known, Renewed, Sender, Sent};
use crate::task::FenceTask;

/// How far the wall clock may move against the uptime before the uptime is not believed.
const MAX_WALL_JUMP: Duration = Duration::from_secs(1);
/// Between two looks at the clocks, and at what else is due.
const TICK: Duration = Duration::from_millis(250);
/// Pause after something that must succeed did not.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Renewals that fail, or are not worth sending, before connections and reading begin anew.
const MAX_MISSED: u32 = 2;
/// Looks at a stream that is behind what was read of it, before that is believed: a leader that was deposed a moment ago may answer.
const MAX_DOUBTS: u32 = 3;
/// Pause between two connections that are given up for being silent: a new one needs time to prove itself.
const RECONNECT_PAUSE: Duration = Duration::from_secs(5);
/// What giving the lease back may take at the end.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);

/// The log is not the one that it was, or has lost its end: nobody knows what was revoked there.
#[derive(Debug, thiserror::Error)]
#[error("{stream} went backwards: {what}")]
struct WentBackwards {
    stream: &'static str,
    what: String,
}

/// What both streams were when the task began.
struct Streams {
    fence: i64,
    control: i64,
}

/// From the first look at FENCE on.
pub(crate) struct Running {
    task: FenceTask,
    streams: Streams,
    position: Position,
    holders: Holders,
    lease: GatewayLease,
    reader: Reader,
    acknowledgements: Subscriber,
    sending: FuturesUnordered<BoxFuture<'static, Sent>>,
    is_starting: bool,
    is_acknowledging: bool,
    /// The highest place in FENCE that is known to be taken.
    known: StreamSeq,
    acknowledged: StreamSeq,
    /// The last mark of somebody else that was read: that is what others wait for.
    last_mark: StreamSeq,
    start_at: Uptime,
    renew_at: Uptime,
    reconnect_at: Uptime,
    missed: u32,
    doubts: u32,
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
            acknowledgements,
            sending: FuturesUnordered::new(),
            is_starting: false,
            is_acknowledging: false,
            known: StreamSeq(0),
            acknowledged: StreamSeq(0),
            last_mark: StreamSeq(0),
            start_at: now,
            renew_at: now,
            reconnect_at: now,
            missed: 0,
            doubts: 0,
            wall_offset: clock::wall_offset(),
            task,
        }
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            gone = self.serve() => Err(gone),
        };
        // In this order: nobody may hear of a release while requests are still decided.
        self.lease.release();
        self.task.fence.set_until(None);
        let release = self
            .task
            .sender
            .clone()
            .release(self.position.applied(), self.position.control());
        if tokio::time::timeout(RELEASE_WITHIN, release).await.is_err() {
            tracing::warn!("the lease is not given back; it runs out");
        }
        if let Err(error) = ended {
            // An operator has to say what counts. Until then every credential may be a revoked one.
            tracing::error!(%error, "nothing is decided here any more");
            let kind = self.task.fence.holder.kind.as_str();
            gauge!("waybill_fence_log_went_backwards", "kind" => kind).set(1.0);
            self.refuse(&stop).await;
        }
    }

    /// Goes on for ever, unless the log went backwards.
    async fn serve(&mut self) -> WentBackwards {
        loop {
            self.settle();
            let look = self.next_look();
            let done = tokio::select! {
                came = self.reader.next() => self.came(came),
                changed = self.task.control.changed() => {
                    if changed.is_err() {
                        // Nobody applies CONTROL any more, so no further mark is ever met: the lease runs out by itself.
                        tokio::time::sleep(TICK).await;
                    }
                    Ok(())
                }
                Some(sent) = self.sending.next(), if !self.sending.is_empty() => self.sent(sent),
                message = self.acknowledgements.next() => {
                    self.heard(message).await;
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

    /// Callers are refused at once rather than after their time limit.
    async fn refuse(&mut self, stop: &CancellationToken) {
        self.task.barriers = Barriers::default();
        tokio::select! {
            () = stop.cancelled() => {}
            () = async { while self.task.calls.recv().await.is_some() {} } => {}
        }
    }

    /// Brings everything up to what is known now.
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
        let this = self.task.fence.holder.clone();
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
        // Others wait for marks only, and renewals say the rest.
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
        if self.lease.needs_start(now) {
            if !self.is_starting && now >= self.start_at {
                self.is_starting = true;
                self.send(|sender| sender.start().boxed());
            }
        } else if now >= self.renew_at && self.lease.is_started(&self.position) {
            self.renew_at = now.plus(self.task.timing.renewal);
            if self.lease.may_renew() {
                let known = Known {
                    fence: self.known,
                    control: self.position.control(),
                };
                self.send(|sender| sender.renew(known, applied).boxed());
            } else {
                tracing::warn!(%applied, read = %self.position.last_read(), "leases are stored but not reached");
                self.miss();
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
                return self.renewed(at, known, &renewed, now);
            }
            Sent::Renewal {
                result: Err(reason),
                ..
            } => {
                tracing::warn!(reason, "the lease is not renewed");
                let kind = self.task.fence.holder.kind.as_str();
                counter!("waybill_fence_renewals_missed_total", "kind" => kind).increment(1);
                self.renew_at = self.renew_at.min(now.plus(self.retry_pause()));
                self.miss();
            }
            Sent::Start { at, result } => {
                self.is_starting = false;
                self.start_at = now.plus(RETRY_PAUSE);
                match result {
                    Ok(seq) => self.lease.started(at, seq),
                    Err(reason) => tracing::warn!(reason, "the start is not in the log"),
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
                tracing::warn!(reason, "a mark is not stored; another one follows");
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
                return self.doubt(stream, bounds.last, known, now);
            }
        }
        self.doubts = 0;
        self.wall_offset = clock::wall_offset();
        self.known = self.known.max(*seq);
        self.lease.granted(at, *seq);
        Ok(())
    }

    fn doubt(
        &mut self,
        stream: &'static str,
        last: StreamSeq,
        known: StreamSeq,
        now: Uptime,
    ) -> Result<(), WentBackwards> {
        let what = format!("it ends at {last}, before {known}");
        self.doubts += 1;
        if self.doubts >= MAX_DOUBTS {
            return Err(WentBackwards { stream, what });
        }
        tracing::error!(stream, what, "the log may have gone backwards");
        self.lease.drop_all(now);
        self.renew_at = now.plus(RETRY_PAUSE);
        Ok(())
    }

    /// A renewal was missed. After two, what hangs is begun anew: the server that we are connected to, or the reading.
    fn miss(&mut self) {
        self.missed += 1;
        let now = clock::uptime();
        if self.missed < MAX_MISSED || now < self.reconnect_at {
            return;
        }
        self.missed = 0;
        self.reconnect_at = now.plus(RECONNECT_PAUSE);
        tracing::warn!("renewals are missed: connections and reading begin anew");
        let from = self.position.last_read().next();
        self.reader = Reader::start(&self.task.sender.fences, from);
        self.send(|sender| sender.reconnect().boxed());
    }

    fn came(&mut self, came: Option<Vec<Came>>) -> Result<(), WentBackwards> {
        let Some(came) = came else {
            self.reader = Reader::start(&self.task.sender.fences, self.position.last_read().next());
            return Ok(());
        };
        let now = clock::uptime();
        for Came { seq, what } in came {
            let (is_unknown, is_void) = (matches!(what, What::Unknown), matches!(what, What::Void));
            let record = match what {
                What::Record(record) => Some(record),
                What::Unknown | What::UnknownOfWorker | What::Void => None,
            };
            let demands = record.as_ref().map_or(StreamSeq(0), FenceRecord::demands);
            let read = self.position.read(seq, demands);
            if read.is_err() || is_unknown {
                if let Err(gap) = read {
                    tracing::error!(%gap, "records of FENCE were missed: this holder starts anew");
                }
                self.lease.missed_records(now);
            }
            match &record {
                Some(FenceRecord::Mark(mark)) if mark.gateway != self.task.fence.holder.id => {
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

    async fn heard(&mut self, message: Option<async_nats::Message>) {
        let Some(message) = message else {
            // The client is closed for good. Renewals fail too, so the lease runs out.
            tokio::time::sleep(TICK).await;
            return;
        };
        match sending::acknowledged(&message, &self.task.fence.trust) {
            Ok((who, applied)) => self.holders.acknowledged(&who, applied, clock::uptime()),
            Err(reason) => {
                let subject = &message.subject;
                tracing::warn!(%subject, reason, "a message is no acknowledgement of a holder");
                counter!("waybill_fence_messages_refused_total").increment(1);
            }
        }
    }

    /// A machine that was suspended with its clocks goes on where it was, until its wall clock is put right.
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
        // A reading at which something ends still counts as before its end.
        let rounded = soonest.map_or(TICK, |wait| wait + Duration::from_millis(1));
        rounded.min(TICK)
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge; the counts are small")]
    fn measure(&self, now: Uptime) {
        let kind = self.task.fence.holder.kind.as_str();
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
