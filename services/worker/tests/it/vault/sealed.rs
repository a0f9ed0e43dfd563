//! Credentials that a task brings along: sealed so that they open for that task alone, sent
//! unchanged, and erased when no task needs their key.

use std::time::Duration;

use waybill_domain::event::{FailureKind, TaskCreated, TaskEvent};
use waybill_domain::partition::Partition;
use waybill_log::{KeyName, VaultKeys};
use waybill_testkit::eventually;

use super::rig::{VaultRig, assert_final};
use crate::rig::PATIENCE;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_000);
const RAW: &str = "raw-secret-91d2e7";

fn a_task(vault: &VaultRig, path: &str) -> TaskCreated {
    vault.rig.a_task(path, |task| {
        task.headers = vec![
            ("X-First".into(), "plain".into()),
            ("Authorization".into(), format!("Bearer {RAW}")),
            ("Cookie".into(), format!("session={RAW}; theme=dark")),
        ];
    })
}

async fn is_there(vault: &VaultRig, name: &KeyName) -> bool {
    vault.rig.log.get(name).await.expect("an answer").is_some()
}

#[tokio::test]
async fn sealed_headers_arrive_as_they_were_given_and_their_key_goes_with_the_task() {
    let vault = VaultRig::guarded().await;
    let worker = vault.worker("only").await;
    let mut created = a_task(&vault, "/script/503,200");
    // Gateways refuse this together with a credential; a task from before they did must not send it
    // either.
    created.headers.push(("Range".into(), "bytes=0-3".into()));
    let name = vault.seal_headers(&mut created).await;
    assert_eq!(created.headers[1].1, "Bearer ****");
    let task = created.id;
    vault.rig.append(vec![created]).await;
    vault.rig.sink.wait_for(1, PATIENCE).await.expect("called");
    assert!(is_there(&vault, &name).await, "the task has not ended");
    vault.rig.until(task, "succeeded").await;
    for received in vault.rig.sink.received() {
        let bearer = format!("Bearer {RAW}");
        assert_eq!(received.header("authorization"), Some(bearer.as_str()));
        let cookie = format!("session={RAW}; theme=dark");
        assert_eq!(received.header("cookie"), Some(cookie.as_str()));
        assert_eq!(received.header("x-first"), Some("plain"));
        assert_eq!(received.header("range"), None);
    }
    eventually(PATIENCE, async || !is_there(&vault, &name).await)
        .await
        .expect("the key is erased");
    worker.hand.stop().await;
    vault.assert_nowhere(RAW).await;
}

#[tokio::test]
async fn every_end_of_a_task_erases_its_key() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let mut failing = a_task(&vault, "/status/500");
    failing.max_retries = 0;
    let mut cancelled = a_task(&vault, "/status/200");
    cancelled.not_before = Some(cancelled.at.plus(LONG));
    let names = [
        vault.seal_headers(&mut failing).await,
        vault.seal_headers(&mut cancelled).await,
    ];
    let (dead, gone) = (failing.id, cancelled.id);
    vault.rig.append(vec![failing]).await;
    vault.rig.append(vec![cancelled]).await;
    vault.rig.until(dead, "dead").await;
    vault.rig.until(gone, "created").await;
    vault.rig.cancel(gone).await;
    vault.rig.until(gone, "cancelled").await;
    for name in &names {
        eventually(PATIENCE, async || !is_there(&vault, name).await)
            .await
            .expect("the key is erased");
    }
    worker.hand.stop().await;
}

#[tokio::test]
async fn a_sweep_completes_what_was_interrupted_and_leaves_open_tasks_their_keys() {
    let vault = VaultRig::new().await;
    let mut open = a_task(&vault, "/status/200");
    open.not_before = Some(open.at.plus(LONG));
    let open_name = vault.seal_headers(&mut open).await;
    vault.rig.append(vec![open]).await;
    let ended = vault.rig.create("/status/200", |_| {}).await;
    let first = vault.worker("first").await;
    vault.rig.until(ended, "succeeded").await;
    first.hand.stop().await;
    // As if the worker had crashed before it erased the key; and a key of a task that was never
    // created.
    let mut again = a_task(&vault, "/status/200");
    again.id = ended;
    let ended_name = vault.seal_headers(&mut again).await;
    let mut never = a_task(&vault, "/status/200");
    let never_name = vault.seal_headers(&mut never).await;
    let worker = vault.worker("sweeping").await;
    for name in [&ended_name, &never_name] {
        eventually(PATIENCE, async || !is_there(&vault, name).await)
            .await
            .expect("the key is swept away");
    }
    assert!(is_there(&vault, &open_name).await);
    worker.hand.stop().await;
}

