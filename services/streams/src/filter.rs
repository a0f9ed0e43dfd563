//! The filter of a listener: events of one team, narrowed to a task, to queues, types and statuses.

use waybill_domain::event::TaskEvent;
use waybill_domain::id::{QueueName, TaskId, TeamId};
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::task::Status;
use waybill_log::subject::TaskFilter;

use super::view::{Step, kinds_leading_to};

/// Most values in one comma list.
const MAX_VALUES: usize = 20;
/// Subject filters in one read of the log: each costs a round trip and up to a page of memory. What is narrower than that many can
/// say is filtered in memory.
const MAX_SUBJECTS: usize = 6;

/// Short names of the events that end a task.
const ENDS: &[&str] = &["succeeded", "dead", "expired", "cancelled"];

/// An invalid query parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadParameter {
    pub field: &'static str,
    /// What is wrong with which value, and what would be right.
    pub message: String,
}

fn bad(field: &'static str, message: String) -> BadParameter {
    BadParameter { field, message }
}

/// Which events a listener wants. An empty list lets all through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter {
    team: TeamId,
    task: Option<TaskId>,
    queues: Vec<QueueName>,
    /// Short names; already narrowed by `statuses`.
    kinds: Vec<&'static str>,
    statuses: Vec<Status>,
    /// Only events that end a task, with success or without.
    ok: Option<bool>,
}

impl EventFilter {
    /// Everything of a team.
    #[must_use]
    pub fn team(team: TeamId) -> Self {
        Self {
            team,
            task: None,
            queues: Vec::new(),
            kinds: Vec::new(),
            statuses: Vec::new(),
            ok: None,
        }
    }

    /// Everything of a task. Its queue, where it is known, makes reading history cheaper.
    #[must_use]
    pub fn task(team: TeamId, task: TaskId, queue: Option<QueueName>) -> Self {
        Self {
            task: Some(task),
            queues: queue.into_iter().collect(),
            ..Self::team(team)
        }
    }

    /// Narrows by comma lists as clients write them. A list that is not given narrows nothing.
    pub fn narrowed(
        mut self,
        queues: &[String],
        types: &[String],
        statuses: &[String],
    ) -> Result<Self, BadParameter> {
        self.queues = list("queue", queues, |value| {
            QueueName::parse(value).map_err(|_| {
                format!(
                    "queue must be 1 to {} of a-z A-Z 0-9 _ -, not {value:?}",
                    QueueName::MAX_CHARS
                )
            })
        })?;
        self.kinds = list("type", types, kind)?;
        self.statuses = list("status", statuses, |value| {
            Status::parse(value).ok_or_else(|| {
                let known: Vec<&str> = Status::ALL.iter().map(|s| s.as_str()).collect();
                format!("status must be one of {}, not {value:?}", known.join(", "))
            })
        })?;
        if !self.statuses.is_empty() {
            let leads = |kind: &&'static str| {
                self.statuses
                    .iter()
                    .any(|&status| kinds_leading_to(status).contains(kind))
            };
            let wanted = |kind: &&'static str| self.kinds.is_empty() || self.kinds.contains(kind);
            let kinds: Vec<&'static str> = TaskEvent::KINDS
                .iter()
                .copied()
                .filter(|kind| wanted(kind) && leads(kind))
                .collect();
            if kinds.is_empty() {
                let message = "no event of these types leaves a task in one of these statuses";
                return Err(bad("status", message.into()));
            }
            self.kinds = kinds;
        }
        Ok(self)
    }

    /// Narrows to events that end a task, with success or without. `None` narrows nothing.
    pub fn with_ok(mut self, ok: Option<bool>) -> Result<Self, BadParameter> {
        let Some(ok) = ok else { return Ok(self) };
        let ends = if ok { &["succeeded"][..] } else { ENDS };
        if self.kinds.is_empty() {
            self.kinds = ends.to_vec();
        } else {
            self.kinds.retain(|kind| ends.contains(kind));
        }
        if self.kinds.is_empty() {
            let message = format!(
                "ok={ok} is said only of {}",
                ends.iter()
                    .map(|kind| format!("task.{kind}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            );
            return Err(bad("ok", message));
        }
        self.ok = Some(ok);
        Ok(self)
    }

    #[must_use]
    pub fn of_team(&self) -> &TeamId {
        &self.team
    }

    /// The task whose events are wanted, when it is a single one.
    #[must_use]
    pub fn of_task(&self) -> Option<TaskId> {
        self.task
    }

    /// Whether a listener of this team wants the event.
    #[must_use]
    pub fn matches(&self, step: &Step) -> bool {
        self.task.is_none_or(|task| task == step.task)
            && (self.queues.is_empty() || self.queues.contains(&step.queue))
            && (self.kinds.is_empty() || self.kinds.contains(&step.kind))
            && (self.statuses.is_empty()
                || step
                    .status
                    .is_some_and(|status| self.statuses.contains(&status)))
            && self.ok.is_none_or(|ok| step.view().ok == Some(ok))
    }

    /// Subject filters of TASKS that let every matching event through, and few others.
    #[must_use]
    pub fn subjects(&self, partitions: PartitionCount) -> Vec<String> {
        let base = TaskFilter {
            partition: self.task.map(TaskId::partition),
            ..TaskFilter::team(&self.team)
        };
        let in_queue = |queue| TaskFilter {
            partition: Some(Partition::of(&self.team, queue, partitions)),
            ..base.in_queue(queue)
        };
        let by_queue: Vec<TaskFilter<'_>> = self.queues.iter().map(in_queue).collect();
        let of_kinds = |filter: &TaskFilter<'_>| -> Vec<String> {
            let of_kind = |kind: &&'static str| filter.of_event(kind).to_string();
            self.kinds.iter().map(of_kind).collect()
        };
        let narrow: Vec<String> = if by_queue.is_empty() {
            of_kinds(&base)
        } else {
            by_queue.iter().flat_map(of_kinds).collect()
        };
        let by_queue = by_queue.iter().map(TaskFilter::to_string).collect();
        let fits = |subjects: &Vec<String>| (1..=MAX_SUBJECTS).contains(&subjects.len());
        [narrow, by_queue]
            .into_iter()
            .find(fits)
            .unwrap_or_else(|| vec![base.to_string()])
    }
}

fn kind(value: &str) -> Result<&'static str, String> {
    let short = value.strip_prefix("task.").unwrap_or(value);
    TaskEvent::KINDS
        .iter()
        .copied()
        .find(|&kind| kind == short)
        .ok_or_else(|| {
            let known: Vec<String> = TaskEvent::KINDS
                .iter()
                .map(|kind| format!("task.{kind}"))
                .collect();
            format!("type must be one of {}, not {value:?}", known.join(", "))
        })
}

