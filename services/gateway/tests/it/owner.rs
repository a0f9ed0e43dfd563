//! An owner of all partitions: answers commands as told, and stores what it agrees to.

use std::collections::HashMap;

use anyhow::Result;
use futures::StreamExt;
use tokio::task::JoinHandle;
use waybill_domain::actor::Actor;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::event::{
    Answer, BodyEncoding, CancelRequested, Failure, FailureKind, PriorityChanged, RunRequested,
    TaskCancelled, TaskDead, TaskEvent, TaskPurged, TaskStarted,
};
use waybill_domain::id::{LimitKey, QueueName, TaskId, TeamId};
use waybill_domain::limit::{KeyStanding, LimitBounds};
use waybill_domain::seq::StreamSeq;
use waybill_domain::task::Priority;
use waybill_domain::time::Timestamp;
use waybill_log::subject::{TaskSubject, event_token};
use waybill_log::{Append, Atomicity, Expectation, JetStreamLog, Log, NewRecord, Stream};

/// What the owner says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// Cancels.
    Yes,
    /// An attempt is running.
    Running,
    /// Busy once, then yes.
    LaterYes,
    /// Always busy.
    Never,
}

/// Answers until dropped.
pub(crate) struct Owner(JoinHandle<()>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Owner {
    pub(crate) async fn start(log: &JetStreamLog, says: Says) -> Result<Self> {
        let client = log.client();
        let mut requests = client.subscribe("wb.cmd.*").await?;
        client.flush().await?;
        let log = log.clone();
        Ok(Self(tokio::spawn(async move {
            let (mut asked, mut priorities) = (0, HashMap::<TaskId, Priority>::new());
            while let Some(message) = requests.next().await {
                asked += 1;
                let request = OwnerRequest::decode(&message.payload).expect("a request");
                let (task, team, actor) = match request {
                    OwnerRequest::Cancel {
                        task, team, actor, ..
                    } => (task, team, actor),
                    OwnerRequest::CancelWaiting {
                        task, team, actor, ..
                    } => {
                        let reply = match says {
                            Says::Running => OwnerReply::Running,
                            _ => cancel(&log, task, team, &actor).await,
                        };
                        let payload = reply.encode();
                        let to = message.reply.expect("a request wants a reply");
                        client.publish(to, payload.into()).await.expect("sent");
                        continue;
                    }
                    OwnerRequest::PurgeLetter { task, team, .. } => {
                        let event = TaskEvent::Purged(TaskPurged {
                            id: task,
                            at: now(),
                        });
                        let reply = OwnerReply::Done {
                            seq: append(&log, &team, &event).await.expect("stored"),
                        };
                        let payload = reply.encode();
                        let to = message.reply.expect("a request wants a reply");
                        client.publish(to, payload.into()).await.expect("sent");
                        continue;
                    }
                    OwnerRequest::RunNow { task, team, .. } => {
                        let reply = match says {
                            Says::Running => OwnerReply::Running,
                            _ => make_ready(&log, task, team).await,
                        };
                        let payload = reply.encode();
                        let to = message.reply.expect("a request wants a reply");
                        client.publish(to, payload.into()).await.expect("sent");
                        continue;
                    }
                    OwnerRequest::ChangePriority {
                        task,
                        team,
                        priority,
                        operation,
                        actor,
                        ..
                    } => {
                        let reply = match says {
                            Says::Running => OwnerReply::Running,
                            _ => {
                                let from = priorities.insert(task, priority);
                                let event = TaskEvent::PriorityChanged(PriorityChanged {
                                    id: task,
                                    priority,
                                    from: from.unwrap_or_default(),
                                    attempts: 0,
                                    operation,
                                    at: now(),
                                });
                                let stored = append_by(&log, &team, &event, &actor).await;
                                OwnerReply::Done {
                                    seq: stored.expect("stored"),
                                }
                            }
                        };
                        let payload = reply.encode();
                        let to = message.reply.expect("a request wants a reply");
                        client.publish(to, payload.into()).await.expect("sent");
                        continue;
                    }
                    OwnerRequest::ListLimits { key, .. } => {
                        let key = key.or_else(|| LimitKey::parse("said").ok());
                        let standing = KeyStanding {
                            key: key.expect("a key"),
                            running: 1,
                            waiting: 2,
                            says: Some((
                                StreamSeq(asked),
                                LimitBounds {
                                    concurrency: Some(7),
                                    rate: None,
                                },
                            )),
                            next_start: None,
                            paused: None,
                        };
                        let reply = OwnerReply::Limits(vec![standing]);
                        let payload = reply.encode();
                        let to = message.reply.expect("a request wants a reply");
                        client.publish(to, payload.into()).await.expect("sent");
                        continue;
                    }
                    // Asked for with every read of a task that waits.
                    OwnerRequest::ExplainMany { .. } => {
                        asked -= 1;
                        let reply = OwnerReply::ExplainedWithKeys(Vec::new());
                        let payload = reply.encode();
                        let to = message.reply.expect("a request wants a reply");
                        client.publish(to, payload.into()).await.expect("sent");
                        continue;
                    }
                    OwnerRequest::Redeliver { .. }
                    | OwnerRequest::Unblock { .. }
                    | OwnerRequest::Explain { .. }
                    | OwnerRequest::AskKept { .. }
                    | OwnerRequest::Health { .. }
                    | OwnerRequest::AskLimits(_)
                    | OwnerRequest::Claim(_)
                    | OwnerRequest::CancelTogether { .. }
                    | OwnerRequest::Several(_)
                    | OwnerRequest::WithdrawClaim { .. }
                    | OwnerRequest::Workers(_)
                    | OwnerRequest::Report { .. }
                    | OwnerRequest::NudgeLimits(_) => {
                        panic!("this owner delivers, explains and grants nothing")
                    }
                };
                let reply = match says {
                    Says::Yes => cancel(&log, task, team, &actor).await,
                    Says::LaterYes if asked > 1 => cancel(&log, task, team, &actor).await,
                    Says::LaterYes | Says::Never => OwnerReply::TryAgain,
                    Says::Running => cut_off(&log, task, team).await,
                };
                let payload = reply.encode();
                let to = message.reply.expect("a request wants a reply");
                client.publish(to, payload.into()).await.expect("sent");
            }
        })))
    }
}

/// An attempt is being made, and is asked to be cut off.
async fn cut_off(log: &JetStreamLog, id: TaskId, team: TeamId) -> OwnerReply {
    let (attempt, at) = (1, now());
    let started = TaskEvent::Started(TaskStarted {
        id,
        attempt,
        at,
        lease_until: at,
        probe: false,
        claim: None,
        waits: Vec::new(),
    });
    append(log, &team, &started).await.expect("stored");
    let requested = TaskEvent::CancelRequested(CancelRequested { id, attempt, at });
    OwnerReply::Done {
        seq: append(log, &team, &requested).await.expect("stored"),
    }
}

async fn make_ready(log: &JetStreamLog, id: TaskId, team: TeamId) -> OwnerReply {
    let event = TaskEvent::RunRequested(RunRequested {
        id,
        at: now(),
        attempts: None,
    });
    OwnerReply::Done {
        seq: append(log, &team, &event).await.expect("stored"),
    }
}

/// Stores an attempt that failed for good with an answer of that status.
pub(crate) async fn die(
    log: &JetStreamLog,
    team: &TeamId,
    id: TaskId,
    status: u16,
    message: &str,
) -> Result<StreamSeq> {
    let (attempt, at) = (1, now());
    let started = TaskEvent::Started(TaskStarted {
        id,
        attempt,
        at,
        lease_until: at,
        probe: false,
        claim: None,
        waits: Vec::new(),
    });
    append(log, team, &started).await?;
    let dead = TaskEvent::Dead(TaskDead {
        id,
        attempt,
        at,
        failure: Failure {
            kind: FailureKind::HttpStatus,
            message: message.into(),
        },
        answer: Some(Answer {
            status,
            headers: Vec::new(),
            body: String::new(),
            encoding: BodyEncoding::Text,
            body_bytes: 0,
            duration_ms: 1,
            header_bytes: None,
        }),
        cancels_to: None,
    });
    append(log, team, &dead).await
}

async fn cancel(log: &JetStreamLog, id: TaskId, team: TeamId, by: &Actor) -> OwnerReply {
    let event = TaskEvent::Cancelled(TaskCancelled::idle(id, now()));
    OwnerReply::Done {
        seq: append_by(log, &team, &event, by).await.expect("stored"),
    }
}

/// Stores what happened to a task of the default queue.
pub(crate) async fn append(
    log: &JetStreamLog,
    team: &TeamId,
    event: &TaskEvent,
) -> Result<StreamSeq> {
    append_by(log, team, event, &Actor::worker()).await
}

/// The same, for an actor.
async fn append_by(
    log: &JetStreamLog,
    team: &TeamId,
    event: &TaskEvent,
    by: &Actor,
) -> Result<StreamSeq> {
    let token = event_token(event.name()).expect("a token");
    let queue = QueueName::default();
    let subject = TaskSubject::event(event.id().partition(), team, &queue, token);
    let appended = log.append(Append {
        stream: Stream::Tasks,
        records: vec![NewRecord {
            subject: subject.to_string(),
            event: event.name(),
            actor: by.to_string(),
            traceparent: None,
            origin: None,
            payload: event.encode().into(),
        }],
        expect: Expectation::None,
        atomicity: Atomicity::Ordered,
        msg_id: None,
    });
    Ok(appended.await?.seqs[0])
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    Timestamp(i64::try_from(since.as_millis()).expect("before 9999"))
}
