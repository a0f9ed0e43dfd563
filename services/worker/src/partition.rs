//! The loop of one partition: carries data between the log, the clock, clients, targets and the dispatcher.
//!
//! One append is in flight at a time. If its outcome is unknown, or the fence refuses it, this dispatcher's memory is worth
//! nothing any more: the loop ends, and the partition is taken over again or left to whoever has it.
//!
//! `appends`: what is stored. `requests`: what clients ask. `snapshots`: shortcuts for the next replay. `retention`: how the log may
//! drop what is old.

mod appends;
mod requests;
mod retention;
mod snapshots;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use metrics::{counter, histogram};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use waybill_domain::command::OwnerReply;
use waybill_domain::dispatcher::{Action, Admission, CallKind, Dispatcher, Running, Ticket};
use waybill_domain::event::TaskEvent;
use waybill_domain::id::TaskId;
use waybill_domain::partition::Partition;
use waybill_domain::task::Status;
use waybill_log::{AppendError, Appended, ReadError, Record, Snapshots, StreamSeq, Tail};

use crate::board::Place;
use crate::bulkhead::{Bulkhead, Refusal, Slot, Spare};
use crate::calls::{Caller, Calls, EndedCall, Kept};
use crate::command::{Command, Commands};
use crate::lease::KeptLease;
use crate::retention::Horizon;
use crate::takeover::{self, Between, TakeOverError, Taken};
use crate::vault::{Page, Sweep};

pub use snapshots::SnapshotPace;

use retention::LowWater;
use snapshots::last_snapshot;

/// New tasks taken in at once.
const MAX_TAIL: usize = 500;
/// Tasks that wait for a date wait for the wall clock: it is looked at least this often, should it jump.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long a partition that is being given up waits for the log to take its last results. The next owner finds what is missing.
const LAST_APPENDS: Duration = Duration::from_secs(5);

/// What a partition's loop works with.
pub struct PartitionParts {
    /// Which partition.
    pub partition: Partition,
    /// Name of the worker, as its fences say.
    pub worker: String,
    /// How far the log could be dropped by its age.
    pub horizon: watch::Receiver<Horizon>,
    /// Makes calls.
    pub caller: Arc<Caller>,
    /// Where snapshots go.
    pub snapshots: Arc<dyn Snapshots>,
    /// Slots for calls, of the whole worker.
    pub bulkhead: Arc<Bulkhead>,
    /// How long running calls may go on when the partition is given up; then they are released.
    pub drain: Duration,
    /// When snapshots are written.
    pub pace: SnapshotPace,
    /// Where it says what it does.
    pub place: Place,
    /// Cancelled when the worker stops, and the partition is to be given up for good.
    pub stop: CancellationToken,
    /// True while another worker is to have the partition. That may turn out otherwise before the calls have run out, and then the
    /// partition is served on.
    pub leave: watch::Receiver<bool>,
    /// Calls being made, as the worker sees them when it chooses which partition to leave.
    pub running: Arc<AtomicUsize>,
}

impl PartitionParts {
    /// Is the partition to be given up?
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.stop.is_cancelled() || *self.leave.borrow()
    }
}

/// Why a partition's loop ended.
#[derive(Debug)]
pub enum Exit {
    /// It was to be given up, and nothing is left to do.
    Stopped,
    /// Somebody else owns the partition.
    Fenced,
    /// It must be taken over again: nobody knows what the log holds.
    Uncertain(String),
    /// The log holds something that this version does not understand.
    TooNew(TakeOverError),
}

type Appending = BoxFuture<'static, Result<Appended, AppendError>>;
type Reading = BoxFuture<'static, (Box<dyn Tail>, Result<Vec<Record>, ReadError>)>;
type SlotWait = BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>;

