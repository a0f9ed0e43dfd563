//! Requests of clients to the owner of a partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use waybill_domain::command::{MAX_SEVERAL, OwnerReply, OwnerRequest, subject};
use waybill_domain::partition::Partition;

/// Bound of the queue of requests to a partition, in which the reports of some dozen workers have room.
/// Beyond it, clients are asked to try again, which is cheaper than an ever longer queue.
const MAX_WAITING: usize = 2_048;

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

/// The owners of this process. Whoever runs in it too asks them without encoding the request and without the way over NATS.
///
/// The queues belong to those who listen: one that no longer takes requests over NATS takes none from here either.
#[derive(Debug, Clone, Default)]
pub struct NearOwners(Arc<RwLock<BTreeMap<Partition, mpsc::WeakSender<Command>>>>);

impl NearOwners {
    /// Asks the owner of a partition. `None` if that is not in this process now.
    ///
    /// The answer comes when the owner has it; whoever asks has a time limit of their own.
    pub fn ask(
        &self,
        partition: Partition,
        request: &OwnerRequest,
    ) -> Option<BoxFuture<'static, OwnerReply>> {
        let queue = self.0.read().get(&partition)?.upgrade();
        // The queue of an owner that has gone is closed.
        let queue = queue.filter(|queue| !queue.is_closed())?;
        Some(Box::pin(take_in(&queue, request.clone()).reply()))
    }

    fn serve(&self, partition: Partition, queue: &mpsc::Sender<Command>) {
        self.0.write().insert(partition, queue.downgrade());
    }
}

/// Receives requests over NATS, and from this process.
#[derive(Debug, Clone)]
pub struct NatsCommands {
    client: async_nats::Client,
    near: NearOwners,
}

impl NatsCommands {
    /// Takes requests over the connection, and those of whoever has `near`.
    #[must_use]
    pub fn new(client: async_nats::Client, near: NearOwners) -> Self {
        Self { client, near }
    }
}

#[async_trait]
impl CommandSource for NatsCommands {
    async fn listen(&self, partition: Partition) -> Result<Commands, ListenError> {
        let client = self.client.clone();
        let mut subscription = client
            .subscribe(subject(partition))
            .await
            .map_err(|error| ListenError(error.to_string()))?;
        let (tx, queue) = mpsc::channel(MAX_WAITING);
        self.near.serve(partition, &tx);
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
                let answer = match OwnerRequest::decode(&message.payload) {
                    Ok(request) => take_in(&tx, request),
                    Err(error) => {
                        tracing::warn!(%partition, %error, "a request to the partition cannot be decoded; its client is asked to try again");
                        Answer::of_nobody()
                    }
                };
                answers.spawn(respond(client.clone(), to, answer));
            }
        });
        Ok(Commands {
            queue,
            listener: Some(listener),
        })
    }

    async fn ask(&self, partition: Partition, request: OwnerRequest) -> Option<OwnerReply> {
        if let Some(reply) = self.near.ask(partition, &request) {
            return tokio::time::timeout(ASK_TIMEOUT, reply).await.ok();
        }
        let request = async_nats::Request::new()
            .payload(request.encode().into())
            .timeout(Some(ASK_TIMEOUT));
        let message = self
            .client
            .send_request(subject(partition), request)
            .await
            .ok()?;
        OwnerReply::decode(&message.payload).ok()
    }
}

/// What will be answered to a message.
enum Answer {
    One(oneshot::Receiver<OwnerReply>),
    Several(Vec<oneshot::Receiver<OwnerReply>>),
}

impl Answer {
    /// Nobody will answer.
    fn of_nobody() -> Self {
        Self::One(oneshot::channel().1)
    }

    async fn reply(self) -> OwnerReply {
        match self {
            Self::One(answer) => one(answer).await,
            Self::Several(answers) => {
                OwnerReply::Several(join_all(answers.into_iter().map(one)).await)
            }
        }
    }
}

async fn one(answer: oneshot::Receiver<OwnerReply>) -> OwnerReply {
    answer.await.unwrap_or(OwnerReply::TryAgain)
}

/// Puts what a message asks for into the queue. If that is full, the client is asked to try again.
fn take_in(queue: &mpsc::Sender<Command>, request: OwnerRequest) -> Answer {
    let put = |request| {
        let (reply, answer) = oneshot::channel();
        drop(queue.try_send(Command { request, reply }));
        answer
    };
    match request {
        OwnerRequest::Several(requests) => {
            let requests = requests.into_iter().take(MAX_SEVERAL);
            Answer::Several(requests.map(put).collect())
        }
        request => Answer::One(put(request)),
    }
}

async fn respond(client: async_nats::Client, to: async_nats::Subject, answer: Answer) {
    let reply = answer.reply().await;
    // The caller has a time limit of its own.
    let _ = client.publish(to, reply.encode().into()).await;
}

#[cfg(test)]
mod tests {
    use waybill_domain::id::TeamId;
    use waybill_domain::worker::{WorkerName, WorkersRequest};

    use super::*;

    fn about(worker: &str) -> OwnerRequest {
        OwnerRequest::Workers(WorkersRequest::Tell {
            team: TeamId::parse("team_01kc0q2v9x3d8e5h7j9m1n3p5r").expect("an id"),
            worker: WorkerName::parse(worker).ok(),
        })
    }

    #[tokio::test]
    async fn an_owner_of_this_process_is_asked_until_it_is_gone() {
        let (near, partition) = (NearOwners::default(), Partition::default());
        assert!(near.ask(partition, &about("a")).is_none());
        let (queue, mut taken) = mpsc::channel(1);
        near.serve(partition, &queue);
        let reply = near.ask(partition, &about("a")).expect("it is here");
        let asked = taken.recv().await.expect("the request");
        assert_eq!(asked.request, about("a"));
        asked.reply.send(OwnerReply::Noted).expect("waits");
        assert_eq!(reply.await, OwnerReply::Noted);
        // An owner that goes without an answer asks to try again, and another one is asked then.
        let reply = near.ask(partition, &about("b")).expect("it is here");
        drop(taken);
        assert_eq!(reply.await, OwnerReply::TryAgain);
        assert!(near.ask(partition, &about("b")).is_none());
    }

    #[tokio::test]
    async fn the_queue_of_an_owner_ends_with_whoever_listens() {
        let (near, partition) = (NearOwners::default(), Partition::default());
        let (queue, mut taken) = mpsc::channel(1);
        near.serve(partition, &queue);
        drop(queue);
        assert!(near.ask(partition, &about("a")).is_none());
        assert!(taken.recv().await.is_none());
    }

    #[tokio::test]
    async fn each_of_several_has_an_answer_of_its_own_in_their_order() {
        let (queue, mut taken) = mpsc::channel(2);
        let requests = ["a", "b", "c"].map(about).to_vec();
        let answer = take_in(&queue, OwnerRequest::Several(requests));
        let first = taken.recv().await.expect("the first");
        let second = taken.recv().await.expect("the second");
        assert_eq!(second.request, about("b"));
        // The second is answered before the first; for the third the queue had no room.
        second.reply.send(OwnerReply::LeaseLost).expect("waits");
        first.reply.send(OwnerReply::Noted).expect("waits");
        let told = [
            OwnerReply::Noted,
            OwnerReply::LeaseLost,
            OwnerReply::TryAgain,
        ];
        assert_eq!(answer.reply().await, OwnerReply::Several(told.to_vec()));
    }
}
