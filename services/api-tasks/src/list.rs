//! `GET /v1/tasks`: newest first, filtered, by page or by cursor.

use std::collections::{BTreeMap, BTreeSet};

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use waybill_domain::task::Status;
use waybill_projector::query::{ListTasks, MAX_LIMIT, Page, Target, TaskFilter, WebhookState};

use super::blocked::Blocked;
use super::object::{Attempts, Task};
use crate::state::TasksApi;
use crate::withheld::Sees;
use waybill_commands::entropy;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::{InQueues, TasksRead};
use waybill_edge::error::ApiError;
use waybill_edge::filters::{Searched, boolean, given, hide, keep_within, kind, limit};
use waybill_edge::lenient::LenientQuery;
use waybill_edge::query::HasLists;
use waybill_edge::warnings::{Handling, Warning};

waybill_edge::with_conditions! {
    /// Which tasks, and which page of them.
    #[derive(Debug, Default, Deserialize, IntoParams)]
    #[serde(rename_all = "camelCase", default)]
    #[into_params(parameter_in = Query)]
    pub struct ListParams {
        /// Current status: `pending`, `delayed`, `processing`, `completed`, `failed`, `timeout` or `cancelled`; several separated by commas,
        /// or as several parameters of this name.
        status: Option<String>,
        /// Tasks on a page, 1 to 100. Default 20.
        #[param(minimum = 1, maximum = 100)]
        limit: Option<i64>,
        /// Tasks to skip, up to 10000. Beyond that, use `cursor`.
        #[param(minimum = 0, maximum = 10000)]
        offset: Option<i64>,
        /// `nextCursor` of an earlier answer: continues there, whatever was added meanwhile.
        cursor: Option<String>,
        /// Only tasks with this target URL; with a `*` at its end, every URL with this prefix.
        target: Option<String>,
        /// Only tasks whose completion webhook is in this state: `pending`, `delivered` or `given_up`.
        webhook: Option<String>,
        /// Only tasks that ended with a success (`true`), or without one (`false`).
        ok: Option<String>,
        /// Tasks that are called (`task`, the default), that workers pull (`job`), or both (`all`).
        kind: Option<String>,
        /// Only these fields of each task, separated by commas; `id` is always included. Without `headers`, `body`, `bodyBytes`, `resolve` and
        /// `result` a page is read much faster.
        fields: Option<String>,
    }
}

impl HasLists for ListParams {
    const LISTS: &'static [&'static str] = &["status", "queue", "tag", "host", "httpStatus"];
}

/// Fields of a task that stand in the log, and not in the read model.
const FROM_THE_LOG: [&str; 5] = ["headers", "body", "bodyBytes", "resolve", "result"];

/// A page of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaskList {
    /// Newest first. On a large page the last tasks can lack `headers`, `body` and those of the answer: `truncated` says so. Read such a task
    /// by itself, or choose `fields`.
    #[schema(value_type = Vec<Task>)]
    tasks: Vec<Listed>,
    /// The position of this page.
    pagination: Pagination,
    /// How much was looked at for a condition that has no index; absent when every condition has one, as `status`, one `queue`,
    /// `createdAfter` and `createdBefore` do. Up to 20,000 tasks are looked at for a page; `nextCursor` goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    searched: Option<Searched>,
    /// Parameters without effect, at most 20 warnings; absent when there are no warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// The position of a page.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pagination {
    /// Number of tasks that match.
    total: u64,
    /// `false`: counting stopped early; there are at least `total`.
    total_exact: bool,
    limit: u16,
    offset: u32,
    /// Whether there is another page.
    has_more: bool,
    /// `cursor` of the next page.
    next_cursor: Option<String>,
}

