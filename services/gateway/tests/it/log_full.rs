//! A log of tasks that is full: creations are refused first, everything else goes on, and room that is given back is used.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use waybill_domain::actor::Actor;
use waybill_domain::event::PartitionOwned;
use waybill_domain::partition::Partition;
use waybill_domain::room::{OWED_SUBJECT, Owed, OwedByPartition};
use waybill_domain::time::Timestamp;
use waybill_log::subject::TaskSubject;
use waybill_log::{
    Append, AppendError, Appended, Atomicity, Expectation, Log, NewRecord, Stream, StreamSeq,
};
use waybill_testkit::eventually;

use crate::world::{SOON, World, a_task};

/// Bytes that TASKS may have here.
const LIMIT: u64 = 400_000;
/// A gateway looks at the room in the stream once a second.
const THREE_LOOKS: Duration = Duration::from_secs(3);
/// More creations than fit.
const TOO_MANY: usize = 2_000;

/// Creates tasks until the gateway refuses one; answers with how many it took and with the refusal.
async fn fill(world: &World) -> Result<(usize, waybill_testkit::http::Answer)> {
    for made in 0..TOO_MANY {
        let answer = world.http.post("/v1/tasks", &a_task()).await?;
        if answer.status != StatusCode::CREATED {
            return Ok((made, answer));
        }
    }
    anyhow::bail!("{TOO_MANY} tasks fit")
}

async fn serving(world: &World) -> Result<Value> {
    Ok(world.http.get("/readyz?verbose").await?.json())
}

/// What an owner appends: its fence.
async fn owner_appends(world: &World) -> Result<Appended, AppendError> {
    let subject = TaskSubject::owner(Partition::default()).to_string();
    let owned = PartitionOwned {
        worker: "w".into(),
        at: Timestamp(0),
        mark: None,
    };
    let append = Append {
        stream: Stream::Tasks,
        records: vec![NewRecord {
            subject: subject.clone(),
            event: PartitionOwned::NAME,
            actor: Actor::worker().to_string(),
            traceparent: None,
            origin: None,
            payload: owned.encode().into(),
        }],
        expect: Expectation::LastOn {
            filter: subject,
            seq: StreamSeq(0),
        },
        atomicity: Atomicity::Atomic,
        msg_id: None,
    };
    world.log.append(append).await
}

