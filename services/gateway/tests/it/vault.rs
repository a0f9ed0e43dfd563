//! The vault over HTTP: what is kept, how it ends, and what is left of it then.

mod blind;
mod contract;
mod end;
mod epochs;
mod janitor;
mod rotation;
mod tasks;
mod told;

use anyhow::{Context as _, Result, bail};
use http::Method;
use serde_json::{Value, json};
use waybill_domain::event::ControlEvent;
use waybill_domain::id::{TeamId, TokenId};
use waybill_log::{KeyName, KeysOf, Log, Stream, StreamSeq, VaultKeys};
use waybill_testkit::http::{Answer, Http};
use waybill_vault::{Context, Envelope, WrappedKey, open};

use crate::world::{RINGS, World};

const TOKENS: &str = "/v1/tokens";

/// A value that stands nowhere else.
const VALUE: &str = "Bearer sk-9f3c-secret-of-this-test";

/// Has a credential kept. Anything but 201 is an error.
async fn keep(http: &Http, name: &str, value: &str) -> Result<Value> {
    let answer = http
        .post(TOKENS, &json!({"name": name, "value": value}))
        .await?;
    anyhow::ensure!(answer.status == 201, "{}", answer.text());
    Ok(answer.json()["token"].clone())
}

fn id(token: &Value) -> TokenId {
    TokenId::parse(token["id"].as_str().unwrap_or_default()).expect("an id")
}

async fn revoke(http: &Http, token: &TokenId) -> Result<Answer> {
    http.send(Method::DELETE, &format!("{TOKENS}/{token}"), &[], "")
        .await
}

async fn rotate(http: &Http, token: &TokenId, value: &str) -> Result<Answer> {
    let path = format!("{TOKENS}/{token}/rotate");
    http.post(&path, &json!({"value": value})).await
}

/// Versions of a token whose keys are there, and how many messages hold them.
async fn keys(world: &World, team: &TeamId, token: &TokenId) -> Result<Vec<u32>> {
    let of = KeysOf::Token(team.clone(), token.clone());
    let listed = world.log.list(&of, StreamSeq(0), 100).await?;
    let version = |name: &KeyName| match name {
        KeyName::Token { version, .. } => *version,
        KeyName::Task { .. } | KeyName::Epoch { .. } => 0,
    };
    Ok(listed.iter().map(|key| version(&key.name)).collect())
}

/// All that was ever said about a token.
async fn events(world: &World, token: &TokenId) -> Result<Vec<ControlEvent>> {
    let end = world.log.bounds(Stream::Control).await?.last;
    let filters = ["control.*.token.".to_owned() + token.as_str()];
    let records = world
        .log
        .range(Stream::Control, &filters, StreamSeq(1), end, 1_000)
        .await?;
    let read = |record: &waybill_log::Record| {
        ControlEvent::decode(&record.event, &record.payload).context("an event of ours")
    };
    records.iter().map(read).collect()
}

/// What workers would send for a version: the envelope from the log, opened with its key.
async fn opened(world: &World, team: &TeamId, token: &TokenId, version: u32) -> Result<String> {
    let name = KeyName::Token {
        team: team.clone(),
        token: token.clone(),
        version,
    };
    let Some(stored) = world.log.get(&name).await? else {
        bail!("no key of version {version}");
    };
    let envelope = events(world, token)
        .await?
        .into_iter()
        .find_map(|event| match event {
            ControlEvent::TokenCreated(e) if e.version == version => Some(e.envelope),
            ControlEvent::TokenRotated(e) if e.version == version => Some(e.envelope),
            _ => None,
        });
    let envelope = Envelope::parse_text(&envelope.context("an event of that version")?)?;
    let wrapped = WrappedKey::parse(&stored.value)?;
    let context = Context::token(team.as_str(), token.as_str(), version);
    let value = open(&*RINGS.1, &context, &envelope, &wrapped).await?;
    Ok(String::from_utf8(value.expose().to_vec())?)
}
