//! The keys that events of CONTROL and the messages of the barrier are signed with: from the environment, or from the secrets of a
//! `waybill up`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use waybill_domain::trust::{Signer, Speaker};
use waybill_log::JetStreamLog;
use zeroize::Zeroizing;

use crate::config::{Config, environment};
use crate::secrets::{self, Missing};

/// File in which a `waybill up` keeps the position from which signatures are required, so that a log that was replaced by one without
const PIN: &str = "signatures-from";

/// File and variable of the private key that a process needs.
fn source(speaker: Speaker) -> (&'static str, &'static str) {
    match speaker {
        Speaker::Control => ("control-key", "WAYBILL_CONTROL_KEY"),
        Speaker::Worker => ("worker-key", "WAYBILL_WORKER_KEY"),
    }
}

/// Gives the connection of a process the private key that it speaks with, if there is one, and the pinned position of a `waybill up`.
pub(crate) fn prepare(
    config: &mut Config,
    speaker: Speaker,
    missing: Missing,
) -> anyhow::Result<()> {
    let (file, variable) = source(speaker);
    let is_given =
        environment(variable).is_some() || config.data.join("secrets").join(file).exists();
    if !is_given && missing == Missing::Refuse {
        return Ok(());
    }
    let seed = Zeroizing::new(secrets::secret(&config.data, file, variable, missing)?);
    let signer = Signer::new(speaker, &seed).with_context(|| variable)?;
    let signatures = &mut config.nats.signatures;
    signatures.signer = Some(signer);
    if signatures.required_from.is_none() {
        signatures.required_from = pinned(&config.data)?;
    }
    Ok(())
}

/// The same for `waybill up` on its own server, which makes its key at the first start and requires signatures at once.
pub(crate) fn prepare_embedded(config: &mut Config) -> anyhow::Result<()> {
    prepare(config, Speaker::Control, Missing::Create)?;
    config.nats.signatures.introduce = true;
    Ok(())
}

/// Remembers from where on the log of a `waybill up` requires signatures.
pub(crate) fn pin(config: &Config, log: &JetStreamLog) -> anyhow::Result<()> {
    let Some(from) = log.trust().required_from else {
        return Ok(());
    };
    if pinned(&config.data)? == Some(from.0) {
        return Ok(());
    }
    let path = config.data.join(PIN);
    let text = format!("{from}\n");
    write_whole(&path, text.as_bytes()).with_context(|| path.display().to_string())
}

/// Whole and on disk, or not at all.
fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = fs::File::create(&partial)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn pinned(data: &Path) -> anyhow::Result<Option<u64>> {
    let path: PathBuf = data.join(PIN);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let from = text.trim().parse();
            let from = from.with_context(|| format!("{} must hold a position", path.display()))?;
            Ok(Some(from))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Refuses a role whose writes all readers would ignore, and warns where nothing is signed.
pub(crate) fn check(log: &JetStreamLog, speaker: Option<Speaker>) -> anyhow::Result<()> {
    let trust = log.trust();
    if !trust.is_in_force() {
        tracing::warn!(
            "events of CONTROL are not signed: whoever may use a read API of NATS can write them (ops/ACCESS.md, 'Signatures')"
        );
        return Ok(());
    }
    let must_sign = match speaker {
        Some(Speaker::Control) => true,
        Some(Speaker::Worker) => trust.keys.has_worker(),
        None => false,
    };
    if let (Some(speaker), true, None) = (speaker, must_sign, &trust.signer) {
        let (_, variable) = source(speaker);
        bail!(
            "signatures are required, so {variable} must be set: nothing that this role writes would count"
        );
    }
    Ok(())
}
