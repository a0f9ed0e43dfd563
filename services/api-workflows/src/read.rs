//! From the request for a workflow to its members, each checked as a task of its own would be.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use waybill_api_tasks::accept::Accepting;
use waybill_api_tasks::credentials::Checked;
use waybill_api_tasks::request::{CreateTask, Headers};
use waybill_domain::flow::{About, RunAfterMode};
use waybill_domain::id::QueueName;
use waybill_domain::task::{Limits, TaskSpec};
use waybill_domain::workflow::graph::{Graph, Wanted, Wrong};
use waybill_domain::workflow::places::{self, MAX_PLACES};
use waybill_domain::workflow::{
    MAX_DESCRIPTION_CHARS, MAX_LINKS, MAX_MEMBER_NAME, MAX_MEMBERS, MAX_NAME_CHARS,
};
use waybill_edge::body;
use waybill_edge::error::ApiError;
use waybill_edge::warnings::Warnings;

use crate::request::{NewWorkflow, NewWorkflowTask};

/// Limit of all names and values of the metadata together, in bytes; that of a task.
const MAX_METADATA_BYTES: usize = waybill_domain::task::spec::MAX_METADATA_BYTES;

/// A workflow that can be made.
pub(crate) struct Plan {
    pub(crate) about: About,
    /// In the order in which they are stored.
    pub(crate) members: Vec<Planned>,
    /// What is asked for, to be compared with what was.
    pub(crate) fingerprint: String,
    /// What of the request has no effect.
    pub(crate) warnings: Warnings,
}

/// A member that can be made.
pub(crate) struct Planned {
    pub(crate) name: String,
    /// Those that it runs after, as places in the plan.
    pub(crate) after: Vec<usize>,
    pub(crate) mode: RunAfterMode,
    pub(crate) checked: Checked,
    /// The places in its request, each with the name of the member whose result it is.
    pub(crate) places: Vec<(String, String)>,
}

/// Checks everything about a workflow that can be checked before it is stored.
pub(crate) fn read(
    accepting: &Accepting<'_>,
    limits: &Limits,
    request: NewWorkflow,
) -> Result<Plan, ApiError> {
    let about = about(request.name, request.description, request.metadata)?;
    let given = request.tasks.unwrap_or_default();
    if !(1..=MAX_MEMBERS).contains(&given.len()) {
        let message = format!(
            "tasks must hold 1 to {MAX_MEMBERS} tasks, not {}",
            given.len()
        );
        return Err(ApiError::bad_field("tasks", message));
    }
    let mut warnings = Warnings::default();
    let mut steps = Vec::with_capacity(given.len());
    for (at, text) in given.iter().enumerate() {
        steps.push(Step::read(at, text, &mut warnings)?);
    }
    let queue = queue(request.queue, &steps)?;
    let wanted: Vec<_> = steps
        .iter()
        .map(|step| Wanted {
            name: &step.name,
            after: &step.after,
        })
        .collect();
    let graph = Graph::read(&wanted).map_err(|wrong| refuse(wrong, &steps))?;
    let mut place_of = vec![0; steps.len()];
    for (place, at) in graph.order.iter().enumerate() {
        place_of[*at] = place;
    }
    let mut hash = Sha256::new();
    for text in [
        Some(&about.name),
        about.description.as_ref(),
        queue.as_ref(),
    ] {
        hash.update(text.map_or("", String::as_str));
        hash.update([0, u8::from(text.is_some())]);
    }
    for (name, value) in &about.metadata {
        hash.update(format!("{name}\0{value}\0"));
    }
    let mut steps: Vec<_> = steps.into_iter().map(Some).collect();
    let mut members = Vec::with_capacity(steps.len());
    for at in &graph.order {
        let Some(step) = steps[*at].take() else {
            continue;
        };
        let named: HashSet<String> = step.after.iter().cloned().collect();
        let mut task = step.task;
        task.queue = task.queue.or_else(|| queue.clone());
        let checked = accepting.check(task, limits);
        let checked = checked.map_err(|error| within(error, *at))?;
        let places = places_of(&checked.spec, &named, *at)?;
        let own = checked.as_given.clone();
        hash.update(format!("{}\0{:?}\0", step.name, step.mode));
        hash.update(own.unwrap_or_else(|| checked.spec.fingerprint()));
        let mut after: Vec<_> = graph.after[*at]
            .iter()
            .map(|other| place_of[*other])
            .collect();
        after.sort_unstable();
        hash.update(format!("{after:?}\0"));
        members.push(Planned {
            name: step.name,
            after,
            mode: step.mode,
            checked,
            places,
        });
    }
    Ok(Plan {
        about,
        members,
        fingerprint: hex::encode(hash.finalize()),
        warnings,
    })
}

