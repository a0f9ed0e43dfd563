//! Once a revocation is answered, no new attempt sends the credential, with workers that are busy,
//! cut off or restarted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use waybill_domain::event::{FailureKind, TaskEvent};
use waybill_log::{Log, Stream};
use waybill_testkit::{Proxy, eventually};

use super::rig::{LEASE, VaultRig, assert_final};
use crate::rig::{PATIENCE, by_task};

const VALUE: &str = "sk-live-taken-away-77c1";
/// Tolerance for timers on a busy machine.
const LATE: Duration = Duration::from_secs(2);

#[tokio::test]
async fn what_was_revoked_before_the_call_is_not_sent_and_not_tried_again() {
    let vault = VaultRig::new().await;
    let token = vault.keep(VALUE).await;
    let task = vault.using(&token, "/status/200").await;
    vault.revoke(&token).await;
    let worker = vault.worker("only").await;
    let message = format!("Vault token {token} was revoked before the call; nothing was sent");
    assert_final(&vault.failure_of(task).await, FailureKind::Vault, &message);
    assert_eq!(vault.rig.kinds(task).await, ["created", "started", "dead"]);
    assert_eq!(vault.rig.sink.count(), 0);
    worker.hand.stop().await;
}

/// Two workers with the key in their caches constantly begin attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_fire_no_attempt_that_begins_after_the_answer_carries_the_value() {
    let vault = VaultRig::new().await;
    let (one, two) = (vault.worker("one").await, vault.worker("two").await);
    vault
        .rig
        .until_shares(&[&one.hand, &two.hand], &[2, 2])
        .await;
    for _ in 0..5 {
        vault.rig.sink.reset();
        let token = vault.keep(VALUE).await;
        let mut created = Vec::new();
        let mut revoking = std::pin::pin!(async {
            vault.rig.sink.wait_for(20, PATIENCE).await.expect("called");
            vault.revoke(&token).await;
            // Attempts that begin from here on come after this position.
            let bounds = vault.rig.log.bounds(Stream::Tasks).await;
            bounds.expect("the log answers").last
        });
        let queues = crate::rig::queue_in_each_partition();
        let answered = loop {
            let queue = &queues[created.len() % queues.len()];
            let creating = vault.rig.create("/status/200", |task| {
                super::rig::with_key(&token)(task);
                task.queue = Some(queue.clone());
            });
            tokio::select! {
                biased;
                answered = &mut revoking => break answered,
                id = creating => created.push(id),
            }
        };
        for _ in 0..20 {
            created.push(vault.using(&token, "/status/200").await);
        }
        for task in &created {
            eventually(PATIENCE, async || {
                let kinds = vault.rig.kinds(*task).await;
                matches!(kinds.last(), Some(&("succeeded" | "dead")))
            })
            .await
            .expect("every task ends");
        }
        let records = vault.rig.records().await;
        let mut begun = HashMap::new();
        for record in &records {
            if let Ok(TaskEvent::Started(e)) = TaskEvent::decode(&record.event, &record.payload) {
                begun.insert((e.id.to_string(), e.attempt), record.seq);
            }
        }
        for received in vault.rig.sink.received() {
            assert_eq!(received.header("x-key"), Some(VALUE));
            let id = received.task_id.clone().expect("a task");
            let at = begun[&(id, received.attempt.expect("an attempt"))];
            assert!(at <= answered, "sent by an attempt begun after the answer");
        }
        let lives = by_task(&records);
        let ended_well = |id| matches!(lives[id].last(), Some(TaskEvent::Succeeded(_)));
        assert!(created.iter().any(ended_well));
        assert!(!created.iter().rev().take(20).any(ended_well));
    }
    one.hand.stop().await;
    two.hand.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_cut_off_is_outlasted_and_sends_nothing() {
    let vault = VaultRig::new().await;
    let proxy = Proxy::start(format!("127.0.0.1:{}", vault.rig.nats.port()))
        .await
        .expect("a proxy");
    let worker = vault.worker_at("cut", &proxy.url()).await;
    eventually(PATIENCE, async || worker.vault.is_serving())
        .await
        .expect("a lease");
    let token = vault.keep(VALUE).await;
    let task = vault.using(&token, "/status/200").await;
    vault.rig.until(task, "succeeded").await;
    proxy.stall();
    let start = Instant::now();
    vault.revoke(&token).await;
    assert!(!worker.vault.is_serving(), "it would send what was revoked");
    assert!(start.elapsed() < LEASE + LATE, "{:?}", start.elapsed());
    // A second revocation does not wait for it again.
    let other = vault.keep(VALUE).await;
    let start = Instant::now();
    vault.revoke(&other).await;
    assert!(start.elapsed() < LEASE / 2, "{:?}", start.elapsed());
    proxy.heal();
    let task = vault.using(&token, "/status/200").await;
    let failure = vault.failure_of(task).await;
    assert_eq!(failure.kind, FailureKind::Vault);
    assert_eq!(vault.rig.sink.count(), 1);
    worker.hand.stop().await;
}

/// The worker has the key in its cache, and tasks to run, but does not learn of the revocation.
#[tokio::test]
async fn without_a_lease_a_key_at_hand_is_not_used() {
    let vault = VaultRig::new().await;
    let proxy = Proxy::start(format!("127.0.0.1:{}", vault.rig.nats.port()))
        .await
        .expect("a proxy");
    let worker = vault.worker_with_vault_at("deaf", &proxy.url()).await;
    let token = vault.keep(VALUE).await;
    let task = vault.using(&token, "/status/200").await;
    vault.rig.until(task, "succeeded").await;
    proxy.stall();
    vault.revoke(&token).await;
    let task = vault.using(&token, "/status/200").await;
    let events = vault.rig.until(task, "attempt_failed").await;
    let Some(TaskEvent::AttemptFailed(failed)) = events.last() else {
        panic!("{events:?}");
    };
    let message = "This worker cannot check at the moment what was revoked; nothing was sent";
    assert_final(&failed.failure, FailureKind::VaultAway, message);
    proxy.heal();
    let failure = vault.failure_of(task).await;
    assert_eq!(failure.kind, FailureKind::Vault);
    assert_eq!(vault.rig.sink.count(), 1);
    worker.hand.stop().await;
}

#[tokio::test]
async fn a_worker_that_dies_is_followed_by_one_that_sends() {
    let vault = VaultRig::new().await;
    let first = vault.worker("first").await;
    let token = vault.keep(VALUE).await;
    let task = vault.using(&token, "/script/503,200").await;
    vault.rig.sink.wait_for(1, PATIENCE).await.expect("called");
    first.hand.dies();
    let second = vault.worker("second").await;
    vault.rig.until(task, "succeeded").await;
    let received = vault.rig.sink.received();
    assert!(received.iter().all(|r| r.header("x-key") == Some(VALUE)));
    // At most one revocation waits for the lease of the crashed worker.
    let start = Instant::now();
    vault.revoke(&token).await;
    assert!(start.elapsed() < LEASE + LATE, "{:?}", start.elapsed());
    second.hand.stop().await;
}

/// During a rotation, a worker that finds the former key erased goes on with the new one.
#[tokio::test]
async fn a_rotation_breaks_no_attempt() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let token = vault.keep("version-1").await;
    let mut tasks = Vec::new();
    for version in 2..=6 {
        for _ in 0..5 {
            tasks.push(vault.using(&token, "/status/200").await);
        }
        vault
            .rotate(&token, version, &format!("version-{version}"))
            .await;
    }
    for task in tasks {
        vault.rig.until(task, "succeeded").await;
    }
    worker.hand.stop().await;
}
