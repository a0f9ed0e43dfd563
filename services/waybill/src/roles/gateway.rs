//! The role gateway: serves the API, and installs the first key before that.

use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;
use metrics::gauge;
use tokio_util::sync::CancellationToken;
use waybill_commands::{Author, Bootstrap};
use waybill_domain::actor::Actor;
use waybill_edge::owners;
use waybill_gateway::{Gateway, GatewayParts};
use waybill_log::RoomWatch;
use waybill_log::jetstream::JetStreamLog;
use waybill_vault::Wrapper;
use waybill_worker::command;

use super::{NearOwners, Setting, control, make_folder, pepper};
use crate::config::{Config, environment};
use crate::descriptors;
use crate::people;
use crate::rings;
use crate::roll_call;
use crate::secrets;

/// The variable that holds a key to install as the first one.
pub(crate) const BOOTSTRAP_KEY: &str = "WAYBILL_BOOTSTRAP_KEY";

/// Starts a gateway. `near`: the owners in this process, if a worker runs in it.
pub(crate) async fn gateway(
    config: &Config,
    setting: Setting,
    log: &JetStreamLog,
    room: Arc<RoomWatch>,
    near: Option<command::NearOwners>,
    stop: CancellationToken,
) -> anyhow::Result<Gateway> {
    let pepper = Arc::new(pepper(config, setting)?);
    let stores = config.data.join("gateway");
    make_folder(&stores)?;
    let seal_ring = rings::seal(&config.data)?;
    if let Some(ring) = &seal_ring {
        rings::follow(ring, stop.clone());
    }
    // Gateways say it as well, so that it is known while no worker runs.
    gauge!("waybill_partitions").set(f64::from(log.partitions().get()));
    let parts = GatewayParts {
        log: Arc::new(log.clone()),
        fences: Arc::new(log.clone()),
        counters: Arc::new(log.clone()),
        tallies: Arc::new(log.clone()),
        vault_keys: Arc::new(log.clone()),
        captures: Arc::new(log.clone()),
        mail: Arc::new(log.clone()),
        leases: Arc::new(log.clone()),
        sealer: seal_ring.map(|ring| ring as Arc<dyn Wrapper>),
        nats: log.client(),
        near: near.map(|near| Arc::new(NearOwners(near)) as Arc<dyn owners::NearOwners>),
        stores,
        pepper,
        signing: secrets::webhook_master_of_gateway(&config.data, setting.missing())?,
        partitions: log.partitions(),
        room,
    };
    let mut gateway = config.gateway(setting.is_embedded())?;
    gateway.people = people::config(config, setting)?;
    gateway.max_connections = descriptors::connections(gateway.max_connections);
    let gateway = Gateway::start(gateway, parts, stop.clone()).await?;
    roll_call::of_gateway(&gateway, log, config.data.clone(), stop);
    Ok(gateway)
}

/// Installs the bootstrap key, or makes one when the server has none yet. Comes before the gateway listens: a key that is accepted at
/// all is accepted from its first request on.
pub(crate) async fn bootstrap(
    config: &Config,
    setting: Setting,
    log: &JetStreamLog,
) -> anyhow::Result<Bootstrap> {
    let given = environment(BOOTSTRAP_KEY);
    // A start that fails for a port that is taken must not use up the one time that a key is shown.
    let address = config.gateway.listen;
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    let pepper = Arc::new(pepper(config, setting)?);
    let by = Author::from(Actor::System("bootstrap".into()));
    let control = control(config, log, pepper)?;
    Ok(control.bootstrap(given.as_deref(), &by).await?)
}
