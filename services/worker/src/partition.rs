//! The loop of one partition: moves data between the log, the clock, clients, targets and the dispatcher.
//!
//! One append is in flight at a time. If its outcome is unknown, or the fence refuses it, the state of this dispatcher can no
//! longer be trusted: the loop ends, and the partition is taken over again or left to its new owner.
//!
//! `appends`: what is stored. `slots`: what is started. `rules`: what holds queues back. `limits`: what tasks of several queues share. `requests`: what clients ask for. `claims`: what workers of teams claim. `snapshots`: shortcuts for the next replay. `retention`: how old records go.

mod appends;
mod claims;
mod limits;
mod requests;
mod retention;
mod rules;
mod slots;
mod snapshots;
mod waits;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use metrics::{counter, histogram};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use waybill_domain::command::OwnerReply;
use waybill_domain::dispatcher::{Action, CallKind, Dispatcher, Running, Ticket};
use waybill_domain::event::{TaskCreated, TaskEnd, TaskEvent};
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::task::Status;
use waybill_log::{
    AppendError, Appended, Mark, ReadError, Record, Snapshots, Stream, StreamSeq, Watch,
};

use crate::board::Place;
use crate::bulkhead::{Bulkhead, Slot, Spare};
use crate::calls::{CallExecutor, Calls, EndedCall, Handover};
use crate::command::{Command, CommandSource, Commands};
use crate::lease::KeptLease;
use crate::queues::Seat;
use crate::retention::Horizon;
use crate::takeover::{self, Between, TakeOverError, Taken};
use crate::vault::{Page, Sweep};
use crate::watchdog::{Done, Pulse};

pub use snapshots::SnapshotPace;

use limits::Limits;
use retention::LowWater;
use rules::{may_start_soon, rules_changed};
use snapshots::{Since, last_snapshot};
use waits::{next_page, poll_option, read};

/// Limit of new tasks applied at once.
const MAX_TAIL: usize = 500;
/// Limit of requests taken at once.
const MAX_COMMANDS: usize = 256;
/// Longest sleep of the loop: tasks that wait for a date follow the wall clock, which may jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long a partition that is being given up waits for the log to store its last results. The next owner finds what is missing.
const LAST_APPENDS: Duration = Duration::from_secs(5);

/// What the loop of a partition needs.
pub struct PartitionParts {
    pub partition: Partition,
    /// Id of the worker, as in its fences.
    pub worker: String,
    /// How far the log could be purged by age.
    pub horizon: watch::Receiver<Horizon>,
    pub executor: Arc<CallExecutor>,
    /// Storage of snapshots.
    pub snapshots: Arc<dyn Snapshots>,
    /// Slots for calls, shared by the whole worker.
    pub bulkhead: Arc<Bulkhead>,
    /// How long running calls may continue when the partition is given up, before they are released.
    pub drain: Duration,
    /// When snapshots are written.
    pub pace: SnapshotPace,
    /// Entry in the worker's status report.
    pub place: Place,
    /// Cancelled when the worker stops and the partition must be given up for good.
    pub stop: CancellationToken,
    /// True while another worker should get the partition. That may change before the calls have ended: then it is served on.
    pub leave: watch::Receiver<bool>,
    /// Number of running calls, from which the worker chooses the partition to give up.
    pub running: Arc<AtomicUsize>,
    /// From where the partition learns what holds its queues back; `None`: nothing does.
    pub(crate) seat: Option<Seat>,
    /// From where the worker learns whether the partition moves.
    pub pulse: Arc<Pulse>,
    /// Number of partitions.
    pub count: PartitionCount,
    /// By which other owners are asked.
    pub owners: Arc<dyn CommandSource>,
}

impl PartitionParts {
    /// Whether the partition must be given up.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.stop.is_cancelled() || *self.leave.borrow()
    }
}

/// Why the loop of a partition ended.
#[derive(Debug)]
pub enum Exit {
    /// The partition was given up, and nothing is left to do.
    Stopped,
    /// Another worker owns the partition.
    Fenced,
    /// The partition must be taken over again, because it is unknown what the log has stored.
    Uncertain(String),
    /// The log has a record that this version cannot handle.
    TooNew(TakeOverError),
}

type Appending = BoxFuture<'static, Result<Appended, AppendError>>;
type SlotWait = BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>;

