//! The life of each task according to the log, and whether its steps are in a possible order.

use std::collections::{BTreeMap, HashMap};

use super::Check;
use super::evidence::{Entry, Request, Step};
use super::kept::Gone;

/// The lives of all tasks, by id.
pub(crate) struct Lives<'a>(BTreeMap<&'a str, Life<'a>>);

/// One life.
pub(crate) struct Life<'a> {
    pub(crate) steps: Vec<&'a Entry>,
    broken: Vec<Broken>,
    end: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before its creation.
    Unborn,
    /// No attempt is running; this many have been made.
    Waiting(u32),
    Running(u32),
    Ended(&'static str),
}

/// A step that cannot follow what came before.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Broken {
    BeforeCreation(String),
    SecondCreation(String),
    Attempt(String),
    SecondEnd(String),
    AfterEnd(String),
}

impl<'a> Lives<'a> {
    pub(crate) fn of(log: &'a [Entry]) -> Self {
        let mut lives: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in log {
            lives.entry(&entry.task).or_default().push(entry);
        }
        Self(
            lives
                .into_iter()
                .map(|(id, steps)| (id, Life::of(steps)))
                .collect(),
        )
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Life<'a>> {
        self.0.get(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'a str, &Life<'a>)> {
        self.0.iter().map(|(id, life)| (*id, life))
    }

    /// The checks that need only the log, and what of it is gone.
    pub(super) fn checks(&self, gone: &Gone<'_>) -> Vec<Check> {
        let broken = |name, wanted: fn(&Broken) -> Option<&String>| {
            Check::over(name, self.iter(), |(id, life)| {
                let what = life.broken.iter().find_map(wanted)?;
                Some(format!("{id}: {what}"))
            })
        };
        let mut keys: HashMap<&str, Vec<&str>> = HashMap::new();
        for (id, life) in self.iter() {
            for entry in &life.steps {
                if let Step::Created(request) = &entry.step
                    && let Some(key) = &request.key
                {
                    keys.entry(key).or_default().push(id);
                }
            }
        }
        vec![
            broken("a task begins with its creation, once", |b| match b {
                Broken::BeforeCreation(what) | Broken::SecondCreation(what) => Some(what),
                _ => None,
            }),
            Check::over(
                "every task has ended",
                self.iter(),
                |(id, life)| match life.end {
                    Phase::Ended(_) => None,
                    phase => Some(format!("{id} is {phase:?} at the end of the log")),
                },
            ),
            broken("no task ends twice", |b| match b {
                Broken::SecondEnd(what) => Some(what),
                _ => None,
            }),
            broken("nothing is attempted after the end", |b| match b {
                Broken::AfterEnd(what) => Some(what),
                _ => None,
            }),
            broken(
                "attempts are numbered without gap and do not overlap",
                |b| match b {
                    Broken::Attempt(what) => Some(what),
                    _ => None,
                },
            ),
            // For as long as the log holds that task.
            Check::over("one idempotency key makes one task", keys, |(key, ids)| {
                let pairs = || {
                    ids.iter()
                        .flat_map(|one| ids.iter().map(move |other| (one, other)))
                };
                let twice =
                    pairs().any(|(one, other)| one < other && !gone.excuses(self, one, other));
                twice.then(|| format!("{key} made {}", ids.join(", ")))
            }),
        ]
    }
}

impl<'a> Life<'a> {
    fn of(steps: Vec<&'a Entry>) -> Self {
        let mut phase = Phase::Unborn;
        let mut broken = Vec::new();
        for entry in &steps {
            match phase.then(&entry.step) {
                Ok(next) => phase = next,
                Err(kind) => {
                    broken.push(kind(format!(
                        "{:?} at {} follows {phase:?}",
                        entry.step, entry.seq
                    )));
                }
            }
        }
        Self {
            steps,
            broken,
            end: phase,
        }
    }

    /// The status it ended with.
    pub(crate) fn end(&self) -> Option<&'static str> {
        match self.end {
            Phase::Ended(status) => Some(status),
            Phase::Unborn | Phase::Waiting(_) | Phase::Running(_) => None,
        }
    }

