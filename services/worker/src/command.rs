//! Requests of clients to the owner of a partition.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use waybill_domain::command::{OwnerReply, OwnerRequest, subject};
use waybill_domain::partition::Partition;

/// Bound of the queue of requests to a partition. Beyond it, clients are asked to try again, which
/// is cheaper than an ever longer queue.
const MAX_WAITING: usize = 256;

/// How long an owner waits for the answer of another one.
const ASK_TIMEOUT: Duration = Duration::from_millis(800);

/// A request, and the channel for its reply.
#[derive(Debug)]
pub struct Command {
    pub request: OwnerRequest,
    /// If dropped without a reply, the client is asked to try again.
    pub reply: oneshot::Sender<OwnerReply>,
}

/// Receives the requests to a partition. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Commands {
    /// Requests in the order received.
    pub queue: mpsc::Receiver<Command>,
    listener: Option<JoinHandle<()>>,
}

impl Commands {
    /// Takes requests from a channel.
    #[must_use]
    pub fn new(queue: mpsc::Receiver<Command>) -> Self {
        Self {
            queue,
            listener: None,
        }
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        if let Some(listener) = &self.listener {
            listener.abort();
        }
    }
}

/// Source of requests.
#[async_trait]
pub trait CommandSource: Send + Sync + 'static {
    /// Starts receiving the requests to a partition.
    async fn listen(&self, partition: Partition) -> Result<Commands, ListenError>;

    /// Asks the owner of a partition. `None` if it does not answer now.
    async fn ask(&self, partition: Partition, request: OwnerRequest) -> Option<OwnerReply>;
}

/// The subscription for requests failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot take requests: {0}")]
pub struct ListenError(String);

/// Receives requests over NATS.
#[derive(Debug, Clone)]
pub struct NatsCommands(pub async_nats::Client);

#[async_trait]
impl CommandSource for NatsCommands {
    async fn listen(&self, partition: Partition) -> Result<Commands, ListenError> {
        let client = self.0.clone();
        let mut subscription = client
            .subscribe(subject(partition))
            .await
            .map_err(|error| ListenError(error.to_string()))?;
        let (tx, queue) = mpsc::channel(MAX_WAITING);
        let listener = tokio::spawn(async move {
            let mut answers = JoinSet::new();
            loop {
                // Cancellation safe: a message that was not taken remains in the subscription.
                let message = tokio::select! {
                    message = subscription.next() => message,
                    Some(_) = answers.join_next() => continue,
                };
                let Some(message) = message else { break };
                let Some(to) = message.reply else { continue };
                let (reply, answer) = oneshot::channel();
                match OwnerRequest::decode(&message.payload) {
                    // A full queue drops `reply`, and the client is asked to try again.
                    Ok(request) => drop(tx.try_send(Command { request, reply })),
                    Err(error) => {
                        tracing::warn!(%partition, %error, "a request to the partition cannot be decoded; its client gets no reply");
                    }
                }
                answers.spawn(respond(client.clone(), to, answer));
            }
        });
        Ok(Commands {
            queue,
            listener: Some(listener),
        })
    }

    async fn ask(&self, partition: Partition, request: OwnerRequest) -> Option<OwnerReply> {
        let request = async_nats::Request::new()
            .payload(request.encode().into())
            .timeout(Some(ASK_TIMEOUT));
        let message = self
            .0
            .send_request(subject(partition), request)
            .await
            .ok()?;
        OwnerReply::decode(&message.payload).ok()
    }
}

async fn respond(
    client: async_nats::Client,
    to: async_nats::Subject,
    answer: oneshot::Receiver<OwnerReply>,
) {
    let answer = answer.await.unwrap_or(OwnerReply::TryAgain);
    // The caller has a time limit of its own.
    let _ = client.publish(to, answer.encode().into()).await;
}
