//! What is promised about limits that targets pause.

use std::collections::BTreeMap;
use std::time::Duration;

use waybill_domain::event::{Answer, TaskEvent};
use waybill_domain::id::{LimitKey, TaskId, TeamId};
use waybill_domain::partition::Partition;
use waybill_domain::time::Timestamp;
use waybill_log::{Record, StreamSeq};

use super::Ledger;
use super::lengths::STORED_LATER;

/// The pauses of each partition: when they end by the server's clock, and under which fence they
/// were stored.
#[derive(Default)]
pub(super) struct Slowdowns {
    pauses: BTreeMap<(Partition, TeamId, LimitKey), (Timestamp, StreamSeq)>,
    /// The attempts because of which a limit was paused.
    because: BTreeMap<TaskId, u32>,
}

/// For how long an answer says that it comes too often.
fn too_often(answer: Option<&Answer>) -> Option<Duration> {
    let answer = answer.filter(|answer| answer.status == 429)?;
    let header = |(name, _): &&(String, String)| name.eq_ignore_ascii_case("retry-after");
    let (_, value) = answer.headers.iter().find(header)?;
    value.parse().ok().map(Duration::from_secs)
}

impl Ledger {
    /// Checks what an event means to limits that targets pause.
    pub(super) fn slows_down(&mut self, record: &Record, event: &TaskEvent) {
        let id = event.id();
        let Some(life) = self.lives.get(&id) else {
            return;
        };
        let (partition, team) = (id.partition(), &life.created.team);
        let fence = self.owners.get(&partition).map(|(fence, _)| *fence);
        let fence = fence.unwrap_or_default();
        let pauses = life.created.on_rate_limited.is_some();
        let wrong = match event {
            TaskEvent::LimitPaused(e) => {
                let first = life.created.limits.first().map(|limit| &limit.key);
                let right = pauses && first == Some(&e.key) && life.running.is_some();
                let end = record.time.plus(e.until.since(e.at));
                let of = (partition, team.clone(), e.key.clone());
                let known = self.slowdowns.pauses.get(&of).copied();
                if known.is_none_or(|(known, by)| by != fence || known < end) {
                    self.slowdowns.pauses.insert(of, (end, fence));
                }
                self.slowdowns.because.insert(id, life.started);
                (!right).then_some("the first limit of a task is paused, if it says so")
            }
            TaskEvent::Started(_) => {
                let is_paused = life.created.limits.iter().any(|limit| {
                    let of = (partition, team.clone(), limit.key.clone());
                    let pause = self.slowdowns.pauses.get(&of);
                    // Whoever has taken over since goes by the wall clock.
                    pause.is_some_and(|(end, by)| {
                        *by == fence && record.time.plus(STORED_LATER) < *end
                    })
                });
                is_paused.then_some("nothing starts while a target has paused its limit")
            }
            TaskEvent::AttemptFailed(_) | TaskEvent::Dead(_) if pauses => {
                let answer = match event {
                    TaskEvent::AttemptFailed(e) => e.answer.as_ref(),
                    TaskEvent::Dead(e) => e.answer.as_ref(),
                    _ => None,
                };
                let wanted = too_often(answer).is_some_and(|length| !length.is_zero());
                let paused = self.slowdowns.because.get(&id) == Some(&life.started);
                (wanted && !paused).then_some("a target that asks for it has the limit paused")
            }
            _ => None,
        };
        if let Some(promise) = wrong {
            self.broken(format!(
                "{} {} of {id} breaks: {promise}",
                record.seq, record.event
            ));
        }
    }
}