/// Reads a comma list that may also come as several parameters of the same name. A repeated value counts once.
fn list<T: PartialEq>(
    field: &'static str,
    given: &[String],
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, BadParameter> {
    let mut values = Vec::new();
    for value in given.iter().flat_map(|list| list.split(',')) {
        let value = read(value.trim()).map_err(|message| bad(field, message))?;
        if !values.contains(&value) {
            values.push(value);
        }
        if values.len() > MAX_VALUES {
            let message = format!("{field} takes at most {MAX_VALUES} values");
            return Err(bad(field, message));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::time::Timestamp;

    fn filter(queue: &str, kind: &str, status: &str) -> Result<EventFilter, BadParameter> {
        let given = |text: &str| {
            let text = Some(text.to_owned());
            text.filter(|t| !t.is_empty()).into_iter().collect()
        };
        let (queues, kinds, statuses): (Vec<_>, Vec<_>, Vec<_>) =
            (given(queue), given(kind), given(status));
        EventFilter::team(TeamId::new(Timestamp(1), 1)).narrowed(&queues, &kinds, &statuses)
    }

    #[test]
    fn what_cannot_match_is_refused_by_name_value_and_remedy() {
        for (queue, kind, status, field, part) in [
            ("a.b", "", "", "queue", "not \"a.b\""),
            ("a,,b", "", "", "queue", "not \"\""),
            ("", "task.exploded", "", "type", "task.attempt_failed"),
            ("", "", "done", "status", "not \"done\""),
            (
                "",
                "task.created",
                "failed",
                "status",
                "no event of these types",
            ),
            (
                "",
                "callback_sent",
                "completed",
                "status",
                "no event of these types",
            ),
        ] {
            let refused = filter(queue, kind, status).expect_err("refused");
            assert_eq!(refused.field, field);
            assert!(refused.message.contains(part), "{}", refused.message);
        }
        let many: Vec<String> = (0..=MAX_VALUES).map(|n| format!("q{n}")).collect();
        assert_eq!(
            filter(&many.join(","), "", "")
                .expect_err("too many")
                .message,
            "queue takes at most 20 values"
        );
    }

    #[test]
    fn only_ends_are_a_success_or_none() {
        let all = PartitionCount::default();
        let team = TeamId::new(Timestamp(1), 1);
        let subjects = |kind, ok| {
            let filter = filter("", kind, "")?.with_ok(ok)?;
            Ok::<_, BadParameter>(filter.subjects(all))
        };
        assert_eq!(
            subjects("", Some(true)),
            Ok(vec![format!("tasks.*.{team}.*.succeeded")])
        );
        assert_eq!(subjects("", Some(false)).map(|all| all.len()), Ok(4));
        assert_eq!(
            subjects("task.succeeded,task.started", Some(false)),
            Ok(vec![format!("tasks.*.{team}.*.succeeded")])
        );
        let refused = subjects("task.dead", Some(true)).expect_err("refused");
        assert_eq!(refused.field, "ok");
        assert_eq!(refused.message, "ok=true is said only of task.succeeded");
    }

    #[test]
    fn history_is_read_by_subjects_as_narrow_as_the_filter() {
        let all = PartitionCount::default();
        let subjects =
            |queue, kind, status| filter(queue, kind, status).expect("fine").subjects(all);
        let team = TeamId::new(Timestamp(1), 1);
        assert_eq!(subjects("", "", ""), [format!("tasks.*.{team}.>")]);
        assert_eq!(
            subjects("", "", "pending"),
            [
                format!("tasks.*.{team}.*.created"),
                format!("tasks.*.{team}.*.attempt_failed"),
                format!("tasks.*.{team}.*.released"),
                format!("tasks.*.{team}.*.run_requested")
            ]
        );
        let queue = QueueName::parse("mail").expect("a name");
        let partition = Partition::of(&team, &queue, all);
        assert_eq!(
            subjects("mail", "succeeded, task.succeeded", ""),
            [format!("tasks.{partition}.{team}.mail.succeeded")]
        );
        let many: Vec<String> = (0..4).map(|n| format!("q{n}")).collect();
        let many = many.join(",");
        assert_eq!(subjects(&many, "created,started", "").len(), 4);
        let many: Vec<String> = (0..MAX_VALUES).map(|n| format!("q{n}")).collect();
        let many = many.join(",");
        assert_eq!(
            subjects(&many, "created,started", ""),
            [format!("tasks.*.{team}.>")]
        );
    }
}
