//! The task that owns everything between the queue and the acknowledgement.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use async_nats::connection::State as Connection;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::super::read::Reader;
use super::heard::Heard;
use super::lanes::Lanes;
use super::locate::Located;
use super::outcome::Why;
use super::plan::{Copies, Planned, plan};
use super::queue::Request;
use super::unit::{State, Unit};
use crate::{MAX_BATCH, Positions, ReadError, Stream, StreamSeq};

/// Limit of the bytes in one gathering, so that a batch of large records does not delay others for
/// long.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Gatherings in flight at once. With two, the server can start on the next one as soon as it has
/// synced the last. Measured with `examples/append_probe.rs`: as fast as one at 256 callers, a
/// quarter faster at 32; four gain nothing more.
const MAX_GROUPS: usize = 2;
/// Largest unit that is repeated only to find out whether a leader answers.
const MAX_SCOUT_BYTES: usize = 64 * 1024;
/// Interval of the check for overdue answers.
const TICK: Duration = Duration::from_millis(10);
/// The inputs of an appender.
pub(in crate::jetstream) struct Settings {
    pub(in crate::jetstream) stream: Stream,
    /// A connection of its own, so that no reader holds up acknowledgements.
    pub(in crate::jetstream) client: async_nats::Client,
    /// Counts the connections made.
    pub(in crate::jetstream) connected: watch::Receiver<u64>,
    /// Reads messages, by their sequences.
    pub(in crate::jetstream) reader: Reader,
    pub(in crate::jetstream) positions: Positions,
    pub(in crate::jetstream) is_replicated: bool,
    /// The last sequence of the stream at the start.
    pub(in crate::jetstream) last: StreamSeq,
    /// Prefix of every message id, unique to this process and stream.
    pub(in crate::jetstream) identity: String,
}

/// Subscribes to answers and starts the task.
pub(super) async fn start(
    settings: Settings,
    requests: mpsc::Receiver<Request>,
) -> Result<JoinHandle<()>, async_nats::SubscribeError> {
    let inbox = settings.client.new_inbox();
    let answers = settings.client.subscribe(format!("{inbox}.*")).await?;
    let state = Sender {
        inbox,
        copies: if settings.is_replicated {
            Copies::Replicated
        } else {
            Copies::One
        },
        last: settings.last,
        waiting: VecDeque::new(),
        lanes: Lanes::default(),
        units: BTreeMap::new(),
        groups: HashMap::new(),
        busy_fences: HashSet::new(),
        locating: JoinSet::new(),
        heard: Heard::new(settings.is_replicated),
        is_leaderless: false,
        next_unit: 0,
        next_id: 0,
        settings,
    };
    Ok(tokio::spawn(state.run(requests, answers)))
}

/// The state of the appender task. Its reactions to answers are in [`super::outcome`].
pub(super) struct Sender {
    pub(super) settings: Settings,
    pub(super) copies: Copies,
    pub(super) inbox: String,
    /// Highest sequence known to be stored.
    pub(super) last: StreamSeq,
    /// Requests that were not sent yet, except those that go into frames. Bounded, since each holds
    /// a permit for its room in the queue.
    pub(super) waiting: VecDeque<Request>,
    /// The same for requests that go into frames.
    pub(super) lanes: Lanes,
    pub(super) units: BTreeMap<u64, Unit>,
    /// Number of units in flight, by gathering.
    pub(super) groups: HashMap<u64, usize>,
    /// On a replicated stream: filters of expectations that are in flight, and must not be sent
    /// again until they are answered.
    pub(super) busy_fences: HashSet<String>,
    pub(super) locating: JoinSet<(u64, Why, Result<Located, ReadError>)>,
    pub(super) heard: Heard,
    /// The last answer said that no server takes appends. Until another answer arrives, nothing new
    /// is sent, and only one unit is repeated.
    pub(super) is_leaderless: bool,
    pub(super) next_unit: u64,
    pub(super) next_id: u64,
}

