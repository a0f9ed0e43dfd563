//! `waybill schemas`: everything in `schemas/` that is generated from the code, and docs/configuration.md.
//!
//! The golden encodings are the exception: one that was ever written is never changed, only read. A new version of an event adds
//! a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use waybill_domain::event::{ControlEvent, PartitionOwned, TaskEvent, samples};

use crate::args::Schemas;
use crate::config;

/// The page that is generated.
const SETTINGS: &str = "configuration.md";

/// Writes or checks the folder.
pub(crate) fn run(arguments: &Schemas) -> anyhow::Result<()> {
    let expected = generated()?;
    let golden = arguments.dir.join("golden");
    let settings = arguments.docs.join(SETTINGS);
    if !arguments.check {
        write(&settings, config::docs::page().as_bytes())?;
        for (path, content) in &expected {
            write(&arguments.dir.join(path), content.as_bytes())?;
        }
        for sample in samples()? {
            let (encoding, meaning) = sample.files(&golden);
            if !encoding.exists() {
                write(&encoding, &sample.payload)?;
                write(&meaning, pretty(&sample.meaning)?.as_bytes())?;
            }
        }
        return Ok(());
    }
    let mut wrong = unreadable(&golden)?;
    for (path, content) in &expected {
        let found = fs::read_to_string(arguments.dir.join(path)).unwrap_or_default();
        if found != *content {
            wrong.push(path.display().to_string());
        }
    }
    if fs::read_to_string(&settings).unwrap_or_default() != config::docs::page() {
        wrong.push(settings.display().to_string());
    }
    for path in files(&arguments.dir.join("events"))? {
        let name = PathBuf::from("events").join(path.file_name().unwrap_or_default());
        if !expected.contains_key(&name) {
            wrong.push(format!("{} (of no event)", name.display()));
        }
    }
    if !wrong.is_empty() {
        bail!(
            "not up to date: {}; run `target/debug/waybill schemas` and commit what changes",
            wrong.join(", ")
        );
    }
    Ok(())
}

/// An event as it is stored today.
struct Sample {
    name: &'static str,
    payload: Vec<u8>,
    meaning: serde_json::Value,
}

impl Sample {
    /// Its encoding, and what that means.
    fn files(&self, golden: &Path) -> (PathBuf, PathBuf) {
        (
            golden.join(format!("{}.msgpack", self.name)),
            golden.join(format!("{}.json", self.name)),
        )
    }
}

fn samples() -> anyhow::Result<Vec<Sample>> {
    let mut all = Vec::new();
    for event in samples::task_events() {
        all.push(Sample {
            name: event.name(),
            payload: event.encode(),
            meaning: event.to_json()?,
        });
    }
    for event in samples::control_events() {
        all.push(Sample {
            name: event.name(),
            payload: event.encode(),
            meaning: event.to_json()?,
        });
    }
    Ok(all)
}

/// Golden encodings that are missing, cannot be read any more, or have come to mean something else.
fn unreadable(golden: &Path) -> anyhow::Result<Vec<String>> {
    let mut wrong = Vec::new();
    for sample in samples()? {
        if !sample.files(golden).0.exists() {
            wrong.push(format!("golden/{}.msgpack (missing)", sample.name));
        }
    }
    for path in files(golden)? {
        if path
            .extension()
            .is_none_or(|extension| extension != "msgpack")
        {
            continue;
        }
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let payload = fs::read(&path)?;
        let decoded = if name.starts_with("task.") {
            TaskEvent::decode(name, &payload).map(|event| event.to_json().unwrap_or_default())
        } else {
            ControlEvent::decode(name, &payload).map(|event| event.to_json().unwrap_or_default())
        };
        let meaning = fs::read(path.with_extension("json")).context(path.display().to_string())?;
        let meaning: serde_json::Value = serde_json::from_slice(&meaning)?;
        match decoded {
            Ok(json) if holds(&json, &meaning) => {}
            Ok(_) => wrong.push(format!("golden/{name}.msgpack (means something else now)")),
            Err(error) => wrong.push(format!("golden/{name}.msgpack ({error})")),
        }
    }
    Ok(wrong)
}

/// Whether all fields of then are still there with the same values; new ones may have been added.
fn holds(now: &serde_json::Value, then: &serde_json::Value) -> bool {
    match (now, then) {
        (serde_json::Value::Object(now), serde_json::Value::Object(then)) => then
            .iter()
            .all(|(name, then)| now.get(name).is_some_and(|now| holds(now, then))),
        (serde_json::Value::Array(now), serde_json::Value::Array(then)) => {
            now.len() == then.len() && now.iter().zip(then).all(|(now, then)| holds(now, then))
        }
        _ => now == then,
    }
}

/// Path below the folder and content of each generated file.
fn generated() -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let mut files = BTreeMap::new();
    let mut schemas = TaskEvent::schemas();
    schemas.extend(ControlEvent::schemas());
    schemas.push((PartitionOwned::NAME, schemars::schema_for!(PartitionOwned)));
    for (name, schema) in schemas {
        files.insert(
            PathBuf::from(format!("events/{name}.json")),
            pretty(&serde_json::to_value(schema)?)?,
        );
    }
    let openapi = serde_json::to_value(waybill_gateway::openapi())?;
    files.insert("openapi.json".into(), pretty(&openapi)?);
    for (name, api) in waybill_gateway::openapi_by_api() {
        files.insert(
            PathBuf::from(format!("openapi/{name}.json")),
            pretty(&serde_json::to_value(api)?)?,
        );
    }
    let asyncapi = waybill_gateway::asyncapi::asyncapi();
    files.insert("asyncapi.json".into(), pretty(&asyncapi)?);
    Ok(files)
}

fn pretty(value: &serde_json::Value) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content).with_context(|| path.display().to_string())
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
