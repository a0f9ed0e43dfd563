//! The query service: receives requests from the queue group of all replicas, waits until the model
//! has read far enough, and answers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{Client, Message};
use futures::StreamExt;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use waybill_domain::audit::TrustedKeys;
use waybill_domain::time::Timestamp;
use waybill_log::{Log, Stream};
use waybill_store::Store;

use crate::answer::Answerer;
use crate::model::Reader;
use crate::progress::Progress;
use crate::query::{
    AreKeysUsed, AuditKeys, ByIdempotencyKey, CountJobs, FollowActivity, GetCounters, GetFlow,
    GetStats, GetTask, GroupDeadLetters, ListActivity, ListFlows, ListJobs, ListRuns, ListSkipped,
    ListTasks, Position, ProveConsistency, ProveInclusion, QUEUE_GROUP, Query, Refused, Reply,
    Request, SelectTasks, TallyRuns, Verify,
};

/// Limit of how long a query waits, whatever its client allows.
const MAX_PATIENCE: Duration = Duration::from_secs(5);
/// When to retry with an overloaded replica.
const BUSY_RETRY_MS: u32 = 200;
/// Pause between attempts to subscribe.
const RETRY: Duration = Duration::from_millis(500);
/// Time limit for sending the last replies.
const DRAIN: Duration = Duration::from_secs(2);

/// Limits of the service.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// Limit of concurrent queries, most of which wait for the log. Further ones are refused.
    pub max_queries: usize,
    /// Limit of concurrent list reads, each of which may keep a thread busy.
    pub max_lists: usize,
    /// Limit of a reply in bytes, besides that of the server.
    pub max_reply_bytes: usize,
    /// Public keys that sign checkpoints of the activity log. If empty, this replica leaves queries
    /// for them to others.
    pub audit_keys: TrustedKeys,
}

impl Default for ServiceConfig {
    fn default() -> Self {
        Self {
            max_queries: 1_024,
            max_lists: 4,
            max_reply_bytes: 8 * 1024 * 1024,
            audit_keys: TrustedKeys::default(),
        }
    }
}

/// The running service of one replica.
pub(crate) struct Service {
    ending: CancellationToken,
    running: JoinHandle<()>,
}

impl Service {
    /// Starts the service. It joins the queue group once the model has caught up, so that a replica
    /// that is rebuilding leaves queries to the others.
    pub(crate) fn start(
        config: &ServiceConfig,
        nats: Client,
        log: Arc<dyn Log>,
        store: Store,
        progress: Progress,
        dir: PathBuf,
    ) -> Self {
        let ending = CancellationToken::new();
        let server = Arc::new(Server {
            answerer: Answerer::new(Reader::new(store), log, progress.clone(), dir, config),
            nats,
            progress,
            in_house: Arc::new(Semaphore::new(config.max_queries)),
            ending: ending.clone(),
            max_reply_bytes: config.max_reply_bytes,
            audit_keys: config.audit_keys.clone(),
        });
        let running = tokio::spawn(serve(server, ending.clone()));
        Self { ending, running }
    }

    /// Answers the queries that were received, and ends. Afterwards the service holds no handle of
    /// the store.
    pub(crate) async fn stop(self) {
        self.ending.cancel();
        if let Err(error) = self.running.await {
            tracing::error!(%error, "the query service crashed");
        }
    }
}

struct Server {
    answerer: Answerer,
    nats: Client,
    progress: Progress,
    in_house: Arc<Semaphore>,
    ending: CancellationToken,
    max_reply_bytes: usize,
    audit_keys: TrustedKeys,
}

async fn serve(server: Arc<Server>, ending: CancellationToken) {
    let caught_up = async {
        let mut status = server.progress.subscribe();
        // The sender lives as long as the server.
        let _ = status
            .wait_for(|status| status.caught_up_at.is_some())
            .await;
    };
    if ending.run_until_cancelled(caught_up).await.is_none() {
        return;
    }
    let subscribed = ending.run_until_cancelled(subscribe(&server)).await;
    let Some(mut requests) = subscribed else {
        return;
    };
    let mut under_way = JoinSet::new();
    loop {
        // Biased: at the stop nothing further is received, and ended tasks are collected before
        // more are spawned.
        tokio::select! {
            biased;
            () = ending.cancelled() => break,
            Some(_) = under_way.join_next() => {}
            message = requests.next() => {
                let Some(message) = message else {
                    tracing::warn!("the subscription to queries ended; subscribing again");
                    requests = match ending.run_until_cancelled(subscribe(&server)).await {
                        Some(requests) => requests,
                        None => break,
                    };
                    continue;
                };
                under_way.spawn(handle(Arc::clone(&server), message));
            }
        }
    }
    drop(requests);
    let rest = async {
        while under_way.join_next().await.is_some() {}
        if let Err(error) = server.nats.flush().await {
            tracing::warn!(%error, "the last replies may not have been sent");
        }
    };
    if tokio::time::timeout(DRAIN, rest).await.is_err() {
        tracing::warn!("queries were still being answered at the stop; they are aborted");
    }
    under_way.shutdown().await;
}

