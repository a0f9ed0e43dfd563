//! Partitions with their owners, one log, and the messages between them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::super::*;
use crate::limit::{LimitAsk, LimitGrant, LimitNudge};
use crate::partition::PartitionCount;
use crate::task::request::{LimitRequest, RateRequest};

/// What the cluster does wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tamper {
    Nothing,
    /// Each answer passes for that to the latest ask.
    AnyAnswer,
    /// The home takes back what an owner held as soon as there is another.
    DeathGivesBack,
    /// Owners do not read who owns the other partitions, so they may take a former home for one.
    FormerHomes,
    /// A home begins before it has heard from everybody.
    HomeInAHurry,
}

const PARTITIONS: u16 = 3;
/// Keys, and how many may run of each.
const KEYS: [(&str, u32); 3] = [("one", 1), ("two", 2), ("five", 5)];
/// A key with a rate: so many starts in each second.
const RATED: &str = "rated";
const RATE: u32 = 5;

enum Entry {
    Owned,
    Event(Partition, Box<TaskEvent>),
}

pub(super) struct Owner {
    partition: Partition,
    term: StreamSeq,
    fence: StreamSeq,
    pub(super) dispatcher: Dispatcher,
    home: Option<Home>,
    /// By this owner's monotonic clock, as far from the others' as can be.
    clock: i64,
    is_former: bool,
    calls: Vec<Call>,
    /// The number of the latest ask to each home.
    asked: BTreeMap<Partition, u64>,
}

#[derive(Clone)]
enum Message {
    Ask(Partition, LimitAsk),
    /// To the owner with that term.
    Grant(StreamSeq, Partition, LimitGrant),
    Nudge(Partition, LimitNudge),
}

pub(super) struct Cluster {
    random: u64,
    tamper: Tamper,
    log: Vec<Entry>,
    pub(super) owners: Vec<Owner>,
    mail: Vec<Message>,
    wall: Timestamp,
    created: u64,
    running: BTreeMap<String, BTreeSet<TaskId>>,
    keys: BTreeMap<TaskId, Vec<String>>,
    open: BTreeSet<TaskId>,
    rated_starts: Vec<Timestamp>,
}

fn count() -> PartitionCount {
    PartitionCount::new(PARTITIONS).expect("a count")
}

fn limit_of(key: &str) -> LimitRequest {
    let concurrency = KEYS.iter().find(|(name, _)| *name == key);
    LimitRequest {
        key: Some(key.into()),
        concurrency: concurrency.map(|(_, most)| i64::from(*most)),
        rate: (key == RATED).then_some(RateRequest {
            limit: Some(RATE.into()),
            per: Some(Length::Seconds(1.0)),
            burst: None,
        }),
    }
}

impl Cluster {
    pub(super) fn new(seed: u64, tamper: Tamper) -> Self {
        let mut cluster = Self {
            random: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            tamper,
            log: Vec::new(),
            owners: Vec::new(),
            mail: Vec::new(),
            wall: START,
            created: 0,
            running: BTreeMap::new(),
            keys: BTreeMap::new(),
            open: BTreeSet::new(),
            rated_starts: Vec::new(),
        };
        for partition in count().all() {
            cluster.take_over(partition);
        }
        cluster
    }

    fn next(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % below
    }

    fn pick(&mut self, length: usize) -> usize {
        usize::try_from(self.next(length as u64)).expect("small")
    }

    fn times(&self, owner: usize) -> Times {
        Times {
            elapsed: Elapsed(self.owners[owner].clock),
            wall: self.wall,
        }
    }

    fn store(&mut self, entry: Entry) -> StreamSeq {
        self.log.push(entry);
        StreamSeq(self.log.len() as u64)
    }

