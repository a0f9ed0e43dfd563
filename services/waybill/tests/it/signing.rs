//! The signing secret on the command line, against calls that were really signed with it.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use waybill_domain::signature::WebhookSecret;
use waybill_sink::{Sink, SinkOptions};

use crate::installation::Installation;
use crate::process::PATIENCE;

/// More calls than the test waits for.
const CALLS: usize = 1_000;

/// Whether both signatures of a call were made with that secret, perhaps beside another one.
fn is_signed_with(secret: &str, headers: &Value, body: &str) -> Result<bool> {
    let secret = WebhookSecret::parse(secret)?;
    let value = |name: &str| headers[name].as_str().context(name.to_owned());
    let time = value("webhook-timestamp")?.parse()?;
    let standard = secret.standard(value("webhook-id")?, time, body.as_bytes());
    let asyncqueue = secret.asyncqueue(time, body.as_bytes());
    let (_, mac) = asyncqueue.split_once(',').context("a signature")?;
    let given = value("x-asyncqueue-signature")?;
    Ok(value("webhook-signature")?
        .split(' ')
        .any(|one| one == standard)
        && given.split(',').any(|one| one == mac))
}

/// What the page shows is what a worker would send.
#[test]
fn the_published_vector_holds() -> Result<()> {
    let page = include_str!("../../../../docs/webhooks.md");
    let (_, vector) = page.split_once("## A test vector").context("the vector")?;
    let value = |name: &str| {
        let mut lines = vector.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().map(str::trim).context(name.to_owned())
    };
    let secret = WebhookSecret::parse(value("secret ")?)?;
    let (id, body) = (value("webhook-id ")?, value("body ")?.as_bytes());
    let time = value("webhook-timestamp ")?.parse()?;
    assert_eq!(
        secret.standard(id, time, body),
        value("webhook-signature ")?
    );
    assert_eq!(
        secret.asyncqueue(time, body),
        value("x-asyncqueue-signature ")?
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_signed_with_the_printed_secret_and_with_both_while_they_overlap() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let (calls, mut received) = mpsc::channel(CALLS);
    let options = SinkOptions {
        script: Some(Arc::new(move |call| {
            let headers: serde_json::Map<_, _> = call
                .headers
                .iter()
                .map(|(name, value)| {
                    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
                    (name.to_string(), Value::from(value))
                })
                .collect();
            let body = String::from_utf8_lossy(&call.body).into_owned();
            // Full only when more came than the test looks at.
            let _ = calls.try_send((Value::Object(headers), body));
            None
        })),
        ..SinkOptions::default()
    };
    let sink = Sink::start(([127, 0, 0, 1], 0).into(), options).await?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = json!({"targetUrl": sink.url("/signed"), "body": "{\"order\": 17}"});
    let print = async |installation: &mut Installation, more: &[&str]| -> Result<String> {
        let arguments = [&["signing-secret"], more].concat();
        let ended = installation.run(&arguments).await?;
        anyhow::ensure!(ended.status.success(), "{}", ended.stderr);
        Ok(ended.stdout.trim().to_owned())
    };
    let mut next = async || {
        tokio::time::timeout(PATIENCE, received.recv())
            .await?
            .context("a call")
    };

    let first = print(&mut installation, &[]).await?;
    let shown = http.get("/v1/signing-secret").await?.json();
    assert_eq!(shown["signingSecret"]["secret"], json!(first));
    http.create(&task).await?;
    let (headers, body) = next().await?;
    assert!(is_signed_with(&first, &headers, &body)?);

    let second = print(&mut installation, &["--rotate"]).await?;
    assert_ne!(second, first);
    assert_eq!(print(&mut installation, &[]).await?, second);
    assert_ne!(
        print(&mut installation, &["--environment", "test"]).await?,
        second
    );
    // The worker hears of it within moments; then both sign.
    let start = std::time::Instant::now();
    let (headers, body) = loop {
        http.create(&task).await?;
        let (headers, body) = next().await?;
        let signatures = headers["webhook-signature"]
            .as_str()
            .context("a signature")?;
        if signatures.split(' ').count() == 2 {
            break (headers, body);
        }
        anyhow::ensure!(
            start.elapsed() < PATIENCE,
            "it still signs with the first alone"
        );
    };
    for secret in [&first, &second] {
        assert!(is_signed_with(secret, &headers, &body)?);
        let request = json!({"headers": headers, "body": body});
        let verdict = http.post("/v1/signatures/verify", &request).await?.json();
        assert_eq!(verdict["valid"], true, "{verdict}");
    }
    up.interrupt().await?;
    Ok(())
}
