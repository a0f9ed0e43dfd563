//! Whoever takes a gateway, with all that it was configured with and all that it has on disk, and reads all streams, opens nothing.

use anyhow::{Context as _, Result};
use serde_json::json;
use waybill_domain::event::{ControlEvent, TaskEvent};
use waybill_log::{KeyName, KeysOf, Log, Stream, StreamSeq, VaultKeys};
use waybill_testkit::search::files_with;
use waybill_vault::{
    Context, Envelope, EpochOpener, OpenRing, Place, Ring as _, Unwrapper as _, WrappedKey,
};

use super::{VALUE, keep};
use crate::world::{PEPPER, RINGS, World};

const RAW: &str = "sk-raw-of-the-blind-gateway";

/// Words of a ring that hold key material, in hex.
fn keys_of(text: &str) -> Vec<String> {
    let words = text
        .split_whitespace()
        .filter_map(|word| word.split_once('.'));
    words.map(|(_, hex)| hex.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_gateway_has_opens_nothing() -> Result<()> {
    let world = World::start().await?;
    keep(&world.http, "ours", VALUE).await?;
    let mut task = crate::world::a_task();
    task["headers"] = json!({"Authorization": format!("Bearer {RAW}")});
    world.http.create(&task).await?;

    // What the gateway could try: all that it was given, as if it were the secret half of a key.
    let (seal, open_ring) = (RINGS.0.render(), RINGS.1.render());
    let mut tried = keys_of(&seal);
    tried.push(hex::encode(PEPPER));
    let senders: Vec<&str> = open_ring
        .split_whitespace()
        .filter(|word| word.starts_with("sender-public1."))
        .collect();
    let rings: Vec<OpenRing> = tried
        .iter()
        .map(|key| OpenRing::parse(&format!("kek-secret1.{key} {}", senders.join(" "))))
        .collect::<Result<_, _>>()?;
    assert!(
        rings.len() >= 3,
        "the sender's secret, a public half, the pepper"
    );
    assert!(OpenRing::parse(&seal).is_err());

    let listed = world.log.list(&KeysOf::All, StreamSeq(0), 100).await?;
    assert_eq!(
        listed.len(),
        2,
        "one of the token, one of the epoch of the task's headers"
    );
    for listed in &listed {
        let place = Place::of(&listed.name);
        let wrapped = WrappedKey::parse(&listed.key.value)?;
        for ring in &rings {
            assert!(ring.unwrap_key(&place.context(), &wrapped).await.is_err());
        }
        // The control: what workers have does open it.
        let key = RINGS.1.unwrap_key(&place.context(), &wrapped).await?;
        let opened = match &listed.name {
            KeyName::Token { token, .. } => {
                let envelope = Envelope::parse_text(&of_token(&world, token).await?)?;
                key.open(&place.context(), &envelope)
            }
            KeyName::Task { .. } | KeyName::Epoch { .. } => {
                let (task, envelope) = of_task(&world).await?;
                let context = Context::task(listed.name.team().as_str(), &task);
                EpochOpener::new(&key).open(&context, &envelope)
            }
        };
        assert!(opened.is_ok());
    }

    // Neither the values nor what opens them are on the gateway's disk, in its ring, or in the streams.
    let secrets = keys_of(&open_ring)
        .into_iter()
        .filter(|key| !seal.contains(key));
    let mut sought: Vec<Vec<u8>> = vec![VALUE.into(), RAW.into()];
    for key in secrets {
        sought.push(hex::decode(&key)?);
        sought.push(key.into_bytes());
    }
    assert!(sought.len() > 3);
    for bytes in &sought {
        for folder in [world.folder.path().to_owned(), world.nats.store()] {
            let found = files_with(&folder, bytes)?;
            assert!(found.is_empty(), "{found:?}");
        }
    }
    world.stop().await
}

async fn of_token(world: &World, token: &waybill_domain::id::TokenId) -> Result<String> {
    let events = super::events(world, token).await?;
    let envelope = events.into_iter().find_map(|event| match event {
        ControlEvent::TokenCreated(e) => Some(e.envelope),
        _ => None,
    });
    envelope.context("a token was made")
}

/// The id and the envelope of the task with sealed headers.
async fn of_task(world: &World) -> Result<(String, String)> {
    let end = world.log.bounds(Stream::Tasks).await?.last;
    let records = world
        .log
        .range(Stream::Tasks, &[], StreamSeq(1), end, 100)
        .await?;
    let sealed =
        records.iter().find_map(
            |record| match TaskEvent::decode(&record.event, &record.payload) {
                Ok(TaskEvent::Created(created)) => Some((created.id, created.sealed?)),
                _ => None,
            },
        );
    let (task, sealed) = sealed.context("sealed headers")?;
    Ok((task.to_string(), sealed.envelope))
}
