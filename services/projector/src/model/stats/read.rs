//! Reads what happened in a time.

use std::collections::BTreeMap;

use waybill_domain::id::{QueueName, TeamId};
use waybill_domain::time::Timestamp;
use waybill_store::{KeyRange, View};

use super::{Cell, FAILED_ATTEMPTS, Fineness, STATS, Sketch, decode, keys, row_error};
use crate::model::page::InvalidQuery;
use crate::model::reader::ReaderError;
use crate::query::{
    Figures, GetStats, Lengths, MAX_QUEUES, MAX_STATS_QUEUES, MAX_STEPS, Series, Stats,
};

/// Rows that are added up for the figures of all queues of a team.
const MAX_ADDED: usize = 100_000;

/// Figures that are being added up.
#[derive(Default, Clone)]
struct Sum {
    cell: Cell,
    failed: u64,
}

impl Sum {
    fn merge(&mut self, other: &Self) {
        self.cell.merge(&other.cell);
        self.failed += other.failed;
    }

    fn figures(&self) -> Figures {
        Figures {
            accepted: self.cell.accepted,
            ended: self.cell.ended,
            ok: self.cell.ok,
            failed_attempts: self.failed,
            wait: lengths(&self.cell.wait),
            total: lengths(&self.cell.total),
        }
    }
}

fn lengths(sketch: &Sketch) -> Lengths {
    Lengths {
        p50: sketch.percentile(50),
        p95: sketch.percentile(95),
        p99: sketch.percentile(99),
    }
}

/// The steps of an answer.
struct Steps {
    fineness: Fineness,
    from: u64,
    to: u64,
    step: u64,
}

impl Steps {
    fn choose(query: &GetStats, now: Timestamp) -> Result<Self, InvalidQuery> {
        let (window, step) = (query.window_ms, query.step_ms);
        let fits = |fineness: &Fineness| {
            step > 0 && step.is_multiple_of(fineness.step()) && window <= fineness.kept()
        };
        // The coarsest has the fewest rows.
        let fineness = Fineness::ALL.into_iter().rev().find(fits);
        let Some(fineness) = fineness else {
            let message = "step must be a multiple of 10s with a window of up to 2h, of 1m with one of up to 2d, and of 1h with one of up to 30d";
            return Err(InvalidQuery::new("step", message));
        };
        if window == 0 || !window.is_multiple_of(step) {
            let message = "window must be a multiple of step";
            return Err(InvalidQuery::new("window", message));
        }
        if query.queues.len() > MAX_STATS_QUEUES {
            let message = format!(
                "queue: at most {MAX_STATS_QUEUES} queues, not {}",
                query.queues.len()
            );
            return Err(InvalidQuery::new("queue", message));
        }
        let series = query.queues.len() as u64 + 1;
        if (window / step).saturating_mul(series) > MAX_STEPS {
            let message = format!(
                "step: at most {MAX_STEPS} steps in one answer, not {} for {series} series of {} each; make step longer, or window shorter",
                (window / step).saturating_mul(series),
                window / step
            );
            return Err(InvalidQuery::new("step", message));
        }
        let now = keys::millis(now);
        let to = now - now % step + step;
        Ok(Self {
            fineness,
            from: to.saturating_sub(window),
            to,
            step,
        })
    }

    /// The beginnings of the steps of the answer.
    fn each(&self) -> impl DoubleEndedIterator<Item = u64> {
        let count = (self.to - self.from) / self.step;
        (0..count).map(|at| self.from + at * self.step)
    }

    /// The beginnings of the stored steps in one of the answer.
    fn stored(&self, start: u64) -> impl DoubleEndedIterator<Item = u64> {
        let fine = self.fineness.step();
        (0..self.step / fine).map(move |at| start + at * fine)
    }
}

pub(in crate::model) fn stats(
    view: &View<'_>,
    query: &GetStats,
    now: Timestamp,
) -> Result<Stats, ReaderError> {
    let steps = Steps::choose(query, now)?;
    let mut answer = Stats {
        from: time(steps.from),
        to: time(steps.to),
        all: series(view, &steps, &query.team, None)?,
        queues: Vec::new(),
        truncated: false,
    };
    if query.queues.is_empty() {
        (answer.queues, answer.truncated) = of_each(view, &steps, &query.team)?;
        return Ok(answer);
    }
    for queue in &query.queues {
        let of_queue = series(view, &steps, &query.team, Some(queue))?;
        answer.queues.push((queue.clone(), of_queue));
    }
    answer.queues.sort_by(|a, b| a.0.cmp(&b.0));
    answer.queues.dedup_by(|a, b| a.0 == b.0);
    Ok(answer)
}

fn time(at: u64) -> Timestamp {
    Timestamp(i64::try_from(at).unwrap_or(i64::MAX))
}

fn series(
    view: &View<'_>,
    steps: &Steps,
    team: &TeamId,
    queue: Option<&QueueName>,
) -> Result<Series, ReaderError> {
    let mut whole = Sum::default();
    let mut each = Vec::new();
    for step in steps.each() {
        let mut sum = Sum::default();
        for start in steps.stored(step) {
            let key = super::key(steps.fineness, start, team, queue);
            if let Some(row) = view.get(STATS, &key)? {
                sum.cell.merge(&decode(STATS, &row)?);
            }
            if let Some(row) = view.get(FAILED_ATTEMPTS, &key)? {
                sum.failed += decode::<u64>(FAILED_ATTEMPTS, &row)?;
            }
        }
        whole.merge(&sum);
        each.push(sum.figures());
    }
    Ok(Series {
        sum: whole.figures(),
        steps: each,
    })
}

/// The figures of the whole time for each queue, and whether some are missing.
fn of_each(
    view: &View<'_>,
    steps: &Steps,
    team: &TeamId,
) -> Result<(Vec<(QueueName, Series)>, bool), ReaderError> {
    let mut sums: BTreeMap<QueueName, Sum> = BTreeMap::new();
    let mut added = 0;
    let mut truncated = false;
    let starts = steps.each().flat_map(|step| steps.stored(step));
    // The latest first, so that what is missing is old.
    'all: for start in starts.rev() {
        let prefix = super::key(steps.fineness, start, team, None);
        for tree in [STATS, FAILED_ATTEMPTS] {
            for row in view.range(tree, &KeyRange::prefix(&prefix))? {
                let (key, value) = row?;
                if key == prefix {
                    continue;
                }
                added += 1;
                if added > MAX_ADDED {
                    truncated = true;
                    break 'all;
                }
                let queue = keys::queue_of_stats(&key)
                    .ok_or_else(|| row_error(tree, "a key without a queue"))?;
                if sums.len() >= MAX_QUEUES && !sums.contains_key(&queue) {
                    truncated = true;
                    continue;
                }
                let sum = sums.entry(queue).or_default();
                if tree == STATS {
                    sum.cell.merge(&decode(STATS, &value)?);
                } else {
                    sum.failed += decode::<u64>(FAILED_ATTEMPTS, &value)?;
                }
            }
        }
    }
    let queues = sums.into_iter().map(|(queue, sum)| {
        let series = Series {
            sum: sum.figures(),
            steps: Vec::new(),
        };
        (queue, series)
    });
    Ok((queues.collect(), truncated))
}
