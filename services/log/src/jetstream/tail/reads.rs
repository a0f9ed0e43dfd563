//! Reads a tail by direct gets instead of a consumer, woken by hints.
//!
//! The server then keeps no state for a tail, and a process needs no right to create consumers,
//! whose deliveries the server sends to any subject (nats/accounts.conf). The rules:
//!
//! - A hint may be lost, so the tail looks once a second for what the leader has.
//! - Any copy answers a direct get, also one that lags. So on a replicated stream, "nothing more"
//!   ends a read only if no hint has named a later message; after the tail was opened, or the leader
//!   had more, the leader must agree. Where a copy still lags after some reads, the leader's gets
//!   go on.
//! - The tail never moves back: messages before the next one are left out.
//! - Gaps are found as with a consumer (`tail.rs`, `unseen.rs`).

use std::time::{Duration, Instant};

use super::hints::Hinted;
use super::source::{Heard, PULL};
use super::{JetStreamTail, LOOK};
use crate::frame::is_wanted;
use crate::jetstream::DEPOSED_FOR;
use crate::jetstream::read::End;
use crate::{ReadError, StreamSeq};

/// Interval at which the leader is asked whether there is more, whatever hints say.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The first time after the tail was opened: in a cluster, the servers may not know of its
/// subscription yet. And where there was no leader.
const LOOK_SOON: Duration = Duration::from_millis(250);
/// A read that gets nothing for this long is repeated, since a copy that has stopped does not
/// answer.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// The same on a replicated stream, where another copy may answer the next one.
const PATIENCE_OF_COPIES: Duration = Duration::from_secs(1);
/// Reads that end before what a hint has named, until the leader is asked.
const READS_BEHIND: u32 = 5;
/// First pause before such a read; each further one is twice as long.
const PAUSE_BEHIND: Duration = Duration::from_millis(1);

/// The state of a tail that is read by direct gets.
pub(super) struct Reads {
    hinted: Hinted,
    /// The highest sequence that hints have named. 0 once the leader has nothing up to there.
    known: StreamSeq,
    /// Whether there may be more than the last read returned.
    has_more: bool,
    /// Whether the leader must say that there is no more, where so far only a copy does.
    is_unconfirmed: bool,
    /// Reads in a row that ended before `known`.
    behind: u32,
    /// When to ask the leader next.
    look: Instant,
    /// Since when the leader contradicts what was read.
    contradicted: Option<Instant>,
}

enum News {
    /// There may be something to read.
    Read,
    /// It is time to ask the leader.
    Look,
    Doubtful(&'static str),
}

impl JetStreamTail {
    /// Takes one step by direct gets.
    pub(super) async fn read_on(&mut self) -> Result<Heard, ReadError> {
        if self.reads.is_none() {
            self.reads = Some(self.open_reads().await?);
        }
        match self.news().await {
            News::Read => self.read_page().await,
            News::Look => self.look().await,
            News::Doubtful(why) => Ok(Heard::Doubtful(why)),
        }
    }

    async fn open_reads(&mut self) -> Result<Reads, ReadError> {
        // Before anything is requested, so that a reconnection from here on is noticed.
        self.connection.made.mark_unchanged();
        let hinted = self.connection.hints.of(&self.hinted()).await?;
        self.begin().await?;
        if let Some(unseen) = &mut self.unseen {
            unseen.begins();
        }
        Ok(Reads {
            hinted,
            known: StreamSeq(0),
            has_more: true,
            is_unconfirmed: self.reader.is_replicated(),
            behind: 0,
            look: Instant::now() + LOOK_SOON,
            contradicted: None,
        })
    }

    /// The filter of the hints: a direct get takes one filter, so with several, everything is read
    /// and sorted out here.
    fn hinted(&self) -> String {
        match &self.filters[..] {
            [filter] => filter.clone(),
            _ => format!("{}.>", self.stream.to_lowercase()),
        }
    }

    async fn news(&mut self) -> News {
        loop {
            let Some(reads) = &mut self.reads else {
                return News::Doubtful("not open");
            };
            if reads.has_more || reads.known >= self.next {
                return News::Read;
            }
            if Instant::now() >= reads.look {
                return News::Look;
            }
            // All branches are cancellation safe: a watched value stays.
            tokio::select! {
                hint = reads.hinted.next() => match hint {
                    Some(seq) => reads.known = reads.known.max(StreamSeq(seq)),
                    None => return News::Doubtful("there will be no more hints"),
                },
                changed = self.connection.made.changed() => {
                    self.caution.lost();
                    return News::Doubtful(match changed {
                        Ok(()) => "a new connection",
                        Err(_) => "the connection is closed",
                    });
                }
                () = tokio::time::sleep_until(reads.look.into()) => {}
            }
        }
    }

