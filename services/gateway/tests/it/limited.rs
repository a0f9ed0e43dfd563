//! Rate limits as clients meet them: headers on every answer, 429 that says why and until when, and who is charged for what.

pub(crate) mod refusals;

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;
use sfv::{BareItem, List, ListEntry, Parser};
use tokio_util::sync::CancellationToken;
use waybill_domain::access::plan::Catalogue;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::TeamId;
use waybill_gateway::{Gateway, GatewayConfig};
use waybill_testkit::eventually;
use waybill_testkit::http::{Answer, Http};

use crate::world::{SOON, World, a_task, config, operator, parts};

/// Seconds of the windows here: long, so that a test fits into one.
const WINDOW_S: u64 = 1_200;
/// A test takes no longer than this from its first request.
const ROOM_S: u64 = 15;
const TEAM_QUOTA: u64 = 20;
const KEY_QUOTA: u64 = 12;
const FAILURES: u64 = 30;
/// What the headers of a plan without a limit say.
const UNLIMITED: u64 = 2_147_483_647;

fn config_here() -> GatewayConfig {
    config_with(TEAM_QUOTA, KEY_QUOTA)
}

fn config_with(team: u64, key: u64) -> GatewayConfig {
    let plans = include_str!("../../../../ops/plans/plans.toml")
        .replacen("max_keys = 1\n", "", 1)
        .replacen(
            "{ name = \"team\", scope = \"team\", q = 60, w = 60 }",
            &format!(
                "{{ name = \"team\", scope = \"team\", q = {team}, w = {WINDOW_S} }}, \
                 {{ name = \"key\", scope = \"key\", q = {key}, w = {WINDOW_S} }}"
            ),
            1,
        )
        .replacen("q = 300, w = 60", &format!("q = 300, w = {WINDOW_S}"), 1)
        .replacen(
            "q = 30, w = 60",
            &format!("q = {FAILURES}, w = {WINDOW_S}"),
            1,
        );
    GatewayConfig {
        plans: Arc::new(Catalogue::parse(&plans).expect("valid")),
        ..config()
    }
}

fn now_s() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    since.as_secs()
}

struct Stage {
    world: World,
    team: TeamId,
}

impl Stage {
    /// A world with a team on the limited plan, at a time when its window will not end soon.
    async fn start() -> Result<Self> {
        Self::start_with(config_here(), ROOM_S).await
    }

    /// The same, for a test that takes up to `room_s` seconds.
    async fn start_with(config: GatewayConfig, room_s: u64) -> Result<Self> {
        let wait = SOON + std::time::Duration::from_secs(room_s);
        eventually(wait, async || WINDOW_S - now_s() % WINDOW_S > room_s).await?;
        let plans = Arc::clone(&config.plans);
        let world = World::start_with(config).await?;
        let writer = world.writer().with_plans(plans);
        let team = writer.create_team("limited", "free", &operator()).await?;
        Ok(Self { world, team })
    }

    /// A client of the first gateway, and of that other one, with one key.
    async fn client_of_both(&self, other: &Gateway) -> Result<[Http; 2]> {
        let key = self.key(&[Scope::TasksRead]).await?;
        let there = Http::at(other.addr()).with_key(&key);
        Ok([self.world.http.with_key(&key), there])
    }

    /// A client with a key of its own.
    async fn client(&self, scopes: &[Scope]) -> Result<Http> {
        Ok(self.world.http.with_key(&self.key(scopes).await?))
    }

    async fn key(&self, scopes: &[Scope]) -> Result<String> {
        let writer = self.world.writer().with_plans(config_here().plans);
        let made = writer
            .create_key(&self.team, "k", scopes, &operator())
            .await?;
        let auth = &self.world.gateway.state().auth;
        auth.wait_for(made.seq).await?;
        Ok(made.key.reveal().to_owned())
    }

    /// Waits until another gateway knows all that the first one does.
    async fn settled_at(&self, other: &Gateway) -> Result<()> {
        let known = self.world.gateway.state().auth.applied();
        other.state().auth.wait_for(known).await?;
        Ok(())
    }

