//! The sink over real sockets.

#![expect(clippy::expect_used, reason = "tests")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, Error, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use waybill_sink::{Answer, Recording, Sink, SinkOptions};

const PATIENCE: Duration = Duration::from_secs(10);

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn a_sink(options: SinkOptions) -> Sink {
    Sink::start(loopback(), options)
        .await
        .expect("the sink starts")
}

fn client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

async fn post(sink: &Sink, path: &str, task: &str) -> Result<Response<Incoming>, Error> {
    let request = Request::post(sink.url(path))
        .header("waybill-task-id", task)
        .header("waybill-attempt", "3")
        .body(Full::from("hello"))
        .expect("a valid request");
    client().request(request).await
}

async fn body(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.expect("a whole body");
    String::from_utf8_lossy(&body.to_bytes()).into_owned()
}

#[tokio::test]
async fn it_answers_ok_and_remembers_the_request() {
    let sink = a_sink(SinkOptions::default()).await;
    let response = post(&sink, "/orders?x=1", "task_a")
        .await
        .expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(body(response).await, r#"{"ok":true}"#);

    let received = sink.wait_for(1, PATIENCE).await.expect("one request");
    let one = &received[0];
    assert_eq!(
        (one.path.as_str(), one.text().as_str()),
        ("/orders?x=1", "hello")
    );
    assert_eq!(
        (one.task_id.as_deref(), one.attempt, one.status),
        (Some("task_a"), Some(3), 200)
    );
    assert!(one.describe().contains("--> POST /orders?x=1"));
}

#[tokio::test]
async fn waiting_for_too_much_says_what_came() {
    let sink = a_sink(SinkOptions::default()).await;
    post(&sink, "/", "a").await.expect("an answer");
    let refused = sink
        .wait_for(2, Duration::from_millis(50))
        .await
        .expect_err("only one came");
    assert_eq!((refused.expected, refused.received), (2, 1));
}

#[tokio::test]
async fn flaky_counts_each_task_apart() {
    let sink = a_sink(SinkOptions::default()).await;
    let mut statuses = Vec::new();
    for task in ["a", "b", "a", "b"] {
        let response = post(&sink, "/flaky/1", task).await.expect("an answer");
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [500, 500, 200, 200]);
}

#[tokio::test]
async fn it_closes_breaks_redirects_and_echoes_when_asked() {
    let sink = a_sink(SinkOptions::default()).await;
    post(&sink, "/close", "a").await.expect_err("no answer");

    let broken = post(&sink, "/broken/1000", "a").await.expect("a head");
    broken
        .into_body()
        .collect()
        .await
        .expect_err("no whole body");

    let big = post(&sink, "/big/1000000", "a").await.expect("an answer");
    assert_eq!(big.headers()["content-length"], "1000000");
    assert_eq!(body(big).await.len(), 1_000_000);

    let moved = post(&sink, "/redirect?to=http://example.com/", "a")
        .await
        .expect("an answer");
    assert_eq!(moved.status(), StatusCode::FOUND);
    assert_eq!(moved.headers()["location"], "http://example.com/");

    let busy = post(&sink, "/status/429?retryAfter=2", "a")
        .await
        .expect("an answer");
    assert_eq!(busy.headers()["retry-after"], "2");

    let echo = post(&sink, "/echo", "a").await.expect("an answer");
    assert_eq!(body(echo).await, "hello");
}

#[tokio::test]
async fn other_processes_can_read_and_reset_the_record() {
    let sink = a_sink(SinkOptions::default()).await;
    post(&sink, "/x", "task_a").await.expect("an answer");
    let page = body(post(&sink, "/__received", "").await.expect("an answer")).await;
    assert!(page.contains(r#""taskId":"task_a""#), "{page}");
    post(&sink, "/__reset", "").await.expect("an answer");
    assert_eq!((sink.count(), sink.received().len()), (0, 0));
}

#[tokio::test]
async fn the_log_file_has_a_line_for_each_request_before_its_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("sink.jsonl");
    let sink = a_sink(SinkOptions {
        log_file: Some(file.clone()),
        recording: Recording::CountOnly,
        ..SinkOptions::default()
    })
    .await;
    post(&sink, "/status/503", "task_a")
        .await
        .expect("an answer");
    let text = std::fs::read_to_string(&file).expect("the file");
    let line: serde_json::Value = serde_json::from_str(&text).expect("one line of JSON");
    assert_eq!(line["task_id"], "task_a");
    assert_eq!(
        (&line["attempt"], &line["status"]),
        (&3.into(), &503.into())
    );
    assert_eq!((sink.count(), sink.received().len()), (1, 0));
}

#[tokio::test]
async fn code_can_watch_and_decide() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let writer = seen.clone();
    let sink = a_sink(SinkOptions {
        on_receive: Some(Arc::new(move |received| {
            writer.lock().expect("not poisoned").push(received.status);
        })),
        script: Some(Arc::new(|received| {
            (received.path == "/teapot").then(|| Answer::Status(StatusCode::IM_A_TEAPOT).into())
        })),
        ..SinkOptions::default()
    })
    .await;
    post(&sink, "/teapot", "a").await.expect("an answer");
    post(&sink, "/other", "a").await.expect("an answer");
    assert_eq!(*seen.lock().expect("not poisoned"), [418, 200]);
}

#[tokio::test]
async fn it_speaks_http2_without_tls() {
    let sink = a_sink(SinkOptions::default()).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let request = Request::get(sink.url("/"))
        .body(Full::default())
        .expect("a valid request");
    let response = client.request(request).await.expect("an answer");
    assert_eq!(response.version(), http::Version::HTTP_2);
}