    /// A new owner: its fence, its replay, and then the fences of the others.
    pub(super) fn take_over(&mut self, partition: Partition) {
        for owner in self
            .owners
            .iter_mut()
            .filter(|of| of.partition == partition)
        {
            owner.is_former = true;
        }
        let fence = self.store(Entry::Owned);
        let mut dispatcher = Dispatcher::new();
        for (at, entry) in self.log.iter().enumerate() {
            if let Entry::Event(of, event) = entry
                && *of == partition
            {
                dispatcher.apply(StreamSeq(at as u64 + 1), None, event);
            }
        }
        dispatcher.replayed_to(fence);
        let clock = i64::try_from(self.next(1_000_000)).expect("small");
        let now = Times {
            elapsed: Elapsed(clock),
            wall: self.wall,
        };
        dispatcher.activate(now, &HashSet::new(), Vec::new(), &mut Vec::new());
        if self.tamper == Tamper::DeathGivesBack {
            self.forget_dead(partition, fence);
        }
        self.owners.push(Owner {
            partition,
            term: fence,
            fence,
            dispatcher,
            home: None,
            clock,
            is_former: false,
            calls: Vec::new(),
            asked: BTreeMap::new(),
        });
    }

    fn forget_dead(&mut self, partition: Partition, term: StreamSeq) {
        for owner in &mut self.owners {
            let (fence, home_term, now) = (owner.fence, owner.term, Elapsed(owner.clock));
            if let Some(home) = &mut owner.home {
                let ask = LimitAsk {
                    holder: partition,
                    term,
                    fence: term,
                    number: 0,
                    home_term,
                    is_full: true,
                    keys: Vec::new(),
                    home_fence: home_term,
                };
                let mut nudges = Vec::new();
                home.ask(&ask, fence, &|_| None, now, &mut nudges);
                let nudges = nudges.into_iter();
                self.mail
                    .extend(nudges.map(|(to, nudge)| Message::Nudge(to, nudge)));
            }
        }
    }

    /// The owner reads who owns the other partitions.
    fn open_office(&mut self, at: usize) {
        if self.owners[at].home.is_some() {
            return;
        }
        let mut last: BTreeMap<Partition, StreamSeq> = BTreeMap::new();
        for owner in self.owners.iter().filter(|owner| !owner.is_former) {
            last.insert(owner.partition, owner.fence);
        }
        let now = Elapsed(self.owners[at].clock);
        let owner = &mut self.owners[at];
        let known = match self.tamper {
            Tamper::HomeInAHurry => BTreeMap::new(),
            _ => last.clone(),
        };
        if self.tamper == Tamper::FormerHomes {
            last.values_mut().for_each(|seq| *seq = StreamSeq(0));
        }
        owner.home = Some(Home::new(owner.partition, owner.term, &known, now));
        owner
            .dispatcher
            .open_limit_office(owner.partition, owner.term, count(), last);
    }

    fn create(&mut self) {
        self.created += 1;
        let partition = Partition::new(u16::try_from(self.next(PARTITIONS.into())).expect("small"))
            .expect("one");
        let mut keys: Vec<_> = KEYS.iter().map(|(key, _)| (*key).to_owned()).collect();
        let first = self.pick(keys.len());
        keys.rotate_left(first);
        let taken = 1 + self.pick(2);
        keys.truncate(taken);
        if self.next(5) == 0 {
            keys.push(RATED.to_owned());
        }
        let request = TaskRequest {
            target_url: Some("http://sink/".into()),
            max_retries: Some(2),
            retry_backoff: None,
            limits: Some(keys.iter().map(|key| limit_of(key)).collect()),
            ..TaskRequest::default()
        };
        let limits = Limits {
            max_wait: Duration::from_secs(3_600),
            max_delay: Duration::from_secs(3_600),
        };
        let spec = TaskSpec::check(request, &limits, self.wall).expect("valid");
        let id = TaskId::new(self.wall, u128::from(self.created), partition);
        let created = spec.accept(id, World::team(), None, self.wall);
        let event = TaskEvent::Created(Box::new(created));
        let seq = self.store(Entry::Event(partition, Box::new(event.clone())));
        self.keys.insert(id, keys);
        self.open.insert(id);
        for owner in self
            .owners
            .iter_mut()
            .filter(|of| of.partition == partition)
        {
            owner.dispatcher.apply(seq, None, &event);
        }
    }

    fn fill(&mut self, at: usize, slots: usize) {
        let now = self.times(at);
        let owner = &mut self.owners[at];
        let mut actions = Vec::new();
        owner.dispatcher.tick(now);
        owner.dispatcher.fill(slots, now, &mut actions);
        owner.dispatcher.check();
    }

