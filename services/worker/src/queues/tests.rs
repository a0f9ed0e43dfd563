use std::sync::atomic::AtomicBool;

use waybill_domain::access::plan::Catalogue;
use waybill_domain::dispatcher::Hold;
use waybill_domain::event::{ControlEvent, QueuePaused, QueueResumed};
use waybill_domain::id::{Environment, QueueName, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryLog;

use super::*;

/// A lease that a test gives and takes.
#[derive(Default)]
struct Given(AtomicBool);

#[async_trait]
impl StartLease for Given {
    fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    async fn soon(&self) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn team() -> TeamId {
    TeamId::new(Timestamp(1), 1)
}

fn queue(name: &str) -> QueueName {
    QueueName::parse(name).expect("a name")
}

fn place(name: &str) -> Place {
    (team(), queue(name))
}

fn paused(name: &str) -> ControlEvent {
    ControlEvent::QueuePaused(QueuePaused {
        queue: queue(name),
        team: team(),
        environment: Environment::Live,
        reason: None,
        until: None,
        paused_by: "user:u".into(),
        at: Timestamp(1),
        drain: false,
    })
}

fn resumed(name: &str) -> ControlEvent {
    ControlEvent::QueueResumed(QueueResumed {
        queue: queue(name),
        team: team(),
        environment: Environment::Live,
        at: Timestamp(1),
    })
}

/// Rules that follow a log in memory.
struct Stage {
    log: MemoryLog,
    queues: Arc<Queues>,
    applied: watch::Receiver<StreamSeq>,
    lease: Arc<Given>,
    stop: CancellationToken,
}

impl Stage {
    fn new() -> Self {
        let log = MemoryLog::default();
        let lease = Arc::<Given>::default();
        lease.0.store(true, Ordering::Relaxed);
        let applied = watch::Sender::new(StreamSeq(0));
        let told = applied.subscribe();
        let partitions = PartitionCount::new(2).expect("a count");
        let (queues, service) = Queues::under(
            Arc::clone(&lease) as _,
            applied,
            Arc::new(log.clone()),
            partitions,
            Arc::clone(Catalogue::builtin()),
        );
        let stop = CancellationToken::new();
        tokio::spawn(service.run(stop.clone()));
        Self {
            log,
            queues,
            applied: told,
            lease,
            stop,
        }
    }

    fn applied(&self) -> u64 {
        self.applied.borrow().0
    }

    async fn store(&self, event: &ControlEvent) {
        crate::testing::store(&self.log, event).await;
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        // The clock is paused: it takes no time.
        tokio::time::timeout(Duration::from_secs(120), wait)
            .await
            .unwrap_or_else(|_| panic!("{what}; applied {}", self.applied()));
    }

    async fn until_applied(&self, seq: u64) {
        self.until("applied", || self.applied() == seq).await;
    }

    /// Lets everything happen that happens by itself.
    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A queue of each of the two partitions.
fn one_of_each() -> [(String, Partition); 2] {
    let partitions = PartitionCount::new(2).expect("a count");
    let all: Vec<_> = (0..100)
        .map(|number| format!("q{number}"))
        .map(|name| {
            let of = Partition::of(&team(), &queue(&name), partitions);
            (name, of)
        })
        .collect();
    let first = all.iter().find(|(_, of)| of.get() == 0).expect("one");
    let second = all.iter().find(|(_, of)| of.get() == 1).expect("one");
    [first.clone(), second.clone()]
}

#[tokio::test(start_paused = true)]
async fn a_pause_counts_as_applied_only_once_its_partition_says_so() {
    let stage = Stage::new();
    let [(mine, partition), (other, elsewhere)] = one_of_each();
    stage.store(&paused(&other)).await;
    stage.until_applied(1).await;
    let (seat, beside) = (stage.queues.seat(partition), stage.queues.seat(elsewhere));
    stage.store(&paused(&mine)).await;
    stage.until_applied(2).await;
    // Nobody was started yet where nobody has taken the rules.
    let first = seat.take();
    assert_eq!(first.rules.len(), 1);
    assert_eq!(first.rules[0].0, place(&mine));
    assert_eq!(first.rules[0].1.paused, Some(Hold::Open));
    seat.settled(first.up_to);
    let others = beside.take();
    assert_eq!(others.rules.len(), 1, "only its own queues");
    beside.settled(others.up_to);

    stage.store(&resumed(&mine)).await;
    stage.store(&paused(&mine)).await;
    stage.settle().await;
    assert_eq!(stage.applied(), 2, "taken by nobody yet");
    seat.changed().await;
    let changes = seat.changes().expect("changes");
    assert_eq!(changes.rules.len(), 2);
    assert_eq!(changes.rules[1].1.paused, Some(Hold::Open));
    stage.settle().await;
    assert_eq!(stage.applied(), 2, "taken, and not settled");
    stage.store(&resumed(&mine)).await;
    stage.settle().await;
    seat.settled(changes.up_to);
    assert_eq!(stage.applied(), 4, "what came since is not settled");
    let rest = seat.changes().expect("changes");
    seat.settled(rest.up_to);
    assert_eq!(stage.applied(), 5);
    assert!(beside.changes().is_none(), "nothing concerned it");
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_is_given_up_holds_nothing_back() {
    let stage = Stage::new();
    let [(mine, partition), _] = one_of_each();
    let seat = stage.queues.seat(partition);
    seat.take();
    stage.store(&paused(&mine)).await;
    stage.settle().await;
    assert_eq!(stage.applied(), 0);
    seat.vacate();
    assert_eq!(stage.applied(), 1);
    stage.store(&resumed(&mine)).await;
    stage.until_applied(2).await;
    assert_eq!(seat.take().rules, [], "resumed by then");
    stage.store(&paused(&mine)).await;
    stage.settle().await;
    assert_eq!(stage.applied(), 2);
    drop(seat);
    assert_eq!(stage.applied(), 3);
}

#[tokio::test(start_paused = true)]
async fn nothing_starts_without_the_lease_or_before_all_is_known() {
    let stage = Stage::new();
    let [(_, partition), _] = one_of_each();
    let seat = stage.queues.seat(partition);
    assert!(!seat.may_start(), "nothing is read yet");
    stage.until("known", || seat.may_start()).await;
    stage.lease.0.store(false, Ordering::Relaxed);
    assert!(!seat.may_start());
}

#[tokio::test(start_paused = true)]
async fn rules_of_a_history_that_the_log_has_left_hold_until_the_new_ones_are_known() {
    let stage = Stage::new();
    let [(mine, partition), (other, _)] = one_of_each();
    stage.store(&paused(&other)).await;
    stage.store(&paused(&mine)).await;
    stage.until_applied(2).await;
    let seat = stage.queues.seat(partition);
    seat.settled(seat.take().up_to);
    stage.log.core().cut(Stream::Control, 1);
    stage.store(&resumed(&other)).await;
    stage
        .until("anew", || seat.signal.is_up.load(Ordering::Relaxed))
        .await;
    assert_eq!(stage.applied(), 0, "the partition has not seen it");
    let changes = seat.changes().expect("changes");
    assert_eq!(changes.rules, [(place(&mine), QueueRules::default())]);
    seat.settled(changes.up_to);
    stage.until_applied(2).await;
    assert!(seat.may_start());
}

#[tokio::test(start_paused = true)]
async fn poison_is_set_aside_and_what_comes_after_it_counts() {
    let stage = Stage::new();
    let [(mine, partition), (other, elsewhere)] = one_of_each();
    stage.store(&paused(&mine)).await;
    crate::testing::plant(&stage.log, &resumed(&mine)).await;
    stage.store(&paused(&other)).await;
    stage.until_applied(3).await;
    for (name, of) in [(mine, partition), (other, elsewhere)] {
        let taken = stage.queues.seat(of).take();
        let rules = taken.rules.iter().find(|(of, _)| *of == place(&name));
        let paused = rules.and_then(|(_, rules)| rules.paused);
        assert_eq!(paused, Some(Hold::Open), "{name}");
    }
}
