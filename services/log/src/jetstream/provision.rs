//! Creates and checks the streams, and changes settings that may be changed. `nats/streams.toml` is
//! the only description of the streams.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use waybill_domain::partition::PartitionCount;

use super::api::{Api, ApiError, code};
use super::config::StreamsConfig;
use super::format;
use crate::{Positions, Stream};

/// The description of all streams.
const STREAMS: &str = include_str!("../../../../nats/streams.toml");
/// Key of the number of partitions in the metadata of TASKS.
const PARTITIONS_KEY: &str = "waybill.partitions";
/// Fields that are changed on an existing stream if the configuration asks for it.
const CHANGEABLE: [&str; 4] = ["max_age", "max_bytes", "num_replicas", "duplicate_window"];
/// Fields with durations, which the server takes in nanoseconds.
const DURATIONS: [&str; 3] = ["max_age", "duplicate_window", "subject_delete_marker_ttl"];

/// Fields that this build changes on streams of earlier builds without being asked, since it relies
/// on their values.
const MIGRATED: [(&str, &str); 5] = [
    ("FENCE", "discard"),
    ("TASKS", "max_age"),
    ("CONTROL", "republish"),
    ("TASKS", "republish"),
    ("FENCE", "republish"),
];

/// A field of a stream that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Name of the stream.
    pub stream: String,
    /// Name of the field, as JetStream has it.
    pub field: String,
    /// What this process needs, as JSON.
    pub expected: String,
    /// What the server has, as JSON.
    pub found: String,
}

impl Difference {
    /// Whether the number of partitions differs, which nothing can change.
    fn is_partitions(&self) -> bool {
        self.field.strip_prefix("metadata.") == Some(PARTITIONS_KEY)
    }

    fn is_changeable(&self) -> bool {
        CHANGEABLE.contains(&self.field.as_str())
    }

    fn is_migrated(&self) -> bool {
        MIGRATED.contains(&(self.stream.as_str(), self.field.as_str()))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream,
            field,
            expected,
            found,
        } = self;
        if self.is_partitions() {
            return write!(
                f,
                "nats.streams.partitions is {}, but {stream} was made with {}, which cannot be changed: set that number, or none",
                expected.trim_matches('"'),
                found.trim_matches('"')
            );
        }
        write!(f, "{field} of {stream} is {found}, expected {expected}")?;
        if self.is_changeable() {
            f.write_str(" (nats.streams.apply_changes would change it)")?;
        }
        Ok(())
    }
}

/// Why the streams cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProvisionError {
    /// They exist, but have another configuration.
    #[error("the streams differ from what is expected: {}", list(.0))]
    Differs(Vec<Difference>),
    /// The configuration is impossible.
    #[error("{0}")]
    Impossible(String),
    /// TASKS was written by a newer build.
    #[error(
        "TASKS has format {format}, but this version reads formats up to {known}: run the version that wrote it, or a newer one \
         (a format is not taken back; before it is raised, every role has to be of a version that reads it)"
    )]
    TooNew {
        format: u64,
        /// The newest format that this build reads.
        known: u64,
    },
    /// JetStream did not answer, or refused.
    #[error("cannot {what} stream {stream}: {reason}")]
    Failed {
        /// `create`, `read` or `change`.
        what: &'static str,
        /// Name of the stream.
        stream: String,
        /// The server's error text.
        reason: String,
    },
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<String> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

/// The state of a stream after it was checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provisioned {
    pub(super) last_seq: u64,
    pub(super) positions: Positions,
}

/// What was found when the streams were checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Of CONTROL and TASKS.
    pub(super) states: [Provisioned; 2],
    /// Of TASKS, whether they were made now or before.
    pub(super) partitions: PartitionCount,
}

/// A stream's configuration, field by field.
pub(super) type Fields = Map<String, Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    stream: Vec<Fields>,
}

