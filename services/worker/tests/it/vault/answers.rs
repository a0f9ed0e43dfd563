//! Answers of targets that echo credentials, or redirect.

use std::fmt::Write as _;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use waybill_domain::event::{FailureKind, TaskEvent};
use waybill_sink::{Sink, SinkOptions};

use super::rig::{VaultRig, assert_final};

const VALUE: &str = "sk+live/echo?me=b84c";

/// A target that answers with the value of `X-Key` in many encodings, in headers and in the body,
/// which is padded to a length.
struct Echo {
    addr: SocketAddr,
    _serving: JoinSet<()>,
}

impl Echo {
    async fn start(padding: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, padding));
            }
        });
        Self {
            addr,
            _serving: serving,
        }
    }
}

async fn answer(mut stream: TcpStream, padding: usize) {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&request).into_owned();
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("x-key: "))
        .unwrap_or_default();
    assert!(head.contains("accept-encoding: identity"), "{head}");
    let encoded: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
    let mut body = "x".repeat(padding);
    let shifted = STANDARD.encode(format!("1{key}"));
    write!(
        body,
        "plain {key} base64 {} shifted {shifted} url {encoded} safe {}",
        STANDARD.encode(key),
        URL_SAFE_NO_PAD.encode(format!("12{key}")),
    )
    .expect("a text");
    let answer = format!(
        "HTTP/1.1 200 OK\r\nx-plain: {key}\r\nx-base64: {}\r\nx-url: {encoded}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        STANDARD.encode(key),
        body.len(),
    );
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// The encodings of the value that must not appear in an event.
fn forms() -> Vec<String> {
    let middle = |text: String| text[4..text.len() - 4].to_owned();
    vec![
        VALUE.to_owned(),
        middle(STANDARD.encode(VALUE)),
        middle(STANDARD.encode(format!("1{VALUE}"))),
        middle(URL_SAFE_NO_PAD.encode(format!("12{VALUE}"))),
        url::form_urlencoded::byte_serialize(VALUE.as_bytes()).collect(),
    ]
}

#[tokio::test]
async fn what_a_target_repeats_is_taken_out() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let token = vault.keep(VALUE).await;
    // The second body is truncated at its limit, in the middle of the value.
    for padding in [0, 64 * 1024 - 6 - 10] {
        let echo = Echo::start(padding).await;
        let task = vault
            .rig
            .create("/", |task| {
                super::rig::with_key(&token)(task);
                task.target_url = Some(format!("http://{}/", echo.addr));
            })
            .await;
        let events = vault.rig.until(task, "succeeded").await;
        let Some(TaskEvent::Succeeded(succeeded)) = events.last() else {
            panic!("{events:?}");
        };
        let answer = &succeeded.answer;
        let mut texts: Vec<&str> = answer
            .headers
            .iter()
            .map(|(_, value)| value.as_str())
            .collect();
        texts.push(&answer.body);
        for text in texts {
            for form in forms() {
                assert!(!text.contains(&form), "{form}");
            }
        }
        let placeholder = format!("[vault:{token}]");
        let of = |name: &str| {
            let header = answer.headers.iter().find(|(known, _)| known == name);
            header.map(|(_, value)| value.as_str())
        };
        assert_eq!(of("x-plain"), Some(placeholder.as_str()));
        if padding == 0 {
            assert!(answer.body.contains(&placeholder), "{}", answer.body);
        } else {
            assert!(answer.body.len() <= 64 * 1024);
            let start = &VALUE[..8];
            assert!(!answer.body.contains(start), "the beginning of it is left");
        }
    }
    worker.hand.stop().await;
    vault.assert_nowhere(VALUE).await;
}

async fn elsewhere() -> Sink {
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    Sink::start(addr, SinkOptions::default())
        .await
        .expect("the sink starts")
}

#[tokio::test]
async fn another_origin_gets_the_request_without_the_credential() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let token = vault.keep(VALUE).await;
    let other = elsewhere().await;
    let path = format!("/redirect?status=307&to={}", other.url("/there"));
    let task = vault
        .rig
        .create(&path, |task| {
            task.headers = ["X-Key", "User-Agent", "Accept", "Content-Key"]
                .map(|name| (name.to_owned(), token.to_string()))
                .into();
            task.follow_redirects = Some(true);
        })
        .await;
    vault.rig.until(task, "succeeded").await;
    assert_eq!(vault.rig.sink.received()[0].header("x-key"), Some(VALUE));
    let received = other.received();
    assert_eq!(received.len(), 1);
    let shown = format!("{:?}", received[0].headers);
    assert!(!shown.contains(VALUE), "{shown}");
    worker.hand.stop().await;
}

#[tokio::test]
async fn a_request_with_a_credential_in_it_follows_no_redirect_to_another_origin() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let token = vault.keep(VALUE).await;
    let other = elsewhere().await;
    let message = "The target redirected to another origin a request that holds the value of a vault token; it was not sent there";
    for (query, body) in [
        (format!("&k={{{{{token}}}}}"), "{}".to_owned()),
        (String::new(), format!("{{\"k\":\"{{{{{token}}}}}\"}}")),
    ] {
        let path = format!("/redirect?status=307&to={}{query}", other.url("/there"));
        let task = vault
            .rig
            .create(&path, |task| {
                task.body = Some(body);
                task.follow_redirects = Some(true);
                task.resolve = Some(vec!["query".into(), "body".into()]);
            })
            .await;
        assert_final(&vault.failure_of(task).await, FailureKind::Vault, message);
    }
    // A redirect to the same origin may carry it, since that origin has it already.
    let task = vault
        .rig
        .create("/redirect?status=307&to=/there", |task| {
            task.body = Some(format!("{{\"k\":\"{{{{{token}}}}}\"}}"));
            task.follow_redirects = Some(true);
            task.resolve = Some(vec!["body".into()]);
        })
        .await;
    vault.rig.until(task, "succeeded").await;
    assert_eq!(other.count(), 0);
    assert_eq!(vault.rig.sink.count(), 4);
    worker.hand.stop().await;
}
