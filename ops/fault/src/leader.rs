//! For how long the servers of the log had no leader for TASKS themselves: what no client of theirs can make up for.

use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Request};
use futures::future::join_all;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use waybill_log::Stream;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What an answer may take.
const ANSWER: Duration = Duration::from_millis(500);
/// Copies say something to their leader once a second: one that hears of none for longer can store nothing.
const HEARD_LATELY: Duration = Duration::from_secs(2);

/// Looks for a leader through every server until it is dropped.
pub(crate) struct LeaderWatch {
    longest: watch::Receiver<Duration>,
    _task: AbortOnDropHandle<()>,
}

impl LeaderWatch {
    pub(crate) fn start(ports: Vec<u16>) -> Self {
        let (longest, watched) = watch::channel(Duration::ZERO);
        Self {
            longest: watched,
            _task: AbortOnDropHandle::new(tokio::spawn(look_on(ports, longest))),
        }
    }

    /// The longest time without one so far.
    pub(crate) fn longest_without(&self) -> Duration {
        *self.longest.borrow()
    }
}

async fn look_on(ports: Vec<u16>, longest: watch::Sender<Duration>) {
    let connecting = ports.iter().map(|port| {
        let options = ConnectOptions::new().retry_on_initial_connect();
        options.connect(format!("127.0.0.1:{port}"))
    });
    let clients: Vec<Client> = join_all(connecting).await.into_iter().flatten().collect();
    let mut seen = Instant::now();
    loop {
        let answers = join_all(clients.iter().map(leads)).await;
        longest.send_if_modified(|longest| {
            let without = seen.elapsed();
            let is_longer = without > *longest;
            if is_longer {
                *longest = without;
            }
            is_longer
        });
        if answers.contains(&true) {
            seen = Instant::now();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether a leader that can store something answers through a server.
async fn leads(client: &Client) -> bool {
    let subject = format!("$JS.API.STREAM.INFO.{}", Stream::Tasks.name());
    let request = client.send_request(subject, Request::new());
    let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, request).await else {
        return false;
    };
    let info: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    let copies = info["cluster"]["replicas"].as_array();
    copies.is_some_and(|copies| copies.iter().any(is_heard))
}

fn is_heard(copy: &Value) -> bool {
    let silent = copy["active"].as_u64().map(Duration::from_nanos);
    copy["offline"] != true && silent.is_some_and(|silent| silent < HEARD_LATELY)
}
