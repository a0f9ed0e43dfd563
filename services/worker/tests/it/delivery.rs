//! What targets and receivers of completion webhooks get, and when, through a whole worker.

use std::time::Duration;

use serde_json::Value;
use waybill_domain::event::{FailureKind, TaskEvent};
use waybill_domain::signature::{
    ASYNCQUEUE_SIGNATURE, WEBHOOK_ID, WEBHOOK_SIGNATURE, WEBHOOK_TIMESTAMP, derive_team_secret,
};
use waybill_domain::task::Length;
use waybill_sink::{Received, Sink, SinkOptions};

use crate::rig::{PARTITIONS, PATIENCE, Rig, master, team};

/// Checks the signatures as a receiver would, from its secret and what it received.
pub(crate) fn assert_signed(received: &Received) {
    let secret = derive_team_secret(&master(), &team(), 0);
    let header = |name: &str| received.header(name).unwrap_or_else(|| panic!("no {name}"));
    let time: i64 = header(WEBHOOK_TIMESTAMP).parse().expect("seconds");
    let id = header(WEBHOOK_ID);
    assert_eq!(
        header(ASYNCQUEUE_SIGNATURE),
        secret.asyncqueue(time, &received.body)
    );
    assert_eq!(
        header(WEBHOOK_SIGNATURE),
        secret.standard(id, time, &received.body)
    );
}

#[tokio::test]
async fn a_target_that_hangs_stops_neither_others_nor_webhooks() {
    let mut rig = Rig::new().await;
    rig.slots = 16;
    let other = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default())
        .await
        .expect("the sink starts");
    let worker = rig.worker("only").await;
    let hanging: Vec<_> = (0..100).map(|_| rig.a_task("/hang", |_| {})).collect();
    rig.append(hanging).await;
    // The hanging target has all the slots that it may use, and ninety more calls wait for it.
    rig.sink.wait_for(8, PATIENCE).await.expect("eight calls");
    for number in 0..20 {
        let task = rig
            .create("/", |task| {
                task.target_url = Some(other.url("/status/200"));
                task.on_complete_url = Some(other.url("/done"));
                // Behind all the tasks that hang.
                task.priority = Some(1);
            })
            .await;
        rig.until(task, "callback_sent").await;
        assert_eq!(other.count(), 2 * (number + 1));
    }
    assert_eq!(rig.sink.count(), 8, "the calls that hang still hang");
    worker.dies();
}

#[tokio::test]
async fn a_target_sees_a_signed_call_that_says_what_it_is() {
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    let task = rig
        .create("/status/200", |task| {
            task.headers = vec![("X-Mine".into(), "yes".into())];
        })
        .await;
    rig.until(task, "succeeded").await;
    let received = rig.sink.received();
    assert_eq!(received.len(), 1);
    assert_signed(&received[0]);
    let id = task.to_string();
    assert_eq!(received[0].task_id.as_deref(), Some(id.as_str()));
    assert_eq!(received[0].attempt, Some(1));
    assert_eq!(received[0].header("idempotency-key"), Some(id.as_str()));
    assert_eq!(received[0].header("x-mine"), Some("yes"));
    assert_eq!(received[0].header("content-type"), Some("application/json"));
    assert!(received[0].header("traceparent").is_some());
    worker.stop().await;
}

