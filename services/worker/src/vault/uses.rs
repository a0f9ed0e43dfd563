//! Reports the use of tokens: the first use of each is an event, and the number of uses and the
//! latest one are written to USAGE about once a minute.
//!
//! Calls wait for neither. Counts that cannot be written before a stop ends are lost; an event that
//! could not be stored is appended at the next use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use url::Url;
use waybill_domain::actor::Actor;
use waybill_domain::event::{ControlEvent, TaskCreated, TokenUsed};
use waybill_domain::id::{TeamId, TokenId};
use waybill_domain::time::Timestamp;
use waybill_log::subject::ControlSubject;
use waybill_log::tally::MAX_ADDITIONS;
use waybill_log::{
    Addition, Append, AppendError, Atomicity, Counted, Expectation, Log, NewRecord, ReadError,
    Seen, Stream, StreamSeq, Tallies, TallyName, Wanted, last_control_event,
};

use super::directory::Token;

/// Bound of the queue of first uses; what does not fit is reported at the next use.
const MAX_FIRST: usize = 1_000;
/// Limit of tokens that are remembered between two flushes; uses of further ones are not counted.
const MAX_PENDING: usize = 100_000;
/// Limit of attempts to store a first use, with growing pauses.
const MAX_TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(250);
/// Time limit of the last flush at the stop.
const LAST_FLUSH: Duration = Duration::from_secs(3);

/// Uses that are not reported yet.
pub(super) struct Uses {
    log: Arc<dyn Log>,
    tallies: Arc<dyn Tallies>,
    first: mpsc::Sender<First>,
    /// Never held across an await.
    pending: Mutex<HashMap<(TeamId, TokenId), Pending>>,
}

struct Pending {
    count: u64,
    seen: Seen,
}

pub(super) struct First {
    used: TokenUsed,
    token: Arc<Token>,
}

impl Uses {
    pub(super) fn new(
        log: Arc<dyn Log>,
        tallies: Arc<dyn Tallies>,
    ) -> (Arc<Self>, mpsc::Receiver<First>) {
        let (first, firsts) = mpsc::channel(MAX_FIRST);
        let uses = Self {
            log,
            tallies,
            first,
            pending: Mutex::default(),
        };
        (Arc::new(uses), firsts)
    }

    /// Records that a task is about to send a token.
    pub(super) fn used(
        &self,
        id: &TokenId,
        token: &Arc<Token>,
        task: &TaskCreated,
        url: &Url,
        at: Timestamp,
    ) {
        let host = url.host_str().unwrap_or_default();
        self.count(&task.team, id, host, at);
        if token.is_used() {
            return;
        }
        token.set_used();
        let used = TokenUsed {
            token: id.clone(),
            team: task.team.base(),
            environment: task.team.environment(),
            version: token.version,
            task: task.id,
            host: host.to_owned(),
            at,
        };
        let first = First {
            used,
            token: Arc::clone(token),
        };
        if self.first.try_send(first).is_err() {
            token.set_unused();
        }
    }

    fn count(&self, team: &TeamId, token: &TokenId, host: &str, at: Timestamp) {
        let seen = Seen {
            at,
            source: host.to_owned(),
        };
        let mut pending = self.pending.lock();
        let key = (team.clone(), token.clone());
        let is_full = pending.len() >= MAX_PENDING;
        match pending.get_mut(&key) {
            Some(uses) => {
                uses.count += 1;
                if seen.at >= uses.seen.at {
                    uses.seen = seen;
                }
            }
            None if is_full => metrics::counter!("waybill_usage_uncounted_total").increment(1),
            None => {
                pending.insert(key, Pending { count: 1, seen });
            }
        }
    }

