//! Clients and gateways of a simulated history: they create tasks, cancel some, and record the
//! answers in the ledger.

use std::sync::{Arc, atomic};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use waybill_domain::actor::Actor;
use waybill_domain::command::{OwnerReply, OwnerRequest};
use waybill_domain::event::{TaskCreated, TaskEvent};
use waybill_domain::id::{Environment, LimitKey, QueueName, TaskId, TeamId};
use waybill_domain::limit::TaskLimit;
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::task::{
    Backoff, Debounce, DebounceMode, Dedup, IfFailed, Method, OnDuplicate, OnFailure, Once,
    Ordering, OwnPauses, Priority, RetryBounds, Singleton, SingletonMode,
};
use waybill_domain::time::Timestamp;
use waybill_log::subject::{CREATED, TaskSubject};
use waybill_log::{Append, AppendError, Atomicity, Expectation, Log, MsgId, NewRecord, Stream};
use waybill_worker::command::{Command, CommandSource, Commands, ListenError};

use super::ledger::Wish;
use super::network::Network;
use super::target::HOOK;
use super::world::{Listener, Process, Sabotage, World, lock};

/// How often a creation whose outcome is unknown is tried, each time with the same message id.
const TRIES: u32 = 3;
/// How long a gateway waits for an owner's reply.
pub(super) const REPLY_DEADLINE: Duration = Duration::from_secs(5);
/// How long an owner waits for the answer of another one.
const ASK_DEADLINE: Duration = Duration::from_millis(800);

/// The queues of the tasks.
pub(crate) const QUEUES: [&str; 4] = ["default", "mail", "reports", "images"];

/// The keys of limits, and how many attempts may run of each.
pub(crate) const LIMITS: [(&str, u32); 2] = [("one", 1), ("three", 3)];

/// One gateway.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) network: Network,
    pub(crate) partitions: PartitionCount,
}

impl Gateway {
    pub(crate) fn world(&self) -> &Arc<World> {
        &self.network.0.world
    }

    /// A random ordinary task.
    pub(crate) fn a_task(&self) -> TaskCreated {
        let world = self.world();
        let random = &world.random;
        let queue = QueueName::parse(random.pick::<&str>(&QUEUES)).expect("a valid name");
        let number = random.below(2);
        let team = TeamId::new(Timestamp(1_700_000_000_000), u128::from(number));
        let team = if number == 1 && world.listens.load(atomic::Ordering::Relaxed) {
            team.in_environment(Environment::Test)
        } else {
            team
        };
        let partition = Partition::of(&team, &queue, self.partitions);
        let now = world.now();
        let entropy = u128::from(random.next()) << 64 | u128::from(random.next());
        let mut task = TaskCreated {
            id: TaskId::new(now, entropy, partition),
            team,
            queue,
            url: "http://target/".into(),
            method: Method::Post,
            headers: Vec::new(),
            body: Some("{}".into()),
            timeout_ms: u32::try_from(500 + random.below(8_000)).unwrap_or(1_000),
            max_wait_ms: u32::try_from(2_000 + random.below(60_000)).unwrap_or(30_000),
            not_before: random
                .chance(250)
                .then(|| now.plus(random.millis(1, 6_000))),
            max_retries: u16::try_from(random.below(4)).unwrap_or(3),
            backoff: if random.chance(500) {
                Backoff::Linear
            } else {
                Backoff::Exponential
            },
            retry_pauses: OwnPauses::default(),
            fairness_weight: None,
            fairness_key: random
                .chance(500)
                .then(|| format!("customer {}", random.below(3))),
            ordering: random.chance(400).then(|| Ordering {
                key: format!("line {}", random.below(2)),
                on_failure: *random.pick(&[
                    OnFailure::CancelRest,
                    OnFailure::CancelRest,
                    OnFailure::Skip,
                    OnFailure::Block,
                ]),
            }),
            retry_bounds: RetryBounds::default(),
            replay_of: None,
            once: None,
            retry_on: None,
            priority: Priority::new(u8::try_from(1 + random.below(10)).unwrap_or(5))
                .unwrap_or_default(),
            follow_redirects: false,
            on_complete_url: random.chance(300).then(|| format!("http://receiver{HOOK}")),
            idempotency_key: None,
            fingerprint: None,
            resolve: waybill_domain::vault::Resolve::default(),
            success: None,
            deadline: None,
            expires_in_ms: random.chance(500).then(|| 8_000 + random.below(60_000)),
            tags: Vec::new(),
            metadata: std::collections::BTreeMap::new(),
            webhook_pauses: Vec::new(),
            max_answer_bytes: None,
            body_encoding: waybill_domain::event::BodyEncoding::Text,
            sealed: None,
            at: now,
            limits: Vec::new(),
            schedule: None,
            on_rate_limited: None,
            member: None,
            created_by: None,
            job: None,
            no_capture: false,
        };
        if let Some(ordering) = task.ordering.as_mut().filter(|_| world.blocks) {
            ordering.on_failure = OnFailure::Block;
        }
        if world.pulls && random.chance(500) {
            task.url = String::new();
        }
        if task.not_before.is_none() && task.ordering.is_none() && random.chance(300) {
            let delay_ms = 200 + random.below(2_000);
            task.once = Some(Box::new(Once::Debounce(Debounce {
                key: format!("window {}", random.below(2)),
                delay_ms,
                max_delay_ms: delay_ms * (1 + random.below(3)),
                mode: if random.chance(500) {
                    DebounceMode::First
                } else {
                    DebounceMode::Last
                },
            })));
        }
        if task.once.is_none() && task.ordering.is_none() && random.chance(300) {
            task.once = Some(Box::new(Once::Singleton(Singleton {
                key: format!("single {}", random.below(2)),
                mode: *random.pick(&[
                    SingletonMode::Skip,
                    SingletonMode::Queue,
                    SingletonMode::Queue,
                    SingletonMode::CancelRunning,
                    SingletonMode::QueueOne,
                ]),
            })));
        }
        if task.once.is_none() && random.chance(300) {
            task.once = Some(Box::new(Once::Dedup(Dedup {
                key: format!("dedup {}", random.below(2)),
                content: false,
                window_ms: 500 + random.below(10_000),
                on_duplicate: *random
                    .pick(&[OnDuplicate::Existing, OnDuplicate::ReplaceIfNotStarted]),
                if_failed: *random.pick(&[IfFailed::New, IfFailed::Existing]),
            })));
        }
        task
    }

