//! API keys over HTTP: what may be asked for, how they end, how environments keep apart, who finds them, how they were used.

mod creation;
mod environments;
mod life;
mod plans;
mod reports;
mod rotation;
mod usage;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use waybill_domain::id::TeamId;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_testkit::http::Http;

use crate::world::World;

/// A key that was made by the API.
struct Made {
    /// As shown.
    object: Value,
    http: Http,
}

impl Made {
    fn id(&self) -> &str {
        self.object["id"].as_str().unwrap_or_default()
    }

    fn secret(&self) -> &str {
        self.object["key"].as_str().unwrap_or_default()
    }
}

fn keys_of(team: &TeamId) -> String {
    format!("/teams/{team}/apikeys")
}

/// Has `http` make a key. Anything but 201 is an error.
async fn make(http: &Http, team: &TeamId, body: &Value) -> Result<Made> {
    let answer = http.post(&keys_of(team), body).await?;
    anyhow::ensure!(answer.status == 201, "{}", answer.text());
    let object = answer.json()["apiKey"].clone();
    let secret = object["key"].as_str().context("the key")?;
    Ok(Made {
        http: http.with_key(secret),
        object,
    })
}

/// One key out of the team's list.
async fn listed(http: &Http, team: &TeamId, id: &str) -> Result<Value> {
    let list = http.get(&keys_of(team)).await?;
    anyhow::ensure!(list.status == 200, "{}", list.text());
    let keys = list.json()["apiKeys"].clone();
    let mut keys = keys.as_array().cloned().unwrap_or_default();
    keys.retain(|key| key["id"] == json!(id));
    keys.pop().context("in the list")
}

/// Where CONTROL ends: it stays when nothing was stored.
async fn stored(world: &World) -> Result<StreamSeq> {
    Ok(world.log.bounds(Stream::Control).await?.last)
}
