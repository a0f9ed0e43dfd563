//! Refusals are charged on every route of the description, as answers are.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::Method;
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::TeamId;
use waybill_log::{Log, Stream};
use waybill_testkit::http::{Answer, Http};

use super::{Stage, config_with, parameter};
use crate::hostile::routes::{Route, routes};
use crate::teams::people::Person;
use crate::world::{World, a_task};

/// No test here sends as many requests.
const QUOTA: u64 = 2_000;
/// A test here takes no longer than this.
const ROOM_S: u64 = 40;

async fn stage() -> Result<Stage> {
    Stage::start_with(config_with(QUOTA, QUOTA), ROOM_S).await
}

/// The path of a route in a team, about things that nobody has.
fn path(route: &Route, team: &TeamId) -> String {
    let ulid = "01arz3ndektsv4rrffq69g5fav";
    route
        .path
        .replace("{teamId}", team.as_str())
        .replace("{id}", &format!("task_{ulid}"))
        .replace("{keyId}", "key_00000000")
        .replace("{tokenId}", &format!("tok_{ulid}"))
        .replace("{appId}", &format!("app_{ulid}"))
        .replace("{invitationId}", &format!("inv_{ulid}"))
        .replace("{userId}", &format!("user_{ulid}"))
        .replace("{sessionId}", &format!("ses_{ulid}"))
        .replace("{grantId}", &format!("grant_{ulid}"))
        .replace("{seq}", "1")
        .replace("{name}", "mail")
        .replace("{key}", "mail")
        .replace("{host}", "a.example")
}

/// What is left of a policy, answer by answer.
struct Meter {
    policy: &'static str,
    left: u64,
}

impl Meter {
    async fn begin(policy: &'static str, client: &Http, path: &str) -> Result<Self> {
        let left = parameter(&client.get(path).await?, "ratelimit", policy, "r")?;
        Ok(Self { policy, left })
    }

    /// The answer was charged.
    fn falls(&mut self, answer: &Answer, what: &str) -> Result<()> {
        let left = parameter(answer, "ratelimit", self.policy, "r")
            .with_context(|| format!("{what}: {} {}", answer.status, answer.text()))?;
        assert!(
            left < self.left,
            "{what}: {} was free: {left} left, as before",
            answer.status
        );
        self.left = left;
        Ok(())
    }
}

/// What a route is sent by somebody whom it does not want.
async fn send(client: &Http, route: &Route, path: &str, body: impl Into<Bytes>) -> Result<Answer> {
    client.send(route.method.clone(), path, &[], body).await
}

/// The code of a missing scope, in the words of the API that the path belongs to.
pub(crate) fn lacking_scope(path: &str) -> &'static str {
    if path.starts_with("/api/v1/") {
        "ACCESS_DENIED"
    } else {
        "insufficient_scope"
    }
}

#[tokio::test]
async fn a_key_without_the_scope_pays_on_every_route() -> Result<()> {
    let stage = stage().await?;
    // No route of the description asks for it.
    let client = stage.client(&[Scope::AgentsRead]).await?;
    let mut meter = Meter::begin("team", &client, "/v1/key").await?;
    let mut refused = 0;
    for route in routes().iter().filter(|route| route.scope.is_some()) {
        let path = path(route, &stage.team);
        let answer = send(&client, route, &path, "{}").await?;
        let what = format!("{} {path}", route.method);
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        assert_eq!(answer.code(), lacking_scope(&path), "{what}");
        meter.falls(&answer, &what)?;
        refused += 1;
    }
    assert!(refused > 25, "{refused} routes want a scope");
    stage.world.stop().await
}

#[tokio::test]
async fn a_key_pays_on_every_route_that_is_for_people() -> Result<()> {
    let stage = stage().await?;
    let client = stage.client(&[Scope::TasksRead]).await?;
    let mut meter = Meter::begin("team", &client, "/v1/key").await?;
    let mut refused = 0;
    for route in routes().iter().filter(|route| route.is_for_people) {
        let path = path(route, &stage.team);
        let answer = send(&client, route, &path, "{}").await?;
        let what = format!("{} {path}", route.method);
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        meter.falls(&answer, &what)?;
        refused += 1;
    }
    assert!(refused > 20, "{refused} routes are for people");
    stage.world.stop().await
}