struct Serving<'a> {
    parts: &'a PartitionParts,
    dispatcher: Dispatcher,
    fence: StreamSeq,
    incarnation: i64,
    /// The newest record that is known to be in the log: read, or stored by this owner.
    mark: Mark,
    calls: &'a mut Calls,
    /// Slots for attempts whose start is being stored.
    promised: HashMap<Running, Slot>,
    /// Slots that were waited for and are not used yet.
    spare: Spare,
    tickets: BTreeMap<Ticket, oneshot::Sender<OwnerReply>>,
    /// Requests about unknown tasks, while the end of the log is being looked up.
    looked_up: JoinSet<(Command, Result<StreamSeq, ReadError>)>,
    /// Ended tasks that are being read because their webhooks must be sent again.
    reading: JoinSet<(Command, Option<(TaskCreated, TaskEnd)>)>,
    /// Requests that wait until the log is read up to a position.
    behind: Vec<(StreamSeq, Command)>,
    next_ticket: u64,
    appending: Option<Appending>,
    /// Whether the append in flight is a renewal of the fence.
    renewing: bool,
    append_failures: u32,
    /// Decisions in one append: fewer while the log is full, so that what still fits is stored.
    at_once: usize,
    append_at: Instant,
    slot_wait: Option<SlotWait>,
    reserve_wait: Option<SlotWait>,
    /// Completes when something was given back that a refused call may have waited for.
    freed: Option<BoxFuture<'static, ()>>,
    snapshot_at: Instant,
    since_snapshot: Since,
    snapshots: JoinSet<()>,
    /// Searches for keys of ended tasks.
    sweep: Option<Sweep>,
    /// A page of found keys, until enough of the log is read to judge it.
    swept: Option<Page>,
    low: LowWater,
    /// Up to where rules of queues are taken into account, while starts that were decided before
    /// still wait for the log.
    unsettled: Option<StreamSeq>,
    /// Events that were stored since the partition was taken over.
    stored: u64,
    limits: Limits,
}

