//! The life of a notary: lease, reading, signing, and again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use waybill_domain::audit::TreeId;
use waybill_log::{Lease, LeaseError, ReadError, Stream, StreamSeq, Tail};

use super::forest::Forest;
use super::{Interrupted, LEASE, NotaryConfig, NotaryError, NotaryParts, NotaryStatus};
use crate::query::{Position, Query, Refused, Reply, Request, SignNow};

/// Records read at once.
const PAGE: usize = 1_000;
/// Between two tries at what does not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// Who wants a checkpoint now waits no longer than that for the events before it.
const PATIENCE: Duration = Duration::from_secs(2);
/// Looks at a stream that is shorter than what was read of it, one after the other, before that is believed: a leader that has just been
/// elected may still be applying what it holds.
const REGRESSIONS: u32 = 5;

pub(super) async fn run(
    config: NotaryConfig,
    parts: NotaryParts,
    tell: watch::Sender<NotaryStatus>,
    ending: CancellationToken,
) -> Result<(), NotaryError> {
    let worker = Worker {
        config: Arc::new(config),
        parts,
        tell,
    };
    let outcome = ending.run_until_cancelled(worker.take_turns(&ending)).await;
    let outcome = outcome.unwrap_or(Ok(()));
    if let Err(error) = &outcome {
        tracing::error!(%error, "AUDIT ALARM: the notary has stopped and signs nothing more");
        metrics::gauge!("waybill_notary_stopped").set(1.0);
        worker
            .tell
            .send_replace(NotaryStatus::Stopped(error.clone()));
    }
    outcome
}

struct Worker {
    config: Arc<NotaryConfig>,
    parts: NotaryParts,
    tell: watch::Sender<NotaryStatus>,
}

