//! Tokens that open one event stream, as browsers use them.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_domain::access::scope::Scope;
use waybill_gateway::GatewayConfig;
use waybill_testkit::http::Http;

use crate::world::{World, a_task, config, operator};

const APP: &str = "https://app.example";

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().expect("a text").to_owned()
}

/// The URL with another last character than it has: a token ends in any of sixteen, so a fixed one would at times be its own.
fn altered(url: &str) -> String {
    let last = if url.ends_with('A') { 'E' } else { 'A' };
    format!("{}{last}", &url[..url.len() - 1])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_its_own_stream_and_nothing_else() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        cors_origins: vec![APP.into()],
        ..config()
    })
    .await?;
    let one = world.http.create(&a_task()).await?;
    let other = world.http.create(&a_task()).await?;
    let path = format!("/v1/tasks/{one}/stream-token");
    let made = world.http.post(&path, &json!({"expiresIn": 60})).await?;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.error());
    let (token, url) = (text(&made.json(), "token"), text(&made.json(), "url"));
    assert!(token.starts_with("wb_stream_"), "a scanner knows it");
    let page = Http::at(world.gateway.addr());
    let mut stream = page.events(&url, None).await?;
    let first = stream.next().await?.expect("an event");
    assert_eq!(first.name, "task.created");

    for (path, status) in [
        (format!("/v1/tasks/{other}/events"), StatusCode::FORBIDDEN),
        ("/v1/events".into(), StatusCode::FORBIDDEN),
        (format!("/v1/tasks/{one}"), StatusCode::UNAUTHORIZED),
        ("/v1/tasks".into(), StatusCode::UNAUTHORIZED),
        ("/v1/activity/stream".into(), StatusCode::UNAUTHORIZED),
    ] {
        let refused = page.get(&format!("{path}?access_token={token}")).await?;
        assert_eq!(refused.status, status, "{path}: {}", refused.error());
        // It is no key either.
        let as_key = page.with_key(&token).get(&path).await?;
        assert_eq!(as_key.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let changed = altered(&url);
    let twice = format!("{url}&access_token={token}");
    for (path, status) in [(changed, 401), (twice, 400)] {
        assert_eq!(page.get(&path).await?.status.as_u16(), status, "{path}");
    }
    let both = world.http.get(&url).await?;
    assert_eq!(both.status, StatusCode::BAD_REQUEST, "{}", both.error());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_is_part_of_the_token() -> Result<()> {
    let world = World::start().await?;
    let request = json!({"type": ["task.created"], "queue": ["mail"]});
    let made = world.http.post("/v1/events/stream-token", &request).await?;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.error());
    let url = text(&made.json(), "url");
    let page = Http::at(world.gateway.addr());
    let mut task = a_task();
    world.http.create(&task).await?;
    task["queue"] = json!("mail");
    let wanted = world.http.create(&task).await?;
    let mut stream = page.events(&format!("{url}&after=0"), None).await?;
    let first = stream.next().await?.expect("an event");
    assert!(first.data.to_string().contains(&wanted), "{}", first.data);
    for filter in ["queue=default", "type=task.succeeded", "status=failed"] {
        let refused = page.get(&format!("{url}&{filter}")).await?;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{filter}");
    }
    for (request, field) in [
        (json!({"expiresIn": 9}), "expiresIn"),
        (json!({"expiresIn": 3601}), "expiresIn"),
        (json!({"type": ["task.done"]}), "type"),
    ] {
        let refused = world.http.post("/v1/events/stream-token", &request).await?;
        let said = refused.json();
        assert_eq!(
            (refused.status.as_u16(), &said["field"]),
            (400, &json!(field))
        );
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_the_key_that_made_it() -> Result<()> {
    let world = World::start().await?;
    let writer = world.writer();
    let made = writer
        .create_key(&world.team, "reader", &[Scope::TasksRead], &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let reader = world.http.with_key(made.key.reveal());
    let token = reader.post("/v1/events/stream-token", &json!({})).await?;
    let url = text(&token.json(), "url");
    let page = Http::at(world.gateway.addr());
    let mut stream = page.events(&format!("{url}&after=0"), None).await?;
    world.http.create(&a_task()).await?;
    assert!(stream.next().await?.is_some(), "it reads");
    let revoked = writer
        .revoke_key(&world.team, made.key.id(), &operator())
        .await?;
    world.gateway.state().auth.wait_for(revoked.seq).await?;
    world.http.create(&a_task()).await?;
    assert!(
        stream.next().await?.is_none(),
        "nothing after the revocation"
    );
    let refused = page.get(&url).await?;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_pages_of_named_origins_read_a_stream() -> Result<()> {
    let world = World::start_with(GatewayConfig {
        cors_origins: vec![APP.into()],
        ..config()
    })
    .await?;
    let task = world.http.create(&a_task()).await?;
    let path = format!("/v1/tasks/{task}/stream-token");
    let made = world.http.post(&path, &json!({})).await?.json();
    // One that has no more to say: the answer is the same to browsers, and ends.
    let url = format!("{}&after=x", text(&made, "url"));
    let page = Http::at(world.gateway.addr());
    for (origin, allowed) in [(APP, Some(APP)), ("https://evil.example", None)] {
        let answer = page
            .send(Method::GET, &url, &[("origin", origin)], "")
            .await?;
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
    }
    world.stop().await
}

/// What is logged from here on.
#[derive(Debug, Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_log_holds_a_token() -> Result<()> {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter("waybill=trace,info")
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber)?;
    let world = World::start().await?;
    let task = world.http.create(&a_task()).await?;
    let path = format!("/v1/tasks/{task}/stream-token");
    let made = world.http.post(&path, &json!({})).await?.json();
    let (token, url) = (text(&made, "token"), text(&made, "url"));
    let page = Http::at(world.gateway.addr());
    let mut stream = page.events(&url, None).await?;
    assert!(stream.next().await?.is_some(), "it reads");
    drop(stream);
    page.get(&format!("{url}A")).await?;
    world.stop().await?;
    let bytes = written.0.lock().expect("whole").clone();
    let log = String::from_utf8_lossy(&bytes);
    assert!(log.contains("/v1/tasks/{id}/events"), "routes are logged");
    let secret = token.strip_prefix("wb_stream_").expect("the prefix");
    for never in [secret, "access_token"] {
        assert!(!log.contains(never), "{never} is in a log");
    }
    Ok(())
}