struct Serving<'a> {
    parts: &'a PartitionParts,
    dispatcher: Dispatcher,
    fence: StreamSeq,
    incarnation: i64,
    calls: &'a mut Calls,
    /// Slots of attempts whose start is being stored.
    promised: HashMap<Running, Slot>,
    /// Slots that came while we waited for them.
    spare: Spare,
    tickets: BTreeMap<Ticket, oneshot::Sender<OwnerReply>>,
    /// Requests about tasks we do not know, and how far the log went when they came.
    looked_up: JoinSet<(Command, Result<StreamSeq, ReadError>)>,
    /// Those of them that wait until we have read so far.
    behind: Vec<(StreamSeq, Command)>,
    next_ticket: u64,
    appending: Option<Appending>,
    /// What is being appended is the fence, once more.
    renewing: bool,
    append_failures: u32,
    append_at: Instant,
    slot_wait: Option<SlotWait>,
    reserve_wait: Option<SlotWait>,
    /// A call was refused; this ends when something was given back that it may have waited for.
    freed: Option<BoxFuture<'static, ()>>,
    snapshot_position: StreamSeq,
    snapshot_at: Instant,
    snapshots: JoinSet<()>,
    /// Looks for keys of tasks that have ended.
    sweep: Option<Sweep>,
    /// What it found, until enough is read to judge it.
    swept: Option<Page>,
    low: LowWater,
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
    } = taken;
    let now = Instant::now();
    let mut serving = Serving {
        parts,
        fence,
        incarnation,
        calls,
        promised: HashMap::new(),
        spare: Spare::default(),
        tickets: BTreeMap::new(),
        looked_up: JoinSet::new(),
        behind: Vec::new(),
        next_ticket: 0,
        appending: None,
        renewing: false,
        append_failures: 0,
        append_at: now,
        slot_wait: None,
        reserve_wait: None,
        freed: None,
        snapshot_position: dispatcher.snapshot_position(),
        snapshot_at: now,
        snapshots: JoinSet::new(),
        sweep: parts
            .caller
            .vault
            .as_ref()
            .map(|vault| vault.sweep(parts.partition)),
        swept: None,
        low: LowWater::new(parts.horizon.clone(), mark),
        dispatcher,
    };
    serving.activate(between);
    let mut reading = Some(read(tail));
    let mut horizon = serving.low.horizon();
    let mut draining: Option<Instant> = None;
    let mut leave = parts.leave.clone();
    let exit = loop {
        draining = match (draining, parts.is_leaving()) {
            (None, true) => Some(serving.begins_to_drain()),
            (draining, true) => draining,
            // Once calls were cut, the partition goes.
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
        serving.advance(draining.is_none() && lease.is_held());
        let wake = serving.wake_at(draining);
        tokio::select! {
            biased;
            // What follows is decided above.
            () = parts.stop.cancelled(), if draining.is_none() => {}
            Ok(()) = leave.changed() => {}
            () = lease.lost() => break Exit::Fenced,
            Some(result) = poll_option(&mut serving.appending) => {
                if let Some(exit) = serving.appended(result) {
                    break exit;
                }
            }
            // Without the lease there may be another owner by now, and what we know may be history: no answer is better than a
            // wrong one. A request that is dropped is answered with `TryAgain`.
            Some(command) = commands.queue.recv() => if lease.is_held() {
                serving.command(command);
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
                    // A reader of a quiet partition that reconnects far behind: all that was dropped is done with.
                    Err(ReadError::Gap { first, .. }) if serving.low.allows(first) => {}
                    Err(error @ ReadError::Gap { .. }) => {
                        break Exit::Uncertain(format!("another owner has moved the low-water mark: {error}"));
                    }
                    Err(error) => tracing::warn!(partition = %parts.partition, %error, "cannot read new tasks yet"),
                }
            }
            Some(found) = poll_option(&mut serving.low.reading) => serving.found(found),
            () = LowWater::moved(&mut horizon) => {}
            page = next_page(&mut serving.sweep), if serving.swept.is_none() => serving.swept = Some(page),
            // Last of what comes from outside: all that have ended are taken in each turn anyway, and would leave no turn to others.
            Some(ended) = serving.calls.ended(), if !serving.calls.is_empty() => serving.call_ended(ended),
            Some(slot) = poll_option(&mut serving.slot_wait) => serving.spare.general = slot.ok(),
            Some(slot) = poll_option(&mut serving.reserve_wait) => serving.spare.reserve = slot.ok(),
            // What follows is decided above.
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
    match exit {
        Exit::Stopped => last_snapshot(parts, incarnation, &dispatcher).await,
        Exit::Uncertain(_) => calls.keep(Kept {
            fence,
            unstored: dispatcher.into_unstored(),
            promised,
        }),
        Exit::Fenced | Exit::TooNew(_) => {}
    }
    exit
}

/// The next page of a sweep; pending for ever when there is none.
async fn next_page(sweep: &mut Option<Sweep>) -> Page {
    match sweep {
        Some(sweep) => sweep.next().await,
        None => std::future::pending().await,
    }
}

/// Reads on. The loop keeps this future while other things happen: a reader that were asked anew each time would, in a busy
/// partition, never come to the end of making its consumer.
fn read(mut tail: Box<dyn Tail>) -> Reading {
    async move {
        let records = tail.next_batch(MAX_TAIL).await;
        (tail, records)
    }
    .boxed()
}

/// Waits for an optional future and takes it away when it is ready; pending for ever when there is none.
async fn poll_option<F: Future + Unpin>(slot: &mut Option<F>) -> Option<F::Output> {
    match slot {
        Some(future) => {
            let output = future.await;
            *slot = None;
            Some(output)
        }
        None => std::future::pending().await,
    }
}

/// Takes a place in line, keeps it, or leaves it.
fn wait_for(wait: &mut Option<SlotWait>, wanted: bool, slots: impl FnOnce() -> Arc<Semaphore>) {
    if !wanted {
        *wait = None;
    } else if wait.is_none() {
        *wait = Some(slots().acquire_owned().boxed());
    }
}

impl Serving<'_> {
    /// Goes on where a former dispatcher of this process stopped.
    fn activate(&mut self, between: Between) {
        let alive = self.calls.running();
        let Kept {
            mut unstored,
            promised,
            ..
        } = self.calls.take_kept();
        if between == Between::Another {
            // Another owner came between: a start of the same number in the log would be his, and so would be the call.
            unstored.retain(|event| !matches!(event, TaskEvent::Started(_)));
        }
        self.promised = promised;
        let now = self.parts.caller.clock.times();
        let mut actions = Vec::new();
        self.dispatcher
            .activate(now, &alive, unstored, &mut actions);
        self.carry_out(actions);
        // Starts that were not stored are decided anew.
        self.promised.clear();
    }

    /// Does everything that can be done without waiting.
    fn advance(&mut self, start: bool) {
        while let Some(ended) = self.calls.try_ended() {
            self.call_ended(ended);
        }
        let now = self.parts.caller.clock.times();
        self.dispatcher.tick(now);
        if start {
            self.fill();
        } else {
            self.stop_waiting();
        }
        if start {
            self.make_room();
        }
        let running = self.calls.len() + self.promised.len();
        self.parts.running.store(running, Ordering::Relaxed);
        self.append();
        self.snapshot_in_background();
        self.parts.place.serving(self.dispatcher.owed());
        self.erase_swept();
    }

    /// Of the keys that a sweep has found, those go whose tasks are not open any more: they have ended, or never came to be.
    fn erase_swept(&mut self) {
        let is_read = |page: &mut Page| page.known_at <= self.dispatcher.position();
        let (Some(page), Some(vault)) = (self.swept.take_if(is_read), &self.parts.caller.vault)
        else {
            return;
        };
        for (task, name) in page.keys {
            if !self.dispatcher.is_open(task) {
                vault.erase_swept(name);
            }
        }
    }

    /// Hands free slots to the dispatcher.
    fn fill(&mut self) {
        // Before anything is asked for: what is given back from here on is told.
        let given_back = self.parts.bulkhead.given_back();
        let parts = self.parts;
        let bulkhead = &parts.bulkhead;
        let (promised, spare) = (&mut self.promised, &mut self.spare);
        let (mut wants_general, mut wants_reserve) = (false, false);
        let mut is_refused = false;
        let mut actions = Vec::new();
        let now = self.parts.caller.clock.times();
        let mut admit = |wanted| match bulkhead.admit(&wanted, spare) {
            Ok(slot) => {
                promised.insert(wanted.running, slot);
                Admission::Yes
            }
            Err(refusal) => {
                wants_general |= matches!(refusal, Refusal::NoGeneralSlot | Refusal::NoSlot);
                wants_reserve |= refusal == Refusal::NoSlot;
                is_refused = true;
                refusal.into()
            }
        };
        self.dispatcher.fill_where(&mut admit, now, &mut actions);
        // What was not used is for others.
        self.spare = Spare::default();
        self.carry_out(actions);
        self.freed = is_refused.then(|| bulkhead.freed(given_back));
        wait_for(&mut self.slot_wait, wants_general, || bulkhead.general());
        wait_for(&mut self.reserve_wait, wants_reserve, || bulkhead.reserve());
    }

    fn stop_waiting(&mut self) {
        self.spare = Spare::default();
        (self.slot_wait, self.reserve_wait) = (None, None);
        self.freed = None;
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Call(call) => {
                    counter!("waybill_tasks_started_total").increment(1);
                    histogram!("waybill_queue_wait_seconds").record(call.waited);
                    let slot = self.slot(call.task, call.attempt, CallKind::Attempt);
                    self.calls
                        .attempt(Arc::clone(&self.parts.caller), call, slot);
                }
                Action::Deliver(delivery) => {
                    let slot = self.slot(delivery.task, delivery.number, CallKind::Delivery);
                    self.calls
                        .deliver(Arc::clone(&self.parts.caller), delivery, slot);
                }
                Action::Reply { ticket, reply } => {
                    if let Some(waiting) = self.tickets.remove(&ticket) {
                        // Who asked may have gone.
                        let _ = waiting.send(reply);
                    }
                }
                Action::Retried => counter!("waybill_tasks_retried_total").increment(1),
                Action::WebhookGivenUp { task } => {
                    counter!("waybill_webhooks_given_up_total").increment(1);
                    tracing::warn!(%task, "the completion webhook was given up; its receiver will not be called again");
                }
                Action::Uncounted(why) => {
                    counter!("waybill_attempts_uncounted_total", "why" => why.name()).increment(1);
                }
                Action::Ended {
                    task,
                    team,
                    sealed,
                    status,
                    took,
                    created,
                } => {
                    if sealed && let Some(vault) = &self.parts.caller.vault {
                        vault.erase_later(team, task);
                    }
                    self.parts.caller.payloads.forget(created);
                    histogram!("waybill_end_to_end_seconds").record(took);
                    match status {
                        Status::Completed => counter!("waybill_tasks_succeeded_total").increment(1),
                        other => counter!("waybill_tasks_failed_total", "status" => other.as_str())
                            .increment(1),
                    }
                }
            }
        }
    }

    /// The slot promised to a call that begins now.
    fn slot(&mut self, task: TaskId, number: u32, kind: CallKind) -> Option<Slot> {
        let running = Running { task, number, kind };
        let slot = self.promised.remove(&running);
        debug_assert!(slot.is_some(), "every call has been promised a slot");
        slot
    }

    fn call_ended(&mut self, ended: EndedCall) {
        let EndedCall { running, outcome } = ended;
        let now = self.parts.caller.clock.times();
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
            // The log says nothing of a delivery before it has ended: the next owner finds it due.
            CallKind::Delivery => {
                if let Some(outcome) = outcome {
                    self.dispatcher
                        .delivery_ended(running.task, running.number, &outcome, now);
                }
            }
        }
    }

    /// Says how long its calls may go on; the answer is until when.
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

    /// Cuts what is still being called. The next owner calls it again, and nobody counts it as a failure.
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
        for record in records {
            takeover::apply(&mut self.dispatcher, &self.parts.caller.payloads, record)?;
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.appending.is_none() && !self.dispatcher.has_decided()
    }

    fn wake_at(&self, draining: Option<Instant>) -> Instant {
        let now = Instant::now();
        let mut wake = now + LONGEST_SLEEP;
        if let Some(pause) = self.dispatcher.wake_in(self.parts.caller.clock.times()) {
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
