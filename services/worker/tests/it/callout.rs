//! Callouts over real sockets: well-behaved targets, hostile ones, and those that may not be
//! called.

mod exchange;
mod guard;
mod hostile;
mod http2;
mod pool;
mod raw;
mod redirects;
mod tls;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method};
use waybill_domain::egress::Egress;
use waybill_sink::{Sink, SinkOptions};
use waybill_worker::callout::answer::KEPT_BODY_BYTES;
use waybill_worker::callout::{
    Answered, CallFailed, CalloutConfig, Callouts, Outcome, Request, Resolve, ResolveError,
};

/// Long enough for any call that is expected to end by itself.
const PATIENCE: Duration = Duration::from_secs(20);

async fn a_sink() -> Sink {
    a_sink_with(SinkOptions::default()).await
}

async fn a_sink_with(options: SinkOptions) -> Sink {
    let addr = SocketAddr::from(([127, 0, 0, 1], 0));
    Sink::start(addr, options).await.expect("the sink starts")
}

async fn a_sink_at(addr: &str) -> Sink {
    let addr: SocketAddr = addr.parse().expect("an address");
    Sink::start(addr, SinkOptions::default())
        .await
        .expect("the sink starts")
}

fn callouts(egress: Egress) -> Callouts {
    with(CalloutConfig {
        egress,
        ..CalloutConfig::default()
    })
}

fn with(config: CalloutConfig) -> Callouts {
    Callouts::new(config).expect("a valid configuration")
}

fn to_loopback() -> Callouts {
    callouts(Egress::loopback())
}

fn post(url: &str) -> Request {
    Request {
        method: Method::POST,
        url: url.parse().expect("a URL"),
        query: None,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"hello"),
        first_byte: PATIENCE,
        total: PATIENCE,
        follow_redirects: false,
        kept_body: KEPT_BODY_BYTES,
        carried: None,
    }
}

fn answered(outcome: Outcome) -> Answered {
    match outcome {
        Outcome::Answered(answered) => answered,
        Outcome::Failed(failed) => panic!("no answer: {failed:?}"),
    }
}

fn failed(outcome: Outcome) -> CallFailed {
    match outcome {
        Outcome::Failed(failed) => failed,
        Outcome::Answered(answered) => panic!("an answer: {answered:?}"),
    }
}

/// Resolves every name to one list of addresses after the other; the last one repeats.
struct Script(Mutex<VecDeque<Vec<IpAddr>>>);

fn resolving_to(answers: &[&[&str]]) -> Arc<dyn Resolve> {
    let parse = |list: &&[&str]| {
        list.iter()
            .map(|a| a.parse().expect("an address"))
            .collect()
    };
    Arc::new(Script(Mutex::new(answers.iter().map(parse).collect())))
}

#[async_trait]
impl Resolve for Script {
    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let mut answers = self.0.lock().expect("not poisoned");
        let next = match answers.len() {
            0 => None,
            1 => answers.front().cloned(),
            _ => answers.pop_front(),
        };
        next.ok_or(ResolveError::NoSuchName)
    }
}