impl Sender {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut answers: async_nats::Subscriber,
    ) {
        let mut connected = self.settings.connected.clone();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            while let Ok(request) = requests.try_recv() {
                self.queue_up(request);
            }
            self.send_frames().await;
            self.send_gathered().await;
            let is_idle =
                self.units.is_empty() && self.waiting.is_empty() && self.lanes.are_empty();
            // Cancellation safe: receiving from the subscription and the queue loses nothing, and
            // all work is done in the branch bodies, which run to their end.
            tokio::select! {
                answer = answers.next() => {
                    let Some(answer) = answer else { return };
                    self.on_answer(&answer).await;
                    // Handle all answers that have arrived before sending, so that more requests
                    // gather.
                    while let Some(Some(answer)) = answers.next().now_or_never() {
                        self.on_answer(&answer).await;
                    }
                }
                request = requests.recv() => match request {
                    Some(request) => self.queue_up(request),
                    None => return,
                },
                Some(Ok((unit, why, located))) = self.locating.join_next() => {
                    self.on_located(unit, why, located).await;
                }
                changed = connected.changed() => match changed {
                    Ok(()) => self.on_connected().await,
                    Err(_) => return,
                },
                _ = tick.tick(), if !is_idle => self.on_tick().await,
            }
        }
    }

    fn is_connected(&self) -> bool {
        self.settings.client.connection_state() == Connection::Connected
    }

    /// Sends gathered requests, while fewer than [`MAX_GROUPS`] gatherings are in flight.
    async fn send_gathered(&mut self) {
        if self.is_leaderless && self.has_resting() {
            return;
        }
        while !self.waiting.is_empty() && self.groups.len() < MAX_GROUPS && self.is_connected() {
            let gathered = self.gather();
            if gathered.is_empty() {
                return;
            }
            let group = self.next_unit;
            for requests in plan(gathered, self.copies) {
                self.send_new(requests, Some(group)).await;
            }
        }
    }

    fn queue_up(&mut self, request: Request) {
        if let Some(request) = self.lanes.queue_up(request) {
            self.waiting.push_back(request);
        }
    }

    /// Returns a request to the front of its queue.
    pub(super) fn put_back(&mut self, request: Request) {
        if let Some(request) = self.lanes.put_back(request) {
            self.waiting.push_front(request);
        }
    }

    /// Sends a frame on each lane that has none in flight. Requests that arrive meanwhile go into
    /// the next one.
    async fn send_frames(&mut self) {
        if !self.is_connected() || (self.is_leaderless && self.has_resting()) {
            return;
        }
        for lane in self.lanes.ready(&self.busy_fences) {
            let requests = self.lanes.fill(lane);
            if !requests.is_empty() {
                self.send_new(requests, None).await;
            }
        }
    }

    /// Takes requests for the next gathering: up to the size of a batch, without those whose fence
    /// is in flight.
    fn gather(&mut self) -> Vec<Request> {
        let mut gathered = Vec::new();
        let mut skipped = VecDeque::new();
        let (mut records, mut bytes) = (0, 0);
        while let Some(request) = self.waiting.pop_front() {
            records += request.len();
            bytes += request.bytes();
            let is_full = records > MAX_BATCH || bytes > MAX_BATCH_BYTES;
            if is_full && !gathered.is_empty() {
                self.waiting.push_front(request);
                break;
            }
            let is_busy = request
                .fence()
                .is_some_and(|fence| self.busy_fences.contains(fence));
            if is_busy {
                records -= request.len();
                bytes -= request.bytes();
                skipped.push_back(request);
            } else if request.is_awaited() && request.progress.send() {
                gathered.push(request);
            }
        }
        while let Some(request) = skipped.pop_back() {
            self.waiting.push_front(request);
        }
        gathered
    }

    pub(super) async fn send_new(&mut self, requests: Vec<Request>, group: Option<u64>) {
        let id = self.new_id();
        let unit = Unit::new(requests, id, self.last, group);
        if self.copies == Copies::Replicated {
            let is_busy = unit
                .fences
                .iter()
                .any(|fence| self.busy_fences.contains(fence));
            if is_busy {
                // Two requests of one gathering share a fence, but each must be sent alone: the
                // second one waits for the first.
                for request in unit.requests.into_iter().rev() {
                    request.progress.not_stored();
                    self.put_back(request);
                }
                return;
            }
            self.busy_fences.extend(unit.fences.iter().cloned());
        }
        #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
        let records = unit.events() as f64;
        metrics::histogram!("waybill_log_append_batch_records", "stream" => self.settings.stream.name())
            .record(records);
        let number = self.next_unit;
        self.next_unit += 1;
        if let Some(lane) = unit.lane {
            self.lanes.sent(lane);
        }
        self.units.insert(number, unit);
        self.transmit(number).await;
    }

    fn new_id(&mut self) -> String {
        self.next_id += 1;
        format!("{}.{}", self.settings.identity, self.next_id)
    }

    /// Sends a unit, for the first time or again.
    async fn transmit(&mut self, number: u64) {
        // A new batch id for every attempt, so that the server does not mix it with what it still
        // holds of an earlier one.
        let batch_id = self.new_id();
        let Some(unit) = self.units.get_mut(&number) else {
            return;
        };
        unit.tries += 1;
        if let Some(group) = unit.group
            && !matches!(unit.state, State::InFlight { .. })
        {
            *self.groups.entry(group).or_default() += 1;
        }
        unit.state = State::InFlight {
            since: Instant::now(),
        };
        let reply = format!("{}.{number}-{}", self.inbox, unit.tries);
        for message in unit.messages(&batch_id) {
            let client = &self.settings.client;
            let sent = if message.is_last {
                client
                    .publish_with_reply_and_headers(
                        message.subject,
                        reply.clone(),
                        message.headers,
                        message.payload,
                    )
                    .await
            } else {
                client
                    .publish_with_headers(message.subject, message.headers, message.payload)
                    .await
            };
            if let Err(error) = sent {
                // The client refuses only malformed or too large messages, which were checked
                // before. The server will drop the batch if it is incomplete.
                tracing::error!(%error, "the NATS client refused a record; its append is tried again");
                break;
            }
        }
    }

    /// Updates the count of a gathering when one of its units is no longer in flight.
    fn land(&mut self, group: Option<u64>) {
        if let Some(group) = group
            && let Some(count) = self.groups.get_mut(&group)
        {
            *count -= 1;
            if *count == 0 {
                self.groups.remove(&group);
            }
        }
    }

    /// Removes a unit.
    pub(super) fn take(&mut self, number: u64) -> Option<Unit> {
        let unit = self.units.remove(&number)?;
        if matches!(unit.state, State::InFlight { .. }) {
            self.land(unit.group);
        }
        for fence in &unit.fences {
            self.busy_fences.remove(fence);
        }
        if let Some(lane) = unit.lane {
            self.lanes.landed(lane);
        }
        Some(unit)
    }

    /// Puts a unit into a state other than in flight.
    pub(super) fn set_aside(&mut self, number: u64, state: State) {
        let Some(unit) = self.units.get_mut(&number) else {
            return;
        };
        let was_in_flight = matches!(unit.state, State::InFlight { .. });
        unit.state = state;
        let group = unit.group;
        if was_in_flight {
            self.land(group);
        }
    }

    /// Repeats all units in flight, since their answers may have been lost with the old connection.
    async fn on_connected(&mut self) {
        let in_flight: Vec<u64> = self
            .units
            .iter()
            .filter(|(_, unit)| matches!(unit.state, State::InFlight { .. }))
            .map(|(number, _)| *number)
            .collect();
        for number in in_flight {
            self.transmit_again(number).await;
        }
    }

    async fn transmit_again(&mut self, number: u64) {
        if let Some(unit) = self.units.get_mut(&number) {
            unit.is_ambiguous = true;
        }
        self.transmit(number).await;
    }

    async fn on_tick(&mut self) {
        self.waiting.retain(Request::is_awaited);
        self.lanes.forget_forsaken();
        let forsaken: Vec<u64> = self
            .units
            .iter()
            .filter(|(_, unit)| !unit.is_awaited())
            .map(|(number, _)| *number)
            .collect();
        for number in forsaken {
            // No caller waits any more: each was told that the outcome is unknown, or that the
            // append was not sent.
            self.take(number);
        }
        if !self.is_connected() {
            return;
        }
        let now = Instant::now();
        let mut due: Vec<u64> = self
            .units
            .iter()
            .filter(|(_, unit)| match unit.state {
                State::InFlight { since } => self.heard.is_overdue(since, now),
                State::Resting { until } => now >= until,
                State::Locating => false,
            })
            .map(|(number, _)| *number)
            .collect();
        if self.is_leaderless {
            // One repetition is enough to detect a new leader; thousands would overload it.
            due.truncate(1);
        } else if due.is_empty() {
            due.extend(self.scout(now));
        }
        for number in due {
            self.send_again(number).await;
        }
    }

    /// The smallest unit in flight, to be repeated when nothing is answered: a new leader may never
    /// have received any of them.
    fn scout(&mut self, now: Instant) -> Option<u64> {
        let in_flight = |unit: &Unit| match unit.state {
            State::InFlight { since } => Some(since),
            State::Resting { .. } | State::Locating => None,
        };
        let latest = self.units.values().filter_map(in_flight).max()?;
        if !self.heard.is_silent(latest, now) {
            return None;
        }
        self.units
            .iter()
            .filter(|(_, unit)| in_flight(unit).is_some())
            .map(|(number, unit)| (unit.bytes(), *number))
            .filter(|(bytes, _)| *bytes <= MAX_SCOUT_BYTES)
            .min()
            .map(|(_, number)| number)
    }

    fn has_resting(&self) -> bool {
        let mut units = self.units.values();
        units.any(|unit| matches!(unit.state, State::Resting { .. }))
    }

    /// Ends the pauses of all units, since a server takes appends again.
    pub(super) fn wake(&mut self) {
        let now = Instant::now();
        for unit in self.units.values_mut() {
            if let State::Resting { until } = &mut unit.state {
                *until = now.min(*until);
            }
        }
    }

    async fn send_again(&mut self, number: u64) {
        let Some(unit) = self.units.get_mut(&number) else {
            return;
        };
        if matches!(unit.state, State::InFlight { .. }) {
            self.transmit_again(number).await;
            return;
        }
        if !unit.is_ambiguous {
            // Nothing of it is stored, so requests whose callers have given up can be left out.
            unit.requests.retain(|request| request.progress.send());
            if unit.requests.is_empty() {
                self.take(number);
                return;
            }
        }
        self.transmit(number).await;
    }
}
