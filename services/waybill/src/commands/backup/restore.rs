//! A backup put back: into an empty data folder, or into a NATS that has no streams of Waybill yet.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use waybill_log::jetstream::archive::{ArchivedStream, Restoring, StreamArchives};

use super::file::{self, Item, Manifest, extent};
use super::{OPEN_RING, SECRETS, refuse_existing};
use crate::args::Restore;
use crate::commands::up;
use crate::config::Config;
use crate::disk::Store;
use crate::nats_server::NatsServer;
use crate::output;
use crate::ownership::HandOver;
use crate::running_server::{self, eprint_line};
use crate::secrets::write_private;
use crate::telemetry;

/// Fields of a stream's state that must be equal before the backup and after the restore.
const COMPARED: [&str; 3] = ["messages", "last_seq", "num_subjects"];

/// `waybill restore`
pub(crate) async fn restore(mut config: Config, wanted: Restore) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "restore")?;
    running_server::take_named(&mut config, &wanted.at)?;
    let manifest = match running_server::named() {
        true => into_cluster(&config, &wanted.file).await?,
        false => into_folder(&config, &wanted).await?,
    };
    report(&config, &manifest)
}

async fn into_cluster(config: &Config, path: &Path) -> anyhow::Result<Manifest> {
    let manifest = file::checked(path)?;
    let archives = StreamArchives::connect(&config.nats).await?;
    for stream in &manifest.streams {
        let name = &stream.archived.name;
        if let Some(there) = archives.look(name).await? {
            bail!(
                "this NATS has a stream {name} ({}): a restore never replaces one. Restore into an empty server, or remove the streams of Waybill there first",
                extent(&there)
            );
        }
    }
    streams(path, &manifest, &archives, config.nats.streams.replicas).await?;
    if !manifest.secrets.is_empty() {
        eprint_line(&format!(
            "the secrets in the backup ({}) were not written: roles on a NATS of their own take theirs from the environment. `tar -xf {} secrets` extracts them",
            manifest.secrets.join(", "),
            path.display()
        ));
    }
    Ok(manifest)
}

async fn into_folder(config: &Config, wanted: &Restore) -> anyhow::Result<Manifest> {
    let path = &wanted.file;
    let manifest = file::checked(path)?;
    fs::create_dir_all(&config.data).with_context(|| config.data.display().to_string())?;
    let data = config.data.canonicalize()?;
    let _theirs = HandOver::of(&data);
    let _lock = up::lock(&data)?;
    refuse_existing(&data)?;
    let put_back = put_back(&data, path, wanted, &manifest).await;
    if let Err(error) = put_back {
        // Half an installation would start and look complete.
        for name in ["nats", SECRETS] {
            let left = data.join(name);
            if left.exists() && fs::remove_dir_all(&left).is_err() {
                eprint_line(&format!("remove {} before the next try", left.display()));
            }
        }
        return Err(error);
    }
    Ok(manifest)
}

async fn put_back(
    data: &Path,
    path: &Path,
    wanted: &Restore,
    manifest: &Manifest,
) -> anyhow::Result<()> {
    let (server, _) = NatsServer::start(data, Store::unbounded(), None).await?;
    let restored = into_server(path, &server).await;
    server.stop().await;
    restored?;
    secrets(data, path)?;
    if let Some(ring) = &wanted.vault_open_ring {
        let bytes =
            zeroize::Zeroizing::new(fs::read(ring).with_context(|| ring.display().to_string())?);
        write_private(&data.join(SECRETS).join(OPEN_RING), &bytes)?;
    } else if manifest.left_out.iter().any(|name| name == OPEN_RING) {
        eprint_line(&format!(
            "the vault's open ring is not in the backup: put it to {} before `waybill up`, or pass --vault-open-ring FILE to the restore",
            data.join(SECRETS).join(OPEN_RING).display()
        ));
    }
    Ok(())
}

/// Restores the streams of a file into a private server, and compares.
pub(super) async fn into_server(path: &Path, server: &NatsServer) -> anyhow::Result<Manifest> {
    let manifest = file::checked(path)?;
    let archives = StreamArchives::connect(&server.connection.over(&Default::default())).await?;
    streams(path, &manifest, &archives, 1).await?;
    Ok(manifest)
}

async fn streams(
    path: &Path,
    manifest: &Manifest,
    archives: &StreamArchives,
    replicas: u16,
) -> anyhow::Result<()> {
    let mut under_way: Option<(ArchivedStream, Restoring)> = None;
    let mut archive = file::open(path)?;
    for entry in archive.entries()? {
        let Some(Item::Part { stream, bytes }) = file::item(&mut entry?)? else {
            continue;
        };
        if under_way.as_ref().is_none_or(|(of, _)| of.name != stream) {
            finish(under_way.take()).await?;
            let stored = manifest
                .streams
                .iter()
                .find(|stored| stored.archived.name == stream)
                .with_context(|| format!("the manifest does not name {stream}"))?;
            let archived = stored.archived.clone();
            let restoring = archives.restore(&archived, replicas).await?;
            under_way = Some((archived, restoring));
        }
        if let Some((_, restoring)) = &under_way {
            restoring.write(&bytes).await?;
        }
    }
    finish(under_way).await
}

async fn finish(under_way: Option<(ArchivedStream, Restoring)>) -> anyhow::Result<()> {
    let Some((archived, restoring)) = under_way else {
        return Ok(());
    };
    let restored = restoring.finish().await?;
    // The server reports 0 or 1 as the first sequence of an empty stream.
    let is_empty = archived
        .state
        .get("messages")
        .and_then(serde_json::Value::as_u64)
        == Some(0);
    for field in COMPARED
        .into_iter()
        .chain((!is_empty).then_some("first_seq"))
    {
        let (taken, found) = (archived.state.get(field), restored.state.get(field));
        ensure!(
            taken == found,
            "{} was restored with {field} {found:?} instead of {taken:?}",
            archived.name
        );
    }
    ensure!(
        archived.config.get("subjects") == restored.config.get("subjects"),
        "{} was restored with other subjects",
        archived.name
    );
    Ok(())
}

fn secrets(data: &Path, path: &Path) -> anyhow::Result<()> {
    let mut archive = file::open(path)?;
    for entry in archive.entries()? {
        if let Some(Item::Secret { name, bytes }) = file::item(&mut entry?)? {
            write_private(&data.join(SECRETS).join(name), &bytes)?;
        }
    }
    Ok(())
}

fn report(config: &Config, manifest: &Manifest) -> anyhow::Result<()> {
    let mut out = output::stdout();
    writeln!(out, "restored what was there at {}:", manifest.taken_at)?;
    for stream in &manifest.streams {
        writeln!(out, "  {:<8} {}", stream.archived.name, stream.extent())?;
    }
    if manifest.deployment != config.audit.deployment {
        writeln!(
            out,
            "audit.deployment is {:?} here and was {:?}: set it so, or checkpoints do not fit",
            config.audit.deployment, manifest.deployment
        )?;
    }
    writeln!(
        out,
        "What was accepted or revoked after that moment is not in it. Start, repeat the revocations, then run `waybill verify` and\n`waybill audit verify --checkpoint FILE` with the last checkpoint that was kept elsewhere."
    )?;
    Ok(())
}
