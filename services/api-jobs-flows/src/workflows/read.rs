//! From the request for a workflow to its members, each checked as a job of its own would be.

use std::collections::HashSet;

use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use waybill_api_jobs::rest::jobs::create::{NewJob, retries, timeout};
use waybill_api_jobs::rules;
use waybill_domain::flow::{About, RunAfterMode};
use waybill_domain::id::QueueName;
use waybill_domain::workflow::graph::{Graph, Wanted, Wrong};
use waybill_domain::workflow::{
    MAX_DESCRIPTION_CHARS, MAX_LINKS, MAX_MEMBER_NAME, MAX_MEMBERS, MAX_NAME_CHARS,
};
use waybill_edge::error::{ApiError, ErrorCode};

/// Largest metadata, in bytes of JSON.
const MAX_METADATA_BYTES: usize = 16 * 1024;

/// A workflow to be created.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsCreateWorkflow {
    #[schema(min_length = 1, max_length = 255, example = "Nightly import")]
    pub name: String,
    #[schema(max_length = 1000)]
    pub description: Option<String>,
    /// Any JSON, up to 16 KiB.
    #[schema(value_type = Option<serde_json::Value>)]
    pub metadata: Option<Box<RawValue>>,
    /// All of them in one queue.
    #[schema(min_items = 1, max_items = 1000)]
    pub jobs: Vec<JobsWorkflowStep>,
}

/// A job of a workflow.
#[derive(Debug, Deserialize, ToSchema)]
pub struct JobsWorkflowStep {
    /// Its name within the workflow. `name` is an alias.
    #[serde(alias = "name")]
    #[schema(min_length = 1, max_length = 100, example = "fetch")]
    pub key: String,
    #[schema(min_length = 1, max_length = 100, example = "imports")]
    pub queue_name: String,
    /// Any JSON.
    #[schema(value_type = serde_json::Value)]
    pub payload: Box<RawValue>,
    /// The keys of the jobs that it runs after.
    pub depends_on: Option<Vec<String>>,
    /// `all` (without it): when all of them have completed. `any`: when the first one has.
    pub dependency_mode: Option<String>,
    #[schema(default = 0, minimum = -100, maximum = 100)]
    pub priority: Option<i64>,
    #[schema(minimum = 0, maximum = 100)]
    pub max_retries: Option<i64>,
    #[schema(default = 300, minimum = 1, maximum = 86400)]
    pub timeout_seconds: Option<i64>,
    /// After this time it is not worked on: it ends as `failed`.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
}

/// A workflow whose values keep the rules.
pub(super) struct Plan {
    pub(super) about: About,
    pub(super) queue: QueueName,
    /// Those that others run after before these.
    pub(super) steps: Vec<Step>,
}

/// A job of a workflow that can be made.
pub(super) struct Step {
    pub(super) key: String,
    /// Those that it runs after, as places in the plan.
    pub(super) after: Vec<usize>,
    pub(super) mode: RunAfterMode,
    pub(super) job: NewJob,
    /// Its place in the request.
    pub(super) given: usize,
}

impl JobsCreateWorkflow {
    /// Checks everything about it that can be checked before it is stored.
    pub(super) fn check(self) -> Result<Plan, ApiError> {
        let about = about(&self.name, self.description, self.metadata)?;
        let count = self.jobs.len();
        if !(1..=MAX_MEMBERS).contains(&count) {
            let text = format!("must hold 1 to {MAX_MEMBERS} jobs, not {count}");
            return Err(rules::broken("jobs", text, "length"));
        }
        let mut keys = Vec::with_capacity(count);
        let mut afters = Vec::with_capacity(count);
        let mut checked = Vec::with_capacity(count);
        for (at, step) in self.jobs.into_iter().enumerate() {
            let read = step.check().map_err(|error| within(error, at))?;
            keys.push(read.key);
            afters.push(read.after);
            checked.push(Some((read.mode, read.job)));
        }
        let wanted: Vec<_> = keys
            .iter()
            .zip(&afters)
            .map(|(name, after)| Wanted { name, after })
            .collect();
        let graph = Graph::read(&wanted).map_err(|wrong| refuse(&wrong, &keys, &afters))?;
        let mut place_of = vec![0; count];
        for (place, at) in graph.order.iter().enumerate() {
            place_of[*at] = place;
        }
        let mut steps: Vec<Step> = Vec::with_capacity(count);
        for at in graph.order {
            let Some((mode, job)) = checked[at].take() else {
                continue;
            };
            let mut after: Vec<_> = graph.after[at].iter().map(|at| place_of[*at]).collect();
            after.sort_unstable();
            steps.push(Step {
                key: std::mem::take(&mut keys[at]),
                after,
                mode,
                job,
                given: at,
            });
        }
        let queue = one_queue(&steps)?;
        Ok(Plan {
            about,
            queue,
            steps,
        })
    }
}

