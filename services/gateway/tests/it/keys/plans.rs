//! What a plan says of keys: whether they work at all, and how many there are.

use std::sync::Arc;

use anyhow::Result;
use http::Method;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use waybill_commands::{CommandError, ControlError, ControlWriter, KeyWish};
use waybill_domain::access::plan::Catalogue;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::{TeamCommand, TeamRefusal};
use waybill_gateway::GatewayConfig;

use super::{keys_of, make};
use crate::teams::people::Person;
use crate::world::{World, config, operator, pepper};

const ROUNDS: usize = 200;

fn plans() -> Arc<Catalogue> {
    let plans = include_str!("../../../../../ops/plans/plans.toml");
    let without = "[plans.closed]\nmax_wait_s = 30\napi_access = false\npolicies = []\n\n\
                   [plans.lists]\nmax_wait_s = 30\napi_faces = [\"waitlists\"]\npolicies = []\n\n[edge]\n";
    let plans = plans.replacen("[edge]\n", without, 1);
    Arc::new(Catalogue::parse(&plans).expect("valid"))
}

// K22.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_the_api_stops_keys_and_a_better_one_lets_them_go_on() -> Result<()> {
    let config = GatewayConfig {
        plans: plans(),
        ..config()
    };
    let world = World::start_with(config).await?;
    let writer = world.writer().with_plans(plans());
    let team = writer.create_team("ours", "pro", &operator()).await?;
    let made = writer
        .create_key(&team, "k", Scope::ALL, &operator())
        .await?;
    let spare = writer
        .create_key(&team, "s", &[Scope::BidsRead], &operator())
        .await?;
    let state = world.gateway.state();
    let doomed = writer
        .create_key(&team, "d", &[Scope::BidsRead], &operator())
        .await?;
    state.auth.wait_for(doomed.seq).await?;
    let key = world.http.with_key(made.key.reveal());
    let change = async |plan: &str| -> Result<()> {
        let command = TeamCommand::ChangePlan { plan: plan.into() };
        let changed = writer.run_team(&team, command, &operator()).await?;
        state.auth.wait_for(changed.version).await?;
        Ok(())
    };
    assert_eq!(key.get("/v1/tasks").await?.status, 200);
    change("closed").await?;
    let rotate = format!("/apikeys/{}/rotate", made.key.id());
    for (method, path) in [
        (Method::GET, "/v1/tasks".to_owned()),
        (Method::GET, keys_of(&team)),
        (Method::POST, keys_of(&team)),
        (Method::POST, rotate),
        (Method::GET, "/v1/key".to_owned()),
    ] {
        let refused = key.send(method, &path, &[], "{\"name\":\"n\"}").await?;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "feature_not_allowed"),
            "{path}"
        );
    }
    // Its people look after it all the same: they see the keys, end them, and read what happened; they make nothing.
    let owner = Person::signed_in(&world, "owner").await?;
    owner.joined(&world, &team, Role::Owner).await?;
    let (of_team, json_body) = (keys_of(&team), "{\"name\":\"n\"}");
    let revoke = format!("/apikeys/{}/revoke", doomed.key.id());
    for (status, method, path) in [
        (200, Method::GET, of_team.clone()),
        (200, Method::GET, "/v1/activity".to_owned()),
        (200, Method::GET, "/v1/tasks".to_owned()),
        (200, Method::POST, revoke),
        (403, Method::POST, of_team),
        (403, Method::POST, "/v1/tasks".to_owned()),
    ] {
        let answer = owner.http.send(method, &path, &[], json_body).await?;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
        if status == 403 {
            assert_eq!(answer.code(), "feature_not_allowed", "{path}");
        }
    }
    // Whoever holds a key may end it all the same.
    let spare = world.http.with_key(spare.key.reveal());
    let ended = spare.send(Method::POST, "/v1/key/revoke", &[], "").await?;
    assert_eq!(ended.status, 200, "{}", ended.text());
    change("pro").await?;
    assert_eq!(key.get("/v1/tasks").await?.status, 200, "the same key");
    assert_eq!(spare.get("/v1/key").await?.status, 401);
    world.stop().await
}