/// The configuration that each stream must have, by name.
pub(super) fn expected(config: &StreamsConfig) -> Result<Vec<(String, Fields)>, ProvisionError> {
    if let Some(count) = config.partitions
        && PartitionCount::new(count).is_none()
    {
        return Err(impossible(format!(
            "nats.streams.partitions must be between 1 and {}, not {count}",
            waybill_domain::partition::MAX_PARTITIONS,
        )));
    }
    if ![1, 3, 5].contains(&config.replicas) {
        return Err(impossible(format!(
            "nats.streams.replicas must be 1, 3 or 5, not {}",
            config.replicas
        )));
    }
    let file: File = toml::from_str(STREAMS)
        .map_err(|error| impossible(format!("nats/streams.toml: {error}")))?;
    let mut streams = Vec::new();
    for mut fields in file.stream {
        let name = fields.get("name").and_then(Value::as_str);
        let name = name
            .ok_or_else(|| impossible("nats/streams.toml: a stream without a name".to_owned()))?
            .to_owned();
        for field in DURATIONS {
            if let Some(value) = fields.get_mut(field) {
                *value = nanoseconds(value).ok_or_else(|| {
                    impossible(format!("nats/streams.toml: {field} of {name} is {value}"))
                })?;
            }
        }
        // A byte limit that the configuration does not set is not checked, since `waybill up` sets
        // limits as shares of the disk. A new stream has none.
        fields.remove("max_bytes");
        fields.insert("num_replicas".to_owned(), json!(config.replicas));
        if name == Stream::Tasks.name() {
            if let Some(bytes) = config.tasks_max_bytes {
                fields.insert("max_bytes".to_owned(), json!(bytes));
            }
            // A number that is not set is not checked either: it is what the stream has.
            if let Some(count) = config.partitions {
                fields.insert("metadata".to_owned(), partitions(count));
            }
        }
        streams.push((name, fields));
    }
    Ok(streams)
}

/// The metadata of a TASKS with so many partitions.
fn partitions(count: u16) -> Value {
    json!({ PARTITIONS_KEY: count.to_string() })
}

/// The number of partitions that TASKS was made with.
fn partitions_of(info: &Value) -> Result<PartitionCount, ProvisionError> {
    let found = &info["config"]["metadata"][PARTITIONS_KEY];
    let count = found.as_str().and_then(|text| text.parse().ok());
    count.and_then(PartitionCount::new).ok_or_else(|| {
        ProvisionError::Differs(vec![Difference {
            stream: Stream::Tasks.name().to_owned(),
            field: format!("metadata.{PARTITIONS_KEY}"),
            expected: "a number of partitions".to_owned(),
            found: found.to_string(),
        }])
    })
}

fn impossible(what: String) -> ProvisionError {
    ProvisionError::Impossible(what)
}

/// `"30d"` as nanoseconds.
fn nanoseconds(value: &Value) -> Option<Value> {
    let text = value.as_str()?;
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    Some(json!(
        count.checked_mul(seconds)?.checked_mul(1_000_000_000)?
    ))
}

/// Creates missing streams and checks the others.
pub(super) async fn provision(api: &Api, config: &StreamsConfig) -> Result<Found, ProvisionError> {
    let mut differences = Vec::new();
    let mut partitions = PartitionCount::default();
    let unknown = Provisioned {
        last_seq: 0,
        positions: Positions::OF_MESSAGES,
    };
    let mut states = [unknown; 2];
    for (name, fields) in expected(config)? {
        let info = match find_or_create(api, &name, &fields).await? {
            Stored::Created(info) => info,
            Stored::There(info) => {
                let found = info.get("config").and_then(Value::as_object);
                let found = found.cloned().unwrap_or_default();
                let differing = compare(&name, &fields, &found);
                let asked = |difference: &Difference| {
                    difference.is_migrated() || config.apply_changes && difference.is_changeable()
                };
                if !differing.is_empty() && differing.iter().all(asked) {
                    change(api, &name, &fields, found, &differing).await?;
                } else {
                    differences.extend(differing);
                }
                info
            }
        };
        let last_seq = info["state"]["last_seq"].as_u64().unwrap_or(0);
        // After a difference was found the start fails anyway, with a sentence that says what is set.
        if name == Stream::Tasks.name() && differences.is_empty() {
            partitions = partitions_of(&info)?;
        }
        for (state, stream) in states.iter_mut().zip([Stream::Control, Stream::Tasks]) {
            if stream.name() == name {
                state.last_seq = last_seq;
                state.positions = format::positions(&info)?;
            }
        }
    }
    if differences.is_empty() {
        Ok(Found { states, partitions })
    } else {
        Err(ProvisionError::Differs(differences))
    }
}

/// The names of all streams.
pub(super) fn names() -> Vec<String> {
    let streams = expected(&StreamsConfig::default());
    // Parsing cannot fail: the file is compiled into the program, and a test parses it.
    let streams = streams.unwrap_or_default();
    streams.into_iter().map(|(name, _)| name).collect()
}

/// Creates one stream if it is missing. A stream in memory is lost when its server restarts.
pub(super) async fn remake(
    api: &Api,
    config: &StreamsConfig,
    stream: &str,
) -> Result<(), ProvisionError> {
    let streams = expected(config)?;
    let Some((name, fields)) = streams.iter().find(|(name, _)| name == stream) else {
        return Err(impossible(format!("nats/streams.toml has no {stream}")));
    };
    find_or_create(api, name, fields).await.map(drop)
}

