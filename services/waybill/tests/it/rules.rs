//! Rules of the order in which tasks start, from outside: priorities that change, and failures that block.

use anyhow::Result;
use http::Method;
use serde_json::json;
use waybill_sink::{Sink, SinkOptions};

use crate::installation::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_blocks_those_behind_it_until_it_is_done_again_or_they_are_let_go() -> Result<()>
{
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = |path: &str, key: &str| {
        json!({
            "targetUrl": sink.url(path), "orderingKey": key, "onFailure": "block", "maxRetries": 0, "json": {"n": 1},
        })
    };
    for is_let_go in [false, true] {
        let line = if is_let_go { "let go" } else { "again" };
        let first = http.create(&task("/status/500", line)).await?;
        let second = http.create(&task("/", line)).await?;
        http.task_when(&first, |task| task["status"] == "failed")
            .await?;
        let waits = http
            .task_when(&second, |task| task["blockedBy"]["kind"] == "order_blocked")
            .await?;
        assert_eq!(waits["blockedBy"]["taskId"], json!(first));
        assert_eq!(waits["status"], "pending");
        let unblock = |id: &str| {
            let path = format!("/v1/tasks/{id}/unblock");
            let http = http.clone();
            async move { http.send(Method::POST, &path, &[], "").await }
        };
        let refused = unblock(&second).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.code()),
            (409, "not_ended".into())
        );
        let before = if is_let_go {
            let done = unblock(&first).await?;
            assert_eq!(done.status, 200, "{}", done.text());
            None
        } else {
            let path = format!("/v1/tasks/{first}/replay");
            let again = http
                .post(&path, &json!({"targetUrl": sink.url("/delay/50ms")}))
                .await?;
            assert_eq!(again.status, 201, "{}", again.text());
            let again = again.task()["id"].as_str().expect("an id").to_owned();
            Some(http.completed(&again).await?)
        };
        let second = http.completed(&second).await?;
        if let Some(before) = before {
            let time = |of: &serde_json::Value, field: &str| of[field].as_str().map(str::to_owned);
            assert!(time(&before, "completedAt") <= time(&second, "startedAt"));
        }
        let over = unblock(&first).await?;
        assert_eq!(
            (over.status.as_u16(), over.code()),
            (409, "conflict".into())
        );
    }
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_priority_was_raised_starts_first() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let limited = json!({"concurrency": 1}).to_string();
    let set = http
        .send(Method::PUT, "/v1/queues/mail", &[], limited)
        .await?;
    assert_eq!(set.status, 200, "{}", set.text());
    let paused = http
        .send(Method::POST, "/v1/queues/mail/pause", &[], "")
        .await?;
    assert_eq!(paused.status, 200, "{}", paused.text());
    let task = json!({"targetUrl": sink.url("/"), "queue": "mail"});
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(http.create(&task).await?);
    }
    let path = format!("/v1/tasks/{}", ids[2]);
    let raised = json!({"priority": 9}).to_string();
    let raised = http.send(Method::PATCH, &path, &[], raised).await?;
    assert_eq!(raised.status, 200, "{}", raised.text());
    assert_eq!(raised.task()["priority"], 9);
    let resumed = http
        .send(Method::POST, "/v1/queues/mail/resume", &[], "")
        .await?;
    assert_eq!(resumed.status, 200, "{}", resumed.text());
    let mut starts = Vec::new();
    for id in &ids {
        let done = http.completed(id).await?;
        starts.push((done["startedAt"].as_str().map(str::to_owned), id.clone()));
    }
    starts.sort();
    let order: Vec<_> = starts.into_iter().map(|(_, id)| id).collect();
    assert_eq!(order[0], ids[2], "{order:?}");
    let path = format!("/v1/tasks/{}", ids[0]);
    let late = http.send(
        Method::PATCH,
        &path,
        &[],
        json!({"priority": 9}).to_string(),
    );
    let late = late.await?;
    assert_eq!(
        (late.status.as_u16(), late.code()),
        (409, "already_ended".into())
    );
    up.interrupt().await?;
    Ok(())
}