    async fn another_gateway(&self, stop: &CancellationToken) -> Result<Gateway> {
        let parts = parts(&self.world.log, &self.world.folder, "second");
        let gateway = Gateway::start(config_here(), parts, stop.clone()).await?;
        let http = Http::at(gateway.addr());
        eventually(SOON, async || {
            let ready = http.get("/readyz").await;
            ready.is_ok_and(|answer| answer.status == 200)
        })
        .await?;
        Ok(gateway)
    }
}

fn number(answer: &Answer, name: &str) -> Result<u64> {
    let text = answer.header(name);
    let text = text.with_context(|| format!("{name} of {}", answer.status))?;
    Ok(text.parse()?)
}

/// One parameter of the policy of that name, in a structured field.
fn parameter(answer: &Answer, field: &str, policy: &str, parameter: &str) -> Result<u64> {
    let text = answer.header(field).with_context(|| field.to_owned())?;
    let list: List = Parser::new(text).parse()?;
    let found = list.iter().find_map(|entry| match entry {
        ListEntry::Item(item) => match &item.bare_item {
            BareItem::String(name) if name.as_str() == policy => item.params.get(parameter),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    });
    match found {
        Some(BareItem::Integer(value)) => Ok(u64::try_from(i64::from(*value))?),
        other => anyhow::bail!("{parameter} of {policy} in {text} is {other:?}"),
    }
}

/// L4: what every answer has.
fn check_fields(answer: &Answer) -> Result<()> {
    let status = answer.status;
    let limit = number(answer, "x-ratelimit-limit")?;
    assert!(
        number(answer, "x-ratelimit-remaining")? <= limit,
        "{status}"
    );
    let reset = number(answer, "x-ratelimit-reset")?;
    assert!(reset > now_s(), "{status}");
    if let Some(policies) = answer.header("ratelimit-policy") {
        assert_eq!(reset % WINDOW_S, 0, "{status}: {policies}");
        let policies: List = Parser::new(policies).parse()?;
        let limits: List = Parser::new(answer.header("ratelimit").context("both")?).parse()?;
        assert_eq!(policies.len(), limits.len(), "{status}");
    } else {
        assert_eq!(reset % 60, 0, "{status}");
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        let wait = number(answer, "retry-after")?;
        let violated = answer.json()["violated-policies"].clone();
        let violated = violated.as_array().context("a list")?;
        assert!(!violated.is_empty());
        for policy in violated {
            let policy = policy.as_str().context("a text")?;
            assert_eq!(parameter(answer, "ratelimit", policy, "r")?, 0);
            assert!(wait >= parameter(answer, "ratelimit", policy, "t")?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn l3_remaining_falls_by_one_each_then_429_says_why_and_until_when() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client(&[Scope::TasksRead]).await?;
    for left in (0..KEY_QUOTA).rev() {
        let answer = client.get("/v1/tasks").await?;
        assert_eq!(answer.status, 200);
        check_fields(&answer)?;
        assert_eq!(number(&answer, "x-ratelimit-limit")?, KEY_QUOTA);
        assert_eq!(number(&answer, "x-ratelimit-remaining")?, left);
        let spent = KEY_QUOTA - left;
        assert_eq!(
            parameter(&answer, "ratelimit", "team", "r")?,
            TEAM_QUOTA - spent
        );
    }
    let refused = client.get("/v1/tasks").await?;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    check_fields(&refused)?;
    assert_eq!(refused.code(), "rate_limit_exceeded");
    assert_eq!(refused.json()["violated-policies"], json!(["key"]));
    assert_eq!(
        refused.error(),
        "Rate limit exceeded: key admits 12 requests in 1200 s"
    );
    stage.world.stop().await
}

#[tokio::test]
async fn l4_every_answer_says_where_the_request_stands() -> Result<()> {
    let mut stage = Stage::start().await?;
    let limited = stage.client(&[Scope::TasksRead]).await?;
    let unlimited = stage.world.http.clone();
    let nobody = Http::at(stage.world.gateway.addr());
    let garbage = unlimited.with_key("wb_live_nonsense");
    let task = unlimited.post("/v1/tasks", &a_task()).await?;
    let id = task.task()["id"].as_str().context("an id")?.to_owned();
    let path = format!("/v1/tasks/{id}");
    let same = [("idempotency-key", "once")];
    let first = a_task().to_string();
    unlimited
        .send(Method::POST, "/v1/tasks", &same, first)
        .await?;
    let another = json!({"targetUrl": "http://127.0.0.1:9/other"}).to_string();
    let large = vec![b' '; 3_000_000];
    let odd = json!({"targetUrl": 7});
    let answers = [
        (201, task),
        (200, unlimited.get(&path).await?),
        (200, limited.get("/v1/tasks").await?),
        (200, nobody.get("/healthz").await?),
        (400, unlimited.post("/v1/tasks", &odd).await?),
        (401, nobody.get("/v1/tasks").await?),
        (401, garbage.get("/v1/tasks").await?),
        (403, limited.post("/v1/tasks", &a_task()).await?),
        (403, limited.get(&path).await?),
        (404, nobody.get("/no/such/path").await?),
        (404, unlimited.get("/v1/tasks/task_nothing").await?),
        (
            405,
            nobody
                .send(Method::PATCH, "/v1/tasks", &[], Bytes::new())
                .await?,
        ),
        (
            422,
            unlimited
                .send(Method::POST, "/v1/tasks", &same, another)
                .await?,
        ),
        (
            413,
            unlimited
                .send(Method::POST, "/v1/tasks", &[], large)
                .await?,
        ),
    ];
    for (status, answer) in &answers {
        assert_eq!(answer.status.as_u16(), *status, "{}", answer.text());
        check_fields(answer).with_context(|| status.to_string())?;
    }
    // What the world's own team sends is not limited: one documented value, and no policy.
    for answer in [&answers[0].1, &answers[1].1] {
        assert_eq!(number(answer, "x-ratelimit-limit")?, UNLIMITED);
        assert_eq!(number(answer, "x-ratelimit-remaining")?, UNLIMITED);
        assert_eq!(answer.header("ratelimit-policy"), None);
        assert_eq!(answer.header("ratelimit"), None);
    }
    while limited.get("/v1/tasks").await?.status == 200 {}
    let refused = limited.get("/v1/tasks").await?;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    check_fields(&refused)?;
    stage.world.nats.kill9();
    let away = unlimited.post("/v1/tasks", &a_task()).await?;
    assert_eq!(away.status, StatusCode::SERVICE_UNAVAILABLE);
    check_fields(&away)?;
    stage.world.nats.restart().await?;
    stage.world.stop().await
}

#[tokio::test]
async fn l5_keys_of_a_team_share_its_budget_and_gateways_share_both() -> Result<()> {
    let stage = Stage::start().await?;
    let stop = CancellationToken::new();
    let second = stage.another_gateway(&stop).await?;
    let mut admitted = [0; 2];
    for admitted in &mut admitted {
        let [here, there] = stage.client_of_both(&second).await?;
        stage.settled_at(&second).await?;
        for turn in 0..2 * TEAM_QUOTA {
            let client = if turn % 2 == 0 { &here } else { &there };
            *admitted += u64::from(client.get("/v1/tasks").await?.status == 200);
        }
    }
    assert_eq!(admitted, [KEY_QUOTA, TEAM_QUOTA - KEY_QUOTA]);
    stop.cancel();
    second.wait().await?;
    stage.world.stop().await
}

#[tokio::test]
async fn l6_what_the_keys_policy_refuses_does_not_cost_the_team() -> Result<()> {
    let stage = Stage::start().await?;
    let first = stage.client(&[Scope::TasksRead]).await?;
    for _ in 0..KEY_QUOTA + 20 {
        first.get("/v1/tasks").await?;
    }
    let second = stage.client(&[Scope::TasksRead]).await?;
    let answer = second.get("/v1/tasks").await?;
    assert_eq!(answer.status, 200);
    let left = TEAM_QUOTA - KEY_QUOTA - 1;
    assert_eq!(parameter(&answer, "ratelimit", "team", "r")?, left);
    stage.world.stop().await
}

#[tokio::test]
async fn l7_an_attack_with_invalid_keys_moves_only_the_limit_of_its_source() -> Result<()> {
    let stage = Stage::start().await?;
    let stop = CancellationToken::new();
    let second = stage.another_gateway(&stop).await?;
    let [client, there] = stage.client_of_both(&second).await?;
    client.get("/v1/tasks").await?;
    for n in 0..FAILURES {
        let guess = stage.world.http.with_key(&format!("wb_live_{n:046}"));
        let answer = guess.get("/v1/tasks").await?;
        assert_eq!(answer.status, 401);
        assert_eq!(number(&answer, "x-ratelimit-remaining")?, FAILURES - n - 1);
    }
    // From there no stranger is heard any more, with or without a key.
    let strangers = [
        stage.world.http.with_key("wb_live_x"),
        Http::at(stage.world.gateway.addr()),
    ];
    for who in &strangers {
        let answer = who.get("/v1/tasks").await?;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
        check_fields(&answer)?;
        assert_eq!(answer.json()["violated-policies"], json!(["failures"]));
    }
    // A good key from the same address is, and stands where its own team stands.
    let answer = client.get("/v1/tasks").await?;
    assert_eq!(answer.status, 200);
    assert_eq!(
        parameter(&answer, "ratelimit", "team", "r")?,
        TEAM_QUOTA - 2
    );
    stage.settled_at(&second).await?;
    let answer = there.get("/v1/tasks").await?;
    assert_eq!(answer.status, 200);
    // What the first gateway has leased may lie there still.
    assert!(parameter(&answer, "ratelimit", "team", "r")? <= TEAM_QUOTA - 3);
    stop.cancel();
    second.wait().await?;
    stage.world.stop().await
}

/// Whatever is answered once the team is known is paid for: otherwise refusals, each with a look into the log, are free.
#[tokio::test]
async fn refusals_cost_what_answers_cost() -> Result<()> {
    let stage = Stage::start().await?;
    let client = stage.client(&[Scope::TasksRead]).await?;
    let foreign = stage.client(&[Scope::KeysRead, Scope::KeysWrite]).await?;
    let odd = "/v1/tasks/task_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let of_nobody = "/apikeys/key_00000000/revoke".to_owned();
    let another_team = format!("/teams/{}/apikeys", stage.world.team);
    let revoke = |client: &Http, path: String| {
        let client = client.clone();
        async move { client.send(Method::POST, &path, &[], "").await }
    };
    let refusals = [
        (403, client.post("/v1/tasks", &a_task()).await?),
        (404, client.get(odd).await?),
        (403, foreign.get(&another_team).await?),
        (404, revoke(&foreign, of_nobody).await?),
    ];
    for (spent, (status, answer)) in (1..).zip(&refusals) {
        assert_eq!(answer.status.as_u16(), *status, "{}", answer.text());
        check_fields(answer)?;
        let left = parameter(answer, "ratelimit", "team", "r")?;
        assert_eq!(left, TEAM_QUOTA - spent, "{status}");
    }
    let mut refused = client.post("/v1/tasks", &a_task()).await?;
    for _ in 0..KEY_QUOTA {
        refused = client.post("/v1/tasks", &a_task()).await?;
    }
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    stage.world.stop().await
}

/// What a person asks for outside of any team of theirs is paid for by the person: each could otherwise look into the log for nothing.
#[tokio::test]
async fn people_pay_for_what_no_team_of_theirs_pays_for() -> Result<()> {
    let stage = Stage::start().await?;
    let eve = crate::teams::people::Person::signed_in(&stage.world, "eve").await?;
    let foreign = format!("/teams/{}", stage.team);
    let unknown = "/apikeys/key_00000000/revoke";
    let first = eve.http.get("/v1/me").await?;
    let mut left = parameter(&first, "ratelimit", "person", "r")?;
    for (status, method, path) in [
        (403, Method::GET, foreign.as_str()),
        (200, Method::GET, "/v1/me"),
        (404, Method::POST, unknown),
    ] {
        let answer = eve.http.send(method, path, &[], "").await?;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.text());
        let now = parameter(&answer, "ratelimit", "person", "r")?;
        assert!(now < left, "{path}: {now} of {left}");
        left = now;
    }
    stage.world.stop().await
}
