//! The role projector: keeps the read models, and signs checkpoints of the activity log where it has the key.

use std::sync::Arc;

use waybill_domain::audit::{NotaryKey, TrustedKeys};
use waybill_log::jetstream::JetStreamLog;
use waybill_projector::{Notary, NotaryConfig, NotaryParts, Projector, ProjectorError};

use super::{Setting, make_folder, unique_name, worker_name};
use crate::config::Config;
use crate::roll_call;
use crate::secrets::{self, Missing};

/// Folder of the read model, and beside which a projector writes down what a log has lost, within that of the data.
const PROJECTOR_FOLDER: &str = "projector";

/// A projector and, where the key that signs checkpoints of the activity log is present, a notary beside it.
pub(crate) struct Projecting {
    projector: Projector,
    notary: Option<Notary>,
}

impl Projecting {
    /// Waits until the projector stops by itself. A notary that has stopped raised its alarm; everything else goes on.
    pub(crate) async fn stopped(&mut self) -> Result<(), ProjectorError> {
        self.projector.stopped().await
    }

    pub(crate) async fn shutdown(self) -> Result<(), ProjectorError> {
        let notary_ends = async {
            if let Some(notary) = self.notary {
                // The notary has logged its error itself.
                let _ = notary.shutdown().await;
            }
        };
        let (projected, ()) = tokio::join!(self.projector.shutdown(), notary_ends);
        projected
    }
}

/// Starts a projector, and a notary if it is to be one.
pub(crate) fn projector(
    config: &Config,
    setting: Setting,
    log: &JetStreamLog,
) -> anyhow::Result<Projecting> {
    let folder = config.data.join(PROJECTOR_FOLDER);
    make_folder(&folder)?;
    let mut projector = config.projector();
    let notary = notary(config, setting, log)?;
    if let Some((of_notary, _)) = &notary {
        projector.service.audit_keys = of_notary.trusted.clone();
    }
    let projector = Projector::start(projector, Arc::new(log.clone()), log.client(), folder);
    let name = unique_name("projector")?;
    let data = config.data.clone();
    roll_call::of_projector(name, projector.watch(), log.client(), data);
    Ok(Projecting {
        projector,
        notary: notary.map(|(config, parts)| Notary::start(config, parts)),
    })
}

/// The public keys that sign checkpoints of this deployment, present and former; `None`: the signing key is not here.
pub(crate) fn notary_keys(config: &Config) -> anyhow::Result<Option<TrustedKeys>> {
    let name = config.audit.key_name();
    let key = secrets::notary(&config.data, Missing::Refuse, &name)?;
    key.map(|key| with_older(config, &key)).transpose()
}

fn with_older(config: &Config, key: &NotaryKey) -> anyhow::Result<TrustedKeys> {
    let mut trusted = TrustedKeys::only(key.public()).all().to_vec();
    trusted.extend(config.older_notary_keys()?.all().iter().cloned());
    Ok(TrustedKeys::new(trusted))
}

/// The parts of a notary; `None`: this process signs no checkpoints.
fn notary(
    config: &Config,
    setting: Setting,
    log: &JetStreamLog,
) -> anyhow::Result<Option<(NotaryConfig, NotaryParts)>> {
    let name = config.audit.key_name();
    let Some(key) = secrets::notary(&config.data, setting.missing(), &name)? else {
        tracing::warn!(
            "WAYBILL_NOTARY_KEY is not set: this projector signs no checkpoints of the activity log"
        );
        return Ok(None);
    };
    tracing::info!(key = %key.public(), "checkpoints of the activity log are signed");
    let holder = match setting {
        // As with the worker: after a kill the next start takes the lease at once.
        Setting::Embedded => worker_name(config)?,
        Setting::Apart => unique_name("notary")?,
    };
    let trusted = with_older(config, &key)?;
    let mut notary = NotaryConfig::new(&config.audit.deployment, key, holder);
    notary.trusted = trusted;
    notary.folder = Some(config.data.join(PROJECTOR_FOLDER));
    let parts = NotaryParts {
        log: Arc::new(log.clone()),
        leases: Arc::new(log.clone()),
        checkpoints: Arc::new(log.clone()),
        nats: Some(log.client()),
    };
    Ok(Some((notary, parts)))
}
