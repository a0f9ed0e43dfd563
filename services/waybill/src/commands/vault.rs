//! `waybill vault`: the keys that credentials are sealed with (KEKs), from creation to retirement.
//!
//! They lie in two rings: the gateways' seals, the workers' opens. The log says only which KEK is in force. A rotation puts a new KEK
//! into both rings, says so in the log, and wraps every stored data key anew; each step can be stopped and done again. Nothing that a
//! command prints opens anything, but for what `--print` is asked for.

mod in_force;
mod retire;
mod rotate;
mod status;

use std::io::Write;

use anyhow::ensure;
use waybill_vault::fresh_rings;

use crate::args::Vault;
use crate::config::Config;
use crate::output;
use crate::rings;
use crate::running_server::{self, eprint_line};
use crate::telemetry;

/// `waybill vault ...`
pub(crate) async fn run(mut config: Config, command: Vault) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "vault")?;
    let out = &mut output::stdout();
    let (Vault::Init { at, .. }
    | Vault::Status { at }
    | Vault::Rotate { at, .. }
    | Vault::Retire { at, .. }) = &command;
    match &command {
        Vault::Init { .. } => running_server::take_named(&mut config, at)?,
        _ => running_server::locate(&mut config, at),
    }
    match &command {
        Vault::Init { print: true, .. } => print_fresh(out),
        Vault::Init { .. } => init(out, &config),
        Vault::Status { at } => {
            let log = running_server::connect(&mut config, at).await?;
            status::show(out, &config, &log).await
        }
        Vault::Rotate { prepare, at } => {
            let held = rings::Held::open(&config.data)?;
            let log = running_server::connect(&mut config, at).await?;
            rotate::rotate(out, &log, held, *prepare).await
        }
        Vault::Retire { kek, at } => {
            let kek = kek.parse()?;
            let held = rings::Held::open(&config.data)?;
            let log = running_server::connect(&mut config, at).await?;
            retire::retire(out, &log, held, kek).await
        }
    }
}

fn init(out: &mut impl Write, config: &Config) -> anyhow::Result<()> {
    let kek = rings::make(&config.data)?;
    writeln!(out, "{kek}")?;
    eprint_line(&format!(
        "made both rings of the vault in {}: keep a copy of vault-open where your most important secrets are",
        config.data.join(rings::FOLDER).display()
    ));
    Ok(())
}

/// Two lines for a file of environment variables. Nothing is kept.
fn print_fresh(out: &mut impl Write) -> anyhow::Result<()> {
    let (seal, open) = fresh_rings()?;
    ensure!(!seal.keks().is_empty(), "a fresh ring has a KEK");
    write!(out, "{}", *rings::variables(&seal, &open))?;
    Ok(())
}
