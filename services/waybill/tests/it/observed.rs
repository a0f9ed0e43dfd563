//! What operators see: metrics under the names that the dashboards and alerts use, logs that can be searched, traces that are whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_sink::{Sink, SinkOptions};
use waybill_testkit::nats::free_port;

use crate::installation::Installation;
use crate::process::PATIENCE;
use waybill_testkit::http::Http;

/// What Prometheus and the way it is configured add by themselves.
const ADDED: [&str; 4] = ["le", "instance", "job", "role"];

fn ops(path: &str) -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../ops")
        .join(path);
    fs::read_to_string(&file).with_context(|| file.display().to_string())
}

/// Words that begin with `waybill_`, and the labels that their expression groups by.
fn used(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut used = BTreeMap::<_, BTreeSet<_>>::new();
    for line in text.lines() {
        let names = line
            .split(|c| !word(c))
            .filter(|name| name.starts_with("waybill_"));
        let groups = line
            .split(" by (")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        let labels: Vec<_> = groups
            .flat_map(|group| group.split(','))
            .map(|label| label.trim().to_owned())
            .filter(|label| !ADDED.contains(&label.as_str()))
            .collect();
        for name in names {
            used.entry(name.to_owned())
                .or_default()
                .extend(labels.clone());
        }
    }
    used
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_and_alerts_name_metrics_that_there_are() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    installation.set("WAYBILL__METRICS_LISTEN", &metrics);
    let up = installation.up().await?;
    let http = up.http(&key);
    let operator = Http::new(&format!("http://{metrics}"), None);
    assert_eq!(operator.get("/health").await?.status, StatusCode::OK);

    let stream = http.events("/v1/events", None).await?;
    let fine = http
        .create(&json!({"targetUrl": sink.url("/?fail=1")}))
        .await?;
    let failing = json!({"targetUrl": sink.url("/status/500"), "maxRetries": 0});
    let failing = http.create(&failing).await?;
    http.completed(&fine).await?;
    http.task_when(&failing, |task| task["status"] == "failed")
        .await?;

    let scraped = operator.until("/metrics", StatusCode::OK).await?.text();
    let mut wanted = used(&ops("prometheus/alerts.yml")?);
    wanted.extend(used(&ops("grafana/dashboards/waybill.json")?));
    assert!(wanted.len() > 10, "{wanted:?}");
    for (name, labels) in &wanted {
        let series: Vec<_> = scraped
            .lines()
            .filter(|line| {
                line.strip_prefix(name.as_str())
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .collect();
        assert!(!series.is_empty(), "{name} is not exported:\n{scraped}");
        for label in labels {
            assert!(
                series
                    .iter()
                    .all(|line| line.contains(&format!("{label}=\""))),
                "{name} has no {label}: {series:?}"
            );
        }
    }
    let value = |series: &str| {
        let line = scraped.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    for (series, expected) in [
        ("waybill_accepted_total", 2.0),
        ("waybill_tasks_started_total", 3.0),
        ("waybill_tasks_retried_total", 1.0),
        ("waybill_tasks_succeeded_total{ok=\"true\"}", 1.0),
        ("waybill_tasks_succeeded_total{ok=\"false\"}", 0.0),
        ("waybill_tasks_failed_total{status=\"failed\"}", 1.0),
        ("waybill_partitions ", 4.0),
        ("waybill_partitions_owned", 4.0),
        ("waybill_stream_subscribers", 1.0),
        ("waybill_end_to_end_seconds_count", 2.0),
    ] {
        assert_eq!(value(series), Some(expected), "{series}:\n{scraped}");
    }
    drop(stream);
    up.interrupt().await?.succeeded();
    Ok(())
}

/// A 404 completes a task unless its rule of success says otherwise: counted without `ok`, a dead route would look like success.
#[test]
fn no_panel_takes_every_completed_task_for_a_success() -> Result<()> {
    let dashboard = ops("grafana/dashboards/waybill.json")?;
    let counted: Vec<&str> = dashboard
        .split("waybill_tasks_succeeded_total")
        .skip(1)
        .collect();
    assert!(counted.len() > 2);
    for rest in counted {
        let told = rest.starts_with("{ok=");
        assert!(told, "waybill_tasks_succeeded_total{}", &rest[..40]);
    }
    Ok(())
}

#[test]
fn each_alert_has_an_entry_in_the_runbook_a_panel_and_a_test() -> Result<()> {
    let (alerts, tests) = (
        ops("prometheus/alerts.yml")?,
        ops("prometheus/alerts.test.yml")?,
    );
    let headings: BTreeSet<String> = ops("README.md")?
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
        .map(str::to_lowercase)
        .collect();
    let after = |key: &'static str| {
        alerts
            .lines()
            .filter_map(move |line| line.trim().strip_prefix(key))
    };
    for runbook in after("runbook: ") {
        let heading = runbook.trim_matches('"').to_lowercase();
        assert!(headings.contains(&heading), "no entry {heading:?}");
    }
    for alert in after("- alert: ") {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n");
        assert!(tests.contains(&fires), "no test sees {alert} fire");
    }
    let panels = used(&ops("grafana/dashboards/waybill.json")?);
    for metric in used(&alerts).keys() {
        assert!(panels.contains_key(metric), "{metric} has no panel");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_the_request_to_the_call_in_logs_and_spans() -> Result<()> {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";
    let (mut installation, key) = Installation::with_key()?;
    let collector = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    let target = Sink::start(([127, 0, 0, 1], 0).into(), SinkOptions::default()).await?;
    installation.set("WAYBILL__TELEMETRY__OTLP_ENDPOINT", &collector.url("/"));
    installation.set("WAYBILL__LOG__FORMAT", "json");
    installation.set(
        "WAYBILL__LOG__FILTER",
        "info,waybill_edge=debug,waybill_gateway=debug,waybill_worker=debug",
    );
    let up = installation.up().await?;
    let http = up.http(&key);
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let headers = [
        ("traceparent", parent.as_str()),
        ("x-request-id", "order-4711"),
    ];
    let task = json!({"targetUrl": target.url("/called")}).to_string();
    let created = http.send(Method::POST, "/v1/tasks", &headers, task).await?;
    assert_eq!(created.header("x-request-id"), Some("order-4711"));
    let id = created.json()["task"]["id"]
        .as_str()
        .context("an id")?
        .to_owned();
    http.completed(&id).await?;
    let called = target.wait_for(1, PATIENCE).await?[0].clone();
    let passed_on = called.headers["traceparent"].to_str()?.to_owned();
    assert!(passed_on.contains(TRACE), "{passed_on}");
    let ended = up.interrupt().await?.succeeded();

    // What is buffered is exported before the end.
    let exports = collector.received();
    assert!(
        exports.iter().all(|export| export.path == "/v1/traces"),
        "{exports:?}"
    );
    let exported: Vec<u8> = exports
        .iter()
        .flat_map(|export| export.body.to_vec())
        .collect();
    let has = |bytes: &[u8]| exported.windows(bytes.len()).any(|window| window == bytes);
    for word in ["waybill-up", "request", "attempt", "/v1/tasks", &id] {
        assert!(
            has(word.as_bytes()),
            "no {word:?} in {}",
            String::from_utf8_lossy(&exported)
        );
    }
    // One trace: the caller's, with its span above ours; and the span that the target was told of is one of those exported.
    let told = passed_on.split('-').nth(2).context("a span")?;
    for (what, id) in [
        ("trace", TRACE),
        ("the caller's span", SPAN),
        ("the call's span", told),
    ] {
        assert!(has(&hex::decode(id)?), "{what} {id} is not exported");
    }

    let mut request = None;
    let mut attempt = None;
    for line in ended.stderr.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let span = &line["span"];
        if span["request_id"] == "order-4711" {
            request = Some(line.clone());
        }
        if span["task"] == id.as_str() {
            attempt = Some(line.clone());
        }
    }
    let request = request.context("a line about the request")?;
    assert_eq!(request["span"]["trace_id"], TRACE, "{request}");
    assert_eq!(request["span"]["route"], "/v1/tasks", "{request}");
    let attempt = attempt.context("a line about the attempt")?;
    assert_eq!(attempt["span"]["trace_id"], TRACE, "{attempt}");
    assert_eq!(attempt["span"]["attempt"], 1, "{attempt}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_disturbs_nobody() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    installation.set(
        "WAYBILL__TELEMETRY__OTLP_ENDPOINT",
        &format!("http://127.0.0.1:{}", free_port()?),
    );
    let up = installation.up().await?;
    let http = up.http(&key);
    let id = http
        .create(&json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"}))
        .await?;
    http.completed(&id).await?;
    let ended = up.interrupt().await?.succeeded();
    assert!(ended.took.as_secs() < 8, "{ended:?}");
    Ok(())
}
