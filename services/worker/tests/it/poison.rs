//! Foreign messages in TASKS stop no partition, and what a newer version wrote stops only its own
//! partition.

use async_nats::HeaderMap;
use waybill_domain::event::{TaskCancelled, TaskEvent};
use waybill_domain::id::TaskId;
use waybill_testkit::eventually;
use waybill_worker::{Clock, SystemClock};

use crate::rig::{PARTITIONS, PATIENCE, Rig, queue_in_each_partition, team};

/// Stores a message, as anybody could who may publish there.
async fn plant(rig: &Rig, subject: String, event: Option<&str>, payload: Vec<u8>) {
    let mut headers = HeaderMap::new();
    if let Some(event) = event {
        headers.insert("Wb-Event", event);
    }
    let context = async_nats::jetstream::new(rig.log.client());
    let sent = context.publish_with_headers(subject, headers, payload.into());
    sent.await.expect("sent").await.expect("stored");
}

fn cancellation(id: TaskId) -> TaskEvent {
    TaskEvent::Cancelled(TaskCancelled::idle(id, SystemClock.now()))
}

/// Planted messages may follow.
async fn until_succeeded(rig: &Rig, task: TaskId) {
    eventually(PATIENCE, async || {
        rig.kinds(task).await.contains(&"succeeded")
    })
    .await
    .unwrap_or_else(|error| panic!("{task} does not succeed: {error}"));
}

/// Plants every kind of message on the subjects of a task.
async fn plant_all(rig: &Rig, queue: &str, task: TaskId) {
    let (partition, team) = (task.partition(), team());
    let event = cancellation(task);
    let (name, whole) = (event.name(), event.encode());
    let at = |queue: &str, kind: &str| format!("tasks.{partition}.{team}.{queue}.{kind}");
    for kind in ["created", "cancelled"] {
        plant(rig, at(queue, kind), None, whole.clone()).await;
        plant(rig, at(queue, kind), Some("hello"), whole.clone()).await;
        plant(
            rig,
            at(queue, kind),
            Some(&format!("task.{kind}.v1")),
            b"nonsense".to_vec(),
        )
        .await;
    }
    // A genuine cancellation on the subjects of creations, of another queue and of another
    // partition.
    plant(rig, at(queue, "created"), Some(name), whole.clone()).await;
    plant(rig, at("elsewhere", "cancelled"), Some(name), whole.clone()).await;
    let other = (partition.get() + 1) % PARTITIONS;
    let subject = format!("tasks.{other}.{team}.{queue}.cancelled");
    plant(rig, subject, Some(name), whole).await;
}

#[tokio::test]
async fn poison_stops_no_partition_and_ends_no_task() {
    let rig = Rig::new().await;
    let mut tasks = Vec::new();
    let queues = queue_in_each_partition();
    for queue in &queues {
        let task = rig
            .create("/status/200", |task| task.queue = Some(queue.clone()))
            .await;
        plant_all(&rig, queue, task).await;
        tasks.push(task);
    }
    // Found by the takeover.
    let worker = rig.worker("only").await;
    for task in &tasks {
        until_succeeded(&rig, *task).await;
    }
    // Found while serving.
    for queue in &queues {
        let task = rig
            .create("/status/200", |task| task.queue = Some(queue.clone()))
            .await;
        plant_all(&rig, queue, task).await;
        let next = rig
            .create("/status/200", |task| task.queue = Some(queue.clone()))
            .await;
        until_succeeded(&rig, task).await;
        until_succeeded(&rig, next).await;
    }
    assert_eq!(worker.worker.owned(), usize::from(PARTITIONS));
    worker.stop().await;
}

#[tokio::test]
async fn what_a_newer_version_wrote_stops_its_partition_and_no_other() {
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    rig.until_shares(&[&worker], &[usize::from(PARTITIONS)])
        .await;
    let queues = queue_in_each_partition();
    let queue = &queues[0];
    let task = rig
        .create("/status/200", |task| task.queue = Some(queue.clone()))
        .await;
    rig.until(task, "succeeded").await;
    let (partition, team) = (task.partition(), team());
    let subject = format!("tasks.{partition}.{team}.{queue}.created");
    plant(&rig, subject, Some("task.created.v2"), b"x".to_vec()).await;
    let left = worker.worker.left_to_newer();
    eventually(PATIENCE, async || left.all() == [partition])
        .await
        .expect("it is given up, and said so");
    for other in &queues[1..] {
        let task = rig
            .create("/status/200", |task| task.queue = Some(other.clone()))
            .await;
        rig.until(task, "succeeded").await;
    }
    worker.stop().await;
}
