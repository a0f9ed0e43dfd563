//! What a client asks of a new key.

use std::collections::BTreeSet;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use waybill_domain::access::scope::{Api, Preset, Scope, ScopeSet};
use waybill_domain::event::RepeatableRequest;
use waybill_domain::id::{Environment, QueueName, TeamId};
use waybill_domain::time::Timestamp;

use waybill_commands::KeyWish;
use waybill_edge::error::ApiError;

/// Characters of a wrong value that are shown to whoever sent it.
const MAX_SHOWN_CHARS: usize = 40;

/// A key to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateKey {
    /// A name for people, at most 100 characters.
    #[schema(required = true)]
    name: Option<String>,
    /// What it may do, such as `tasks:read`. Default: all that the caller may do. Never more than that.
    #[schema(value_type = Option<Vec<Scope>>)]
    scopes: Option<Vec<String>>,
    /// Instead of `scopes`, the name of a set of them: `full_access`, `read_only`, `task_poster`, `task_poster_read_only`, `agent_manager`,
    /// `agent_manager_read_only`, `subscribers_full_access` or `subscribers_read_only`.
    preset: Option<String>,
    /// The brand that it begins with: one of those that are configured. It has no effect but on the looks. Default: the first one.
    brand: Option<String>,
    /// `live` or `test`. People choose; a key makes keys of its own environment only.
    #[schema(value_type = Option<Environment>)]
    environment: Option<String>,
    /// From this time on it is not accepted (ISO 8601). Default: no end.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// Networks that it may be used from, such as `192.0.2.0/24`; at most 50. Default: any, or those of the key that makes it, within
    /// which they must lie.
    allowed_sources: Option<Vec<String>>,
    /// Queues that it is limited to, at most 20: it claims, creates, reads and follows tasks of these alone, and is refused by every route
    /// that does not look at queues. They need not exist yet. Default: all.
    #[schema(max_items = 20, example = json!(["images"]))]
    queues: Option<Vec<String>>,
}

impl CreateKey {
    /// Whether it names a scope, or a preset, of that API alone.
    pub(crate) fn names(&self, api: Api) -> bool {
        let named = self.scopes.iter().flatten();
        let mut named = named.filter_map(|name| Scope::parse(name));
        let preset = self.preset.as_deref().and_then(Preset::find);
        // A preset that spans several APIs asks for none in particular.
        let only =
            preset.is_some_and(|preset| preset.scopes().iter().all(|s| s.api() == Some(api)));
        only || named.any(|scope| scope.api() == Some(api))
    }

    /// Reads it. `own` is what the caller may do, `team` is in the environment that the caller is in, `brands` are those of new keys.
    pub(crate) fn wish<'a>(
        self,
        own: ScopeSet,
        team: &TeamId,
        brands: impl Iterator<Item = &'a str>,
    ) -> Result<KeyWish, ApiError> {
        let name = self
            .name
            .ok_or_else(|| ApiError::bad_field("name", "name is required"))?;
        let environment = match &self.environment {
            None => team.environment(),
            Some(text) => Environment::parse(text).ok_or_else(|| {
                let text = shown(text);
                ApiError::bad_field(
                    "environment",
                    format!("environment must be live or test, not {text:?}"),
                )
            })?,
        };
        let expires_at = self.expires_at.as_deref().map(expiry).transpose()?;
        let brand = self.brand.map(|text| brand(text, brands)).transpose()?;
        Ok(KeyWish {
            name,
            brand,
            scopes: scopes(self.scopes.as_deref(), self.preset.as_deref(), own)?,
            environment,
            expires_at,
            sources: self.allowed_sources.unwrap_or_default(),
            queues: queues(self.queues)?,
            request: None,
        })
    }
}

/// Each queue once. An empty list would mean all of them, so it is refused: whoever sends one wants none.
fn queues(given: Option<Vec<String>>) -> Result<Vec<QueueName>, ApiError> {
    let Some(given) = given else {
        return Ok(Vec::new());
    };
    if given.is_empty() {
        let message = "queues must name at least one queue; without it the key is not limited";
        return Err(ApiError::bad_field("queues", message));
    }
    let parsed = given.iter().map(|name| {
        QueueName::parse(name).map_err(|_| {
            let name = shown(name);
            let message = format!(
                "queues must hold names of queues, 1 to {} of a-z, A-Z, 0-9, _ and -, not {name:?}",
                QueueName::MAX_CHARS
            );
            ApiError::bad_field("queues", message)
        })
    });
    let queues: BTreeSet<QueueName> = parsed.collect::<Result<_, _>>()?;
    Ok(queues.into_iter().collect())
}

fn brand<'a>(text: String, brands: impl Iterator<Item = &'a str>) -> Result<String, ApiError> {
    let brands: Vec<_> = brands.collect();
    if brands.contains(&text.as_str()) {
        return Ok(text);
    }
    let (text, brands) = (shown(&text), brands.join(", "));
    Err(ApiError::bad_field(
        "brand",
        format!("brand must be one of {brands}, not {text:?}"),
    ))
}

fn expiry(text: &str) -> Result<Timestamp, ApiError> {
    Timestamp::parse_iso8601(text).ok_or_else(|| {
        let text = shown(text);
        ApiError::bad_field(
            "expiresAt",
            format!("expiresAt must be a time such as 2027-01-31T12:00:00Z, not {text:?}"),
        )
    })
}