/// Serves a partition until it is given up or lost.
pub async fn serve(
    parts: &PartitionParts,
    taken: Taken,
    calls: &mut Calls,
    commands: &mut Commands,
    lease: &mut KeptLease,
) -> Exit {
    let Taken {
        dispatcher,
        fence,
        between,
        tail,
        incarnation,
        mark,
        cost: _,
    } = taken;
    let now = Instant::now();
    let mut serving = Serving {
        parts,
        fence,
        incarnation,
        mark: Mark {
            incarnation,
            seq: fence,
            fingerprint: None,
        },
        calls,
        promised: HashMap::new(),
        spare: Spare::default(),
        tickets: BTreeMap::new(),
        looked_up: JoinSet::new(),
        reading: JoinSet::new(),
        behind: Vec::new(),
        next_ticket: 0,
        appending: None,
        renewing: false,
        append_failures: 0,
        at_once: appends::MAX_APPEND,
        append_at: now,
        slot_wait: None,
        reserve_wait: None,
        freed: None,
        snapshot_at: now,
        since_snapshot: Since::default(),
        snapshots: JoinSet::new(),
        sweep: parts
            .executor
            .vault
            .as_ref()
            .map(|vault| vault.sweep(parts.partition)),
        swept: None,
        low: LowWater::new(parts.horizon.clone(), mark),
        unsettled: None,
        stored: 0,
        limits: Limits::new(parts.count, Arc::clone(&parts.owners), fence),
        dispatcher,
    };
    serving.activate(between);
    let _beating = parts.pulse.serve();
    let mut reading = Some(read(tail));
    let mut watch = Watch::new(Arc::clone(&parts.executor.log), Stream::Tasks);
    let mut horizon = serving.low.horizon();
    let mut draining: Option<Instant> = None;
    let mut leave = parts.leave.clone();
    let mut came = Vec::new();
    let exit = loop {
        draining = match (draining, parts.is_leaving()) {
            (None, true) => Some(serving.begins_to_drain()),
            (draining, true) => draining,
            // Once calls are cut short, the partition is given up in any case.
            (Some(until), false) if Instant::now() >= until => Some(until),
            (_, false) => {
                serving.calls.stay();
                None
            }
        };
        if let Some(until) = draining {
            if serving.is_idle() {
                break Exit::Stopped;
            }
            if Instant::now() >= until {
                serving.release();
            }
            if Instant::now() >= until + LAST_APPENDS {
                break Exit::Stopped;
            }
        }
        let starts = parts.may_start();
        serving.follow_rules();
        let start = draining.is_none() && lease.is_held() && starts;
        serving.advance(start);
        if serving.ask_limits(start) {
            serving.advance(start);
        }
        if let Some(newer) = serving.limits.superseded {
            break Exit::Uncertain(format!("another owner took the partition over at {newer}"));
        }
        let wake = serving.wake_at(draining);
        tokio::select! {
            biased;
            // The top of the loop handles this.
            () = parts.stop.cancelled(), if draining.is_none() => {}
            Ok(()) = leave.changed() => {}
            () = lease.lost() => break Exit::Fenced,
            Some(result) = poll_option(&mut serving.appending) => {
                if let Some(exit) = serving.appended(result) {
                    break exit;
                }
            }
            // Without the lease, there may be another owner by now, and the local state may be outdated: no reply is better than a
            // wrong one. A dropped request is answered with `TryAgain`.
            // All that have come are taken at once, so that what they decide is stored together.
            1.. = commands.queue.recv_many(&mut came, MAX_COMMANDS) => {
                for command in came.drain(..).filter(|_| lease.is_held()) {
                    serving.command(command);
                }
            }
            Some(read) = serving.reading.join_next() => if let (Ok((command, found)), true) = (read, lease.is_held()) {
                serving.redeliver(command, found);
            },
            Some(found) = serving.looked_up.join_next() => if let (Ok((command, Ok(last))), true) = (found, lease.is_held()) {
                serving.when_read(last, command);
            },
            Some((tail, records)) = poll_option(&mut reading) => {
                reading = Some(read(tail));
                match records {
                    Ok(records) => {
                        if let Err(error) = serving.take_in(records) {
                            break Exit::TooNew(error);
                        }
                        serving.caught_up(lease);
                    }
                    // A reader of a quiet partition reconnected far behind; everything that was purged is no longer needed.
                    Err(ReadError::Gap { first, .. }) if serving.low.allows(first) => {}
                    Err(error @ ReadError::Gap { .. }) => {
                        break Exit::Uncertain(format!("another owner has moved the low-water mark: {error}"));
                    }
                    Err(error) => tracing::warn!(partition = %parts.partition, %error, "reading the partition's new tasks failed; running tasks continue, and the read is retried"),
                }
            }
            backwards = watch.went_backwards(Some(serving.mark)) => {
                takeover::went_backwards("owner");
                break Exit::Uncertain(backwards.to_string());
            }
            Some(sent) = serving.limits.sent.join_next() => if let Ok(sent) = sent {
                serving.sent(sent);
            },
            Some(read) = poll_option(&mut serving.limits.reading) => serving.fences_read(read),
            Some(found) = poll_option(&mut serving.low.reading) => serving.found(found),
            () = LowWater::moved(&mut horizon) => {}
            // The top of the loop handles both.
            () = rules_changed(parts) => {}
            () = may_start_soon(parts), if !starts => {}
            page = next_page(&mut serving.sweep), if serving.swept.is_none() => serving.swept = Some(page),
            // Last of the external events: all ended calls are handled in each iteration, and would leave no turn to the others.
            Some(ended) = serving.calls.ended(), if !serving.calls.is_empty() => serving.call_ended(ended),
            Some(slot) = poll_option(&mut serving.slot_wait) => serving.spare.general = slot.ok(),
            Some(slot) = poll_option(&mut serving.reserve_wait) => serving.spare.reserve = slot.ok(),
            // The top of the loop handles this.
            Some(()) = poll_option(&mut serving.freed) => {}
            () = sleep_until(wake) => {}
        }
    };
    parts.running.store(0, Ordering::Relaxed);
    let Serving {
        dispatcher,
        calls,
        promised,
        fence,
        ..
    } = serving;
    if let (Some(seat), false) = (&parts.seat, matches!(exit, Exit::Uncertain(_))) {
        seat.vacate();
    }
    match exit {
        Exit::Stopped => last_snapshot(parts, incarnation, &dispatcher).await,
        Exit::Uncertain(_) => calls.hand_over(Handover {
            fence,
            unstored: dispatcher.into_unstored(),
            promised,
        }),
        Exit::Fenced | Exit::TooNew(_) => {}
    }
    exit
}