#[utoipa::path(
    get,
    path = "/v1/tasks",
    operation_id = "tasks.task.list",
    tag = "tasks",
    security(("api_key" = ["tasks:read"])),
    params(ListParams),
    responses(
        (status = 200, description = "A page of tasks", body = TaskList),
    )
)]
pub(crate) async fn list_tasks(
    State(state): State<TasksApi>,
    caller: Caller<InQueues<TasksRead>>,
    handling: Handling,
    LenientQuery(params, warnings): LenientQuery<ListParams>,
) -> Result<axum::Json<TaskList>, ApiError> {
    let mut warnings = warnings.judge(handling)?;
    let page = params.page()?;
    let (limit, offset) = (page.limit, page.offset);
    let fields = given(params.fields.as_deref())
        .map(Fields::parse)
        .transpose()?;
    let detail = fields.as_ref().is_none_or(Fields::are_from_the_log);
    let mut filter = params.filter()?;
    if given(params.kind.as_deref()).is_none() {
        // Operations take the same conditions, and without a kind they are for both.
        filter.pulled = Some(false);
    }
    keep_within(&mut filter, caller.only_queues())?;
    hide(&state, &caller.team, &mut filter);
    let list = ListTasks {
        team: caller.team.clone(),
        filter,
        page,
        detail,
    };
    let min_seq = state.acknowledged.to(&caller.team);
    let found = state.queries.list(list, min_seq).await?.value;
    let is_asked = fields.as_ref().is_none_or(|fields| fields.has("blockedBy"));
    let views = found.tasks.iter().filter(|_| is_asked);
    let blocked = Blocked::find(&state, &caller.team, views, entropy::now()).await;
    warnings.extend(blocked.warning());
    let sees = Sees(caller.sees_payloads(&state));
    let tasks = found
        .tasks
        .into_iter()
        .map(|view| {
            let blocked_by = blocked.of(view.row.id);
            sees.task(Task::read(view, Attempts::Hidden).blocked_by(blocked_by))
        })
        .map(|task| Listed::new(task, fields.as_ref()))
        .collect();
    Ok(axum::Json(TaskList {
        tasks,
        pagination: Pagination {
            total: found.total.count,
            total_exact: found.total.exact,
            limit,
            offset,
            has_more: found.next.is_some(),
            next_cursor: found.next,
        },
        searched: found.searched.map(Searched::from),
        warnings,
    }))
}

/// A task in a list: all of it, or what was chosen.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Listed {
    Whole(Box<Task>),
    Chosen(serde_json::Map<String, serde_json::Value>),
}

impl Listed {
    fn new(task: Task, fields: Option<&Fields>) -> Self {
        let Some(fields) = fields else {
            return Self::Whole(Box::new(task));
        };
        match serde_json::to_value(&task) {
            Ok(serde_json::Value::Object(mut all)) => {
                all.retain(|name, _| name == "id" || fields.0.contains(name));
                // What was not asked for is neither missing nor withheld.
                for list in ABOUT_FIELDS {
                    let names = all.get_mut(list).and_then(|list| list.as_array_mut());
                    let is_empty = names.is_some_and(|names| {
                        names.retain(|name| name.as_str().is_some_and(|name| fields.has(name)));
                        names.is_empty()
                    });
                    if is_empty {
                        all.remove(list);
                    }
                }
                Self::Chosen(all)
            }
            // A task always serialises to an object; if it ever did not, the whole task would be a better answer than an error.
            _ => Self::Whole(Box::new(task)),
        }
    }
}

/// Lists of names of fields. They are there whatever is chosen.
const ABOUT_FIELDS: [&str; 2] = ["truncated", "withheld"];

/// Names of fields that were chosen.
#[derive(Debug)]
struct Fields(BTreeSet<String>);

impl Fields {
    /// All there are in a list.
    const KNOWN: [&str; 61] = [
        "id",
        "teamId",
        "environment",
        "status",
        "queue",
        "targetUrl",
        "method",
        "headers",
        "body",
        "bodyBytes",
        "maxWaitTime",
        "timeout",
        "delayUntil",
        "bodyEncoding",
        "deadline",
        "expiresIn",
        "success",
        "tags",
        "metadata",
        "ok",
        "endReason",
        "cancelRequested",
        "maxRetries",
        "retryCount",
        "retryBackoff",
        "minDelay",
        "maxDelay",
        "jitter",
        "maxAge",
        "replayOf",
        "replayedAs",
        "supersededBy",
        "skippedFor",
        "duplicateOf",
        "retryOn",
        "priority",
        "fairnessKey",
        "fairnessWeight",
        "orderingKey",
        "onFailure",
        "debounce",
        "singleton",
        "dedup",
        "limits",
        "onRateLimited",
        "followRedirects",
        "onCompleteUrl",
        "webhook",
        "resolve",
        "result",
        "error",
        "createdAt",
        "updatedAt",
        "startedAt",
        "completedAt",
        "purgedAt",
        "truncated",
        "withheld",
        "attempts",
        "blockedBy",
        "workflow",
    ];

