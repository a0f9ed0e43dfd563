//! Redirects are answers by default, and followed within limits on request.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use waybill_sink::{Answer, SinkOptions};
use waybill_worker::callout::Request;

use super::{a_sink, a_sink_with, answered, post, to_loopback};

fn following(url: &str) -> Request {
    Request {
        follow_redirects: true,
        ..post(url)
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_unless_asked_for() {
    let sink = a_sink().await;
    let url = sink.url("/redirect?to=/there&status=307");
    let answer = answered(to_loopback().call(post(&url)).await);
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(sink.count(), 1);

    let answer = answered(to_loopback().call(following(&url)).await);
    assert_eq!(answer.status, StatusCode::OK);
    let received = sink.received();
    let last = received.last().expect("a request");
    assert_eq!(
        (last.path.as_str(), last.text().as_str()),
        ("/there", "hello")
    );
}

#[tokio::test]
async fn the_answer_after_three_redirects_stands() {
    let circle = SinkOptions {
        script: Some(Arc::new(|_| {
            let to = "/again".to_owned();
            Some(Answer::Redirect { to }.into())
        })),
        ..SinkOptions::default()
    };
    let sink = a_sink_with(circle).await;
    let answer = answered(to_loopback().call(following(&sink.url("/"))).await);
    assert_eq!(answer.status, StatusCode::FOUND);
    assert_eq!(sink.count(), 4);
}

#[tokio::test]
async fn another_origin_does_not_learn_the_first_ones_secrets() {
    let first = a_sink().await;
    let second = a_sink().await;
    let mut request =
        following(&first.url(&format!("/redirect?to={}&status=307", second.url("/"))));
    let secrets = [
        "authorization",
        "cookie",
        "x-api-key",
        "webhook-signature",
        "x-asyncqueue-signature",
        "webhook-id",
    ];
    for name in secrets.into_iter().chain(["waybill-attempt"]) {
        request.headers.insert(name, HeaderValue::from_static("7"));
    }
    answered(to_loopback().call(request).await);
    let received = second.received();
    let one = &received[0];
    assert_eq!((one.text().as_str(), one.attempt), ("hello", Some(7)));
    for secret in secrets {
        assert_eq!(one.header(secret), None, "{secret}");
        assert_eq!(first.received()[0].header(secret), Some("7"), "{secret}");
    }
}

/// Otherwise a task would be completed although nobody got its payload.
#[tokio::test]
async fn a_post_stays_a_post_unless_the_answer_asks_for_a_get() {
    for (status, method, body) in [
        (301, "POST", "hello"),
        (302, "POST", "hello"),
        (307, "POST", "hello"),
        (308, "POST", "hello"),
        (303, "GET", ""),
    ] {
        let sink = a_sink().await;
        let url = sink.url(&format!("/redirect?to=/there&status={status}"));
        let answer = answered(to_loopback().call(following(&url)).await);
        assert_eq!(answer.status, StatusCode::OK, "{status}");
        let received = sink.received();
        let last = received.last().expect("a request");
        let seen = (last.path.as_str(), last.method.as_str(), last.text());
        assert_eq!(seen, ("/there", method, body.to_owned()), "{status}");
    }
}