impl Worker {
    async fn take_turns(&self, ending: &CancellationToken) -> Result<(), NotaryError> {
        let leases = &self.parts.leases;
        loop {
            let lease = match leases.acquire(LEASE, &self.config.holder).await {
                Ok(lease) => lease,
                Err(error) => {
                    if matches!(error, LeaseError::Unavailable { .. }) {
                        tracing::warn!(%error, "the notary's lease is unknown");
                    }
                    self.tell.send_replace(NotaryStatus::Standby);
                    sleep((leases.ttl() / 3).min(Duration::from_secs(2))).await;
                    continue;
                }
            };
            let held = Held(Mutex::new(lease));
            let interrupted = tokio::select! {
                () = self.keep(&held) => None,
                interrupted = self.serve() => Some(interrupted),
                () = ending.cancelled() => None,
            };
            // Nobody waits for it to run out. An error means that it has, or will soon.
            let _ = leases.release(&held.now()).await;
            self.tell.send_replace(NotaryStatus::Standby);
            match interrupted {
                Some(Interrupted::Fatal(error)) => return Err(error),
                Some(Interrupted::Overtaken) => {
                    tracing::warn!("another notary has signed: everything is read again");
                }
                Some(Interrupted::Away(error)) => {
                    tracing::warn!(%error, "the notary waits for the log");
                }
                None => {}
            }
            if ending.is_cancelled() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// Renews the lease; ends when it is lost.
    async fn keep(&self, held: &Held) {
        let leases = &self.parts.leases;
        let mut until = Instant::now() + leases.ttl();
        loop {
            sleep(leases.ttl() / 3).await;
            let asked = Instant::now();
            match leases.renew(&held.now()).await {
                Ok(lease) => {
                    held.set(lease);
                    until = asked + leases.ttl();
                }
                Err(LeaseError::NotHeld { .. }) => return,
                Err(error) if Instant::now() >= until => {
                    tracing::warn!(%error, "the notary's lease has run out");
                    return;
                }
                Err(_) => {}
            }
        }
    }

    /// Reads CONTROL from its beginning, compares, and signs from then on.
    async fn serve(&self) -> Interrupted {
        let served: Result<std::convert::Infallible, Interrupted> = async {
            self.tell.send_replace(NotaryStatus::Reading);
            let mut forest = self.read_again().await?;
            self.tell.send_replace(NotaryStatus::Signing);
            self.follow(&mut forest).await
        }
        .await;
        match served {
            Err(interrupted) => interrupted,
            Ok(never) => match never {},
        }
    }

    async fn read_again(&self) -> Result<Forest, Interrupted> {
        let log = &self.parts.log;
        let bounds = log.bounds(Stream::Control).await?;
        let checkpoints = Arc::clone(&self.parts.checkpoints);
        let config = Arc::clone(&self.config);
        let mut forest = Forest::plant(bounds.incarnation, checkpoints, config).await?;
        while forest.next() <= bounds.last {
            let page = log
                .range(Stream::Control, &[], forest.next(), bounds.last, PAGE)
                .await?;
            if page.is_empty() {
                let reason = format!("{} of {} cannot be found", forest.next(), bounds.last);
                return Err(NotaryError::Regressed { reason }.into());
            }
            forest.append(&page).await?;
        }
        forest.check()?;
        Ok(forest)
    }

    async fn follow(&self, forest: &mut Forest) -> Result<std::convert::Infallible, Interrupted> {
        let mut tail = self
            .parts
            .log
            .tail(Stream::Control, Vec::new(), forest.next());
        let mut asked = self.listen().await;
        let mut ticks = interval(self.config.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut signed_at = Instant::now();
        // Signs of life begin with the first: after a start nobody knows how long it has been silent.
        let mut is_silent = true;
        let mut regressions = 0;
        loop {
            tokio::select! {
                biased;
                Some(message) = asked.next() => self.answer(forest, &mut tail, message).await?,
                _ = ticks.tick() => {
                    let grown = forest.oldest_uncovered();
                    if let Some(oldest) = grown {
                        let age = now_ns().saturating_sub(oldest);
                        metrics::histogram!("waybill_notary_uncovered_seconds").record(seconds(age));
                    }
                    forest.sign_grown(now_ns()).await?;
                    if is_silent || signed_at.elapsed() >= self.config.silence {
                        if grown.is_none() {
                            forest.sign(&TreeId::Control, now_ns()).await?;
                        }
                        is_silent = false;
                        signed_at = Instant::now();
                    }
                    if grown.is_some() {
                        signed_at = Instant::now();
                    }
                }
                batch = tail.next_batch(PAGE) => match batch {
                    Ok(records) => {
                        regressions = 0;
                        forest.append(&records).await?;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the notary cannot read CONTROL; trying again");
                        regressions = self.look(forest, regressions).await?;
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Is CONTROL still the stream that was read?
    async fn look(&self, forest: &Forest, regressions: u32) -> Result<u32, Interrupted> {
        let Ok(bounds) = self.parts.log.bounds(Stream::Control).await else {
            return Ok(regressions);
        };
        let reason = if bounds.incarnation != forest.stream {
            format!(
                "it was made at {}, not at {}",
                bounds.incarnation, forest.stream
            )
        } else if bounds.last.next() < forest.next() {
            format!(
                "it ends at {}, and was read up to before {}",
                bounds.last,
                forest.next()
            )
        } else {
            return Ok(0);
        };
        if regressions + 1 >= REGRESSIONS {
            return Err(NotaryError::Regressed { reason }.into());
        }
        Ok(regressions + 1)
    }

    /// Only the notary that signs listens: so whoever asks, asks the right one.
    async fn listen(&self) -> futures::stream::BoxStream<'static, Message> {
        let Some(nats) = &self.parts.nats else {
            return futures::stream::pending().boxed();
        };
        loop {
            match nats.subscribe(SignNow::SUBJECT).await {
                Ok(subscriber) => {
                    let subscriber: Subscriber = subscriber;
                    return subscriber.chain(futures::stream::pending()).boxed();
                }
                Err(error) => {
                    tracing::warn!(%error, "the notary cannot be asked; trying again");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// A checkpoint of all that the log holds now.
    async fn answer(
        &self,
        forest: &mut Forest,
        tail: &mut Box<dyn Tail>,
        message: Message,
    ) -> Result<(), Interrupted> {
        let Some(to) = message.reply.clone() else {
            return Ok(());
        };
        let outcome = match rmp_serde::from_slice::<Request<SignNow>>(&message.payload) {
            Err(error) => Err(Refused::Invalid {
                field: "request".into(),
                message: format!("the request cannot be read: {error}"),
            }),
            Ok(request) => {
                let tree = request
                    .query
                    .team
                    .map_or(TreeId::Control, |team| TreeId::Team(team.base()));
                match self.sign_now(forest, tail, &tree).await {
                    Ok(note) => Ok(note),
                    Err(Interrupted::Away(error)) => Err(Refused::Unavailable {
                        reason: error.to_string(),
                        retry_ms: 1_000,
                    }),
                    Err(interrupted) => return Err(interrupted),
                }
            }
        };
        let control = StreamSeq(forest.next().0.saturating_sub(1));
        let as_of = Position {
            control,
            ..Position::default()
        };
        let reply = rmp_serde::to_vec_named(&Reply { as_of, outcome }).unwrap_or_default();
        if let (Some(nats), false) = (&self.parts.nats, reply.is_empty())
            && let Err(error) = nats.publish(to, reply.into()).await
        {
            tracing::warn!(%error, "a checkpoint could not be sent");
        }
        Ok(())
    }

    async fn sign_now(
        &self,
        forest: &mut Forest,
        tail: &mut Box<dyn Tail>,
        tree: &TreeId,
    ) -> Result<Option<String>, Interrupted> {
        let bounds = self.parts.log.bounds(Stream::Control).await?;
        let by = Instant::now() + PATIENCE;
        while forest.next() <= bounds.last {
            let late = |_| ReadError::Unavailable {
                reason: "CONTROL is read slowly".into(),
            };
            let records = timeout_at(by, tail.next_batch(PAGE))
                .await
                .map_err(late)??;
            forest.append(&records).await?;
        }
        forest.sign_if_grown(tree, now_ns()).await?;
        Ok(forest.last(tree).await?.map(|signed| signed.note))
    }
}

/// The lease as of its last renewal. Locked for a moment only, never across an await.
struct Held(Mutex<Lease>);

impl Held {
    fn now(&self) -> Lease {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, lease: Lease) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lease;
    }
}

/// The clock of this machine, in nanoseconds since the epoch.
fn now_ns() -> i64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "a metric")]
fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}