    /// Limits that tasks of all queues share, now and then.
    pub(crate) fn some_limits(&self) -> Vec<TaskLimit> {
        let random = &self.network.0.world.random;
        let named = LIMITS.iter().filter(|_| random.chance(200));
        let limit = named.map(|(key, most)| TaskLimit {
            key: LimitKey::parse(key).expect("a valid key"),
            concurrency: Some(*most),
            rate: None,
        });
        limit.collect()
    }

    /// Tries to create a task. Returns whether its client was told that it is accepted.
    pub(crate) async fn create(&self, task: TaskCreated) -> bool {
        let id = task.id;
        let subject =
            TaskSubject::event(id.partition(), &task.team, &task.queue, CREATED).to_string();
        let event = TaskEvent::Created(Box::new(task));
        let mut unsure = false;
        for _ in 0..TRIES {
            let append = Append {
                stream: Stream::Tasks,
                records: vec![NewRecord {
                    subject: subject.clone(),
                    event: event.name(),
                    actor: Actor::System("client".into()).to_string(),
                    traceparent: None,
                    origin: None,
                    payload: event.encode().into(),
                }],
                expect: Expectation::None,
                atomicity: Atomicity::Atomic,
                msg_id: Some(MsgId(id.to_string())),
            };
            match self.network.append(append).await {
                Ok(_) => {
                    self.world().ledger().told(id, true);
                    return true;
                }
                Err(AppendError::Unknown { .. }) => unsure = true,
                Err(_) => break,
            }
        }
        if !unsure {
            self.world().ledger().told(id, false);
        }
        false
    }