/// A plan may include one API and leave the others out. The owner looks after what was made for the others all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_without_tasks_stops_their_keys_and_lets_the_owner_list_and_revoke_them()
-> Result<()> {
    let config = GatewayConfig {
        plans: plans(),
        ..config()
    };
    let world = World::start_with(config).await?;
    let writer = world.writer().with_plans(plans());
    let owner = Person::signed_in(&world, "owner").await?;
    let team = owner.team(&world, "Ours", "pro").await?;
    let made = writer
        .create_key(&team, "k", Scope::ALL, &operator())
        .await?;
    world.gateway.state().auth.wait_for(made.seq).await?;
    let key = world.http.with_key(made.key.reveal());
    assert_eq!(key.get("/v1/tasks").await?.status, 200);
    let command = TeamCommand::ChangePlan {
        plan: "lists".into(),
    };
    let changed = writer.run_team(&team, command, &operator()).await?;
    world.gateway.state().auth.wait_for(changed.version).await?;
    for method in [Method::GET, Method::POST] {
        let task = crate::world::a_task().to_string();
        let refused = key.send(method, "/v1/tasks", &[], task).await?;
        assert_eq!(
            (refused.status.as_u16(), refused.code().as_str()),
            (403, "feature_not_allowed"),
            "{}",
            refused.text()
        );
    }
    // What belongs to no API stays.
    assert_eq!(key.get("/v1/key").await?.status, 200);
    let listed = owner.http.get(&keys_of(&team)).await?;
    assert_eq!(listed.status, 200, "{}", listed.text());
    assert_eq!(listed.json()["apiKeys"][0]["id"], json!(made.key.id()));
    let revoke = format!("/apikeys/{}/revoke", made.key.id());
    let revoked = owner.http.send(Method::POST, &revoke, &[], "").await?;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert_eq!(key.get("/v1/key").await?.status, 401);
    world.stop().await
}

// K21.
#[tokio::test(flavor = "multi_thread")]
async fn one_key_is_one_key_however_many_gateways_make_it() -> Result<()> {
    let world = World::start().await?;
    let by = operator();
    let writers: [ControlWriter; 3] =
        [0; 3].map(|_| ControlWriter::new(Arc::new(world.log.clone()), pepper()));
    for round in 0..ROUNDS {
        let team = writers[0].create_team("t", "free", &by).await?;
        let wish = KeyWish::new("k", Scope::ALL);
        let tries = writers
            .iter()
            .map(|writer| writer.make_key(&team, wish.clone(), &by));
        let outcomes = futures::future::join_all(tries).await;
        let made = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(made, 1, "round {round}");
        for outcome in outcomes {
            assert!(
                matches!(
                    outcome,
                    Ok(_)
                        | Err(ControlError::Command(CommandError::Refused(
                            TeamRefusal::KeyLimit { limit: 1, .. }
                        )))
                ),
                "round {round}: {outcome:?}"
            );
        }
    }
    world.stop().await
}

// K21, over HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn the_plan_has_room_for_one_key_over_three_gateways() -> Result<()> {
    let world = World::start().await?;
    let stop = CancellationToken::new();
    let (second, third) = (
        world.another("g2", &stop).await?,
        world.another("g3", &stop).await?,
    );
    let owner = Person::signed_in(&world, "owner").await?;
    for round in 0..5 {
        let other = Person::signed_in(&world, &format!("owner{round}")).await?;
        let team = other.team(&world, "Ours", "free").await?;
        let (path, body) = (keys_of(&team), json!({"name": "k"}));
        let gateways = [other.http.clone(), other.at(&second), other.at(&third)];
        for gateway in &gateways {
            gateway.until(&path, http::StatusCode::OK).await?;
        }
        let tries = (0..6).map(|n| gateways[n % 3].post(&path, &body));
        let answers = futures::future::try_join_all(tries).await?;
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(made, 1, "round {round}");
        for answer in answers.iter().filter(|answer| answer.status != 201) {
            assert_eq!(
                (answer.status.as_u16(), answer.code().as_str()),
                (403, "plan_limit_exceeded"),
                "{}",
                answer.text()
            );
        }
        // A rotation takes no room: a key and its successor are one.
        let list = other.http.get(&path).await?.json();
        let id = list["apiKeys"][0]["id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let rotated = other
            .http
            .post(&format!("/apikeys/{id}/rotate"), &json!({}))
            .await?;
        assert_eq!(rotated.status, 201, "{}", rotated.text());
    }
    let team = owner.team(&world, "Ours", "pro").await?;
    for n in 0..3 {
        make(&owner.http, &team, &json!({"name": format!("k{n}")})).await?;
    }
    stop.cancel();
    second.wait().await?;
    third.wait().await?;
    world.stop().await
}