#[tokio::test(flavor = "multi_thread")]
async fn creations_are_refused_first_and_the_rest_goes_on() -> Result<()> {
    let world = World::start().await?;
    let made = world
        .http
        .post(
            &format!("/teams/{}/apikeys", world.team),
            &json!({"name": "short-lived"}),
        )
        .await?
        .json();
    let short_lived = made["apiKey"]["key"].as_str().context("a key")?.to_owned();
    let id = made["apiKey"]["id"].as_str().context("an id")?.to_owned();
    world.log.raise("TASKS", LIMIT).await?;
    eventually(SOON, async || world.gateway.state().room.room().is_some()).await?;
    assert_eq!(serving(&world).await?["status"], "ready");
    let keyed = async || {
        let headers = [("idempotency-key", "known")];
        let body = a_task().to_string();
        world
            .http
            .send(Method::POST, "/v1/tasks", &headers, body)
            .await
    };
    let known = keyed().await?;
    assert_eq!(known.status, StatusCode::CREATED, "{}", known.error());
    // Between two looks a creation counts twice, once to be restated. With no owner that says so it fits all the same: fill it on.
    let mut filled = None;
    let mut accepted = 0;
    // Refused through several looks at the stream: what the gateway counted beside it is gone by then.
    let mut refused_since = None;
    eventually(SOON, async || {
        let Ok((made, refused)) = fill(&world).await else {
            return false;
        };
        accepted += made;
        filled = Some(refused);
        if made > 0 {
            refused_since = None;
        }
        refused_since.get_or_insert_with(Instant::now).elapsed() > THREE_LOOKS
    })
    .await?;
    let refused = filled.context("a refusal")?;
    assert!(accepted > 50, "{accepted}");
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.code(), "log_full");
    // What was accepted before is said again: nothing is stored for that.
    let again = keyed().await?;
    assert_eq!(again.status, StatusCode::CREATED, "{}", again.error());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.task(), known.task());
    assert_eq!(refused.header("retry-after"), Some("10"));
    let said = refused.error();
    assert!(
        said.contains("of 390.6 KiB are used") && said.contains("creations stop at"),
        "{said}"
    );
    let batch = json!({"tasks": [a_task(), a_task()]});
    let batch = world.http.post("/v1/tasks/batch", &batch).await?;
    assert_eq!(
        (batch.status, batch.code().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "log_full"),
        "{}",
        batch.text()
    );

    // Readiness: requests should come here, since most of them are served, and it says which are not.
    let ready = world.http.get("/readyz").await?;
    assert_eq!(ready.status, StatusCode::OK);
    assert_eq!(ready.json()["status"], "degraded", "{}", ready.text());
    assert_eq!(ready.json()["code"], "log_full", "{}", ready.text());
    let apart = serving(&world).await?;
    assert_eq!(apart["status"], "degraded", "{apart}");
    assert_eq!(apart["creations"]["ready"], false, "{apart}");
    assert_eq!(apart["reads"]["ready"], true, "{apart}");
    assert_eq!(apart["revocations"]["ready"], true, "{apart}");
    assert_eq!(apart["log"]["limitBytes"], LIMIT, "{apart}");

    // Reads, revocations and owners go on.
    let listed = world.http.get("/v1/tasks?limit=5").await?;
    assert_eq!(listed.status, StatusCode::OK, "{}", listed.text());
    let revoked = world
        .http
        .post(&format!("/apikeys/{id}/revoke"), &json!({}))
        .await?;
    assert_eq!(revoked.status, StatusCode::OK, "{}", revoked.text());
    let with_it = world.http.with_key(&short_lived).get("/v1/tasks").await?;
    assert_eq!(with_it.status, StatusCode::UNAUTHORIZED);
    owner_appends(&world).await?;

    // What is given back is used, without a restart of anything.
    let context = async_nats::jetstream::new(world.log.client());
    context.get_stream("TASKS").await?.purge().await?;
    eventually(SOON, async || {
        let again = world.http.post("/v1/tasks", &a_task()).await;
        again.is_ok_and(|answer| answer.status == StatusCode::CREATED)
    })
    .await?;
    assert_eq!(serving(&world).await?["status"], "ready");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_owners_say_of_open_tasks_lowers_the_mark() -> Result<()> {
    let world = World::start().await?;
    world.log.raise("TASKS", LIMIT).await?;
    let says = async |bytes| {
        let figures = OwedByPartition {
            partitions: vec![(Partition::default(), Owed { tasks: 1, bytes })],
        };
        let payload = serde_json::to_vec(&figures)?;
        world
            .log
            .client()
            .publish(OWED_SUBJECT, payload.into())
            .await?;
        anyhow::Ok(())
    };
    let status = async || {
        let answer = world.http.post("/v1/tasks", &a_task()).await;
        answer.map(|answer| answer.status)
    };
    says(LIMIT).await?;
    eventually(SOON, async || {
        status().await.ok() == Some(StatusCode::SERVICE_UNAVAILABLE)
    })
    .await?;
    says(0).await?;
    eventually(SOON, async || {
        status().await.ok() == Some(StatusCode::CREATED)
    })
    .await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_stores_nothing_says_the_longest_wait_of_its_tasks() -> Result<()> {
    let world = World::start().await?;
    world.log.raise("TASKS", LIMIT).await?;
    let figures = OwedByPartition {
        partitions: vec![(
            Partition::default(),
            Owed {
                tasks: 1,
                bytes: LIMIT,
            },
        )],
    };
    let payload = serde_json::to_vec(&figures)?;
    world
        .log
        .client()
        .publish(OWED_SUBJECT, payload.into())
        .await?;
    eventually(SOON, async || {
        let answer = world.http.post("/v1/tasks", &a_task()).await;
        answer.is_ok_and(|answer| answer.code() == "log_full")
    })
    .await?;
    // A task with a key waits for the read model, which is back in a second; one without for room in the log.
    world.projector.shutdown().await?;
    let mut keyed = a_task();
    keyed["idempotencyKey"] = json!("known");
    for tasks in [[keyed.clone(), a_task()], [a_task(), keyed]] {
        let answer = world
            .http
            .post("/v1/tasks/batch", &json!({"tasks": tasks}))
            .await?;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        let results = answer.json()["results"].clone();
        let mut codes: Vec<_> = results
            .as_array()
            .context("results")?
            .iter()
            .map(|result| result["code"].as_str().unwrap_or_default())
            .collect();
        codes.sort_unstable();
        assert_eq!(codes, ["log_full", "reads_unavailable"], "{results}");
        assert_eq!(
            (answer.code().as_str(), answer.header("retry-after")),
            ("log_full", Some("10")),
            "{}",
            answer.text()
        );
    }
    world.shutdown.cancel();
    world.gateway.wait().await?;
    Ok(())
}
