//! How an entry of the activity looks to clients, wherever they read it.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use waybill_domain::event::{ControlEvent, TaskEvent};
use waybill_domain::id::Environment;
use waybill_projector::query::{Activity, Outcome};

use waybill_streams::{short_type, stream_name};

/// Which of the two logs something stands in.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described")]
enum ActivityStream {
    Control,
    Tasks,
}

/// What can happen. A newer version may add to it, so a client takes what it does not know as it is.
#[derive(Debug)]
pub struct ActivityType;

impl PartialSchema for ActivityType {
    fn schema() -> RefOr<Schema> {
        let names = ControlEvent::NAMES.iter().chain(TaskEvent::NAMES);
        // Versions of one event have one name here.
        let names: BTreeSet<&str> = names.map(|name| short_type(name)).collect();
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("What can happen; a newer version may add to it"))
            .enum_values(Some(names))
            .into()
    }
}

impl ToSchema for ActivityType {
    fn name() -> Cow<'static, str> {
        "ActivityType".into()
    }
}

/// One thing that happened, and who caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActivityEntry {
    /// Which log: `control` (teams, people and credentials) or `tasks`.
    #[schema(example = "control", value_type = ActivityStream)]
    pub stream: &'static str,
    /// Position in that log. Of `control`, its proof is at `/v1/activity/{seq}/proof`.
    pub seq: u64,
    /// When it was stored: ISO 8601, UTC, milliseconds.
    #[schema(example = "2026-11-21T07:12:48.120Z", format = DateTime)]
    pub at: String,
    /// What happened, such as `key.created`.
    #[serde(rename = "type")]
    #[schema(example = "key.created", value_type = ActivityType)]
    pub kind: String,
    /// Who: `key:<id>`, `user:<id>`, `app:<id>`, `system:<role>` or `operator:<name>`.
    #[schema(example = "key:key_4fG7aB2x")]
    pub actor: String,
    /// Name of the key, application or person at the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_name: Option<String>,
    /// Address of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_email: Option<String>,
    /// The object of the event. Absent on events that this version does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<EntryTarget>,
    /// The task it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The queue of that task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// The key it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// Environment of the team that it belongs to, `live` or `test`. Absent when it concerns both, such as a change of members.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "live")]
    pub environment: Option<Environment>,
    /// Address that the request came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "192.0.2.7")]
    pub source: Option<String>,
    /// Id of the request, as answered in `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The `User-Agent` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// `ok`: it was done. `refused`: it was not allowed.
    #[schema(example = "ok")]
    pub outcome: Outcome,
    /// Why it was refused, when it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<EntryRefusal>,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EntryTarget {
    /// `task`, `key`, `token`, `member`, `invitation`, `app`, `grant`, `team`, `user`, `session`, `queue`; `route` of what was refused.
    #[schema(example = "key")]
    pub kind: String,
    /// Which: its id; of a `route`, the method and the path.
    pub id: String,
    /// Its name at the time. Of a grant, the application's name; of a session, the person's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Attempts that were refused. One entry stands for many of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct EntryRefusal {
    /// The `code` that the client was answered.
    #[schema(example = "insufficient_scope")]
    pub code: String,
    /// How many of that kind since the last such entry.
    pub count: u64,
}

impl From<Activity> for ActivityEntry {
    fn from(activity: Activity) -> Self {
        Self {
            stream: stream_name(activity.stream),
            seq: activity.seq.0,
            at: activity.at.to_rfc3339(),
            kind: short_type(&activity.event).to_owned(),
            actor: activity.actor.to_string(),
            actor_name: activity.actor_name,
            actor_email: activity.actor_email,
            target: activity.target.map(|target| EntryTarget {
                kind: target.kind,
                id: target.id,
                name: target.name,
            }),
            task_id: activity.task.map(|task| task.to_string()),
            queue: activity.queue.map(|queue| queue.to_string()),
            key_id: activity.key.map(|key| key.to_string()),
            environment: activity.environment,
            source: activity.source,
            request_id: activity.request_id,
            user_agent: activity.agent,
            outcome: activity.outcome,
            refusal: activity.refusal.map(|refusal| EntryRefusal {
                code: refusal.code,
                count: refusal.count,
            }),
        }
    }
}
