//! `waybill sink`, the target for trying things.

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::json;

use crate::installation::{Installation, word_after};
use crate::process::Whom;

#[tokio::test(flavor = "multi_thread")]
async fn the_sink_prints_what_it_receives_and_fails_on_request() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let mut sink = installation.start(&["sink", "--port", "0"])?;
    let url = sink
        .says(|stdout, _| word_after(stdout, "listens on "))
        .await?;
    assert!(!url.contains(":0/"), "the real port: {url}");
    let up = installation.up().await?;
    let http = up.http(&key);
    let task = json!({
        "targetUrl": format!("{url}orders?fail=2"),
        "body": "{\"order\": 17}",
        "retryBackoff": "linear",
        "headers": {"x-shop": "north"},
    });
    let id = http.create(&task).await?;
    let done = http.completed(&id).await?;
    let outcomes: Vec<_> = done["attempts"]
        .as_array()
        .context("attempts")?
        .iter()
        .map(|attempt| (attempt["number"].as_u64(), attempt["statusCode"].as_u64()))
        .collect();
    assert_eq!(
        outcomes,
        [
            (Some(1), Some(500)),
            (Some(2), Some(500)),
            (Some(3), Some(200))
        ],
        "{done}"
    );
    assert_eq!(done["retryCount"], 2);
    let words = [
        "POST",
        "/orders?fail=2",
        "{\"order\": 17}",
        "x-shop",
        "north",
        &id,
    ];
    sink.says(|stdout, _| words.iter().all(|word| stdout.contains(word)).then_some(()))
        .await?;

    let port = url
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .context("a port")?
        .to_owned();
    let second = installation.run(&["sink", "--port", &port]).await?;
    second.refused(&["--port: cannot listen on", &port, "in use"]);
    sink.end(Signal::INT, Whom::Group).await?.succeeded();
    up.interrupt().await?.succeeded();
    Ok(())
}