    /// Stores an event as a newer version might write it.
    pub(crate) async fn append_unknown_event(&self, partition: Partition) {
        let team = TeamId::new(Timestamp(1_700_000_000_000), 0);
        let queue = QueueName::parse("default").expect("a valid name");
        let append = Append {
            stream: Stream::Tasks,
            records: vec![NewRecord {
                subject: TaskSubject::event(partition, &team, &queue, "frozen").to_string(),
                event: "task.frozen.v1",
                actor: Actor::worker().to_string(),
                traceparent: None,
                origin: None,
                payload: Vec::new().into(),
            }],
            expect: Expectation::None,
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        self.world()
            .log
            .append(append)
            .await
            .expect("the log in memory stores it");
    }

    /// Asks the owner to cancel a task, or to purge it. Every listener gets the request, as with
    /// NATS, and the first reply counts.
    pub(crate) async fn ask_for(&self, wish: Wish, task: TaskId, place: (TeamId, QueueName)) {
        let world = Arc::clone(self.world());
        // A gateway knows of the end of what it purges, so the log has at least its beginning.
        if wish == Wish::PurgeLetter && !world.ledger().has(task) {
            return;
        }
        let actor = Actor::Operator(format!("client-{}", world.random.next()));
        let number = world.ledger().asks(task, wish, actor.to_string());
        let ((team, queue), traceparent) = (place, None);
        let cuts_off = world.sabotage == Some(Sabotage::PurgesCutOff);
        let request = match wish {
            Wish::CancelWaiting if !cuts_off => OwnerRequest::CancelWaiting {
                task,
                team,
                actor,
                traceparent,
            },
            Wish::Cancel | Wish::CancelWaiting => OwnerRequest::Cancel {
                task,
                team,
                actor,
                traceparent,
            },
            Wish::PurgeLetter => OwnerRequest::PurgeLetter {
                task,
                team,
                queue,
                actor,
                traceparent,
            },
        };
        let (tx, mut replies) = mpsc::channel(16);
        let listeners: Vec<Listener> = lock(&world.listeners)
            .iter()
            .filter(|listener| listener.partition == task.partition())
            .cloned()
            .collect();
        for listener in listeners {
            let (world, request, tx) = (Arc::clone(&world), request.clone(), tx.clone());
            // Spawned on the network's behalf; ends when the listener has answered or is gone.
            tokio::spawn(async move {
                if let Some(reply) = ask(&world, &listener, request).await {
                    world.note(|| {
                        format!("{} replies {reply:?} about {task}", listener.process.name)
                    });
                    world.ledger().replied(number, reply);
                    // Sending fails if an earlier reply was taken, since only the first counts.
                    let _ = tx.try_send(());
                }
            });
        }
        drop(tx);
        // Listeners that do not reply in time are ignored.
        let _ = timeout(REPLY_DEADLINE, replies.recv()).await;
    }
}

pub(crate) async fn ask(
    world: &World,
    listener: &Listener,
    request: OwnerRequest,
) -> Option<OwnerReply> {
    sleep(world.latency()).await;
    listener.process.gate().await;
    let (reply, answer) = oneshot::channel();
    let sent = listener.queue.try_send(Command { request, reply });
    if sent.is_err() || listener.process.is_dead() {
        return None;
    }
    let answer = answer.await.unwrap_or(OwnerReply::TryAgain);
    listener.process.gate().await;
    if listener.process.is_dead() || world.random.chance(world.faults().lost_answer) {
        return None;
    }
    sleep(world.latency()).await;
    Some(answer)
}

/// Delivers requests to the owners in one process.
pub(crate) struct Desk(pub(crate) Arc<Process>);

#[async_trait]
impl CommandSource for Desk {
    async fn listen(&self, partition: Partition) -> Result<Commands, ListenError> {
        let (tx, queue) = mpsc::channel(16);
        let mut listeners = lock(&self.0.world.listeners);
        listeners.retain(|listener| !listener.queue.is_closed());
        listeners.push(Listener {
            partition,
            process: Arc::clone(&self.0),
            queue: tx,
        });
        Ok(Commands::new(queue))
    }

    async fn ask(&self, partition: Partition, mut request: OwnerRequest) -> Option<OwnerReply> {
        let world = Arc::clone(&self.0.world);
        if let (Some(Sabotage::FormerHomesAreNotTold), OwnerRequest::AskLimits(ask)) =
            (world.sabotage, &mut request)
        {
            ask.home_fence = waybill_log::StreamSeq::default();
        }
        let listener = {
            let listeners = lock(&world.listeners);
            let of: Vec<_> = listeners
                .iter()
                .filter(|listener| listener.partition == partition)
                .collect();
            // A former owner may listen still.
            let which = usize::try_from(world.random.next()).unwrap_or(0);
            of.get(which % of.len().max(1)).map(|of| (*of).clone())
        }?;
        timeout(ASK_DEADLINE, ask(&world, &listener, request))
            .await
            .ok()?
    }
}