    /// The log takes what an owner has decided, or refuses it if there is another one by now.
    fn append(&mut self, at: usize) -> Result<(), String> {
        let partition = self.owners[at].partition;
        if self.owners[at].is_former {
            // It may hang for a while, and answer others meanwhile.
            if self.next(4) == 0 {
                self.owners.remove(at);
            }
            return Ok(());
        }
        let Some(decisions) = self.owners[at].dispatcher.begin_append(usize::MAX) else {
            return Ok(());
        };
        let events: Vec<_> = decisions
            .iter()
            .map(|decision| decision.event.clone())
            .collect();
        let mut seqs = Vec::new();
        for event in events {
            self.judge(&event)?;
            seqs.push(self.store(Entry::Event(partition, Box::new(event))));
        }
        let mut actions = Vec::new();
        let owner = &mut self.owners[at];
        owner.dispatcher.appended(&seqs, &mut actions);
        owner.dispatcher.check();
        for action in actions {
            if let Action::Call(call) = action {
                owner.calls.push(call);
            }
        }
        Ok(())
    }

    /// Follows the log, as anyone can: never more running than may.
    fn judge(&mut self, event: &TaskEvent) -> Result<(), String> {
        let id = event.id();
        let keys = self.keys[&id].clone();
        match event {
            TaskEvent::Started(started) => {
                for key in keys {
                    let running = self.running.entry(key.clone()).or_default();
                    running.insert(id);
                    let most = KEYS.iter().find(|(name, _)| **name == *key);
                    if let Some((_, most)) = most
                        && running.len() > *most as usize
                    {
                        return Err(format!("{} of {key} run, and {most} may", running.len()));
                    }
                    if key == RATED {
                        self.rated_starts.push(started.at);
                    }
                }
            }
            _ => {
                if !matches!(event, TaskEvent::AttemptFailed(_) | TaskEvent::Released(_)) {
                    self.open.remove(&id);
                }
                for key in keys {
                    self.running.entry(key).or_default().remove(&id);
                }
            }
        }
        Ok(())
    }

    fn end_call(&mut self, at: usize, well: bool) {
        if self.owners[at].calls.is_empty() {
            return;
        }
        let which = self.pick(self.owners[at].calls.len());
        let now = self.times(at);
        let owner = &mut self.owners[at];
        let call = owner.calls.swap_remove(which);
        let outcome = if well {
            answered(200)
        } else {
            failed(FailureKind::Connect)
        };
        owner
            .dispatcher
            .attempt_ended(call.task, call.attempt, outcome, now);
    }

    fn asks(&mut self, at: usize) {
        let now = self.times(at);
        let owner = &mut self.owners[at];
        let mut nudges = Vec::new();
        if let Some(home) = &mut owner.home {
            home.tick(&[], owner.fence, now.elapsed, &mut nudges);
        }
        for (home, ask) in owner.dispatcher.limit_asks(owner.fence, true, now) {
            owner.asked.insert(home, ask.number);
            self.mail.push(Message::Ask(home, ask));
        }
        self.mail.extend(
            nudges
                .into_iter()
                .map(|(to, nudge)| Message::Nudge(to, nudge)),
        );
    }

    /// A message arrives at whoever takes it for theirs.
    fn deliver(&mut self, message: Message) {
        match message {
            Message::Ask(home, ask) => {
                // A former owner may listen still, and be the first to answer.
                let heard: Vec<_> = (0..self.owners.len())
                    .filter(|at| self.owners[*at].partition == home)
                    .collect();
                let which = self.pick(heard.len().max(1));
                let Some(at) = heard.get(which).copied() else {
                    return;
                };
                let now = self.times(at);
                let owner = &mut self.owners[at];
                let mut nudges = Vec::new();
                let Some(of) = &mut owner.home else {
                    self.open_office(at);
                    return;
                };
                let grant = of.ask(&ask, owner.fence, &|_| None, now.elapsed, &mut nudges);
                if let Some(grant) = grant {
                    self.mail.push(Message::Grant(ask.term, home, grant));
                }
                self.mail.extend(
                    nudges
                        .into_iter()
                        .map(|(to, nudge)| Message::Nudge(to, nudge)),
                );
            }
            Message::Grant(term, home, mut grant) => {
                let Some(at) = self.owners.iter().position(|owner| owner.term == term) else {
                    return;
                };
                let (now, tamper) = (self.times(at), self.tamper);
                let owner = &mut self.owners[at];
                if tamper == Tamper::AnyAnswer {
                    grant.number = owner.asked.get(&home).copied().unwrap_or_default();
                }
                owner.dispatcher.limit_granted(home, &grant, now);
            }
            Message::Nudge(holder, nudge) => {
                let to: Vec<_> = (0..self.owners.len())
                    .filter(|at| self.owners[*at].partition == holder)
                    .collect();
                for at in to {
                    self.open_office(at);
                    let now = self.times(at);
                    self.owners[at].dispatcher.limit_nudged(&nudge, now);
                }
            }
        }
    }

