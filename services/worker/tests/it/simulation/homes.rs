//! Homes of limits: one that lost its partition and does not know it, and keys that several partitions gather.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use waybill_domain::id::{LimitKey, QueueName, TaskId};
use waybill_domain::limit::{LimitId, TaskLimit};
use waybill_domain::partition::{Partition, PartitionCount};

use super::history::{Conditions, History};
use super::uneventful;
use super::world::{LEASE_TTL, Sabotage, World};

const PARTITIONS: u16 = 2;
/// How many tasks gather the same keys.
const TASKS: usize = 12;

/// A worker stands still until another one has taken its partitions over and died, and gets its leases
/// again: it believes that it owned them all the time. Then a task comes whose limit has its home in the other
/// partition, where nothing is to be stored. Returns how long the task took; `None` if it had not
/// ended after ten minutes.
fn outlives_a_home_that_was_lost(seed: u64, sabotage: Option<Sabotage>) -> Option<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let conditions = Conditions {
            sabotage,
            ..uneventful()
        };
        let world = World::new(seed, conditions);
        let mut history = History::of(&world, PARTITIONS, 4);
        history.hire();
        sleep(Duration::from_secs(3)).await;
        history.stand_still(0, true);
        history.hire();
        sleep(LEASE_TTL + Duration::from_secs(3)).await;
        history.crash(1);
        sleep(LEASE_TTL + Duration::from_secs(1)).await;
        history.stand_still(0, false);
        sleep(LEASE_TTL).await;
        let mut task = history.gateway.a_task();
        (task.not_before, task.ordering, task.once) = (None, None, None);
        (task.expires_in_ms, task.max_wait_ms) = (None, 2_000);
        let count = PartitionCount::new(PARTITIONS).expect("a count");
        let mut keys = (0..).map(|n| LimitKey::parse(&format!("key-{n}")).expect("a key"));
        let is_apart =
            |key: &LimitKey| LimitId::of(&task.team, key).home(count) != task.id.partition();
        let key = keys.find(is_apart).expect("half of them");
        task.limits = vec![TaskLimit {
            key,
            concurrency: Some(1),
            rate: None,
        }];
        assert!(history.gateway.create(task).await);
        let began = Instant::now();
        let ends = async {
            while world.ledger().open() > 0 {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let ended = timeout(Duration::from_secs(600), ends).await;
        let took = began.elapsed();
        world.calm();
        history.stop_all().await;
        ended.ok().map(|()| took)
    })
}

#[test]
fn a_home_that_was_lost_unnoticed_is_taken_over_anew() {
    for seed in 0..10 {
        let took = outlives_a_home_that_was_lost(seed, None).expect("it ends");
        assert!(took < Duration::from_secs(30), "seed {seed}: {took:?}");
    }
}

#[test]
fn a_home_that_is_not_told_of_a_later_one_is_noticed() {
    let sabotage = Some(Sabotage::FormerHomesAreNotTold);
    assert_eq!(outlives_a_home_that_was_lost(0, sabotage), None);
}

/// Tasks in two partitions, each with its own worker, that all need the same two limits of one at a time, which
/// have their homes in either partition. Returns how long it took until all had ended; `None` if it
/// took longer than ten minutes.
fn gather(seed: u64) -> Option<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = World::new(seed, uneventful());
        let mut history = History::of(&world, PARTITIONS, 4);
        history.hire();
        history.hire();
        sleep(LEASE_TTL + Duration::from_secs(3)).await;
        let count = PartitionCount::new(PARTITIONS).expect("a count");
        let team = history.gateway.a_task().team;
        let limits = count.all().map(|home| {
            let mut keys = (0..).map(|n| LimitKey::parse(&format!("key-{n}")).expect("a key"));
            let key = keys.find(|key| LimitId::of(&team, key).home(count) == home);
            TaskLimit {
                key: key.expect("half of them"),
                concurrency: Some(1),
                rate: None,
            }
        });
        let limits: Vec<_> = limits.collect();
        for number in 0..TASKS {
            let partition = count.all().nth(number % usize::from(PARTITIONS));
            let partition = partition.expect("one of them");
            let mut queues =
                (0..).map(|n| QueueName::parse(&format!("queue-{n}")).expect("a name"));
            let queue = queues.find(|queue| Partition::of(&team, queue, count) == partition);
            let mut task = history.gateway.a_task();
            task.id = TaskId::new(world.now(), world.random.next().into(), partition);
            (task.team, task.queue) = (team.clone(), queue.expect("half of them"));
            (task.not_before, task.ordering, task.once) = (None, None, None);
            task.expires_in_ms = None;
            task.limits.clone_from(&limits);
            assert!(history.gateway.create(task).await);
        }
        let began = Instant::now();
        let ends = async {
            while world.ledger().open() > 0 {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let ended = timeout(Duration::from_secs(600), ends).await;
        let took = began.elapsed();
        history.stop_all().await;
        assert_eq!(world.ledger().violations, Vec::<String>::new());
        ended.ok().map(|()| took)
    })
}

/// Longest time for all of them. Each takes up to 40 ms, and two exchanges between the workers.
const GATHERED_IN: Duration = Duration::from_secs(20);

#[test]
fn partitions_that_gather_the_same_limits_let_each_other_go_first() {
    let took: Vec<_> = (0..30).map(gather).collect();
    let is_late = |took: &Option<Duration>| took.is_none_or(|took| took > GATHERED_IN);
    assert!(!took.iter().any(is_late), "{took:?}");
}
