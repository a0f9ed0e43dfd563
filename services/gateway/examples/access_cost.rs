//! What access costs: `cargo run --release -p waybill-gateway --example access_cost` (needs a nats-server, which the test kit finds).
//!
//! Three gateways in this process over one real server. First the whole check of an authenticated request, as its extractor makes it:
//! lease, key, status, source, plan, scope, and a credit of the team's limit; then revocations over HTTP, from the request to the 200,
//! which comes when all three gateways refuse the key.

#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use waybill_commands::{Author, ControlWriter, Pepper};
use waybill_domain::access::plan::Catalogue;
use waybill_domain::access::scope::Scope;
use waybill_domain::actor::Actor;
use waybill_domain::partition::PartitionCount;
use waybill_edge::auth::Recognition;
use waybill_edge::limits::LimitSlot;
use waybill_gateway::{Gateway, GatewayConfig, GatewayParts};
use waybill_log::{JetStreamLog, NatsConfig, RoomWatch};
use waybill_testkit::http::Http;
use waybill_testkit::{NatsServer, eventually};

const GATEWAYS: usize = 3;
/// Teams beside ours, with a key each.
const TEAMS: usize = 500;
const CHECKS: u32 = 1_000_000;
const REVOCATIONS: usize = 300;
const SOON: Duration = Duration::from_secs(20);
#[tokio::main]
async fn main() -> Result<()> {
    let nats = NatsServer::start().await?;
    let log = waybill_log::connect(&NatsConfig::at(nats.url())).await?;
    let plans = Arc::new(Catalogue::parse(&plans()?)?);
    let pepper = || Pepper::new(1, vec![42; 32]).map(Arc::new);
    let by = Author::from(Actor::Operator("bench".into()));
    let writer =
        ControlWriter::new(Arc::new(log.clone()), pepper()?).with_plans(Arc::clone(&plans));
    for number in 0..TEAMS {
        let team = writer
            .create_team(&format!("team {number}"), "pro", &by)
            .await?;
        writer.create_key(&team, "k", Scope::ALL, &by).await?;
    }
    let team = writer.create_team("ours", "pro", &by).await?;
    let ours = writer.create_key(&team, "ours", Scope::ALL, &by).await?;
    let folder = tempfile::tempdir()?;
    let stop = CancellationToken::new();
    let mut gateways = Vec::new();
    for number in 0..GATEWAYS {
        let stores = folder.path().join(number.to_string());
        let parts = parts(&log, stores, pepper()?);
        let config = GatewayConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            plans: Arc::clone(&plans),
            ..GatewayConfig::default()
        };
        gateways.push(Gateway::start(config, parts, stop.clone()).await?);
    }
    let admin = Http::at(gateways[0].addr()).with_key(ours.key.reveal());
    for gateway in &gateways {
        let http = Http::at(gateway.addr());
        eventually(SOON, async || {
            let ready = http.get("/readyz").await;
            ready.is_ok_and(|answer| answer.status == 200)
        })
        .await?;
    }
    checks(&gateways[0], ours.key.reveal()).await?;

    let path = format!("/teams/{team}/apikeys");
    let mut ids = Vec::new();
    for number in 0..REVOCATIONS {
        let name = format!("key {number}");
        let made = writer
            .create_key(&team, &name, &[Scope::TasksRead], &by)
            .await?;
        ids.push(made.created.key);
    }
    let listed = admin.get(&path).await?;
    if listed.status != 200 {
        bail!("{}", listed.text());
    }
    let mut took = Vec::new();
    for id in ids {
        let start = Instant::now();
        let revoked = admin
            .post(&format!("/apikeys/{id}/revoke"), &json!({}))
            .await?;
        took.push(start.elapsed());
        if revoked.status != 200 {
            bail!("{}", revoked.text());
        }
    }
    took.sort_unstable();
    println!(
        "revocation until the 200, {GATEWAYS} gateways: p50 {:?}, p99 {:?}, worst {:?}",
        took[REVOCATIONS / 2],
        took[REVOCATIONS * 99 / 100],
        took[REVOCATIONS - 1],
    );
    stop.cancel();
    for gateway in gateways {
        gateway.wait().await?;
    }
    Ok(())
}

/// Everything between a credential and the handler, over and over.
async fn checks(gateway: &Gateway, key: &str) -> Result<()> {
    let state = gateway.state();
    let source = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let start = Instant::now();
    for _ in 0..CHECKS {
        state.fence.may_decide()?;
        let Recognition::Known(known) = state.auth.recognise(key, &state.config.key_brands) else {
            bail!("the key is not known");
        };
        let entitled = known.key.may_come_from(source)
            && known.plan.api_access
            && known.key.scopes.contains(Scope::TasksWrite);
        if !entitled {
            bail!("the key may not");
        }
        let slot = LimitSlot::default();
        let id = known.key.created.key.as_str();
        let taken = state.limiter.take(&slot, &known.team, id, &known.plan);
        taken.await.ok().context("the limit is reached")?;
        black_box(&known);
    }
    let each = start.elapsed() / CHECKS;
    println!("the whole check of a request, {CHECKS} times, {TEAMS} teams: {each:?} each");
    Ok(())
}

/// The built-in plans, with a limit for `pro` that is counted and not reached.
fn plans() -> Result<String> {
    let text = include_str!("../../../ops/plans/plans.toml");
    let (head, pro) = text.split_once("[plans.pro]").context("a plan pro")?;
    Ok(format!(
        "{head}[plans.pro]{}",
        pro.replacen("q = 600", "q = 1000000000", 1)
    ))
}

fn parts(log: &JetStreamLog, stores: std::path::PathBuf, pepper: Arc<Pepper>) -> GatewayParts {
    GatewayParts {
        log: Arc::new(log.clone()),
        fences: Arc::new(log.clone()),
        counters: Arc::new(log.clone()),
        tallies: Arc::new(log.clone()),
        leases: Arc::new(log.clone()),
        vault_keys: Arc::new(log.clone()),
        captures: Arc::new(log.clone()),
        mail: Arc::new(log.clone()),
        sealer: None,
        nats: log.client(),
        near: None,
        stores,
        pepper,
        signing: None,
        partitions: PartitionCount::default(),
        room: RoomWatch::new(PartitionCount::default()),
    }
}
