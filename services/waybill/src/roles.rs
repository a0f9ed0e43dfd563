//! The three roles, from a configuration to something that runs and can be stopped: a file for each. Here is what they share.

mod gateway;
mod near;
mod projector;
mod worker;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use waybill_commands::{ControlWriter, Pepper};
use waybill_log::jetstream::JetStreamLog;

use crate::config::Config;
use crate::secrets::{self, Missing};

pub(crate) use gateway::{BOOTSTRAP_KEY, bootstrap, gateway};
pub(crate) use near::NearOwners;
pub(crate) use projector::{notary_keys, projector};
pub(crate) use worker::worker;

/// Whether roles run in one process with an embedded server, or each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// `waybill up`: this machine may be called, and secrets are made at the first start.
    Embedded,
    /// Roles on their own.
    Apart,
}

impl Setting {
    fn is_embedded(self) -> bool {
        self == Self::Embedded
    }

    pub(crate) fn missing(self) -> Missing {
        match self {
            Self::Embedded => Missing::Create,
            Self::Apart => Missing::Refuse,
        }
    }
}

/// The writer of commands to teams and keys, configured.
pub(crate) fn control(
    config: &Config,
    log: &JetStreamLog,
    pepper: Arc<Pepper>,
) -> anyhow::Result<ControlWriter> {
    let gateway = config.gateway(Setting::Apart.is_embedded())?;
    Ok(ControlWriter::new(Arc::new(log.clone()), pepper)
        .with_brand(gateway.brand())
        .with_plans(gateway.plans))
}

/// The pepper under which keys are hashed.
pub(crate) fn pepper(config: &Config, setting: Setting) -> anyhow::Result<Pepper> {
    secrets::pepper(&config.data, setting.missing())
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

/// The configured name, or a unique one: two workers of one name would take each other's leases for their own.
fn worker_name(config: &Config) -> anyhow::Result<String> {
    match &config.worker.name {
        Some(name) => Ok(name.clone()),
        None => unique_name("worker"),
    }
}

/// The machine's name, else `otherwise`, and a random part.
fn unique_name(otherwise: &str) -> anyhow::Result<String> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .take(40)
        .collect();
    let host = if host.is_empty() {
        otherwise.to_owned()
    } else {
        host
    };
    Ok(format!("{host}-{}", hex::encode(random)))
}