    async fn read_page(&mut self) -> Result<Heard, ReadError> {
        let filter = match &self.filters[..] {
            [filter] => filter.as_str(),
            _ => ">",
        };
        let from = StreamSeq(self.next.0.max(1));
        let patience = if self.reader.is_replicated() {
            PATIENCE_OF_COPIES
        } else {
            PATIENCE
        };
        let page = match self.reader.page(filter, from, PULL, patience).await {
            Ok(page) => page,
            // The server that should have answered may have stopped, and another one may answer.
            Err(_) if self.failures == 0 => {
                self.failures = 1;
                return Ok(Heard::Doubtful("no answer to a read"));
            }
            Err(error) => return Err(error),
        };
        self.failures = 0;
        let before = self.next;
        for message in page.records {
            if message.seq < self.next {
                continue;
            }
            if self.filters.len() > 1 && !is_wanted(&self.filters, &message.subject) {
                self.next = message.seq.next();
                continue;
            }
            if let doubt @ Heard::Doubtful(_) = self.accept(message) {
                return Ok(doubt);
            }
        }
        match page.end {
            End::More if self.next > before => {
                if let Some(reads) = &mut self.reads {
                    (reads.has_more, reads.behind) = (true, 0);
                }
                Ok(Heard::Fine)
            }
            End::More | End::Last => self.copy_has_no_more(self.next > before).await,
            End::Doubtful => {
                self.caution.lost();
                Ok(Heard::Doubtful("a read was cut off"))
            }
        }
    }

    /// Notes that the copy that answered has no more messages.
    async fn copy_has_no_more(&mut self, has_read: bool) -> Result<Heard, ReadError> {
        let is_replicated = self.reader.is_replicated();
        let next = self.next;
        let Some(reads) = &mut self.reads else {
            return Ok(Heard::Doubtful("not open"));
        };
        reads.has_more = false;
        if has_read {
            reads.behind = 0;
        }
        let lags = is_replicated && reads.known >= next;
        if lags && reads.behind < READS_BEHIND {
            let pause = PAUSE_BEHIND * (1 << reads.behind);
            reads.behind += 1;
            // What was read is handed on first.
            if self.ready.is_empty() {
                tokio::time::sleep(pause).await;
            }
            return Ok(Heard::Fine);
        }
        if lags || reads.is_unconfirmed {
            return Ok(self.ask_leader().await);
        }
        self.has_nothing();
        Ok(Heard::Fine)
    }

    /// Notes that there is nothing to read.
    fn has_nothing(&mut self) {
        if let Some(reads) = &mut self.reads {
            (reads.known, reads.behind) = (StreamSeq(0), 0);
        }
        if let Some(unseen) = &mut self.unseen {
            unseen.got_nothing(self.next);
        }
    }

    /// Reads the next message from the leader.
    async fn ask_leader(&mut self) -> Heard {
        let next = StreamSeq(self.next.0.max(1));
        let asked = self.reader.next_of(&self.filters, next);
        let asked = tokio::time::timeout(LOOK, asked).await;
        let Some(reads) = &mut self.reads else {
            return Heard::Doubtful("not open");
        };
        reads.behind = 0;
        match asked {
            Ok(Ok(Some(message))) => {
                (reads.has_more, reads.is_unconfirmed) = (true, true);
                self.accept(message)
            }
            Ok(Ok(None)) => {
                reads.is_unconfirmed = false;
                self.has_nothing();
                Heard::Fine
            }
            // Without a leader nothing new is stored.
            Ok(Err(_)) | Err(_) => {
                reads.look = Instant::now() + LOOK_SOON;
                Heard::Fine
            }
        }
    }

    /// Asks the leader whether this is still the same stream, and whether it has more.
    async fn look(&mut self) -> Result<Heard, ReadError> {
        let is_replicated = self.reader.is_replicated();
        let bounds = tokio::time::timeout(LOOK, self.reader.bounds()).await;
        let Some(reads) = &mut self.reads else {
            return Ok(Heard::Doubtful("not open"));
        };
        let now = Instant::now();
        reads.look = now + LOOK_EVERY;
        let Ok(Ok(bounds)) = bounds else {
            return Ok(Heard::Fine);
        };
        let contradicted = reads.contradicted.take();
        match self.settle(&bounds) {
            Ok(()) => {}
            Err(gap @ ReadError::Gap { .. }) => return Err(gap),
            // It may be a former leader that is cut off from the others.
            Err(error) => {
                let since = contradicted.unwrap_or(now);
                if !is_replicated || now.duration_since(since) >= DEPOSED_FOR {
                    return Err(error);
                }
                if let Some(reads) = &mut self.reads {
                    reads.contradicted = Some(since);
                }
                return Ok(Heard::Fine);
            }
        }
        if bounds.last < self.next {
            return Ok(Heard::Fine);
        }
        if is_replicated {
            return Ok(self.ask_leader().await);
        }
        if let Some(reads) = &mut self.reads {
            reads.has_more = true;
        }
        Ok(Heard::Fine)
    }
}
