//! Hints: the server republishes every stored message of the streams that are tailed on
//! `live.<subject>`, without its payload (`republish` in nats/streams.toml).
//!
//! A hint only says that there is something to read, and up to which sequence. It may be lost, or
//! arrive before the copy that is read has the message. All tails with the same filter share one
//! subscription. Only the latest sequence is kept, so a slow tail holds no memory for its hints.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use async_nats::{Client, Message, Subscriber};
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use crate::ReadError;
use crate::jetstream::wire;

/// First token of the subjects of hints.
const PREFIX: &str = "live";

/// The subscriptions to hints of one connection. Clones share them.
#[derive(Clone)]
pub(in crate::jetstream) struct Hints {
    client: Client,
    // Locked briefly, never across an await.
    shared: Arc<Mutex<HashMap<String, Weak<Shared>>>>,
}

/// One subscription. It ends with its last reader.
struct Shared {
    latest: watch::Receiver<u64>,
    _task: AbortOnDropHandle<()>,
}

/// The hints of one tail.
pub(super) struct Hinted {
    latest: watch::Receiver<u64>,
    _shared: Arc<Shared>,
}

impl Hints {
    pub(in crate::jetstream) fn new(client: Client) -> Self {
        Self {
            client,
            shared: Arc::default(),
        }
    }

    /// Subscribes to the hints of messages whose subjects match `filter`. Those that were heard
    /// before do not count.
    pub(super) async fn of(&self, filter: &str) -> Result<Hinted, ReadError> {
        let subject = format!("{PREFIX}.{filter}");
        if let Some(hinted) = find(&self.shared.lock(), &subject) {
            return Ok(hinted);
        }
        let messages = self.client.subscribe(subject.clone()).await;
        let messages = messages.map_err(|error| ReadError::Unavailable {
            reason: error.to_string(),
        })?;
        let mut all = self.shared.lock();
        // Another tail may have subscribed meanwhile.
        if let Some(hinted) = find(&all, &subject) {
            return Ok(hinted);
        }
        let (sender, latest) = watch::channel(0);
        let shared = Arc::new(Shared {
            latest,
            _task: AbortOnDropHandle::new(tokio::spawn(hear(messages, sender))),
        });
        all.retain(|_, shared| shared.strong_count() > 0);
        all.insert(subject, Arc::downgrade(&shared));
        Ok(Hinted::new(shared))
    }
}

/// The subscription to a subject, if there is one that goes on.
fn find(all: &HashMap<String, Weak<Shared>>, subject: &str) -> Option<Hinted> {
    let shared = all.get(subject)?.upgrade()?;
    let goes_on = shared.latest.has_changed().is_ok();
    goes_on.then(|| Hinted::new(shared))
}

impl Hinted {
    fn new(shared: Arc<Shared>) -> Self {
        let mut latest = shared.latest.clone();
        latest.mark_unchanged();
        Self {
            latest,
            _shared: shared,
        }
    }

    /// Waits for a hint, and returns the sequence of the latest one. `None` if there will be none
    /// any more. Cancellation safe.
    pub(super) async fn next(&mut self) -> Option<u64> {
        self.latest.changed().await.ok()?;
        Some(*self.latest.borrow_and_update())
    }
}

async fn hear(mut messages: Subscriber, latest: watch::Sender<u64>) {
    while let Some(message) = messages.next().await {
        let mut heard = sequence(&message);
        while let Some(Some(another)) = messages.next().now_or_never() {
            heard = heard.max(sequence(&another));
        }
        if let Some(seq) = heard {
            latest.send_replace(seq);
        }
    }
}

fn sequence(hint: &Message) -> Option<u64> {
    let headers = hint.headers.as_ref()?;
    // The server adds its headers after those of the message.
    headers.get_last(wire::SEQUENCE)?.as_str().parse().ok()
}
