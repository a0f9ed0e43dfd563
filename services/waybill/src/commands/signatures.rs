//! `waybill signatures`: requires signatures of a log that was written without, and shows which keys count.

use std::io::Write;

use anyhow::bail;
use waybill_log::JetStreamLog;

use crate::args::Signatures;
use crate::config::Config;
use crate::output;
use crate::running_server;
use crate::telemetry;

/// `waybill signatures ...`
pub(crate) async fn run(mut config: Config, command: Signatures) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "signatures")?;
    let out = &mut output::stdout();
    match command {
        Signatures::Require { at } => {
            config.nats.signatures.introduce = true;
            let log = running_server::connect(&mut config, &at).await?;
            if log.trust().signer.is_none() {
                bail!(
                    "WAYBILL_CONTROL_KEY must be set: the event that requires signatures is signed itself"
                );
            }
            show(out, &log)
        }
        Signatures::Show { at } => show(out, &running_server::connect(&mut config, &at).await?),
    }
}

fn show(out: &mut impl Write, log: &JetStreamLog) -> anyhow::Result<()> {
    let trust = log.trust();
    match trust.required_from {
        Some(from) => writeln!(out, "nats.signatures.required_from = {from}")?,
        None => writeln!(out, "# signatures are not required")?,
    }
    for key in trust.keys.all() {
        writeln!(out, "# counts: {key}")?;
    }
    Ok(())
}