    fn pass(&mut self, millis: i64) {
        self.wall = Timestamp(self.wall.0 + millis);
        for owner in &mut self.owners {
            owner.clock += millis;
        }
    }

    pub(super) fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            let at = self.pick(self.owners.len());
            match self.next(100) {
                0..6 => self.create(),
                6..22 => self.fill(at, 4),
                22..40 => self.append(at)?,
                40..50 => {
                    let well = self.next(4) > 0;
                    self.end_call(at, well);
                }
                50..70 => {
                    self.open_office(at);
                    self.asks(at);
                }
                70..91 => {
                    for _ in 0..=self.next(4) {
                        if self.mail.is_empty() {
                            break;
                        }
                        let which = self.pick(self.mail.len());
                        let message = self.mail.swap_remove(which);
                        match self.next(10) {
                            0 => {}
                            1 | 2 => {
                                self.mail.push(message.clone());
                                self.deliver(message);
                            }
                            _ => self.deliver(message),
                        }
                    }
                }
                91..98 => {
                    let millis = [5, 50, 300, 1_100][self.pick(4)];
                    self.pass(millis);
                }
                98 => {
                    // A renewed fence.
                    if !self.owners[at].is_former {
                        let fence = self.store(Entry::Owned);
                        self.owners[at].fence = fence;
                        self.owners[at].dispatcher.let_through(fence);
                    }
                }
                _ => {
                    if self.owners.len() < 6 {
                        let partition = self.owners[at].partition;
                        self.take_over(partition);
                        // Those that follow each other closely are where it is easy to be wrong.
                        if self.next(2) == 0 {
                            self.open_office(self.owners.len() - 1);
                            let other = self.pick(self.owners.len());
                            self.take_over(self.owners[other].partition);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn remembers_keys(&self) -> bool {
        (0..self.owners.len()).any(|at| {
            let dispatcher = &self.owners[at].dispatcher;
            let standing = dispatcher.limit_standing(&World::team(), self.times(at));
            !standing.is_empty()
        })
    }

    /// No faults any more: all tasks end, in the time that their limits need, and then their keys
    /// are forgotten.
    pub(super) fn calm_down(&mut self) -> Result<(), String> {
        self.owners.retain(|owner| !owner.is_former);
        self.mail.clear();
        let tasks = self.open.len();
        let begun = self.wall;
        // What was lost is noticed within a second or two; each task may take a second of its rate, and
        // all of them may share a key of which one runs.
        let bound = Duration::from_secs(20 + 3 * tasks as u64);
        while !self.open.is_empty() || self.remembers_keys() {
            if self.wall.since(begun) > bound {
                return Err(format!("{} of {tasks} tasks are left", self.open.len()));
            }
            for at in 0..self.owners.len() {
                while !self.owners[at].calls.is_empty() {
                    self.end_call(at, true);
                }
                self.append(at)?;
                self.fill(at, 10);
                self.append(at)?;
                self.open_office(at);
                self.asks(at);
                for message in std::mem::take(&mut self.mail) {
                    self.deliver(message);
                }
            }
            self.pass(10);
        }
        self.check_rate()
    }

    /// No window has more starts than its length allows, one more second, and one.
    fn check_rate(&self) -> Result<(), String> {
        let mut starts = self.rated_starts.clone();
        starts.sort_unstable();
        for (first, from) in starts.iter().enumerate() {
            for (last, to) in starts.iter().enumerate().skip(first) {
                let millis = to.since(*from).as_millis() + 1_000;
                let most = 1 + u128::from(RATE) * millis / 1_000;
                let made = (last - first + 1) as u128;
                if made > most {
                    return Err(format!("{made} starts in {millis} ms, and {most} may be"));
                }
            }
        }
        Ok(())
    }
}
