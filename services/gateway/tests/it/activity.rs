//! The activity of a team as people read it: listed, followed and exported.

mod environments;
mod export;
mod follow;
mod list;
mod text;

use anyhow::{Context, Result};
use serde_json::Value;
use waybill_commands::KeyWish;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::{Environment, KeyId};
use waybill_testkit::http::Http;

use crate::world::{World, operator};

/// A key of that name, and its id.
pub(crate) async fn key(
    world: &World,
    name: &str,
    scopes: &[Scope],
    environment: Environment,
) -> Result<(KeyId, Http)> {
    let wish = KeyWish {
        environment,
        ..KeyWish::new(name, scopes)
    };
    let made = world
        .writer()
        .make_key(&world.team, wish, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    Ok((made.created.key, world.http.with_key(made.key.reveal())))
}

/// Entries of one page, oldest first.
async fn entries(http: &Http, query: &str) -> Result<Vec<Value>> {
    let page = http.get(&format!("/v1/activity?{query}")).await?;
    anyhow::ensure!(page.status == 200, "{query}: {}", page.text());
    let page = page.json();
    let mut entries = page["activity"].as_array().context("a list")?.clone();
    entries.reverse();
    Ok(entries)
}

fn place(entry: &Value) -> (String, u64) {
    let stream = entry["stream"].as_str().unwrap_or_default();
    (stream.to_owned(), entry["seq"].as_u64().unwrap_or_default())
}

fn kinds(entries: &[Value]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry["type"].as_str().unwrap_or_default())
        .collect()
}
