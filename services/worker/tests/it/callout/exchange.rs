//! What is sent and what comes back if all goes well.

use http::{HeaderValue, Method, StatusCode};
use waybill_domain::event::task::{BodyEncoding, FailureKind};
use waybill_worker::callout::{TaskHeader, task_headers};

use super::{a_sink, a_sink_at, answered, failed, post, to_loopback};

#[tokio::test]
async fn a_request_arrives_as_given_and_its_answer_comes_back() {
    let sink = a_sink().await;
    let mut request = post(&sink.url("/echo?a=b"));
    let given = [
        ("Authorization".to_owned(), "Bearer x".to_owned()),
        ("Content-Type".to_owned(), "text/plain".to_owned()),
        ("Content-Length".to_owned(), "1".to_owned()),
    ];
    let given: Vec<_> = given.iter().map(TaskHeader::plain).collect();
    request.headers = task_headers(&given).expect("valid headers");
    request
        .headers
        .insert("waybill-task-id", HeaderValue::from_static("task_1"));

    let answer = answered(to_loopback().call(request).await);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!((&answer.body[..], answer.body_bytes), (&b"hello"[..], 5));
    assert!(!answer.truncated);
    let content_type = ("content-type".to_owned(), "text/plain".to_owned());
    assert!(answer.headers.contains(&content_type), "{answer:?}");

    let received = sink.received();
    let one = &received[0];
    assert_eq!(
        (one.path.as_str(), one.text().as_str()),
        ("/echo?a=b", "hello")
    );
    assert_eq!(one.header("authorization"), Some("Bearer x"));
    assert_eq!(one.header("content-length"), Some("5"));
    assert_eq!(one.header("host"), Some(sink.addr.to_string().as_str()));
    assert_eq!(one.task_id.as_deref(), Some("task_1"));
    assert!(
        one.header("user-agent")
            .is_some_and(|a| a.starts_with("waybill/"))
    );
}

#[tokio::test]
async fn get_and_head_send_no_body() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    for method in [Method::GET, Method::HEAD] {
        let mut request = post(&sink.url("/"));
        request.method = method;
        answered(callouts.call(request).await);
    }
    for received in sink.received() {
        assert_eq!(received.body_bytes, 0);
        assert_eq!(received.header("content-length"), None);
    }
}

#[tokio::test]
async fn a_request_that_has_no_body_but_could_says_so() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    for (method, expected) in [
        (Method::POST, Some("0")),
        (Method::PUT, Some("0")),
        (Method::PATCH, Some("0")),
        (Method::DELETE, None),
        (Method::GET, None),
    ] {
        let mut request = post(&sink.url("/"));
        request.method = method.clone();
        request.body = bytes::Bytes::new();
        answered(callouts.call(request).await);
        let received = sink.received().pop().expect("received");
        assert_eq!(received.header("content-length"), expected, "{method}");
    }
}

#[tokio::test]
async fn every_status_is_an_answer() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    for status in [204, 302, 404, 429, 500, 503] {
        let answer = answered(
            callouts
                .call(post(&sink.url(&format!("/status/{status}"))))
                .await,
        );
        assert_eq!(answer.status.as_u16(), status);
    }
}

#[tokio::test]
async fn an_ipv6_literal_is_called() {
    let sink = a_sink_at("[::1]:0").await;
    answered(to_loopback().call(post(&sink.url("/"))).await);
    assert_eq!(sink.count(), 1);
}

#[tokio::test]
async fn outcomes_have_a_form_in_the_log() {
    let sink = a_sink().await;
    let callouts = to_loopback();
    let answer = answered(callouts.call(post(&sink.url("/"))).await).into_event();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"ok":true}"#)
    );
    assert_eq!(answer.encoding, BodyEncoding::Text);

    let mut binary = post(&sink.url("/echo"));
    binary.body = (&[0xff_u8, 0][..]).into();
    let answer = answered(callouts.call(binary).await).into_event();
    assert_eq!((answer.body.as_str(), answer.body_bytes), ("/wA=", 2));
    assert_eq!(answer.encoding, BodyEncoding::Base64);

    let failure = failed(callouts.call(post(&sink.url("/close"))).await).into_event();
    assert_eq!(failure.kind, FailureKind::Closed);
}
