//! How commands reach a running server: over NATS, at `NATS_URL` or as the `waybill up` on a data folder says.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use waybill_commands::ControlWriter;
use waybill_domain::id::TeamId;
use waybill_domain::trust::Speaker;
use waybill_edge::fence;
use waybill_log::jetstream::JetStreamLog;
use waybill_log::{Log, Stream, StreamSeq};

use crate::args::DataDir;
use crate::config::{Config, environment, fence_timing};
use crate::nats_server::Connection;
use crate::roles::{self, Setting};
use crate::secrets::Missing;
use crate::signatures;

/// `StateDirectory` of the systemd unit.
const UNIT_DATA: &str = "/var/lib/waybill";

/// Connects as the configuration says, or as the `waybill up` on the data folder says.
pub(crate) async fn connect(config: &mut Config, at: &DataDir) -> anyhow::Result<JetStreamLog> {
    locate(config, at);
    if !named() {
        config.nats = Connection::of(&config.data)?.over(&config.nats);
    }
    signatures::prepare(config, Speaker::Control, Missing::Refuse)?;
    Ok(waybill_log::connect(&config.nats).await?)
}

/// Finds the data folder of the `waybill up` to talk to.
pub(crate) fn locate(config: &mut Config, at: &DataDir) {
    if let Some(data) = &at.data {
        config.data.clone_from(data);
    } else if let Some(data) = only_the_units(config) {
        eprint_line(&format!(
            "using {}, the data of the systemd unit; --data names another folder",
            data.display()
        ));
        config.data = data.to_owned();
    }
}

/// Takes the data folder that is named. A command that creates or replaces everything in it neither chooses the folder of the systemd unit
/// by itself nor begins another one beside it.
pub(crate) fn take_named(config: &mut Config, at: &DataDir) -> anyhow::Result<()> {
    if let Some(data) = &at.data {
        config.data.clone_from(data);
    } else if let Some(data) = only_the_units(config) {
        bail!(
            "which data folder? {} is that of the systemd unit, and there is none here: name it by --data",
            data.display()
        );
    }
    Ok(())
}

/// The data folder of the systemd unit, where nothing else is named and there is no other.
fn only_the_units(config: &Config) -> Option<&'static Path> {
    if named() {
        return None;
    }
    of_the_unit(&config.data, |path| path.symlink_metadata().is_ok())
}

/// The data folder of the systemd unit (`ops/systemd/waybill.service`), when none is configured and there is none here. It may be a
/// symbolic link that only root can follow; then the error says so, which is better than that there is nothing.
fn of_the_unit(configured: &Path, is_there: impl Fn(&Path) -> bool) -> Option<&'static Path> {
    let unit = Path::new(UNIT_DATA);
    let unset = configured == Config::default().data;
    (unset && !is_there(configured) && is_there(unit)).then_some(unit)
}

/// Whether the environment says where NATS is: then no data folder of `waybill up` holds the log and the secrets.
pub(crate) fn named() -> bool {
    environment("NATS_URL").is_some()
}

/// Connects, and writes CONTROL as the gateways do.
pub(crate) async fn control(
    config: &mut Config,
    at: &DataDir,
) -> anyhow::Result<(JetStreamLog, ControlWriter)> {
    let log = connect(config, at).await?;
    let pepper = Arc::new(roles::pepper(config, Setting::Apart)?);
    let control = roles::control(config, &log, pepper)?;
    Ok((log, control))
}

/// Waits until a change of access holds everywhere.
pub(crate) async fn settled(log: &JetStreamLog, seq: StreamSeq) -> anyhow::Result<()> {
    Ok(fence::settle(log, &log.client(), seq, fence_timing()).await?)
}

/// The team named, or the one that was made first.
pub(crate) async fn team_or_first(
    log: &JetStreamLog,
    team: Option<String>,
) -> anyhow::Result<TeamId> {
    if let Some(team) = team {
        return TeamId::parse(&team).map_err(|_| anyhow!("{team:?} is no team id"));
    }
    let first = log
        .range(
            Stream::Control,
            &["control.*.team.*".to_owned()],
            StreamSeq(1),
            StreamSeq(u64::MAX),
            1,
        )
        .await?;
    let subject = first
        .first()
        .map(|record| record.subject.clone())
        .context("there is no team yet")?;
    let team = subject.split('.').nth(1).unwrap_or_default();
    TeamId::parse(team).map_err(|_| anyhow!("the first event is of no team; use --team"))
}

pub(crate) fn eprint_line(text: &str) {
    // On standard error, since scripts read the key alone from standard output. A closed one is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_the_unit_is_taken_only_where_nothing_else_is_meant() {
        let unset = Config::default().data;
        let unit = Some(Path::new(UNIT_DATA));
        let only_unit = |path: &Path| path == Path::new(UNIT_DATA);
        assert_eq!(of_the_unit(&unset, only_unit), unit);
        assert_eq!(of_the_unit(&unset, |_| true), None, "there is one here");
        assert_eq!(of_the_unit(&unset, |_| false), None, "there is no unit");
        let configured = Path::new("/srv/waybill");
        assert_eq!(of_the_unit(configured, only_unit), None, "configured");
    }

    #[test]
    fn the_folder_of_the_unit_is_what_the_unit_says() {
        let unit = include_str!("../../../ops/systemd/waybill.service");
        assert!(unit.contains(&format!("--data {UNIT_DATA} ")));
    }
}