/// A task of the request.
struct Step {
    name: String,
    after: Vec<String>,
    mode: RunAfterMode,
    task: CreateTask,
}

impl Step {
    fn read(at: usize, text: &RawValue, warnings: &mut Warnings) -> Result<Self, ApiError> {
        let wrong = |field: &str, message: String| {
            let field = format!("tasks.{at}.{field}");
            ApiError::bad_field(field.clone(), format!("{field} {message}"))
        };
        let read = body::parse_leniently(text.get().as_bytes());
        let (step, unknown): (NewWorkflowTask, _) = read.map_err(|error| named(error, at, ""))?;
        warn(warnings, unknown, &format!("tasks.{at}."));
        let name = step
            .name
            .ok_or_else(|| wrong("name", "is required".into()))?;
        if !places::is_name(&name) {
            let message = format!("must be 1 to {MAX_MEMBER_NAME} letters, digits, _ and -");
            return Err(wrong("name", message));
        }
        let mode = match step.run_after_mode.as_deref() {
            None => RunAfterMode::All,
            Some(text) => RunAfterMode::parse(text).ok_or_else(|| {
                wrong("runAfterMode", format!("must be all or any, not {text:?}"))
            })?,
        };
        let text = step
            .task
            .ok_or_else(|| wrong("task", "is required".into()))?;
        let read = body::parse_leniently(text.get().as_bytes());
        let (task, unknown): (CreateTask, _) = read.map_err(|error| within(error, at))?;
        warn(warnings, unknown, &format!("tasks.{at}.task."));
        for (field, given, instead) in [
            (
                "task.idempotencyKey",
                task.idempotency_key.is_some(),
                "use the Idempotency-Key of the workflow",
            ),
            ("task.debounce", task.debounce.is_some(), "it is made once"),
            (
                "task.singleton",
                task.singleton.is_some(),
                "use limits or orderingKey",
            ),
            ("task.dedup", task.dedup.is_some(), "it is made once"),
        ] {
            if given {
                let message = format!("is not for the tasks of a workflow: {instead}");
                return Err(wrong(field, message));
            }
        }
        Ok(Self {
            name,
            after: step.run_after.unwrap_or_default(),
            mode,
            task,
        })
    }
}

/// The queue of all members, if one is named.
fn queue(of_all: Option<String>, steps: &[Step]) -> Result<Option<String>, ApiError> {
    let first = steps.iter().find_map(|step| step.task.queue.clone());
    let is_wrong = |queue: &String| QueueName::parse(queue).is_err();
    if let Some(wrong) = of_all.as_ref().filter(|queue| is_wrong(queue)) {
        let shown: String = wrong.chars().take(40).collect();
        let message = format!(
            "queue must be 1 to {} of a-z, A-Z, 0-9, _ and -, not {shown:?}",
            QueueName::MAX_CHARS
        );
        return Err(ApiError::bad_field("queue", message));
    }
    let queue = of_all.or(first);
    let other = steps.iter().position(|step| {
        let own = step.task.queue.as_deref();
        own.is_some() && own != queue.as_deref()
    });
    match other {
        None => Ok(queue),
        Some(at) => {
            let field = format!("tasks.{at}.task.queue");
            let queue = queue.unwrap_or_default();
            let message =
                format!("{field} must be {queue:?}: all tasks of a workflow are in one queue");
            Err(ApiError::bad_field(field, message))
        }
    }
}

fn about(
    name: Option<String>,
    description: Option<String>,
    metadata: Option<Headers>,
) -> Result<About, ApiError> {
    let name = name.map(|name| name.trim().to_owned()).unwrap_or_default();
    if !(1..=MAX_NAME_CHARS).contains(&name.chars().count()) {
        let message = format!("name must be 1 to {MAX_NAME_CHARS} characters");
        return Err(ApiError::bad_field("name", message));
    }
    let length = description.as_ref().map_or(0, |text| text.chars().count());
    if length > MAX_DESCRIPTION_CHARS {
        let message =
            format!("description must be at most {MAX_DESCRIPTION_CHARS} characters, not {length}");
        return Err(ApiError::bad_field("description", message));
    }
    let metadata: BTreeMap<String, String> = metadata.unwrap_or_default().0.into_iter().collect();
    let bytes: usize = metadata
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX_METADATA_BYTES {
        let message = format!("metadata must be at most {MAX_METADATA_BYTES} bytes, not {bytes}");
        return Err(ApiError::bad_field("metadata", message));
    }
    Ok(About {
        name,
        description,
        metadata,
        json: None,
    })
}

