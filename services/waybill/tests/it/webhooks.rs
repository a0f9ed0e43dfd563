//! Completion webhooks that nobody accepted, as clients and operators find them.

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::{Value, json};
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::eventually;
use waybill_testkit::http::Http;
use waybill_testkit::nats::free_port;

use crate::installation::Installation;
use crate::process::PATIENCE;

/// The ids of the tasks whose webhook was given up.
async fn given_up(http: &Http) -> Result<Vec<Value>> {
    let list = http.get("/v1/tasks?webhook=given_up").await?;
    anyhow::ensure!(list.status == StatusCode::OK, "{}", list.text());
    let list = list.json();
    let tasks = list["tasks"].as_array().context("a list")?;
    Ok(tasks.iter().map(|task| task["id"].clone()).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_was_given_up_is_listed_told_and_counted() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    installation.set("WAYBILL__METRICS_LISTEN", &metrics);
    let up = installation.up().await?;
    let http = up.http(&key);
    let other = json!({"targetUrl": sink.url("/"), "onCompleteUrl": sink.url("/hook")});
    let other = http.create(&other).await?;
    http.task_when(&other, |task| task["webhook"]["status"] == "delivered")
        .await?;
    // A receiver that wants nothing more, until somebody has mended it.
    let hook = sink.url("/hook/script/410,200");
    let task = json!({"targetUrl": sink.url("/"), "onCompleteUrl": hook});
    let id = http.create(&task).await?;
    http.task_when(&id, |task| task["webhook"]["status"] == "given_up")
        .await?;
    assert_eq!(given_up(&http).await?, [json!(id)]);

    let mut stream = http.events("/v1/events?after=0", None).await?;
    let failed = loop {
        let event = stream.next().await?.context("more to come")?;
        if event.name == "task.callback_failed" {
            break event;
        }
    };
    assert_eq!(failed.data["taskId"], json!(id), "{failed:?}");
    assert!(failed.data.get("retryAt").is_none(), "{failed:?}");
    drop(stream);

    let operator = Http::new(&format!("http://{metrics}"), None);
    eventually(PATIENCE, async || {
        let shown = operator.get("/metrics").await;
        let shown = shown.map(|shown| shown.text()).unwrap_or_default();
        let mut lines = shown.lines();
        lines
            .any(|line| line.starts_with("waybill_webhooks_given_up_total") && line.ends_with(" 1"))
    })
    .await?;

    let again = format!("/v1/tasks/{id}/webhook/redeliver");
    let again = http.post(&again, &json!({})).await?;
    assert_eq!(again.status, StatusCode::OK, "{}", again.text());
    http.task_when(&id, |task| task["webhook"]["status"] == "delivered")
        .await?;
    assert_eq!(given_up(&http).await?, Vec::<Value>::new());
    up.interrupt().await?;
    Ok(())
}