#[tokio::test]
async fn sealed_headers_without_their_key_are_told_for_good() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let mut created = a_task(&vault, "/status/200");
    let name = vault.seal_headers(&mut created).await;
    vault.rig.log.erase(&name).await.expect("erased");
    let task = created.id;
    vault.rig.append(vec![created]).await;
    let failure = vault.failure_of(task).await;
    let message = "The sealed headers of the task cannot be opened; nothing was sent";
    assert_final(&failure, FailureKind::VaultIntegrity, message);
    assert_eq!(vault.rig.sink.count(), 0);
    let events = vault.rig.events(task).await;
    assert!(
        !events
            .iter()
            .any(|e| matches!(e, TaskEvent::AttemptFailed(_)))
    );
    worker.hand.stop().await;
}

/// Waits until the keys of a partition were swept, with everything that was there before.
async fn swept(vault: &VaultRig, partition: Partition) {
    let unused = vault.begin_epoch(partition).await;
    eventually(PATIENCE, async || !is_there(vault, &unused.name).await)
        .await
        .expect("a key that no task names is swept away");
}

#[tokio::test]
async fn the_key_of_an_epoch_goes_with_the_last_task_that_names_it() {
    let vault = VaultRig::guarded().await;
    let mut first = a_task(&vault, "/script/503,200");
    let mut last = a_task(&vault, "/status/200");
    last.not_before = Some(last.at.plus(LONG));
    let partition = first.id.partition();
    assert_eq!(partition, last.id.partition());
    let epoch = vault.begin_epoch(partition).await;
    epoch.seal_headers(&mut first);
    epoch.seal_headers(&mut last);
    let (ended, open) = (first.id, last.id);
    // Before any worker runs: in these tests a key may be swept away at any age.
    vault.rig.append(vec![first]).await;
    vault.rig.append(vec![last]).await;
    let worker = vault.worker("first").await;
    vault.rig.until(ended, "succeeded").await;
    for received in vault.rig.sink.received() {
        let bearer = format!("Bearer {RAW}");
        assert_eq!(received.header("authorization"), Some(bearer.as_str()));
    }
    swept(&vault, partition).await;
    assert!(is_there(&vault, &epoch.name).await, "one task is open");
    worker.hand.stop().await;
    // The next owner knows it from its snapshot or from the log.
    let worker = vault.worker("second").await;
    swept(&vault, partition).await;
    assert!(is_there(&vault, &epoch.name).await, "one task is open");
    vault.rig.cancel(open).await;
    vault.rig.until(open, "cancelled").await;
    eventually(PATIENCE, async || !is_there(&vault, &epoch.name).await)
        .await
        .expect("the key is erased");
    worker.hand.stop().await;
    vault.assert_nowhere(RAW).await;
}

#[tokio::test]
async fn what_was_sealed_for_another_task_of_the_epoch_does_not_open() {
    let vault = VaultRig::new().await;
    let (mut own, mut other) = (a_task(&vault, "/status/200"), a_task(&vault, "/status/200"));
    own.not_before = Some(own.at.plus(LONG));
    let epoch = vault.begin_epoch(own.id.partition()).await;
    epoch.seal_headers(&mut own);
    epoch.seal_headers(&mut other);
    other.sealed.clone_from(&own.sealed);
    let task = other.id;
    vault.rig.append(vec![own]).await;
    vault.rig.append(vec![other]).await;
    let worker = vault.worker("only").await;
    let failure = vault.failure_of(task).await;
    let message = "The sealed headers of the task cannot be opened; nothing was sent";
    assert_final(&failure, FailureKind::VaultIntegrity, message);
    assert_eq!(vault.rig.sink.count(), 0);
    worker.hand.stop().await;
}

#[tokio::test]
async fn a_task_that_comes_after_its_epoch_ends_with_a_sentence() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let mut late = a_task(&vault, "/status/200");
    let epoch = vault.begin_epoch(late.id.partition()).await;
    epoch.seal_headers(&mut late);
    eventually(PATIENCE, async || !is_there(&vault, &epoch.name).await)
        .await
        .expect("nobody waits for a gateway that stands still");
    let task = late.id;
    vault.rig.append(vec![late]).await;
    let failure = vault.failure_of(task).await;
    let message = "The task reached the log after the key of its credential had been erased, as its gateway must have stood still for minutes; nothing was sent";
    assert_final(&failure, FailureKind::VaultIntegrity, message);
    assert_eq!(vault.rig.sink.count(), 0);
    worker.hand.stop().await;
}
