//! The signing secret on the command line, and the pages' own code against calls that were really signed with it.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use waybill_sink::{Sink, SinkOptions};

use crate::installation::Installation;
use crate::process::PATIENCE;

/// More calls than the test waits for.
const CALLS: usize = 1_000;

/// The code of that language in the page.
fn snippet(language: &str) -> Result<String> {
    let page = include_str!("../../../../docs/webhooks.md");
    let (_, rest) = page
        .split_once(&format!("```{language}\n"))
        .with_context(|| format!("a snippet in {language}"))?;
    let (code, _) = rest.split_once("\n```").context("its end")?;
    Ok(code.to_owned())
}

/// Runs the page's code with what a receiver has: prints `True` or `true` for each scheme.
fn run(folder: &Path, program: &str, file: &str, code: &str) -> Result<Option<String>> {
    let path = folder.join(file);
    std::fs::write(&path, code)?;
    let output = match Command::new(program).arg(&path).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: there is no {program} here, so its snippet was not run");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    anyhow::ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(Some(String::from_utf8_lossy(&output.stdout).to_lowercase()))
}

/// What the snippets say of a call, and of the same call with another body.
fn judged(folder: &Path, secret: &str, headers: &Value, body: &str) -> Result<Vec<String>> {
    let (secret, headers) = (json!(secret), headers.to_string());
    let mut verdicts = Vec::new();
    for (body, right) in [(json!(body), true), (json!(format!("{body} ")), false)] {
        let python = format!(
            "{}\nimport json\nh = json.loads({})\nb = {body}.encode()\nprint(verify_asyncqueue({secret}, h, b), verify_standard({secret}, h, b))\n",
            snippet("python")?,
            json!(headers)
        );
        let node = format!(
            "{}\nconst h = {headers};\nconst b = Buffer.from({body});\nconsole.log(verifyAsyncqueue({secret}, h, b), verifyStandard({secret}, h, b));\n",
            snippet("javascript")?
        );
        for said in [
            run(folder, "python3", "verify.py", &python)?,
            run(folder, "node", "verify.js", &node)?,
        ]
        .into_iter()
        .flatten()
        {
            assert_eq!(said.trim(), format!("{right} {right}"), "{body}");
            verdicts.push(said);
        }
    }
    Ok(verdicts)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_verifies_calls_with_the_printed_secret_and_both_while_they_overlap() -> Result<()>
{
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
    let folder = tempfile::tempdir()?;
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
    assert!(!judged(folder.path(), &first, &headers, &body)?.is_empty());

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
        judged(folder.path(), secret, &headers, &body)?;
        let request = json!({"headers": headers, "body": body});
        let verdict = http.post("/v1/signatures/verify", &request).await?.json();
        assert_eq!(verdict["valid"], true, "{verdict}");
    }
    up.interrupt().await?;
    Ok(())
}
