//! What clients see of it: hammered with one key all the time, no gateway accepts it once its revocation is answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use waybill_domain::access::fence::FenceTiming;
use waybill_domain::access::scope::Scope;
use waybill_domain::id::TeamId;
use waybill_gateway::{Gateway, GatewayConfig};
use waybill_log::NatsConfig;
use waybill_testkit::http::Http;
use waybill_testkit::{Proxy, eventually};

use super::rig::LEASE;
use crate::world::{SOON, World, config, operator, parts};

/// Revocations under fire, unless `WAYBILL_REVOCATION_ROUNDS` says how many.
const ROUNDS: usize = 20;
/// How long a gateway is asked on after a revocation was answered.
const AFTERWARDS: Duration = Duration::from_millis(50);
/// What an answer may take beyond the lease that it waits for.
const LATE: Duration = Duration::from_secs(2);

/// When a request was sent, and what came back.
type Shot = (Instant, StatusCode);

/// A gateway with a connection of its own, that can be cut.
struct Beside {
    gateway: Gateway,
    proxy: Proxy,
    stop: CancellationToken,
}

fn quick() -> GatewayConfig {
    GatewayConfig {
        fence: FenceTiming::lasting(LEASE),
        ..config()
    }
}

impl Beside {
    async fn start(world: &World, name: &str) -> Result<Self> {
        let proxy = Proxy::start(format!("127.0.0.1:{}", world.nats.port())).await?;
        let mut nats = NatsConfig::at(proxy.url());
        nats.request_timeout_ms = 1_000;
        let log = waybill_log::connect(&nats).await?;
        let stop = CancellationToken::new();
        let parts = parts(&log, &world.folder, name);
        let gateway = Gateway::start(quick(), parts, stop.clone()).await?;
        Ok(Self {
            gateway,
            proxy,
            stop,
        })
    }

    async fn ready(&self) -> Result<()> {
        let http = Http::at(self.gateway.addr());
        eventually(SOON, async || {
            let ready = http.get("/readyz").await;
            ready.is_ok_and(|answer| answer.status == 200)
        })
        .await?;
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.gateway.wait().await?;
        Ok(())
    }
}

/// A team without limits, and a key that revokes the others.
async fn a_team(world: &World) -> Result<(TeamId, String)> {
    let writer = world.writer();
    let team = writer
        .create_team("hammered", "enterprise", &operator())
        .await?;
    let made = writer
        .create_key(&team, "admin", Scope::ALL, &operator())
        .await?;
    Ok((team, made.key.reveal().to_owned()))
}

/// A key of the team, as `(id, key)`.
async fn a_key(world: &World, team: &TeamId) -> Result<(String, String)> {
    let made = world
        .writer()
        .create_key(team, "k", Scope::ALL, &operator())
        .await?;
    Ok((made.created.key.to_string(), made.key.reveal().to_owned()))
}

async fn accepted_by(address: SocketAddr, key: &str) -> Result<()> {
    let http = Http::at(address).with_key(key);
    eventually(SOON, async || {
        let answer = http.get("/v1/key").await;
        answer.is_ok_and(|answer| answer.status == 200)
    })
    .await?;
    Ok(())
}

/// Asks without pause until told to stop. A 429 would be an acceptance too: limits come after authentication.
async fn hammer(address: SocketAddr, key: String, stop: CancellationToken) -> Vec<Shot> {
    let http = Http::at(address).with_key(&key);
    let mut shots = Vec::new();
    while !stop.is_cancelled() {
        let sent = Instant::now();
        if let Ok(answer) = http.get("/v1/key").await {
            shots.push((sent, answer.status));
        }
    }
    shots
}

async fn revoke(address: SocketAddr, admin: &str, id: &str) -> Result<Instant> {
    let http = Http::at(address).with_key(admin);
    let answer = http
        .post(&format!("/apikeys/{id}/revoke"), &json!({}))
        .await?;
    ensure!(
        answer.status == 200,
        "{}: {}",
        answer.status,
        answer.error()
    );
    Ok(Instant::now())
}

/// Revokes a key at the first address while all of them are hammered with it. Gives how long that took, and all shots.
async fn under_fire(
    addresses: &[SocketAddr],
    admin: &str,
    (id, key): (String, String),
) -> Result<(Duration, Instant, Vec<Shot>)> {
    let stop = CancellationToken::new();
    let mut hammers = JoinSet::new();
    for address in addresses {
        hammers.spawn(hammer(*address, key.clone(), stop.clone()));
    }
    tokio::time::sleep(AFTERWARDS / 2).await;
    let began = Instant::now();
    let answered = revoke(addresses[0], admin, &id).await?;
    tokio::time::sleep(AFTERWARDS).await;
    stop.cancel();
    let shots = hammers.join_all().await.concat();
    Ok((answered - began, answered, shots))
}

