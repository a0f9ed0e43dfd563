//! The API's own pages, from wherever they are asked for.

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::json;
use waybill_domain::access::key::{ApiKey, ENTROPY_BYTES};
use waybill_domain::id::Environment;
use waybill_testkit::nats::free_port;

use crate::installation::Installation;
use waybill_testkit::http::Http;

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_need_no_other_host_and_every_address_may_listen() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    // Who listens to everybody lets tasks call this machine only when told to.
    installation.set("WAYBILL__WORKER__LOOPBACK_TARGETS", "true");
    let port = free_port()?;
    let up = installation.up_on(&format!("0.0.0.0:{port}")).await?;
    // An address that can be pasted, not 0.0.0.0.
    assert_eq!(up.url, format!("http://127.0.0.1:{port}"));
    let http = Http::new(&up.url, None);

    let api = http.get("/openapi.json").await?;
    assert_eq!(api.status, StatusCode::OK);
    assert!(api.json()["paths"]["/v1/tasks"]["post"].is_object());

    let mut page = http.get("/docs").await?;
    let mut base = "/docs".to_owned();
    while page.status.is_redirection() {
        base = page.header("location").context("a location")?.to_owned();
        assert!(base.starts_with('/'), "{base}");
        page = http.get(&base).await?;
    }
    assert_eq!(page.status, StatusCode::OK, "{}", page.text());
    let folder = base.rsplit_once('/').context("a path")?.0;
    let html = page.text();
    let policy = page.header("content-security-policy").unwrap_or_default();
    assert!(
        !policy.contains("http:") && !policy.contains("https:"),
        "{policy}"
    );
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in html.split(attribute).skip(1) {
            let reference = rest.split('"').next().unwrap_or_default();
            if reference.starts_with("data:") || reference.starts_with('#') {
                continue;
            }
            assert!(!reference.contains("//"), "another host: {reference}");
            let path = if reference.starts_with('/') {
                reference.to_owned()
            } else {
                format!("{folder}/{}", reference.trim_start_matches("./"))
            };
            let part = http.get(&path).await?;
            assert_eq!(part.status, StatusCode::OK, "{path}");
            loaded += 1;
        }
    }
    assert!(loaded >= 2, "{html}");

    let target = json!({"targetUrl": format!("{}/healthz", up.url), "method": "GET"});
    let http = up.http(&key);
    http.completed(&http.create(&target).await?).await?;
    up.interrupt().await?.succeeded();
    Ok(())
}

#[test]
fn the_published_pattern_finds_keys_and_nothing_else() -> Result<()> {
    let page = include_str!("../../../../docs/leaked-keys.md");
    let example = page
        .split('`')
        .find(|part| part.starts_with("wb_live_EXAMPLE"))
        .context("the example")?;
    assert!(ApiKey::parse(example).is_some(), "{example}");
    let (_, rest) = page.split_once("```python\n").context("the code")?;
    let (code, _) = rest.split_once("\n```").context("its end")?;
    let pattern = page.split_once("```regex\n").context("the pattern")?.1;
    let pattern = pattern.split_once('\n').context("its end")?.0;
    assert!(code.contains(pattern), "the code uses another pattern");

    let mut keys = vec![example.to_owned()];
    for brand in ["wb", "sp", "qu", "aitk"] {
        for (environment, seed) in [(Environment::Live, 1), (Environment::Test, 2)] {
            let key = ApiKey::generate(brand, environment, &[seed; ENTROPY_BYTES]);
            keys.push(key.context("a key")?.reveal().to_owned());
        }
    }
    // One character changed, cut off or added: no key.
    let noise = [
        example.replace("Secret", "Secreu"),
        example[..example.len() - 1].to_owned(),
        format!("{example}0"),
    ];
    let text = format!("{} {}", keys.join("\n"), noise.join(" "));
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("find.py");
    std::fs::write(
        &script,
        format!("{code}\nprint('\\n'.join(find_keys({})))\n", json!(text)),
    )?;
    let output = match std::process::Command::new("python3").arg(&script).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("SKIPPED: there is no python3 here, so the page's code was not run");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let found: Vec<_> = said.lines().collect();
    assert_eq!(found, keys, "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