type Requests = futures::stream::SelectAll<async_nats::Subscriber>;

async fn subscribe(server: &Server) -> Requests {
    let nats = &server.nats;
    let subjects = [
        GetTask::SUBJECT,
        ListTasks::SUBJECT,
        ByIdempotencyKey::SUBJECT,
        GetCounters::SUBJECT,
        GroupDeadLetters::SUBJECT,
        SelectTasks::SUBJECT,
        ListActivity::SUBJECT,
        FollowActivity::SUBJECT,
        ProveInclusion::SUBJECT,
        ProveConsistency::SUBJECT,
        ListSkipped::SUBJECT,
        Verify::SUBJECT,
        GetStats::SUBJECT,
        AreKeysUsed::SUBJECT,
        ListRuns::SUBJECT,
        TallyRuns::SUBJECT,
        GetFlow::SUBJECT,
        ListFlows::SUBJECT,
        ListJobs::SUBJECT,
        CountJobs::SUBJECT,
    ];
    let knows_keys = !server.audit_keys.all().is_empty();
    let of_keys = knows_keys.then_some(AuditKeys::SUBJECT);
    'again: loop {
        let mut all = futures::stream::SelectAll::new();
        for subject in subjects.into_iter().chain(of_keys) {
            match nats.queue_subscribe(subject, QUEUE_GROUP.into()).await {
                Ok(subscriber) => all.push(subscriber),
                Err(error) => {
                    tracing::warn!(%error, subject, "subscribing to queries failed; trying again");
                    tokio::time::sleep(RETRY).await;
                    continue 'again;
                }
            }
        }
        return all;
    }
}

async fn handle(server: Arc<Server>, message: Message) {
    let Some(to) = message.reply.clone() else {
        return;
    };
    let permit = Arc::clone(&server.in_house).try_acquire_owned();
    let subject = message.subject.as_str();
    let reply = if permit.is_err() {
        server.refuse(Refused::Unavailable {
            reason: "too many queries are under way".into(),
            retry_ms: BUSY_RETRY_MS,
        })
    } else {
        let started = Instant::now();
        // Queries only read, so one that is dropped leaves nothing half done.
        let reply = tokio::select! {
            reply = server.route(subject, &message.payload) => reply,
            // Nothing more will be applied that a query could wait for. Another replica, or the
            // next start, answers it.
            () = server.ending.cancelled() => server.refuse(Refused::Unavailable {
                reason: "the projector is ending".into(),
                retry_ms: BUSY_RETRY_MS,
            }),
        };
        metrics::histogram!("waybill_projector_query_seconds", "subject" => subject.to_owned())
            .record(started.elapsed().as_secs_f64());
        reply
    };
    if let Err(error) = server.nats.publish(to, reply.into()).await {
        tracing::warn!(%error, subject, "answering a query failed; the gateway asks again");
    }
}

