//! The API's own pages, from wherever they are asked for.

use anyhow::{Context, Result};
use http::StatusCode;
use serde_json::json;
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
