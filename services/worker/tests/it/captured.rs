//! What is kept of calls, through a whole worker.

use waybill_domain::id::TaskId;
use waybill_log::{Capture, CapturedKind, Captures};
use waybill_testkit::eventually;

use crate::rig::{PATIENCE, Rig, team};

/// The captures of a task, once there are so many.
async fn captures(rig: &Rig, task: TaskId, count: usize) -> Vec<Capture> {
    let read = async || rig.log.captures(&team(), task).await.unwrap_or_default();
    // Nothing acknowledges a capture, so the end of the task may be stored before it.
    let come = eventually(PATIENCE, async || read().await.len() >= count).await;
    let found = read().await;
    come.unwrap_or_else(|error| panic!("{found:?}: {error}"));
    found
}

#[tokio::test]
async fn every_attempt_and_delivery_leaves_what_it_sent_and_was_answered() {
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    let done = rig.sink.url("/done");
    let task = rig
        .create("/script/503,200?retryAfter=0", |task| {
            task.method = Some("POST".into());
            task.body = Some("{\"order\": 17}".into());
            task.headers = vec![("X-Mine".into(), "yes".into())];
            task.on_complete_url = Some(done);
        })
        .await;
    rig.until(task, "callback_sent").await;
    let found = captures(&rig, task, 3).await;
    let calls: Vec<_> = found
        .iter()
        .map(|capture| (capture.call.kind, capture.call.number, capture.status))
        .collect();
    assert_eq!(calls[0], (CapturedKind::Attempt, 1, Some(503)));
    assert_eq!(calls[1], (CapturedKind::Attempt, 2, Some(200)));
    assert_eq!(calls[2].0, CapturedKind::Delivery);
    let first = &found[0];
    assert_eq!(first.request.body, "{\"order\": 17}");
    let header = |name: &str| {
        let found = first.request.headers.iter().find(|header| header.0 == name);
        found.map(|header| header.1.as_str())
    };
    assert_eq!(header("x-mine"), Some("yes"));
    assert_eq!(header("waybill-attempt"), Some("1"));
    assert!(header("webhook-signature").is_some(), "as it was sent");
    assert!(found[2].request.body.contains("task.completed"));
    worker.stop().await;
}

#[tokio::test]
async fn a_call_without_an_answer_says_why() {
    let rig = Rig::new().await;
    let worker = rig.worker("only").await;
    let task = rig
        .create("/", |task| {
            // Nobody listens there.
            task.target_url = Some("http://127.0.0.1:1/".into());
            task.max_retries = Some(0);
        })
        .await;
    rig.until(task, "dead").await;
    let found = captures(&rig, task, 1).await;
    assert_eq!((found[0].status, &found[0].answer), (None, &None));
    let failure = found[0].failure.as_deref().unwrap_or_default();
    assert!(failure.contains("refused"), "{failure}");
    worker.stop().await;
}