/// The queue of all jobs: the owner of its partition decides when each of them runs.
fn one_queue(steps: &[Step]) -> Result<QueueName, ApiError> {
    let first = steps.iter().min_by_key(|step| step.given);
    let queue = first.map(|first| first.job.queue.clone());
    let queue = queue.unwrap_or_default();
    let other = steps.iter().filter(|step| step.job.queue != queue);
    match other.map(|step| step.given).min() {
        None => Ok(queue),
        Some(at) => {
            let text = format!("must be {queue}: all jobs of a workflow are in one queue");
            let error = rules::broken("queue_name", text, "unsupported");
            Err(within(error, at))
        }
    }
}

/// A job of the request whose values keep the rules.
struct Read {
    key: String,
    after: Vec<String>,
    mode: RunAfterMode,
    job: NewJob,
}

impl JobsWorkflowStep {
    fn check(self) -> Result<Read, ApiError> {
        let length = self.key.chars().count();
        if !(1..=MAX_MEMBER_NAME).contains(&length) {
            let text = format!("must be 1 to {MAX_MEMBER_NAME} characters, not {length}");
            return Err(rules::broken("key", text, "length"));
        }
        let mode = match self.dependency_mode.as_deref() {
            None => RunAfterMode::All,
            Some(text) => RunAfterMode::parse(text)
                .ok_or_else(|| rules::broken("dependency_mode", "must be all or any", "pattern"))?,
        };
        let expires_at = rules::time("expires_at", self.expires_at.as_deref())?;
        let mut after = self.depends_on.unwrap_or_default();
        // Named twice, it is waited for once.
        let mut named = HashSet::new();
        after.retain(|key| named.insert(key.clone()));
        Ok(Read {
            after,
            mode,
            job: NewJob {
                queue: rules::queue("queue_name", &self.queue_name)?,
                payload: self.payload,
                priority: rules::priority("priority", self.priority)?,
                max_retries: retries("max_retries", self.max_retries)?,
                timeout_s: timeout("timeout_seconds", self.timeout_seconds)?,
                scheduled_at: None,
                expires_at: rules::future("expires_at", expires_at)?,
                key: None,
                tags: None,
            },
            key: self.key,
        })
    }
}

fn about(
    name: &str,
    description: Option<String>,
    metadata: Option<Box<RawValue>>,
) -> Result<About, ApiError> {
    let name = name.trim();
    let length = name.chars().count();
    if !(1..=MAX_NAME_CHARS).contains(&length) {
        let text = format!("must be 1 to {MAX_NAME_CHARS} characters, not {length}");
        return Err(rules::broken("name", text, "length"));
    }
    let length = description
        .as_deref()
        .map_or(0, |text| text.chars().count());
    if length > MAX_DESCRIPTION_CHARS {
        let text = format!("must be at most {MAX_DESCRIPTION_CHARS} characters, not {length}");
        return Err(rules::broken("description", text, "length"));
    }
    let json = metadata.map(|metadata| metadata.get().to_owned());
    let json = json.filter(|json| json != "null");
    let bytes = json.as_deref().map_or(0, str::len);
    if bytes > MAX_METADATA_BYTES {
        let text = format!("must be at most {MAX_METADATA_BYTES} bytes, not {bytes}");
        return Err(rules::broken("metadata", text, "length"));
    }
    Ok(About {
        name: name.to_owned(),
        description,
        metadata: std::collections::BTreeMap::new(),
        json,
    })
}

/// Names the field as it stands in the request.
pub(super) fn within(mut error: ApiError, at: usize) -> ApiError {
    let place = format!("jobs[{at}]");
    let field = match error.body.field.take() {
        Some(field) => format!("{place}.{field}"),
        None => place.clone(),
    };
    error.body.message = format!("{place}.{}", error.body.message).into();
    error.body.error = error.body.message.clone();
    error.about(field)
}

