//! For how long the servers of the log had no leader themselves: what no client of theirs can make up for.

use std::time::{Duration, Instant};

use async_nats::{Client, ConnectOptions, Request};
use futures::future::join_all;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// What only a leader answers: that of TASKS, those of the streams that a gateway needs to know who may do what, and that of the servers as a whole,
/// without which nobody begins to read a stream.
const LEADERS: [&str; 4] = [
    "STREAM.INFO.TASKS",
    "STREAM.INFO.CONTROL",
    "STREAM.INFO.FENCE",
    "STREAM.NAMES",
];
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What an answer may take.
const ANSWER: Duration = Duration::from_millis(500);
/// Copies say something to their leader once a second: one that hears of none for longer can store nothing.
const HEARD_LATELY: Duration = Duration::from_secs(2);

/// Looks for leaders through every server until it is dropped.
pub(crate) struct LeaderWatch {
    /// In the order of `LEADERS`.
    longest: watch::Receiver<[Duration; LEADERS.len()]>,
    _task: AbortOnDropHandle<()>,
}

impl LeaderWatch {
    pub(crate) fn start(ports: Vec<u16>) -> Self {
        let (longest, watched) = watch::channel([Duration::ZERO; LEADERS.len()]);
        Self {
            longest: watched,
            _task: AbortOnDropHandle::new(tokio::spawn(look_on(ports, longest))),
        }
    }

    /// The longest time that TASKS had none so far.
    pub(crate) fn tasks_without(&self) -> Duration {
        self.longest.borrow()[0]
    }

    /// The longest time that any of them was missing so far.
    pub(crate) fn any_without(&self) -> Duration {
        self.longest
            .borrow()
            .iter()
            .max()
            .copied()
            .unwrap_or_default()
    }
}

async fn look_on(ports: Vec<u16>, longest: watch::Sender<[Duration; LEADERS.len()]>) {
    let connecting = ports.iter().map(|port| {
        let options = ConnectOptions::new().retry_on_initial_connect();
        options.connect(format!("127.0.0.1:{port}"))
    });
    let clients: Vec<Client> = join_all(connecting).await.into_iter().flatten().collect();
    let mut seen = [Instant::now(); LEADERS.len()];
    loop {
        let looks =
            LEADERS.map(|what| join_all(clients.iter().map(move |client| leads(client, what))));
        let answers = join_all(looks).await;
        longest.send_modify(|longest| {
            for (longest, seen) in longest.iter_mut().zip(&seen) {
                *longest = seen.elapsed().max(*longest);
            }
        });
        for (seen, answers) in seen.iter_mut().zip(answers) {
            if answers.contains(&true) {
                *seen = Instant::now();
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Whether a leader answers through a server; that of a stream must be able to store something.
async fn leads(client: &Client, what: &str) -> bool {
    let subject = format!("$JS.API.{what}");
    let request = client.send_request(subject, Request::new());
    let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, request).await else {
        return false;
    };
    let info: Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
    let copies = info["cluster"]["replicas"].as_array();
    info.is_object()
        && info["error"].is_null()
        && copies.is_none_or(|copies| copies.iter().any(is_heard))
}

fn is_heard(copy: &Value) -> bool {
    let silent = copy["active"].as_u64().map(Duration::from_nanos);
    copy["offline"] != true && silent.is_some_and(|silent| silent < HEARD_LATELY)
}