/// The places in a request, without repetition.
fn places_of(
    spec: &TaskSpec,
    after: &HashSet<String>,
    at: usize,
) -> Result<Vec<(String, String)>, ApiError> {
    let headers = spec
        .headers
        .iter()
        .map(|(_, value)| ("headers", value.as_str()));
    let texts = [("targetUrl", spec.url.as_str())]
        .into_iter()
        .chain(headers);
    let body = spec.body.as_deref().map(|body| ("body", body));
    let mut all: Vec<(String, String)> = Vec::new();
    for (field, text) in texts.chain(body) {
        let field = format!("tasks.{at}.task.{field}");
        let found = places::find(text);
        let found =
            found.map_err(|why| ApiError::bad_field(field.clone(), format!("{field}: {why}")))?;
        for place in found {
            if !after.contains(place.name) {
                let message = format!(
                    "{field}: {{{{{}}}}} is about {:?}, which is not in its runAfter",
                    place.text, place.name
                );
                return Err(ApiError::bad_field(field, message));
            }
            if all.iter().all(|(_, known)| known != place.text) {
                all.push((place.name.to_owned(), place.text.to_owned()));
            }
        }
        if all.len() > MAX_PLACES {
            let message = format!(
                "{field}: a task has at most {MAX_PLACES} different places to be filled in"
            );
            return Err(ApiError::bad_field(field, message));
        }
    }
    Ok(all)
}

fn refuse(wrong: Wrong, steps: &[Step]) -> ApiError {
    let name = |member: usize| steps.get(member).map_or("", |step| step.name.as_str());
    let entry = |member: usize, entry: usize| {
        let after = steps.get(member).and_then(|step| step.after.get(entry));
        let shown: String = after
            .map_or("", String::as_str)
            .chars()
            .take(MAX_MEMBER_NAME)
            .collect();
        (format!("tasks.{member}.runAfter.{entry}"), shown)
    };
    let (field, message): (Cow<'static, str>, String) = match wrong {
        Wrong::SameName { member, as_member } => (
            format!("tasks.{member}.name").into(),
            format!(
                "{:?} is the name of tasks.{as_member} already",
                name(member)
            ),
        ),
        Wrong::Unknown { member, entry: at } => {
            let (field, shown) = entry(member, at);
            (
                field.into(),
                format!("no task of the workflow is named {shown:?}"),
            )
        }
        Wrong::Twice { member, entry: at } => {
            let (field, shown) = entry(member, at);
            (field.into(), format!("{shown:?} is there twice"))
        }
        Wrong::Cycle(members) => {
            const SHOWN: usize = 8;
            let first = members.first().copied().unwrap_or_default();
            let mut path: Vec<_> = members
                .iter()
                .take(SHOWN)
                .map(|member| name(*member))
                .collect();
            if members.len() > SHOWN {
                path.push("...");
            }
            path.push(name(first));
            (
                format!("tasks.{first}.runAfter").into(),
                format!("these tasks wait for each other: {}", path.join(" after ")),
            )
        }
        Wrong::TooMany(links) => (
            "tasks".into(),
            format!("all runAfter together must hold at most {MAX_LINKS} names, not {links}"),
        ),
    };
    ApiError::bad_field(field.clone(), format!("{field}: {message}"))
}

/// Names the field as it stands in the request for the workflow.
pub(crate) fn within(error: ApiError, at: usize) -> ApiError {
    named(error, at, "task")
}

fn named(mut error: ApiError, at: usize, part: &str) -> ApiError {
    let whole = format!("tasks.{at}");
    let parts = [
        whole.as_str(),
        part,
        error.body.field.as_deref().unwrap_or_default(),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let field = parts.join(".");
    error.body.field = Some(field.into());
    error
}

fn warn(warnings: &mut Warnings, unknown: Warnings, within: &str) {
    for warning in unknown
        .judge(waybill_edge::warnings::Handling::Lenient)
        .unwrap_or_default()
    {
        warnings.add(format!("{within}{}", warning.field), warning.message);
    }
}
