//! Checks whether a log still holds the records from which a copy of it was made.
//!
//! A position alone does not show that: after a restore from a backup the log is shorter than what
//! was read of it, and once it has grown again, other events stand at the same positions. So a copy
//! keeps the fingerprint of the last record that it has read, and compares it with the record that
//! is now at that position: once at its start ([`compare`]), and every few seconds while it follows
//! the log ([`Watch`]), which includes the time after a lost connection.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::task::AbortOnDropHandle;

use crate::{Log, ReadError, Record, Stream, StreamSeq};

/// Bytes of a fingerprint. It only has to distinguish records that differ by accident: whoever may
/// write to the log gains nothing by a collision.
const FINGERPRINT_BYTES: usize = 16;
/// How often a log must be found too short before that is believed: right after an election, a
/// leader may still be applying what it holds.
const LOOKS_AT_A_SHORT_LOG: u32 = 10;
/// The same for a log that holds another record. There is less to doubt, since servers only show
/// what a majority has stored.
const LOOKS_AT_ANOTHER_RECORD: u32 = 2;
/// Pause between two checks; together they outlast an election. A replicated log is doubted for
/// longer, since a former leader may answer ([`Log::deposed_for`]).
const PAUSE: Duration = Duration::from_secs(1);
/// How often a copy compares itself with the log while it follows it.
const COMPARE_EVERY: Duration = Duration::from_secs(5);

/// The hash of a whole record: position, time, subject, headers and payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

impl Fingerprint {
    /// Computes the fingerprint of a record that was read.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let stored = record.stored();
        let mut hash = Sha256::new();
        hash.update(stored.seq.0.to_be_bytes());
        hash.update(stored.time_ns.to_be_bytes());
        // The length before each part keeps different records from hashing the same bytes.
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(stored.subject.as_bytes());
        for (name, value) in &stored.headers {
            part(name.as_bytes());
            part(value.as_bytes());
        }
        part(&stored.payload);
        let mut bytes = [0; FINGERPRINT_BYTES];
        bytes.copy_from_slice(&hash.finalize()[..FINGERPRINT_BYTES]);
        Self(bytes)
    }

    #[must_use]
    pub fn to_bytes(self) -> [u8; FINGERPRINT_BYTES] {
        self.0
    }

    #[must_use]
    pub fn from_bytes(bytes: [u8; FINGERPRINT_BYTES]) -> Self {
        Self(bytes)
    }
}

/// How far a copy has read a log, and the fingerprint of the record there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The stream that was read: [`crate::Bounds::incarnation`].
    pub incarnation: i64,
    /// Position of the last record that was read.
    pub seq: StreamSeq,
    /// Fingerprint of that record. `None`: not known, for example because the copy was made by a
    /// version that did not keep it.
    pub fingerprint: Option<Fingerprint>,
}

impl Mark {
    /// The mark of a copy whose last record is this one.
    #[must_use]
    pub fn of(record: &Record, incarnation: i64) -> Self {
        Self {
            incarnation,
            seq: record.seq,
            fingerprint: Some(Fingerprint::of(record)),
        }
    }
}

/// Whether the log still holds what a copy has read last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// The log holds that record, or there is nothing to compare.
    Holds,
    /// Retention has dropped the record, which is no fault of the log; a reader that needs the
    /// records before it has a gap.
    Dropped,
    /// The log does not hold what was read of it.
    WentBackwards(WentBackwards),
}

/// A log does not hold what was read of it, for example after a restore from an older backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("log_went_backwards: {} {}", .stream.name(), self.what())]
pub struct WentBackwards {
    pub stream: Stream,
    /// Position up to which it was read.
    pub read: StreamSeq,
    /// Position at which it ends now.
    pub last: StreamSeq,
    /// The stream was deleted and created again: nothing that was read may be assumed to be in it.
    pub is_another: bool,
}

impl WentBackwards {
    fn what(&self) -> String {
        let Self { read, last, .. } = self;
        if self.is_another {
            format!("is another stream than the one that was read up to {read}")
        } else if last < read {
            format!("ends at {last}, but was read up to {read}")
        } else {
            format!("holds another record at {read} than the one that was read there")
        }
    }
}

