//! Ports of Waybill itself, which no task may reach: what listens there trusts this machine.

use anyhow::Result;
use serde_json::json;
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::http::Http;
use waybill_testkit::nats::free_port;

use crate::installation::Installation;

#[tokio::test(flavor = "multi_thread")]
async fn no_task_reaches_the_ports_of_waybill_itself() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let metrics = free_port()?;
    installation.set("WAYBILL__METRICS_LISTEN", &format!("127.0.0.1:{metrics}"));
    let up = installation.up().await?;
    let http = up.http(&key);
    let operator = Http::new(&format!("http://127.0.0.1:{metrics}"), None);
    let shown = operator.until("/metrics", http::StatusCode::OK).await?;
    assert!(shown.text().contains("waybill_"), "they are there");
    let own = up.url.rsplit(':').next().unwrap_or_default().to_owned();
    for target in [
        format!("http://127.0.0.1:{metrics}/metrics"),
        format!("http://localhost:{metrics}/metrics"),
        format!("http://127.0.0.1:{own}/v1/tasks"),
        format!("http://localhost:{own}/"),
    ] {
        let task = json!({"targetUrl": target, "method": "GET"});
        let refused = http.post("/v1/tasks", &task).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["field"].as_str()),
            (400, Some("targetUrl")),
            "{target}: {}",
            refused.text()
        );
    }

    // What a gateway cannot see, since only the target says it.
    let hidden = sink.url(&format!("/redirect?to=http://127.0.0.1:{metrics}/metrics"));
    let task = json!({
        "targetUrl": hidden, "method": "GET", "followRedirects": true, "maxRetries": 0,
    });
    let id = http.create(&task).await?;
    let ended = http.task_when(&id, |task| task["ok"].is_boolean()).await?;
    assert_eq!(ended["status"], "failed", "{ended}");
    assert_eq!(sink.count(), 1, "it was redirected");
    let result = http.get(&format!("/v1/tasks/{id}/result")).await?;
    for text in [ended.to_string(), result.text()] {
        assert!(
            !text.contains("waybill_") && !text.contains("# TYPE"),
            "{text}"
        );
    }
    up.interrupt().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_call_this_machine_only_where_that_is_allowed() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    installation.set("WAYBILL__WORKER__LOOPBACK_TARGETS", "false");
    let up = installation.up().await?;
    let task = json!({"targetUrl": sink.url("/")});
    let refused = up.http(&key).post("/v1/tasks", &task).await?;
    assert_eq!(
        (refused.status.as_u16(), refused.json()["field"].as_str()),
        (400, Some("targetUrl")),
        "{}",
        refused.text()
    );
    assert_eq!(sink.count(), 0);
    up.interrupt().await?;
    Ok(())
}