impl Server {
    async fn route(&self, subject: &str, payload: &[u8]) -> Vec<u8> {
        let room = self.room();
        let a = &self.answerer;
        match subject {
            GetTask::SUBJECT => {
                self.run(payload, async |q, by| a.task(q, by, room).await)
                    .await
            }
            ListTasks::SUBJECT => self.run(payload, async |q, _| a.list(q, room).await).await,
            ByIdempotencyKey::SUBJECT => {
                self.run(payload, async |q, by| a.by_idempotency_key(q, by).await)
                    .await
            }
            GetCounters::SUBJECT => self.run(payload, async |q, _| a.counters(q).await).await,
            GroupDeadLetters::SUBJECT => {
                self.run(payload, async |q, _| a.dead_groups(q).await).await
            }
            SelectTasks::SUBJECT => self.run(payload, async |q, _| a.select(q).await).await,
            ListActivity::SUBJECT => self.run(payload, async |q, _| a.activity(q).await).await,
            FollowActivity::SUBJECT => {
                self.run(payload, async |q, _| a.follow_activity(q).await)
                    .await
            }
            ProveInclusion::SUBJECT => self.run(payload, async |q, _| a.inclusion(q).await).await,
            ProveConsistency::SUBJECT => {
                self.run(payload, async |q, _| a.consistency(q).await).await
            }
            AuditKeys::SUBJECT => {
                let answer = async |_: AuditKeys, _| Ok(self.audit_keys.to_string());
                self.run(payload, answer).await
            }
            ListSkipped::SUBJECT => self.run(payload, async |q, _| a.skipped(q).await).await,
            Verify::SUBJECT => self.run(payload, async |q, _| a.verify(q).await).await,
            GetStats::SUBJECT => self.run(payload, async |q, _| a.stats(q).await).await,
            AreKeysUsed::SUBJECT => {
                self.run(payload, async |q, by| a.are_keys_used(q, by).await)
                    .await
            }
            ListRuns::SUBJECT => self.run(payload, async |q, _| a.runs(q).await).await,
            TallyRuns::SUBJECT => self.run(payload, async |q, _| a.runs_tally(q).await).await,
            GetFlow::SUBJECT => self.run(payload, async |q, _| a.flow(q).await).await,
            ListFlows::SUBJECT => self.run(payload, async |q, _| a.flows(q).await).await,
            ListJobs::SUBJECT => self.run(payload, async |q, _| a.jobs(q).await).await,
            CountJobs::SUBJECT => self.run(payload, async |q, _| a.job_counts(q).await).await,
            _ => self.refuse(Refused::Invalid {
                field: "subject".into(),
                message: format!("no query is asked at {subject}"),
            }),
        }
    }

    /// Decodes a request, waits until the model has read far enough, and encodes the answer.
    async fn run<Q: Query>(
        &self,
        payload: &[u8],
        answer: impl AsyncFnOnce(Q, Instant) -> Result<Q::Answer, Refused>,
    ) -> Vec<u8> {
        let request: Request<Q> = match rmp_serde::from_slice(payload) {
            Ok(request) => request,
            Err(error) => {
                return self.refuse(Refused::Invalid {
                    field: "request".into(),
                    message: format!("the request cannot be read: {error}"),
                });
            }
        };
        let patience = Duration::from_millis(request.patience_ms.into()).min(MAX_PATIENCE);
        let by = Instant::now() + patience;
        if !self.progress.reach(request.min_seq, by).await {
            return self.refuse(Refused::Behind);
        }
        // Read first: the answer may be based on more, but never on less.
        let as_of = self.as_of();
        let outcome = answer(request.query, by).await;
        let reply = self.encode(&Reply { as_of, outcome });
        if reply.len() > self.room() {
            return self.refuse(Refused::Unavailable {
                reason: format!(
                    "the reply has {} bytes, more than the server lets through",
                    reply.len()
                ),
                retry_ms: 0,
            });
        }
        reply
    }

    /// Limit of a reply in bytes.
    fn room(&self) -> usize {
        self.nats
            .server_info()
            .max_payload
            .min(self.max_reply_bytes)
    }

    fn as_of(&self) -> Position {
        self.progress.status().applied
    }

    fn refuse(&self, refused: Refused) -> Vec<u8> {
        self.encode::<()>(&Reply {
            as_of: self.as_of(),
            outcome: Err(refused),
        })
    }

    fn encode<T: serde::Serialize>(&self, reply: &Reply<T>) -> Vec<u8> {
        // Serialising plain values to memory cannot fail.
        rmp_serde::to_vec_named(reply).unwrap_or_default()
    }
}

/// The last sequence of TASKS, according to its leader.
pub(crate) async fn end_of_tasks(log: &dyn Log) -> Result<Position, Refused> {
    match log.bounds(Stream::Tasks).await {
        Ok(bounds) => Ok(Position::tasks(bounds.last)),
        Err(error) => Err(Refused::Unavailable {
            reason: error.to_string(),
            retry_ms: 1_000,
        }),
    }
}

/// This machine's clock, for delays that pass.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