/// The result of one check.
enum Look {
    /// The log holds the record, or retention has dropped it.
    Fine(Continuity),
    /// The log ends before the mark, or has no record there.
    TooShort(WentBackwards),
    /// It is another stream, or another record stands at the mark.
    Another(WentBackwards),
}

/// Compares a copy with the log once.
async fn look(log: &dyn Log, stream: Stream, mark: Mark) -> Result<Look, ReadError> {
    let bounds = log.bounds(stream).await?;
    let is_another = bounds.incarnation != mark.incarnation;
    let lost = WentBackwards {
        stream,
        read: mark.seq,
        last: bounds.last,
        is_another,
    };
    if is_another {
        return Ok(Look::Another(lost));
    }
    if bounds.last < mark.seq {
        return Ok(Look::TooShort(lost));
    }
    if mark.seq < bounds.first {
        return Ok(Look::Fine(Continuity::Dropped));
    }
    let Some(fingerprint) = mark.fingerprint.filter(|_| mark.seq.0 > 0) else {
        return Ok(Look::Fine(Continuity::Holds));
    };
    match log.read(stream, mark.seq).await? {
        Some(record) if Fingerprint::of(&record) == fingerprint => {
            Ok(Look::Fine(Continuity::Holds))
        }
        Some(_) => Ok(Look::Another(lost)),
        // A purge came in between, or a lagging replica has answered; the next check tells which.
        None => match log.bounds(stream).await? {
            bounds if mark.seq < bounds.first => Ok(Look::Fine(Continuity::Dropped)),
            _ => Ok(Look::TooShort(lost)),
        },
    }
}

/// Compares a copy with the log, and reports a loss only after several checks have found one.
/// Retries for as long as the log does not answer.
pub async fn compare(log: &dyn Log, stream: Stream, mark: Mark) -> Continuity {
    let mut found = 0;
    let mut doubted = None;
    loop {
        match look(log, stream, mark).await {
            Ok(Look::Fine(fine)) => return fine,
            Ok(Look::TooShort(lost)) => {
                found += 1;
                let doubted = doubted.get_or_insert_with(Instant::now).elapsed();
                if found >= LOOKS_AT_A_SHORT_LOG && doubted > log.deposed_for() {
                    return Continuity::WentBackwards(lost);
                }
            }
            Ok(Look::Another(lost)) => {
                found += 1;
                if found >= LOOKS_AT_ANOTHER_RECORD {
                    return Continuity::WentBackwards(lost);
                }
            }
            Err(error) => {
                tracing::warn!(%error, "comparing a copy with the log failed; trying again");
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Compares a copy with the log every few seconds, in a task of its own: confirming a loss takes
/// seconds, during which the copy has to read on.
pub struct Watch {
    log: Arc<dyn Log>,
    stream: Stream,
    ticks: Interval,
    comparing: Option<AbortOnDropHandle<Continuity>>,
}

impl Watch {
    /// Watches a copy of that stream.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, stream: Stream) -> Self {
        let mut ticks = interval_at(Instant::now() + COMPARE_EVERY, COMPARE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            log,
            stream,
            ticks,
            comparing: None,
        }
    }

    /// Returns once the log is found not to hold what was read of it up to `mark`, and waits for
    /// ever while nothing was read. Cancellation safe: a later call, with a later mark, continues
    /// the comparison that is under way.
    pub async fn went_backwards(&mut self, mark: Option<Mark>) -> WentBackwards {
        loop {
            if let Some(comparing) = &mut self.comparing {
                let found = comparing.await;
                self.comparing = None;
                if let Ok(Continuity::WentBackwards(backwards)) = found {
                    return backwards;
                }
            }
            self.ticks.tick().await;
            if let Some(mark) = mark {
                let (log, stream) = (Arc::clone(&self.log), self.stream);
                let comparing = async move { compare(&*log, stream, mark).await };
                self.comparing = Some(AbortOnDropHandle::new(tokio::spawn(comparing)));
            }
        }
    }
}