    /// Stores first uses until stopped, and then the remaining ones.
    pub(super) async fn announce(
        self: Arc<Self>,
        mut firsts: mpsc::Receiver<First>,
        stop: CancellationToken,
    ) {
        loop {
            // Biased: at the stop, the rest is drained below, with a time limit. Receiving is
            // cancellation safe.
            let first = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                first = firsts.recv() => first,
            };
            let Some(first) = first else { return };
            self.store(first).await;
        }
        firsts.close();
        let rest = async {
            while let Some(first) = firsts.recv().await {
                self.store(first).await;
            }
        };
        if tokio::time::timeout(LAST_FLUSH, rest).await.is_err() {
            tracing::warn!(
                "some first uses of vault tokens were not stored before the stop; they are stored at the next use"
            );
        }
    }

    async fn store(&self, first: First) {
        let token = first.used.token.clone();
        let event = ControlEvent::TokenUsed(first.used);
        for attempt in 1..=MAX_TRIES {
            match self.append(&event).await {
                Ok(()) => return,
                // Another record is there: look at it, and append behind it if it does not count.
                Err(AppendError::Conflict { .. }) => {}
                Err(error) => {
                    tracing::warn!(%token, %error, "storing the first use of a vault token failed; retrying");
                    tokio::time::sleep(PAUSE.saturating_mul(1 << attempt.min(5))).await;
                }
            }
        }
        first.token.set_unused();
    }

    async fn append(&self, event: &ControlEvent) -> Result<(), AppendError> {
        let (kind, id) = event.aggregate();
        let subject = ControlSubject::global(kind, id).map_err(|error| AppendError::Rejected {
            reason: error.to_string(),
        })?;
        let subject = subject.to_string();
        let unavailable = |error: ReadError| AppendError::Unavailable {
            reason: error.to_string(),
        };
        // Only one record is the first: another worker's, or this one's whose answer was lost. The
        // server's expectation includes every record, but a void one must not keep the first use
        // from being stored.
        let last = self.log.last(Stream::Control, &subject).await;
        let after = match last.map_err(unavailable)? {
            None => StreamSeq(0),
            Some(last) => {
                let told = last_control_event(&*self.log, &subject).await;
                if told.map_err(unavailable)?.is_some() {
                    return Ok(());
                }
                last.seq
            }
        };
        let append = Append {
            stream: Stream::Control,
            records: vec![NewRecord {
                subject: subject.clone(),
                event: event.name(),
                actor: Actor::worker().to_string(),
                traceparent: None,
                origin: None,
                payload: event.encode().into(),
            }],
            expect: Expectation::LastOn {
                filter: subject,
                seq: after,
            },
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        self.log.append(append).await.map(|_| ())
    }

    fn take(&self) -> Vec<Addition> {
        let taken = std::mem::take(&mut *self.pending.lock());
        let additions = taken.into_iter().filter_map(|((team, token), uses)| {
            let name = TallyName::new(team, Counted::Credential(token.to_string()))?;
            Some(Addition {
                name,
                count: uses.count,
                seen: Some(uses.seen),
            })
        });
        additions.collect()
    }
}

/// The task that writes the counts.
pub(super) struct Flusher {
    uses: Arc<Uses>,
    interval: Duration,
    /// Id of this run of the worker, which makes batch ids unique together with a number.
    name: String,
    batches: u64,
    /// Batches that were taken and may not be stored. No further uses are taken before they are.
    untold: Vec<(String, Vec<Addition>)>,
}

impl Flusher {
    pub(super) fn new(uses: Arc<Uses>, interval: Duration, name: String) -> Self {
        Self {
            uses,
            interval,
            name,
            batches: 0,
            untold: Vec::new(),
        }
    }

    /// Flushes once per interval, and once more at the stop.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            // Only the pause is cut short; a batch is written outside of it.
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = stop.cancelled() => break,
            }
            self.tell().await;
        }
        if tokio::time::timeout(LAST_FLUSH, self.tell()).await.is_err() {
            tracing::warn!(
                "the last uses of vault tokens were not counted before the stop; their counts are lost"
            );
        }
    }

    async fn tell(&mut self) {
        if self.untold.is_empty() {
            let mut taken = self.uses.take().into_iter().peekable();
            while taken.peek().is_some() {
                self.batches += 1;
                let id = format!("{}-{}", self.name, self.batches);
                let additions = taken.by_ref().take(MAX_ADDITIONS).collect();
                self.untold.push((id, additions));
            }
        }
        while let Some((id, additions)) = self.untold.last_mut() {
            // If it is cut off here, the batch is sent again under the same id, and counted once.
            if let Err(reason) = tell(&*self.uses.tallies, id, additions).await {
                tracing::warn!(
                    reason,
                    "counting uses of vault tokens failed; they will be counted later"
                );
                return;
            }
            self.untold.pop();
        }
    }
}

async fn tell(tallies: &dyn Tallies, id: &str, additions: &mut [Addition]) -> Result<(), String> {
    // Another worker may have used a token later than this one: the latest use is kept.
    let names = additions.iter().map(|addition| addition.name.clone());
    let stored = tallies.tallies(Wanted::Named(names.collect())).await;
    let stored = stored.map_err(|error| error.to_string())?.into_iter();
    let stored: HashMap<TallyName, Seen> = stored
        .filter_map(|tally| Some((tally.name, tally.seen?)))
        .collect();
    for addition in &mut *additions {
        if let (Some(own), Some(other)) = (&mut addition.seen, stored.get(&addition.name))
            && other.at > own.at
        {
            own.clone_from(other);
        }
    }
    let told = tallies.tally(id, additions).await;
    told.map_err(|error| error.to_string())
}
