//! The main loop of a notary: take the lease, read, sign, and start over.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use waybill_domain::audit::TreeId;
use waybill_log::{
    Continuity, Lease, LeaseError, ReadError, Stream, StreamSeq, Tail, Watch, WentBackwards,
};
use waybill_store::loss::{self, Loss};

use super::forest::Forest;
use super::{Interrupted, LEASE, NotaryConfig, NotaryError, NotaryParts, NotaryStatus};
use crate::query::{Position, Query, Refused, Reply, Request, SignNow};

/// Name of this copy in records of losses.
const COPY: &str = "notary";
/// Limit of records in one batch.
const PAGE: usize = 1_000;
/// Pause before retrying what does not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a request for a checkpoint waits for the events before it.
const PATIENCE: Duration = Duration::from_secs(2);
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
                        tracing::warn!(%error, "the lease of the notary cannot be taken or renewed; retrying");
                    }
                    self.tell.send_replace(NotaryStatus::Standby);
                    sleep((leases.ttl() / 3).min(Duration::from_secs(2))).await;
                    continue;
                }
            };
            let held = Held(Mutex::new(lease));
            // If it is cut off in the middle, a checkpoint may be stored without being noticed
            // here: it is read again under the next lease.
            let interrupted = tokio::select! {
                () = self.keep(&held) => None,
                interrupted = self.serve() => Some(interrupted),
                () = ending.cancelled() => None,
            };
            // Released so that no other notary waits for its expiry. An error means that it has
            // expired, or soon will.
            let _ = leases.release(&held.now()).await;
            self.tell.send_replace(NotaryStatus::Standby);
            match interrupted {
                Some(Interrupted::Fatal(error)) => return Err(error),
                Some(Interrupted::WentBackwards(backwards)) => self.write_down(&backwards).await,
                Some(Interrupted::Overtaken) => {
                    tracing::warn!(
                        "another notary has signed in the meantime; reading CONTROL again under a new lease"
                    );
                }
                Some(Interrupted::Away(error)) => {
                    tracing::warn!(%error, "the log does not answer; no checkpoint is signed until it does");
                }
                None => {}
            }
            if ending.is_cancelled() {
                return Ok(());
            }
            sleep(PAUSE).await;
        }
    }

    /// The log does not hold what was read of it: that is said and written down. What was read is gone with the lease.
    async fn write_down(&self, backwards: &WentBackwards) {
        tracing::error!(
            %backwards,
            "CONTROL does not hold what this notary has read of it, as after a restore from a backup; it is read again and compared with what is signed"
        );
        metrics::gauge!("waybill_log_went_backwards", "copy" => COPY).set(1.0);
        metrics::counter!("waybill_log_went_backwards_total", "copy" => COPY).increment(1);
        let Some(folder) = self.config.folder.clone() else {
            return;
        };
        let loss = Loss {
            at: crate::service::now().to_string(),
            copy: COPY.into(),
            stream: backwards.stream.name().into(),
            read: backwards.read.0,
            last: backwards.last.0,
            common: None,
            lost: Vec::new(),
            more: 0,
        };
        let written = tokio::task::spawn_blocking(move || loss::write_down(&folder, &loss)).await;
        if !matches!(written, Ok(Ok(_))) {
            tracing::error!(
                "writing down that the log went backwards failed; the line before this one has it"
            );
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
                    tracing::warn!(%error, "the notary's lease has expired without a renewal; signing stops until it is taken again");
                    return;
                }
                Err(_) => {}
            }
        }
    }

    /// Reads CONTROL from the beginning, compares it with what was signed, and signs from then on.
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
                // The log may have gone backwards just now; the next reading tells.
                let reason = format!("{} of {} cannot be found", forest.next(), bounds.last);
                return Err(ReadError::Unavailable { reason }.into());
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
        // Begins as silent: after a start, it is unknown for how long nothing was signed.
        let mut is_silent = true;
        let mut watch = Watch::new(Arc::clone(&self.parts.log), Stream::Control);
        loop {
            let mark = forest.mark();
            // Biased: clients that ask for a checkpoint are waiting. A message that was not taken
            // remains in the subscription.
            tokio::select! {
                biased;
                // Before anything more is signed: what was read belongs to a history that the log
                // no longer has.
                backwards = watch.went_backwards(mark) => return Err(Interrupted::WentBackwards(backwards)),
                Some(message) = asked.next() => self.answer(forest, &mut tail, message).await?,
                _ = ticks.tick() => {
                    self.check_history(forest).await?;
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
                    Ok(records) => forest.append(&records).await?,
                    Err(error) => {
                        tracing::warn!(%error, "the notary cannot read CONTROL, so new events stay unsigned; retrying");
                        sleep(PAUSE).await;
                    }
                },
            }
        }
    }

    /// Nothing is signed before it is known that the log still has what was signed last.
    async fn check_history(&self, forest: &Forest) -> Result<(), Interrupted> {
        let Some(signed) = forest.signed_mark().filter(|_| forest.has_grown()) else {
            return Ok(());
        };
        match waybill_log::compare(&*self.parts.log, Stream::Control, signed).await {
            Continuity::WentBackwards(backwards) => Err(Interrupted::WentBackwards(backwards)),
            Continuity::Holds | Continuity::Dropped => Ok(()),
        }
    }

    /// Only the notary that signs subscribes, so that requests reach the right one.
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
                    tracing::warn!(%error, "the subscription to requests for checkpoints failed; retrying");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Answers a request for a checkpoint of everything that is in the log now.
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
            tracing::warn!(%error, "the reply to a request for a checkpoint could not be sent; its client will ask again");
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
        self.check_history(forest).await?;
        forest.sign_if_grown(tree, now_ns()).await?;
        Ok(forest.last(tree).await?.map(|signed| signed.note))
    }
}

/// The lease as of its last renewal. Locked for a moment only, never across an await.
struct Held(Mutex<Lease>);

impl Held {
    fn now(&self) -> Lease {
        self.0.lock().clone()
    }

    fn set(&self, lease: Lease) {
        *self.0.lock() = lease;
    }
}

/// This machine's clock, in nanoseconds since the epoch.
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
