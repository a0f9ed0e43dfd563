//! `waybill backup` and `waybill restore`: the log and the secrets of an installation in one file, while it runs.
//!
//! Everything else is derived from the log, so it is not in the file. A backup that cannot be restored is worthless, so before the file gets its name,
//! it is restored into a temporary server, and what that holds is compared with what was taken.

mod file;
mod restore;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use waybill_log::jetstream::archive::{BACKED_UP, StreamArchives};
use waybill_worker::{Clock, SystemClock};

use crate::args::{Backup, DataDir};
use crate::config::Config;
use crate::disk::Store;
use crate::nats_server::{Connection, NatsServer};
use crate::output;
use crate::running_server;
use crate::telemetry;
use file::{Manifest, Writer};

pub(crate) use restore::restore;

/// Folder of the secrets of `waybill up`, in its data folder.
const SECRETS: &str = "secrets";
/// The ring that opens what the vault has sealed: whoever has it and the log reads every credential.
const OPEN_RING: &str = "vault-open";

/// `waybill backup`
pub(crate) async fn backup(mut config: Config, wanted: Backup) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "backup")?;
    let target = wanted.file.clone();
    ensure!(
        wanted.overwrite || !target.exists(),
        "{} is there already; name another file, or pass --overwrite",
        target.display()
    );
    let from = connect(&mut config, &wanted.at).await?;
    let partial = partial(&target);
    let taken = take(&config, &from, &partial, &wanted).await;
    let manifest = match taken {
        Ok(manifest) => manifest,
        Err(error) => {
            // Half a backup must not be taken for a whole one. A failure to remove it does not change the error that is reported.
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
    };
    fs::rename(&partial, &target).with_context(|| target.display().to_string())?;
    sync_folder(&target)?;
    report(&target, &manifest, wanted.no_verify)
}

/// Connects to the streams of the installation to back up.
async fn connect(config: &mut Config, at: &DataDir) -> anyhow::Result<StreamArchives> {
    running_server::locate(config, at);
    if !running_server::named() {
        config.nats = Connection::of(&config.data)?.over(&config.nats);
    }
    Ok(StreamArchives::connect(&config.nats).await?)
}

/// Writes the whole file, and tries a restore of it.
async fn take(
    config: &Config,
    from: &StreamArchives,
    partial: &Path,
    wanted: &Backup,
) -> anyhow::Result<Manifest> {
    let mut writer = Writer::create(partial)?;
    let taken_at = SystemClock.now();
    let mut streams = Vec::new();
    for name in BACKED_UP {
        if from.look(name).await?.is_none() {
            ensure!(
                name != "CONTROL" && name != "TASKS",
                "there is no stream {name}: this is no server of Waybill"
            );
            continue;
        }
        let mut parts = writer.stream(name);
        let archived = from.save(name, |chunk| parts.write(chunk)).await?;
        streams.push(parts.finish(archived)?);
    }
    let (secrets, left_out) = match running_server::named() {
        true => (Vec::new(), Vec::new()),
        false => secrets(&mut writer, &config.data, wanted.with_vault_open_ring)?,
    };
    let manifest = Manifest::new(
        taken_at,
        config.audit.deployment.clone(),
        streams,
        secrets,
        left_out,
    );
    writer.finish(&manifest)?;
    if !wanted.no_verify {
        prove(partial).await?;
    }
    Ok(manifest)
}

/// The secret files, and the names of those that stay behind.
fn secrets(
    writer: &mut Writer,
    data: &Path,
    with_open_ring: bool,
) -> anyhow::Result<(Vec<String>, Vec<String>)> {
    let folder = data.join(SECRETS);
    let (mut taken, mut left_out) = (Vec::new(), Vec::new());
    let mut files = fs::read_dir(&folder)
        .with_context(|| folder.display().to_string())?
        .collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for entry in files {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_unfinished = Path::new(&name).extension().is_some();
        if !entry.file_type()?.is_file() || is_unfinished {
            continue;
        }
        if name == OPEN_RING && !with_open_ring {
            left_out.push(name);
            continue;
        }
        writer.secret(&name, &entry.path())?;
        taken.push(name);
    }
    Ok((taken, left_out))
}

/// Restores the file into a temporary server on the same disk, and compares the result with the manifest.
async fn prove(file: &Path) -> anyhow::Result<()> {
    let beside = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = tempfile::Builder::new()
        .prefix(".waybill-restore-")
        .tempdir_in(beside.unwrap_or(Path::new(".")))?;
    let (server, _) = NatsServer::start(folder.path(), Store::unbounded(), None).await?;
    let tried = restore::into_server(file, &server).await;
    server.stop().await;
    tried
        .map(drop)
        .context("the backup was written, but a trial restore of it failed, so it was removed")
}

/// The name under which the file grows.
fn partial(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".partial");
    target.with_file_name(name)
}

fn sync_folder(file: &Path) -> anyhow::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

fn report(target: &Path, manifest: &Manifest, unverified: bool) -> anyhow::Result<()> {
    let bytes = fs::metadata(target)?.len();
    let mut out = output::stdout();
    writeln!(
        out,
        "{}: {bytes} bytes, as of {}",
        target.display(),
        manifest.taken_at
    )?;
    for stream in &manifest.streams {
        writeln!(out, "  {:<8} {}", stream.archived.name, stream.extent())?;
    }
    match manifest.secrets.is_empty() {
        true => writeln!(
            out,
            "  no secrets: back up the environment of the roles (`.env`) apart"
        )?,
        false => writeln!(out, "  secrets  {}", manifest.secrets.join(", "))?,
    }
    for name in &manifest.left_out {
        writeln!(
            out,
            "  left out {name}: keep it apart from this file; without it no credential of the vault opens after a restore"
        )?;
    }
    match unverified {
        true => writeln!(out, "not verified (--no-verify)")?,
        false => writeln!(
            out,
            "verified: restored into a temporary server and compared"
        )?,
    }
    Ok(())
}

/// Refuses a folder that already holds data.
fn refuse_existing(data: &Path) -> anyhow::Result<()> {
    for name in ["nats", SECRETS] {
        let path = data.join(name);
        if path.exists() {
            bail!(
                "{} is there already: a restore begins with an empty folder; move this one away (keep it), or name another by --data",
                path.display()
            );
        }
    }
    Ok(())
}