    /// Its creation: the position, and what was asked for.
    pub(crate) fn request(&self) -> Option<(u64, &'a Request)> {
        self.steps.iter().find_map(|entry| match &entry.step {
            Step::Created(request) => Some((entry.seq, &**request)),
            _ => None,
        })
    }

    /// Whether it has a completion webhook.
    pub(crate) fn wants_webhook(&self) -> bool {
        self.request().is_some_and(|(_, request)| request.webhook)
    }

    /// Whether the webhook was delivered or given up.
    pub(crate) fn webhook_closed(&self) -> bool {
        self.steps.iter().any(|entry| entry.step.closes_webhook())
    }

    /// When an attempt was recorded as started.
    pub(crate) fn started_ms(&self, attempt: u32) -> Option<i64> {
        let started = self
            .steps
            .iter()
            .find(|entry| entry.step == Step::Started(attempt))?;
        Some(started.stored_ms)
    }

    /// Whether an attempt's worker was lost, or cut the attempt short.
    pub(crate) fn was_lost(&self, attempt: u32) -> bool {
        self.steps.iter().any(|entry| match &entry.step {
            Step::AttemptFailed {
                attempt: of,
                lost: true,
            }
            | Step::Released(of)
            | Step::Cancelled {
                attempt: Some(of), ..
            } => *of == attempt,
            _ => false,
        })
    }

    /// Whether a call may go on at the target after the end of its attempt.
    pub(crate) fn may_outlast(&self, attempt: u32) -> bool {
        let expired = |entry: &&Entry| matches!(entry.step, Step::Expired { attempt: Some(of), .. } if of == attempt);
        self.was_lost(attempt) || self.steps.iter().any(expired)
    }
}

impl Phase {
    fn then(self, step: &Step) -> Result<Self, fn(String) -> Broken> {
        match (self, step) {
            (Self::Unborn, Step::Created(_)) => Ok(Self::Waiting(0)),
            (Self::Unborn, _) => Err(Broken::BeforeCreation),
            (_, Step::Created(_)) => Err(Broken::SecondCreation),
            (
                Self::Ended(_),
                Step::CallbackSent | Step::CallbackFailed { .. } | Step::Purged | Step::Unblocked,
            ) => Ok(self),
            (Self::Running(_), Step::LimitPaused { .. } | Step::TargetDisabled) => Ok(self),
            (Self::Ended(_), step) if step.ends().is_some() => Err(Broken::SecondEnd),
            (Self::Ended(_), _) => Err(Broken::AfterEnd),
            (Self::Waiting(made), Step::Started(attempt)) if *attempt == made + 1 => {
                Ok(Self::Running(*attempt))
            }
            (Self::Running(n), Step::AttemptFailed { attempt, .. } | Step::Released(attempt))
                if *attempt == n =>
            {
                Ok(Self::Waiting(n))
            }
            (Self::Running(n), Step::Succeeded { attempt, .. } | Step::Dead { attempt, .. })
                if *attempt == n =>
            {
                Ok(Self::Ended(step.ends().unwrap_or("completed")))
            }
            (
                Self::Running(n),
                Step::Expired {
                    attempt: Some(attempt),
                    ..
                },
            ) if *attempt == n => Ok(Self::Ended("timeout")),
            (Self::Waiting(_), Step::Expired { .. }) => Ok(Self::Ended("timeout")),
            (Self::Waiting(_), Step::RunRequested | Step::PriorityChanged { .. }) => Ok(self),
            (Self::Running(n), Step::CancelRequested(attempt)) if *attempt == n => Ok(self),
            (Self::Waiting(_), Step::Cancelled { attempt: None, .. }) => {
                Ok(Self::Ended("cancelled"))
            }
            (
                Self::Running(n),
                Step::Cancelled {
                    attempt: Some(attempt),
                    ..
                },
            ) if *attempt == n => Ok(Self::Ended("cancelled")),
            _ => Err(Broken::Attempt),
        }
    }
}