    fn parse(text: &str) -> Result<Self, ApiError> {
        let mut chosen = BTreeSet::from(ABOUT_FIELDS.map(str::to_owned));
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            if !Self::KNOWN.contains(&name) {
                let shown: String = name.chars().take(40).collect();
                return Err(ApiError::bad_field(
                    "fields",
                    format!(
                        "fields: a task has no field {shown:?}; it has {}",
                        Self::KNOWN.join(", ")
                    ),
                ));
            }
            chosen.insert(name.to_owned());
        }
        Ok(Self(chosen))
    }

    fn are_from_the_log(&self) -> bool {
        FROM_THE_LOG.iter().any(|name| self.0.contains(*name))
    }

    /// `result.body` is part of `result`.
    fn has(&self, name: &str) -> bool {
        let field = name.split_once('.').map_or(name, |(field, _)| field);
        self.0.contains(field)
    }
}

impl ListParams {
    /// The same conditions as words with their values, which name them as parameters do.
    pub(crate) fn of_words(words: &BTreeMap<String, Vec<String>>) -> Result<Self, ApiError> {
        let mut given = serde_json::Map::new();
        for (word, values) in words {
            let text = values.join(",");
            let value = match (word.as_str(), text.parse::<i64>()) {
                ("minAttempts", Ok(number)) => number.into(),
                _ => text.into(),
            };
            given.insert(word.clone(), value);
        }
        serde_json::from_value(given.into())
            .map_err(|error| ApiError::bad_field("filter", format!("filter: {error}")))
    }

    fn page(&self) -> Result<Page, ApiError> {
        let limit = limit(self.limit, MAX_LIMIT)?;
        let offset = match self.offset {
            None => 0,
            Some(offset) => u32::try_from(offset).map_err(|_| {
                ApiError::bad_field("offset", format!("offset must be 0 or more, not {offset}"))
            })?,
        };
        Ok(Page {
            limit,
            offset,
            cursor: given(self.cursor.as_deref()).map(str::to_owned),
        })
    }

    pub(crate) fn filter(&self) -> Result<TaskFilter, ApiError> {
        Ok(TaskFilter {
            status: None,
            statuses: statuses(given(self.status.as_deref()).unwrap_or_default())?,
            ok: given(self.ok.as_deref())
                .map(|text| boolean("ok", text))
                .transpose()?,
            target: given(self.target.as_deref()).map(Target::parse),
            webhook: given(self.webhook.as_deref()).map(webhook).transpose()?,
            pulled: kind(given(self.kind.as_deref()))?,
            ..self.conditions().filter()?
        })
    }
}

/// Each status once, as a list with commas between names them.
fn statuses(list: &str) -> Result<Vec<Status>, ApiError> {
    let named = list
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    // No more than there are: a repeated name changes nothing.
    let named: BTreeSet<Status> = named.map(status).collect::<Result<_, _>>()?;
    Ok(named.into_iter().collect())
}

fn status(text: &str) -> Result<Status, ApiError> {
    Status::parse(text).ok_or_else(|| {
        let known: Vec<_> = Status::ALL.iter().map(|status| status.as_str()).collect();
        ApiError::bad_field(
            "status",
            format!("status must be one of {}", known.join(", ")),
        )
    })
}

fn webhook(text: &str) -> Result<WebhookState, ApiError> {
    let found = WebhookState::ALL
        .into_iter()
        .find(|state| state.as_str() == text);
    found.ok_or_else(|| {
        let known = WebhookState::ALL.map(WebhookState::as_str).join(", ");
        ApiError::bad_field("webhook", format!("webhook must be one of {known}"))
    })
}