fn scopes(
    named: Option<&[String]>,
    preset: Option<&str>,
    own: ScopeSet,
) -> Result<ScopeSet, ApiError> {
    match (named, preset) {
        (Some(_), Some(_)) => Err(ApiError::bad_field(
            "preset",
            "give either scopes or preset, not both",
        )),
        (None, None) => Ok(own),
        (Some(named), None) => named
            .iter()
            .map(|text| {
                Scope::parse(text).ok_or_else(|| {
                    let text = shown(text);
                    ApiError::bad_field("scopes", format!("scopes: there is no scope {text:?}"))
                })
            })
            .collect(),
        (None, Some(name)) => match Preset::find(name) {
            Some(preset) => Ok(preset.scopes()),
            None => {
                let all: Vec<_> = Preset::ALL.iter().map(|preset| preset.name).collect();
                let (name, all) = (shown(name), all.join(", "));
                Err(ApiError::bad_field(
                    "preset",
                    format!("preset: there is no {name:?}; there are {all}"),
                ))
            }
        },
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}

/// How a repeated creation with an idempotency key is recognised, in the environment of the caller.
pub(crate) fn repeatable(key: &str, team: &TeamId, wish: &KeyWish) -> RepeatableRequest {
    let mut asked = vec![
        serde_json::json!(wish.name),
        serde_json::json!(wish.scopes.iter().map(Scope::as_str).collect::<Vec<_>>()),
        serde_json::json!(wish.environment.as_str()),
        serde_json::json!(wish.expires_at.map(|at| at.0)),
        serde_json::json!(wish.sources),
    ];
    // Only when it was given, so that requests from before there were brands are still recognised.
    asked.extend(wish.brand.as_deref().map(serde_json::Value::from));
    if !wish.queues.is_empty() {
        let queues = wish.queues.iter().map(QueueName::as_str);
        asked.push(serde_json::json!({"queues": queues.collect::<Vec<_>>()}));
    }
    let asked = serde_json::Value::from(asked);
    RepeatableRequest {
        idempotency_key: digest(&[team.as_str(), key]),
        fingerprint: digest(&[&asked.to_string()]),
    }
}

fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(body: serde_json::Value) -> Result<KeyWish, (Option<String>, String)> {
        let request: CreateKey = serde_json::from_value(body).expect("the shape");
        let own = [Scope::TasksRead, Scope::KeysWrite].into_iter().collect();
        let team = TeamId::new(Timestamp(1), 1).in_environment(Environment::Test);
        let brands = ["wb", "qu"].into_iter();
        request.wish(own, &team, brands).map_err(|error| {
            let field = error.body.field.as_ref().map(ToString::to_string);
            (field, error.body.error.to_string())
        })
    }

    #[test]
    fn what_is_not_said_is_as_the_caller_is() {
        let wish = wish(serde_json::json!({"name": "n"})).expect("fine");
        assert_eq!(wish.environment, Environment::Test);
        assert_eq!(wish.scopes.iter().count(), 2);
        assert_eq!((wish.expires_at, wish.sources.len()), (None, 0));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, field) in [
            (serde_json::json!({}), "name"),
            (
                serde_json::json!({"name": "n", "environment": "prod"}),
                "environment",
            ),
            (
                serde_json::json!({"name": "n", "expiresAt": "soon"}),
                "expiresAt",
            ),
            (
                serde_json::json!({"name": "n", "scopes": ["tasks:fly"]}),
                "scopes",
            ),
            (serde_json::json!({"name": "n", "preset": "god"}), "preset"),
            (serde_json::json!({"name": "n", "brand": "sk"}), "brand"),
            (
                serde_json::json!({"name": "n", "preset": "read_only", "scopes": []}),
                "preset",
            ),
        ] {
            let (found, message) = wish(body).expect_err("refused");
            assert_eq!(found.as_deref(), Some(field), "{message}");
        }
    }

    #[test]
    fn requests_are_known_again_by_everything_in_them() {
        let team = TeamId::new(Timestamp(1), 1);
        let first = KeyWish::new("n", &[Scope::TasksRead]);
        let same = repeatable("k", &team, &first);
        assert_eq!(repeatable("k", &team, &first.clone()), same);
        let test = team.in_environment(Environment::Test);
        assert_ne!(
            repeatable("k", &test, &first).idempotency_key,
            same.idempotency_key
        );
        for other in [
            KeyWish::new("m", &[Scope::TasksRead]),
            KeyWish::new("n", &[Scope::TasksWrite]),
            KeyWish {
                expires_at: Some(Timestamp(1)),
                ..first.clone()
            },
            KeyWish {
                sources: vec!["192.0.2.0/24".into()],
                ..first.clone()
            },
            KeyWish {
                queues: vec![QueueName::default()],
                ..first.clone()
            },
            KeyWish {
                brand: Some("qu".into()),
                ..first.clone()
            },
        ] {
            let other = repeatable("k", &team, &other);
            assert_eq!(other.idempotency_key, same.idempotency_key);
            assert_ne!(other.fingerprint, same.fingerprint);
        }
    }
}
