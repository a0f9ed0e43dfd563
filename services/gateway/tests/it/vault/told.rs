//! What happens to tokens is told in the team's activity, and what is sealed in it is shown to nobody.

use anyhow::Result;
use serde_json::{Value, json};
use waybill_domain::event::{ControlEvent, TokenCreated, TokenRotated, TokenUsed};
use waybill_domain::id::{Environment, TaskId};
use waybill_domain::partition::Partition;
use waybill_log::subject::ControlSubject;
use waybill_log::{Append, Atomicity, Expectation, Log, NewRecord, Stream};
use waybill_testkit::eventually;

use super::{VALUE, id, keep, revoke, rotate};
use crate::world::{SOON, World};

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_token_is_told_and_no_value() -> Result<()> {
    let world = World::start().await?;
    let token = id(&keep(&world.http, "OpenAI", VALUE).await?);
    rotate(&world.http, &token, "second").await?;
    // As a worker says it.
    let used = ControlEvent::TokenUsed(TokenUsed {
        token: token.clone(),
        team: world.team.clone(),
        environment: Environment::Live,
        version: 2,
        task: TaskId::new(crate::owner::now(), 1, Partition::default()),
        host: "api.openai.com".into(),
        at: crate::owner::now(),
    });
    let append = Append {
        stream: Stream::Control,
        records: vec![NewRecord {
            subject: ControlSubject::global("use", token.as_str())?.to_string(),
            event: used.name(),
            actor: "system:worker-1".into(),
            traceparent: None,
            origin: None,
            payload: used.encode().into(),
        }],
        expect: Expectation::None,
        atomicity: Atomicity::Atomic,
        msg_id: None,
    };
    world.log.append(append).await?;
    revoke(&world.http, &token).await?;
    let path = format!("/v1/activity?type=token.&limit=100&target={token}");
    let mut told: Vec<Value> = Vec::new();
    eventually(SOON, async || {
        let Ok(page) = world.http.get(&path).await else {
            return false;
        };
        let entries = page.json()["activity"].clone();
        told = entries.as_array().cloned().unwrap_or_default();
        told.len() == 5
    })
    .await?;
    told.reverse();
    let kinds: Vec<&str> = told
        .iter()
        .filter_map(|entry| entry["type"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "token.created",
            "token.rotated",
            "token.used",
            "token.revoked",
            "token.shredded"
        ]
    );
    for entry in &told {
        let target = &entry["target"];
        assert_eq!(
            (&target["kind"], &target["id"], &target["name"]),
            (&json!("token"), &json!(token), &json!("OpenAI")),
            "{entry}"
        );
        assert_eq!(entry["environment"], json!("live"), "{entry}");
    }
    let actor = told[0]["actor"].as_str();
    assert!(actor.is_some_and(|actor| actor.starts_with("key:")));
    let export = world.http.get("/v1/activity/export?format=csv").await?;
    assert_eq!(export.status, 200, "{}", export.text());
    assert!(export.text().contains("token.created"));
    for event in super::events(&world, &token).await? {
        if let ControlEvent::TokenCreated(TokenCreated { envelope, .. })
        | ControlEvent::TokenRotated(TokenRotated { envelope, .. }) = event
        {
            assert!(!export.text().contains(&envelope), "{}", export.text());
        }
    }
    world.stop().await
}