#[tokio::test]
async fn a_retry_waits_as_long_as_the_target_asks() {
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    let task = rig.create("/script/429,200?retryAfter=2", |_| {}).await;
    let events = rig.until(task, "succeeded").await;
    let TaskEvent::AttemptFailed(failed) = &events[2] else {
        panic!("the first attempt failed: {events:?}");
    };
    let pause = failed.retry_at.since(failed.at);
    assert!(pause >= Duration::from_secs(2), "{pause:?}");
    let received = rig.sink.received();
    let between = Duration::from_micros(received[1].time_us - received[0].time_us);
    assert!(between >= Duration::from_millis(1_950), "{between:?}");
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_has_expired_ends_as_timeout() {
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    let hanging = rig
        .create("/hang", |task| task.expires_in = Some(Length::Seconds(1.0)))
        .await;
    let failing = rig
        .create("/status/503?retryAfter=30", |task| {
            task.expires_in = Some(Length::Seconds(1.5));
        })
        .await;
    for task in [hanging, failing] {
        let events = rig.until(task, "expired").await;
        let Some(TaskEvent::Expired(expired)) = events.last() else {
            panic!("{events:?}");
        };
        assert_eq!(expired.failure.kind, FailureKind::Timeout);
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_completion_webhook_is_retried_across_a_crash_of_its_worker() {
    let rig = Rig::new().await;
    let first = rig.worker("first").await;
    let task = rig
        .create("/status/201", |task| {
            task.on_complete_url = Some(rig.sink.url("/hook/script/503,200"));
        })
        .await;
    rig.until(task, "callback_failed").await;
    first.dies();
    let second = rig.worker("second").await;
    rig.until_shares(&[&second], &[PARTITIONS.into()]).await;
    let events = rig.until(task, "callback_sent").await;
    let kinds: Vec<_> = events.iter().map(TaskEvent::kind).collect();
    assert_eq!(
        kinds,
        [
            "created",
            "started",
            "succeeded",
            "callback_failed",
            "callback_sent"
        ]
    );
    let received = rig
        .sink
        .wait_for(3, PATIENCE)
        .await
        .expect("a call and two deliveries");
    let deliveries: Vec<_> = received
        .iter()
        .filter(|received| received.path.starts_with("/hook"))
        .collect();
    assert_eq!(deliveries.len(), 2);
    for delivery in &deliveries {
        assert_signed(delivery);
        let message: Value = serde_json::from_slice(&delivery.body).expect("JSON");
        assert_eq!(message["event"], "task.completed");
        assert_eq!(message["task"]["id"], task.to_string());
        assert_eq!(message["task"]["result"]["statusCode"], 201);
    }
    assert_eq!(
        deliveries[0].header(WEBHOOK_ID),
        deliveries[1].header(WEBHOOK_ID),
        "a receiver recognises the repeated one"
    );
    second.stop().await;
}

/// Whatever the status, as long as it is one that is retried.
#[tokio::test]
async fn every_answer_that_is_retried_may_ask_for_a_pause() {
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    let mut tasks = Vec::new();
    for status in [408, 425, 429, 500, 502, 503, 504, 529] {
        let path = format!("/script/{status},200?retryAfter=3");
        tasks.push((status, rig.create(&path, |_| {}).await));
    }
    for (status, task) in tasks {
        let events = rig.until(task, "succeeded").await;
        let TaskEvent::AttemptFailed(failed) = &events[2] else {
            panic!("{status}: the first attempt failed: {events:?}");
        };
        // Without the header it would be one second, and a tenth.
        let pause = failed.retry_at.since(failed.at);
        let asked = Duration::from_secs(3);
        assert!(
            pause >= asked && pause <= asked * 11 / 10,
            "{status}: {pause:?}"
        );
    }
    worker.stop().await;
}

#[tokio::test]
async fn the_next_delivery_of_a_webhook_waits_as_long_as_its_receiver_asks() {
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    let mut created = rig.a_task("/status/200", |task| {
        task.on_complete_url = Some(rig.sink.url("/hook/script/503,200?retryAfter=3"));
    });
    created.webhook_pauses = vec![1];
    let task = created.id;
    rig.append(vec![created]).await;
    let events = rig.until(task, "callback_sent").await;
    let failed = events.iter().find_map(|event| match event {
        TaskEvent::CallbackFailed(failed) => Some(failed),
        _ => None,
    });
    let failed = failed.unwrap_or_else(|| panic!("one delivery failed: {events:?}"));
    let retry_at = failed.retry_at.expect("another delivery");
    let pause = retry_at.since(failed.at);
    assert!(pause >= Duration::from_secs(3), "{pause:?}");
    let received = rig.sink.received();
    let hooks: Vec<_> = received
        .iter()
        .filter(|received| received.path.starts_with("/hook"))
        .collect();
    assert_eq!(hooks.len(), 2);
    let between = Duration::from_micros(hooks[1].time_us - hooks[0].time_us);
    assert!(between >= Duration::from_millis(2_950), "{between:?}");
    worker.stop().await;
}