fn nothing_is_accepted_after(answered: Instant, shots: &[Shot]) {
    for (sent, status) in shots.iter().filter(|(sent, _)| *sent > answered) {
        let refused = matches!(
            *status,
            StatusCode::UNAUTHORIZED | StatusCode::SERVICE_UNAVAILABLE
        );
        assert!(
            refused,
            "{status}, sent {:?} after the revocation was answered",
            *sent - answered
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_gateway_accepts_a_key_once_its_revocation_is_answered() -> Result<()> {
    let world = World::start_with(quick()).await?;
    let two = Beside::start(&world, "two").await?;
    let three = Beside::start(&world, "three").await?;
    two.ready().await?;
    three.ready().await?;
    let mut addresses = [
        world.gateway.addr(),
        two.gateway.addr(),
        three.gateway.addr(),
    ];
    let (team, admin) = a_team(&world).await?;
    let given = std::env::var("WAYBILL_REVOCATION_ROUNDS");
    let rounds = given
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(ROUNDS);
    let (mut took, mut accepted, mut refused) = (Vec::new(), 0, 0);
    for _ in 0..rounds {
        let key = a_key(&world, &team).await?;
        for address in addresses {
            accepted_by(address, &key.1).await?;
        }
        let (duration, answered, shots) = under_fire(&addresses, &admin, key).await?;
        nothing_is_accepted_after(answered, &shots);
        accepted += shots.iter().filter(|(_, status)| *status == 200).count();
        refused += shots.iter().filter(|(_, status)| *status == 401).count();
        took.push(duration);
        addresses.rotate_left(1);
    }
    took.sort();
    let (p50, max) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!(
        "{rounds} revocations under fire: p50 {p50:?}, max {max:?}; {accepted} accepted, {refused} refused"
    );
    assert!(
        accepted > rounds && refused > rounds,
        "{accepted} {refused}"
    );
    two.stop().await?;
    three.stop().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_cut_off_answers_503_and_never_accepts() -> Result<()> {
    let world = World::start_with(quick()).await?;
    let two = Beside::start(&world, "two").await?;
    two.ready().await?;
    let (team, admin) = a_team(&world).await?;
    let key = a_key(&world, &team).await?;
    let addresses = [world.gateway.addr(), two.gateway.addr()];
    for address in addresses {
        accepted_by(address, &key.1).await?;
    }
    two.proxy.stall();
    let held = Http::at(two.gateway.addr()).with_key(&key.1);
    let (took, answered, shots) = under_fire(&addresses, &admin, key).await?;
    assert!(took < LEASE + LATE, "{took:?}");
    nothing_is_accepted_after(answered, &shots);
    let refused = held.get("/v1/key").await?;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.code(), "authorization_unavailable");
    assert!(refused.header("retry-after").is_some());
    assert!(shots.iter().any(|(_, status)| *status == 503));
    two.proxy.heal();
    eventually(SOON, async || {
        let answer = held.get("/v1/key").await;
        answer.is_ok_and(|answer| answer.status == 401)
    })
    .await?;
    two.stop().await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_starts_meanwhile_does_not_accept_it_either() -> Result<()> {
    let world = World::start_with(quick()).await?;
    let (team, admin) = a_team(&world).await?;
    for round in 0..4 {
        let (id, key) = a_key(&world, &team).await?;
        accepted_by(world.gateway.addr(), &key).await?;
        // A store from before the revocation: it is read, and not believed further than it goes.
        let name = format!("late-{}", round % 2);
        let starting = Beside::start(&world, &name).await?;
        let stop = CancellationToken::new();
        let shots = tokio::spawn(hammer(starting.gateway.addr(), key.clone(), stop.clone()));
        let answered = revoke(world.gateway.addr(), &admin, &id).await?;
        starting.ready().await?;
        stop.cancel();
        nothing_is_accepted_after(answered, &shots.await?);
        let http = Http::at(starting.gateway.addr()).with_key(&key);
        assert_eq!(http.get("/v1/key").await?.status, 401);
        starting.stop().await?;
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_that_is_not_confirmed_is_a_503_and_its_repetition_is_true() -> Result<()> {
    let mut world = World::start_with(quick()).await?;
    let (team, admin) = a_team(&world).await?;
    let (id, key) = a_key(&world, &team).await?;
    let address = world.gateway.addr();
    accepted_by(address, &key).await?;
    world.nats.kill9();
    let refused = revoke(address, &admin, &id)
        .await
        .err()
        .context("refused")?;
    assert!(refused.to_string().starts_with("503"), "{refused}");
    world.nats.restart().await?;
    world.ready().await?;
    let mut answered = None;
    eventually(SOON, async || {
        answered = revoke(address, &admin, &id).await.ok();
        answered.is_some()
    })
    .await?;
    // Asked again: the same answer, and the key is as dead.
    revoke(address, &admin, &id).await?;
    let http = Http::at(address).with_key(&key);
    assert_eq!(http.get("/v1/key").await?.status, 401);
    world.stop().await
}