/// The contract wants `BAD_REQUEST` of keys and dependencies.
fn refuse(wrong: &Wrong, keys: &[String], afters: &[Vec<String>]) -> ApiError {
    let text = match wrong {
        Wrong::SameName { member, as_member } => format!(
            "jobs[{member}].key: {:?} is the key of jobs[{as_member}] already",
            keys[*member]
        ),
        Wrong::Unknown { member, entry } => format!(
            "jobs[{member}].depends_on[{entry}]: no job of the workflow has the key {:?}",
            shortened(&afters[*member][*entry])
        ),
        Wrong::Twice { member, entry } => format!(
            "jobs[{member}].depends_on[{entry}]: {:?} is there twice",
            shortened(&afters[*member][*entry])
        ),
        Wrong::Cycle(members) => {
            const SHOWN: usize = 8;
            let path: Vec<_> = members
                .iter()
                .take(SHOWN)
                .map(|member| keys[*member].as_str())
                .collect();
            let path = path.join(", ");
            format!("jobs: these depend on each other in a cycle: {path}")
        }
        Wrong::TooMany(links) => {
            format!("jobs: all depends_on together must hold at most {MAX_LINKS} keys, not {links}")
        }
    };
    ApiError::new(StatusCode::BAD_REQUEST, ErrorCode::BadRequest, text)
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_MEMBER_NAME).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(jobs: &str) -> Result<Plan, ApiError> {
        let text = format!(r#"{{"name": "n", "metadata": {{"a": [1]}}, "jobs": {jobs}}}"#);
        let request: JobsCreateWorkflow = serde_json::from_str(&text).expect("the shape");
        request.check()
    }

    #[test]
    fn those_that_others_depend_on_come_first() {
        let jobs = r#"[
            {"key": "last", "queue_name": "q", "payload": 1, "depends_on": ["a b", "first", "a b"], "dependency_mode": "any"},
            {"name": "first", "queue_name": "q", "payload": 2},
            {"key": "a b", "queue_name": "q", "payload": 3, "depends_on": ["first"]}]"#;
        let plan = plan(jobs).expect("a plan");
        let keys: Vec<_> = plan.steps.iter().map(|step| step.key.as_str()).collect();
        assert_eq!(keys, ["first", "a b", "last"]);
        let last = &plan.steps[2];
        assert_eq!(
            (last.after.as_slice(), last.mode),
            (&[0, 1][..], RunAfterMode::Any)
        );
        assert_eq!(plan.about.json.as_deref(), Some(r#"{"a": [1]}"#));
    }

    #[test]
    fn what_could_never_run_is_refused_with_its_place() {
        for (jobs, code, named) in [
            ("[]", ErrorCode::InvalidField, "jobs"),
            (
                r#"[{"key": "a", "queue_name": "q", "payload": 1}, {"key": "a", "queue_name": "q", "payload": 1}]"#,
                ErrorCode::BadRequest,
                "jobs[1].key",
            ),
            (
                r#"[{"key": "a", "queue_name": "q", "payload": 1, "depends_on": ["b"]}]"#,
                ErrorCode::BadRequest,
                "jobs[0].depends_on[0]",
            ),
            (
                r#"[{"key": "a", "queue_name": "q", "payload": 1, "depends_on": ["a"]}]"#,
                ErrorCode::BadRequest,
                "cycle",
            ),
            (
                r#"[{"key": "a", "queue_name": "q", "payload": 1}, {"key": "b", "queue_name": "p", "payload": 1}]"#,
                ErrorCode::InvalidField,
                "jobs[1].queue_name",
            ),
            (
                r#"[{"key": "a", "queue_name": "q", "payload": 1, "priority": 101}]"#,
                ErrorCode::InvalidField,
                "jobs[0].priority",
            ),
            (
                r#"[{"key": "", "queue_name": "q", "payload": 1}]"#,
                ErrorCode::InvalidField,
                "jobs[0].key",
            ),
        ] {
            let Err(error) = plan(jobs) else {
                panic!("{jobs}");
            };
            assert_eq!(error.body.code, code, "{jobs}");
            assert!(error.body.message.contains(named), "{}", error.body.message);
        }
    }
}
