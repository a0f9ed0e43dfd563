//! What a route calls its parameters is nobody's business: the team in a path is checked however it is spelled.

use anyhow::Result;
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use waybill_domain::access::scope::Scope;
use waybill_edge::auth::needs::{TasksRead, Viewer};
use waybill_edge::auth::{Caller, Member};
use waybill_edge::request::room::Room;
use waybill_edge::request::{EdgeLayer, Rooms};
use waybill_testkit::http::Http;

use super::people::{Person, world_with};
use crate::world::operator;

async fn of_member(member: Member<Viewer>) -> String {
    member.team.to_string()
}

async fn of_caller(caller: Caller<TasksRead>) -> String {
    caller.team.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_in_a_path_is_checked_whatever_its_parameter_is_called() -> Result<()> {
    let (world, _) = world_with(|_| {}).await?;
    let ours = Person::signed_in(&world, "ours").await?;
    let team = ours.team(&world, "ours", "enterprise").await?;
    let other = Person::signed_in(&world, "theirs").await?;
    let theirs = other.team(&world, "theirs", "enterprise").await?;
    let key = world
        .writer()
        .create_key(&theirs, "k", Scope::ALL, &operator())
        .await?;
    let state = world.gateway.state();
    state.auth.wait_for(key.seq).await?;

    let layer = EdgeLayer::new(
        &[],
        state.limiter.clone(),
        state.refusals.clone(),
        state.usage.clone(),
        Rooms {
            bodies: Room::of_bodies(1 << 20),
            requests: Room::of_requests(64),
        },
    );
    let routes = Router::new()
        .route("/teams/{team_id}/a", get(of_member))
        .route("/teams/{t}/b", get(of_caller))
        .route("/apikeys/{key}/c", get(of_caller))
        .with_state(state.edge.clone())
        .layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let http = Http::at(listener.local_addr()?);
    let serving = tokio::spawn(async move { axum::serve(listener, routes).await });

    let (by_person, by_key) = (http.with_key(&other.token), http.with_key(key.key.reveal()));
    for (path, client) in [("a", &by_person), ("b", &by_person), ("b", &by_key)] {
        let own = client.get(&format!("/teams/{theirs}/{path}")).await?;
        assert_eq!(own.text(), theirs.to_string(), "{path}");
        let foreign = client.get(&format!("/teams/{team}/{path}")).await?;
        assert_eq!(foreign.status, 403, "{path}: {}", foreign.text());
    }
    let own = by_key.get(&format!("/apikeys/{}/c", key.key.id())).await?;
    assert_eq!(own.text(), theirs.to_string());
    let unknown = by_key.get("/apikeys/key_zzzzzzzz/c").await?;
    assert_eq!(unknown.status, 404, "{}", unknown.text());
    serving.abort();
    Ok(())
}