enum Stored {
    Created(Value),
    There(Value),
}

async fn find_or_create(api: &Api, name: &str, fields: &Fields) -> Result<Stored, ProvisionError> {
    let failed = |what, error: ApiError| ProvisionError::Failed {
        what,
        stream: name.to_owned(),
        reason: error.to_string(),
    };
    let info = format!("STREAM.INFO.{name}");
    match api.ask(&info, &Value::Null).await {
        Ok(info) => return Ok(Stored::There(info)),
        Err(error) if error.is(code::STREAM_NOT_FOUND) => {}
        Err(error) => return Err(failed("read", error)),
    }
    let mut fields = fields.clone();
    if name == Stream::Tasks.name() && !fields.contains_key("metadata") {
        let count = PartitionCount::default().get();
        fields.insert("metadata".to_owned(), partitions(count));
    }
    let body = Value::Object(fields);
    match api.call(&format!("STREAM.CREATE.{name}"), &body).await {
        Ok(info) => {
            tracing::info!(stream = name, "stream created");
            Ok(Stored::Created(info))
        }
        // Another process has just created it, with another configuration.
        Err(error) if error.is(code::STREAM_NAME_IN_USE) => {
            match api.ask(&info, &Value::Null).await {
                Ok(info) => Ok(Stored::There(info)),
                Err(error) => Err(failed("read", error)),
            }
        }
        Err(error) => Err(failed("create", error)),
    }
}

/// The fields whose values differ from the expected ones.
pub(super) fn compare(stream: &str, expected: &Fields, found: &Fields) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut differ = |field: &str, expected: &Value, found: Option<&Value>| {
        differences.push(Difference {
            stream: stream.to_owned(),
            field: field.to_owned(),
            expected: expected.to_string(),
            found: found.map_or_else(|| "absent".to_owned(), ToString::to_string),
        });
    };
    for (field, expected) in expected {
        if field == "metadata" {
            // Only the expected entries are compared, since the server adds its own.
            for (key, expected) in expected.as_object().into_iter().flatten() {
                let found = found.get(field).and_then(|metadata| metadata.get(key));
                if found != Some(expected) {
                    differ(&format!("metadata.{key}"), expected, found);
                }
            }
            continue;
        }
        let found = found.get(field);
        // The server omits fields that are false or zero.
        let same = found.map_or_else(
            || *expected == json!(false) || *expected == json!(0),
            |found| found == expected,
        );
        if !same {
            differ(field, expected, found);
        }
    }
    differences
}

async fn change(
    api: &Api,
    name: &str,
    fields: &Fields,
    mut found: Fields,
    differing: &[Difference],
) -> Result<(), ProvisionError> {
    for Difference { field, .. } in differing {
        if let Some(value) = fields.get(field) {
            found.insert(field.clone(), value.clone());
        }
    }
    let changed = api
        .call(&format!("STREAM.UPDATE.{name}"), &Value::Object(found))
        .await;
    match changed {
        Ok(_) => {
            tracing::warn!(stream = name, "stream changed as the configuration asks");
            Ok(())
        }
        Err(error) => Err(ProvisionError::Failed {
            what: "change",
            stream: name.to_owned(),
            reason: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_describes_both_logs() {
        let streams = expected(&StreamsConfig::default()).expect("a readable file");
        let tasks = &streams
            .iter()
            .find(|(name, _)| name == "TASKS")
            .expect("TASKS")
            .1;
        assert_eq!(tasks["max_age"], json!(0), "the server drops no open task");
        assert!(!tasks.contains_key("metadata"), "unset: what there is");
        assert!(streams.iter().any(|(name, _)| name == "CONTROL"));
    }

    #[test]
    fn a_difference_says_what_differs() {
        let expected = json!({"max_age": 5, "sealed": false, "metadata": {"a": "1"}});
        let found = json!({"max_age": 7, "metadata": {"a": "2", "_nats.x": "y"}});
        let (Value::Object(expected), Value::Object(found)) = (expected, found) else {
            unreachable!("both are objects");
        };
        let texts: Vec<String> = compare("S", &expected, &found)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            texts,
            [
                "max_age of S is 7, expected 5 (nats.streams.apply_changes would change it)",
                "metadata.a of S is \"2\", expected \"1\"",
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for config in [
            StreamsConfig {
                partitions: Some(0),
                ..StreamsConfig::default()
            },
            StreamsConfig {
                replicas: 2,
                ..StreamsConfig::default()
            },
        ] {
            assert!(matches!(
                expected(&config),
                Err(ProvisionError::Impossible(_))
            ));
        }
    }
}
