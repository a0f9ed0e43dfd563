//! `waybill audit`: proofs that nobody changed the log.
//!
//! Nothing here relies on a read model: `verify` reads an export, or the log itself, and checks it against signatures of trusted keys.

mod report;
mod verify;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use waybill_domain::audit::TrustedKeys;
use waybill_domain::id::TeamId;
use waybill_projector::QueryClient;
use waybill_projector::query::{Position, SignNow};

use crate::args::{Audit, VerifyLog};
use crate::config::Config;
use crate::output;
use crate::roles;
use crate::running_server;
use crate::telemetry;

/// Exit code when there is no verdict: neither intact nor tampered with.
const INCOMPLETE: u8 = 2;
/// Exit code when keys are missing or cannot be read.
const UNTRUSTED: u8 = 3;
/// Exit code of a wrong command line.
pub(crate) const USAGE: u8 = 4;

/// Why a command came to no verdict.
enum Failed {
    /// Nothing was proved, and nothing disproved.
    Incomplete(anyhow::Error),
    /// There is no key to trust.
    Keys(anyhow::Error),
}

impl Failed {
    fn incomplete(error: impl Into<anyhow::Error>) -> Self {
        Self::Incomplete(error.into())
    }

    fn keys(error: impl Into<anyhow::Error>) -> Self {
        Self::Keys(error.into())
    }
}

/// Runs one of the commands. Its exit code is the verdict: 0 intact, 1 tampered with, 2 no verdict possible, 3 keys or signatures not
/// valid, 4 a wrong command line.
pub(crate) async fn run(mut config: Config, command: Audit) -> anyhow::Result<ExitCode> {
    let _telemetry = telemetry::start_beside(&config, "audit")?;
    let done = match command {
        Audit::Verify(options) => verify::run(&mut config, &options).await,
        Audit::Checkpoint { team, at } => checkpoint(&mut config, team, &at)
            .await
            .map_err(Failed::Incomplete),
        Audit::Keys { at } => {
            running_server::locate(&mut config, &at);
            print_keys(&config)
        }
    };
    let (code, error) = match done {
        Ok(code) => return Ok(code),
        // `waybill audit keys | head`: nothing was to be proved.
        Err(Failed::Incomplete(error)) if output::reader_left(&error) => return Err(error),
        Err(Failed::Incomplete(error)) => (INCOMPLETE, error),
        Err(Failed::Keys(error)) => (UNTRUSTED, error),
    };
    // A closed standard error is no reason to fail: its reader does not want to know.
    let _ = writeln!(std::io::stderr(), "waybill: {error:#}");
    Ok(ExitCode::from(code))
}

/// Prints the newest checkpoint of a team, or of all of CONTROL, signed now if there is news.
async fn checkpoint(
    config: &mut Config,
    team: Option<String>,
    at: &crate::args::DataDir,
) -> anyhow::Result<ExitCode> {
    let team = team
        .map(|text| TeamId::parse(&text).map_err(|_| anyhow!("{text:?} is no team id")))
        .transpose()?;
    let log = running_server::connect(config, at).await?;
    let signed = QueryClient::new(log.client())
        .ask(SignNow { team }, Position::default())
        .await
        .context("the projector did not answer a query for an audit checkpoint")?;
    let note = signed.value.context("nothing has happened in that team")?;
    write!(output::stdout(), "{note}")?;
    Ok(ExitCode::SUCCESS)
}

fn print_keys(config: &Config) -> Result<ExitCode, Failed> {
    let keys = own_keys(config)?;
    write!(output::stdout(), "{keys}").map_err(Failed::incomplete)?;
    Ok(ExitCode::SUCCESS)
}

/// The keys of a file, or those that this deployment signs with.
fn keys(config: &Config, file: Option<&Path>) -> Result<TrustedKeys, Failed> {
    let Some(file) = file else {
        return own_keys(config);
    };
    let text = fs::read_to_string(file)
        .with_context(|| file.display().to_string())
        .map_err(Failed::Keys)?;
    TrustedKeys::parse(&text)
        .with_context(|| file.display().to_string())
        .map_err(Failed::Keys)
}

fn own_keys(config: &Config) -> Result<TrustedKeys, Failed> {
    let keys = roles::notary_keys(config).map_err(Failed::Keys)?;
    keys.ok_or_else(|| {
        Failed::keys(anyhow!(
            "there is no key to trust: give --keys, a file with what `waybill audit keys` prints where checkpoints are signed"
        ))
    })
}

/// A checkpoint that was kept, as `--write-checkpoint` and `waybill audit checkpoint` leave it.
fn kept(options: &VerifyLog) -> Result<Option<String>, Failed> {
    let read = |file: &std::path::PathBuf| {
        fs::read_to_string(file)
            .with_context(|| file.display().to_string())
            .map_err(Failed::Incomplete)
    };
    options.checkpoint.as_ref().map(read).transpose()
}
