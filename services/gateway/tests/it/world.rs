//! A nats-server, a log, a projector and a gateway, with a team and its key.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use waybill_commands::{Author, Bootstrap, ControlWriter, Pepper};
use waybill_domain::access::plan::Catalogue;
use waybill_domain::actor::Actor;
use waybill_domain::audit::TrustedKeys;
use waybill_domain::egress::Egress;
use waybill_domain::id::TeamId;
use waybill_domain::partition::PartitionCount;
use waybill_domain::signature::MasterSecret;
use waybill_edge::refusals::RefusalTimes;
use waybill_gateway::{Gateway, GatewayConfig, GatewayParts};
use waybill_log::{JetStreamLog, NatsConfig, RoomWatch};
use waybill_projector::{Projector, ProjectorConfig};
use waybill_testkit::{NatsOptions, NatsServer, eventually};
use waybill_vault::{OpenRing, SealRing, Wrapper};

use waybill_testkit::http::Http;

use crate::audit;

/// For something to become true on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) log: JetStreamLog,
    pub(crate) gateway: Gateway,
    pub(crate) shutdown: CancellationToken,
    pub(crate) projector: Projector,
    pub(crate) team: TeamId,
    pub(crate) key: String,
    pub(crate) http: Http,
    pub(crate) folder: TempDir,
}

pub(crate) fn operator() -> Author {
    Actor::Operator("test".into()).into()
}

/// What all gateways of these tests hash keys under.
pub(crate) const PEPPER: [u8; 32] = [42; 32];

pub(crate) fn pepper() -> Arc<Pepper> {
    Arc::new(Pepper::new(1, PEPPER.to_vec()).expect("long enough"))
}

/// As quick as a test wants it, and loopback targets allowed.
pub(crate) fn config() -> GatewayConfig {
    GatewayConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        egress: Egress::loopback(),
        is_local: true,
        probe_interval: Duration::from_millis(100),
        // What tests do wrong comes from one address.
        plans: plans_with_failures(1_000_000),
        // Tasks here are due in 2040, so that nobody starts them.
        max_delay: Duration::from_secs(100 * 365 * 86_400),
        // Counted and never written: tests see by where CONTROL ends that nothing was stored, however long they take.
        refusals: RefusalTimes {
            pause: Duration::from_secs(3_600),
            ..RefusalTimes::default()
        },
        ..GatewayConfig::default()
    }
}

/// The built-in plans, with so many failures to authenticate per minute.
pub(crate) fn plans_with_failures(q: u32) -> Arc<Catalogue> {
    let plans = include_str!("../../../../ops/plans/plans.toml");
    let failures = format!("name = \"failures\", q = {q},");
    let plans = plans.replacen("name = \"failures\", q = 30,", &failures, 1);
    Arc::new(Catalogue::parse(&plans).expect("valid"))
}

pub(crate) fn a_task() -> Value {
    json!({"targetUrl": "http://127.0.0.1:9/hook", "delayUntil": "2040-12-31T00:00:00Z"})
}

/// The same, to be made now: nobody runs it here.
pub(crate) fn a_task_for_now() -> Value {
    json!({"targetUrl": "http://127.0.0.1:9/hook"})
}

impl World {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(config()).await
    }

    pub(crate) async fn start_with(config: GatewayConfig) -> Result<Self> {
        let options = NatsOptions {
            extra: "max_payload: 2MB\n".into(),
            ..NatsOptions::default()
        };
        let nats = NatsServer::start_with(options).await?;
        let mut nats_config = NatsConfig::at(nats.url());
        nats_config.request_timeout_ms = 2_000;
        let log = waybill_log::connect(&nats_config).await?;
        let folder = tempfile::tempdir()?;
        let mut of_projector = ProjectorConfig::default();
        of_projector.service.audit_keys = TrustedKeys::only(audit::notary_key().public());
        let projector = Projector::start(
            of_projector,
            Arc::new(log.clone()),
            log.client(),
            folder.path().join("projector"),
        );
        let writer = ControlWriter::new(Arc::new(log.clone()), pepper());
        let Bootstrap { team, key } = writer.bootstrap(None, &operator()).await?;
        let key = key.expect("made at first start").reveal().to_owned();
        let shutdown = CancellationToken::new();
        let parts = parts(&log, &folder, "gateway");
        let gateway = Gateway::start(config, parts, shutdown.clone()).await?;
        let http = Http::at(gateway.addr()).with_key(&key);
        let world = Self {
            nats,
            log,
            gateway,
            shutdown,
            projector,
            team,
            key,
            http,
            folder,
        };
        world.ready().await?;
        Ok(world)
    }

    /// Waits until the gateway and the projector are.
    pub(crate) async fn ready(&self) -> Result<()> {
        eventually(SOON, async || {
            let ready = self.http.get("/readyz").await;
            self.projector.is_ready() && ready.is_ok_and(|answer| answer.status == 200)
        })
        .await?;
        Ok(())
    }

    pub(crate) fn writer(&self) -> ControlWriter {
        ControlWriter::new(Arc::new(self.log.clone()), pepper())
    }

    /// A further gateway on the same log.
    pub(crate) async fn another(&self, name: &str, stop: &CancellationToken) -> Result<Gateway> {
        self.another_with(name, config(), stop).await
    }

    pub(crate) async fn another_with(
        &self,
        name: &str,
        config: GatewayConfig,
        stop: &CancellationToken,
    ) -> Result<Gateway> {
        let parts = parts(&self.log, &self.folder, name);
        let gateway = Gateway::start(config, parts, stop.clone()).await?;
        let http = Http::at(gateway.addr());
        eventually(SOON, async || {
            let ready = http.get("/readyz").await;
            ready.is_ok_and(|answer| answer.status == 200)
        })
        .await?;
        Ok(gateway)
    }

    /// A team of its own with a key that may do everything.
    pub(crate) async fn stranger(&self) -> Result<(TeamId, Http)> {
        let writer = self.writer();
        let team = writer.create_team("others", "pro", &operator()).await?;
        let scopes = waybill_domain::access::scope::Scope::ALL;
        let made = writer.create_key(&team, "k", scopes, &operator()).await?;
        self.gateway.state().auth.wait_for(made.seq).await?;
        Ok((team, self.http.with_key(made.key.reveal())))
    }

    pub(crate) async fn stop(self) -> Result<()> {
        self.shutdown.cancel();
        self.gateway.wait().await?;
        self.projector.shutdown().await?;
        Ok(())
    }
}

/// What all gateways of these tests seal with, and what opens it.
pub(crate) static RINGS: LazyLock<(Arc<SealRing>, Arc<OpenRing>)> = LazyLock::new(|| {
    let (seal, open) = waybill_vault::fresh_rings().expect("randomness");
    (Arc::new(seal), Arc::new(open))
});

pub(crate) fn parts(log: &JetStreamLog, folder: &TempDir, name: &str) -> GatewayParts {
    GatewayParts {
        log: Arc::new(log.clone()),
        fences: Arc::new(log.clone()),
        counters: Arc::new(log.clone()),
        tallies: Arc::new(log.clone()),
        vault_keys: Arc::new(log.clone()),
        captures: Arc::new(log.clone()),
        mail: Arc::new(log.clone()),
        leases: Arc::new(log.clone()),
        sealer: Some(Arc::clone(&RINGS.0) as Arc<dyn Wrapper>),
        nats: log.client(),
        near: None,
        stores: folder.path().join(name),
        pepper: pepper(),
        signing: MasterSecret::new(vec![7; 32]).ok(),
        partitions: PartitionCount::default(),
        room: RoomWatch::new(PartitionCount::default()),
    }
}