impl Serving<'_> {
    /// Continues where a former dispatcher of this process stopped.
    fn activate(&mut self, between: Between) {
        let alive = self.calls.running();
        let Handover {
            mut unstored,
            promised,
            ..
        } = self.calls.take_handover();
        if between == Between::Another {
            // Another owner was in between: a start with the same number in the log would be of that owner, and so would the call.
            unstored.retain(|event| !matches!(event, TaskEvent::Started(_)));
        }
        self.promised = promised;
        let now = self.parts.executor.clock.times();
        self.take_rules(now);
        let mut actions = Vec::new();
        self.dispatcher
            .activate(now, &alive, unstored, &mut actions);
        self.carry_out(actions);
        // Starts that were not stored are decided again.
        self.promised.clear();
    }

    /// Does everything that can be done without waiting.
    fn advance(&mut self, start: bool) {
        while let Some(ended) = self.calls.try_ended() {
            self.call_ended(ended);
        }
        let now = self.parts.executor.clock.times();
        self.dispatcher.tick(now);
        if start {
            self.fill();
            self.make_room();
        } else {
            self.stop_waiting();
            self.turn_away_claims();
        }
        let running = self.calls.len() + self.promised.len();
        self.parts.running.store(running, Ordering::Relaxed);
        self.append();
        self.snapshot_in_background();
        let (owed, read) = (self.dispatcher.owed(), self.dispatcher.position());
        self.parts.place.serving(owed, read);
        self.tell_progress(start);
        self.erase_swept();
    }

    /// Tells whether the partition does what it could do. What it cannot is no lack of progress: without a free slot, or while the log
    /// takes nothing.
    fn tell_progress(&self, start: bool) {
        let serves = self.dispatcher.wanted_slots() > 0 && self.freed.is_none();
        let stores = self.dispatcher.is_appending() || self.dispatcher.has_decided();
        let due = start && self.append_failures == 0 && (serves || stores);
        let done = Done {
            stored: self.stored,
            calls: self.calls.len() + self.promised.len(),
        };
        self.parts.pulse.beat(due, done);
    }

    /// Erases the keys found by a sweep that no open task needs: the tasks have ended, or were never created.
    fn erase_swept(&mut self) {
        let is_read = |page: &mut Page| page.known_at <= self.dispatcher.position();
        let (Some(page), Some(vault)) = (self.swept.take_if(is_read), &self.parts.executor.vault)
        else {
            return;
        };
        page.unneeded(&self.dispatcher)
            .for_each(|name| vault.erase_swept(name));
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                // The lease was lost while the start was being stored: what was paused since is not
                // known, so the call is not made. It uses up no retry.
                Action::Call(call) if !self.parts.may_start() => {
                    self.slot(call.task, call.attempt, CallKind::Attempt);
                    let now = self.parts.executor.clock.times();
                    self.dispatcher
                        .attempt_released(call.task, call.attempt, now);
                }
                Action::Call(call) => {
                    counter!("waybill_tasks_started_total").increment(1);
                    histogram!("waybill_queue_wait_seconds").record(call.waited);
                    let slot = self.slot(call.task, call.attempt, CallKind::Attempt);
                    self.calls
                        .attempt(Arc::clone(&self.parts.executor), call, slot);
                }
                Action::Deliver(delivery) => {
                    let slot = self.slot(delivery.task, delivery.number, CallKind::Delivery);
                    self.calls
                        .deliver(Arc::clone(&self.parts.executor), delivery, slot);
                }
                Action::CutOff(attempt) => {
                    counter!("waybill_attempts_cut_off_total").increment(1);
                    self.calls.cut_off(attempt);
                }
                Action::Reply { ticket, reply } => {
                    if let Some(waiting) = self.tickets.remove(&ticket) {
                        // The caller may be gone.
                        let _ = waiting.send(reply);
                    }
                }
                Action::Claimed { ticket, leases } => self.claimed(ticket, leases),
                Action::Retried => counter!("waybill_tasks_retried_total").increment(1),
                Action::WebhookGivenUp { task } => {
                    counter!("waybill_webhooks_given_up_total").increment(1);
                    tracing::warn!(%task, "the completion webhook was given up after its last attempt; its receiver will not be called again");
                }
                Action::Uncounted(why) => {
                    counter!("waybill_attempts_uncounted_total", "why" => why.name()).increment(1);
                }
                Action::Ended {
                    task,
                    team,
                    sealed,
                    status,
                    ok,
                    took,
                    created,
                } => {
                    if sealed && let Some(vault) = &self.parts.executor.vault {
                        vault.erase_later(team, task);
                    }
                    self.parts.executor.payloads.forget(created);
                    histogram!("waybill_end_to_end_seconds").record(took);
                    match status {
                        Status::Completed => {
                            let ok = if ok { "true" } else { "false" };
                            counter!("waybill_tasks_succeeded_total", "ok" => ok).increment(1);
                        }
                        other => counter!("waybill_tasks_failed_total", "status" => other.as_str())
                            .increment(1),
                    }
                }
            }
        }
    }

    fn call_ended(&mut self, ended: EndedCall) {
        let EndedCall { running, outcome } = ended;
        let now = self.parts.executor.clock.times();
        match running.kind {
            CallKind::Attempt => match outcome {
                Some(outcome) => {
                    self.dispatcher
                        .attempt_ended(running.task, running.number, outcome, now);
                }
                None => self
                    .dispatcher
                    .attempt_released(running.task, running.number, now),
            },
            // The log has nothing about a delivery before it has ended, so the next owner finds it due.
            CallKind::Delivery => {
                if let Some(outcome) = outcome {
                    self.dispatcher
                        .delivery_ended(running.task, running.number, &outcome, now);
                }
            }
        }
    }

    /// Starts draining the partition's calls; returns until when they may continue.
    fn begins_to_drain(&mut self) -> Instant {
        let (calls, limit) = (self.calls.len(), self.parts.drain);
        if calls > 0 {
            tracing::info!(
                partition = %self.parts.partition, calls, ?limit,
                "leaving a partition: nothing new is started, and the calls in flight may go on until the limit"
            );
        }
        self.calls.drain(limit)
    }

    /// Cuts running calls short. The next owner makes them again, and they do not count as failures.
    fn release(&mut self) {
        let calls = self.calls.len();
        if calls > 0 {
            tracing::warn!(
                partition = %self.parts.partition, calls,
                "the limit of draining is reached: calls in flight are cut short, and are made again without using up a retry"
            );
        }
        self.calls.release();
    }

    fn take_in(&mut self, records: Vec<Record>) -> Result<(), TakeOverError> {
        self.since_snapshot.events += records.len() as u64;
        if let Some(last) = records.last().filter(|last| last.seq > self.mark.seq) {
            self.mark = Mark::of(last, self.incarnation);
        }
        // The clocks of new tasks begin now, not when the dispatcher last had something to do.
        self.dispatcher.tick(self.parts.executor.clock.times());
        for record in records {
            takeover::apply(&mut self.dispatcher, &self.parts.executor.payloads, &record)?;
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.appending.is_none() && !self.dispatcher.has_decided()
    }

    fn wake_at(&self, draining: Option<Instant>) -> Instant {
        let now = Instant::now();
        let mut wake = now + LONGEST_SLEEP;
        if let Some(pause) = self.dispatcher.wake_in(self.parts.executor.clock.times()) {
            wake = wake.min(now + pause.max(Duration::from_millis(1)));
        }
        if let Some(pause) = self.limits_wake() {
            wake = wake.min(now + pause.max(Duration::from_millis(1)));
        }
        if let Some(resume) = self
            .parts
            .bulkhead
            .resume_at()
            .filter(|_| self.freed.is_some())
        {
            wake = wake.min(resume);
        }
        if self.dispatcher.has_decided() && self.appending.is_none() {
            wake = wake.min(self.append_at.max(now));
        }
        if let (None, Some(at)) = (draining, self.low.wake_at()) {
            // Not at once: what it waits for, such as a lease or an append, wakes the loop by itself.
            wake = wake.min(at.max(now + Duration::from_millis(20)));
        }
        draining.map_or(wake, |until| {
            wake.min(until.max(now + Duration::from_millis(10)))
        })
    }
}