#[tokio::test]
async fn a_person_pays_on_routes_that_are_for_keys() -> Result<()> {
    let stage = stage().await?;
    let eve = Person::signed_in(&stage.world, "eve").await?;
    let mut meter = Meter::begin("person", &eve.http, "/v1/me").await?;
    let mut refused = 0;
    for route in routes().iter().filter(|route| route.is_for_keys) {
        let answer = send(&eve.http, route, &route.path, "").await?;
        let what = format!("{} {}", route.method, route.path);
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        meter.falls(&answer, &what)?;
        refused += 1;
    }
    assert!(refused >= 2, "{refused} routes are for keys");
    stage.world.stop().await
}

/// What cannot be read has a team all the same.
#[tokio::test]
async fn bodies_that_cannot_be_read_are_paid_for_on_every_route() -> Result<()> {
    let stage = stage().await?;
    let client = stage.client(Scope::ALL).await?;
    let mut meter = Meter::begin("team", &client, "/v1/key").await?;
    let large = Bytes::from(vec![b' '; 3_000_000]);
    let mut refused = 0;
    for route in routes() {
        if route.scope.is_none() || !route.has_body {
            continue;
        }
        let path = path(&route, &stage.team);
        for (status, body) in [(400, Bytes::from_static(b"{")), (413, large.clone())] {
            let answer = send(&client, &route, &path, body).await?;
            let what = format!("{} {path}", route.method);
            // What the path names may be looked for first, and is not there.
            let said = answer.status.as_u16();
            assert!([status, 404].contains(&said), "{what}: {}", answer.text());
            meter.falls(&answer, &what)?;
            refused += usize::from(said == status);
        }
    }
    assert!(refused >= 14, "{refused} bodies could not be read");
    stage.world.stop().await
}

/// Stores an event that no version understands, and waits until the gateway has read it.
async fn store_what_nobody_understands(world: &World, subject: String, event: &str) -> Result<()> {
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Wb-Event", event);
    let client = world.log.client();
    let stored = client.request_with_headers(subject, headers, "no such event".into());
    stored.await?;
    let last = world.log.bounds(Stream::Control).await?.last;
    world.gateway.state().auth.wait_for(last).await?;
    Ok(())
}

#[tokio::test]
async fn a_team_that_is_not_understood_pays_for_its_answers() -> Result<()> {
    let stage = stage().await?;
    let key = stage.client(&[Scope::TasksRead, Scope::TasksWrite]).await?;
    let ann = Person::signed_in(&stage.world, "ann").await?;
    ann.joined(&stage.world, &stage.team, Role::Owner).await?;
    let team = &stage.team;
    let subject = format!("control.{team}.team.{team}");
    let mut meter = Meter::begin("team", &key, "/v1/tasks").await?;
    store_what_nobody_understands(&stage.world, subject, "team.deleted.v1").await?;
    let of_team = format!("/teams/{team}");
    for (client, method, path) in [
        (&key, Method::GET, "/v1/tasks"),
        (&key, Method::POST, "/v1/tasks"),
        (&ann.http, Method::GET, "/v1/tasks"),
        (&ann.http, Method::GET, of_team.as_str()),
    ] {
        let body = a_task().to_string();
        let answer = client.send(method, path, &[], body).await?;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        assert_eq!(answer.code(), "access_not_understood");
        meter.falls(&answer, path)?;
    }
    stage.world.stop().await
}

#[tokio::test]
async fn a_person_who_is_not_understood_pays_for_their_answers() -> Result<()> {
    let stage = stage().await?;
    let eve = Person::signed_in(&stage.world, "eve").await?;
    let mut meter = Meter::begin("person", &eve.http, "/v1/me").await?;
    let email = waybill_domain::access::email::Email::parse(&eve.email)?;
    let hash = stage.world.gateway.state().people.address(&email);
    let subject = format!("control._.user.{}", hash.as_str());
    store_what_nobody_understands(&stage.world, subject, "user.deleted.v1").await?;
    for path in ["/v1/me", "/teams"] {
        let answer = eve.http.get(path).await?;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        assert_eq!(answer.code(), "access_not_understood");
        meter.falls(&answer, path)?;
    }
    stage.world.stop().await
}
