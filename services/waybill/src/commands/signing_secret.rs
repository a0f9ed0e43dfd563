//! `waybill signing-secret`: the secret with which receivers verify the calls of a team, for whoever has access to the machine.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use waybill_commands::Author;
use waybill_domain::actor::Actor;
use waybill_domain::id::Environment;
use waybill_domain::signature::{MAX_OVERLAP, derive_team_secret};
use waybill_worker::{Clock, SystemClock};

use crate::args::SigningSecret;
use crate::config::Config;
use crate::output;
use crate::running_server::{control, eprint_line, team_or_first};
use crate::secrets::{self, Missing};
use crate::telemetry;

/// Prints the secret that signs; names it on standard error.
pub(crate) async fn run(mut config: Config, wanted: SigningSecret) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "signing-secret")?;
    let environment = Environment::parse(&wanted.environment).with_context(|| {
        let text = &wanted.environment;
        format!("--environment: must be live or test, not {text:?}")
    })?;
    let overlap = Duration::from_secs(wanted.overlap);
    ensure!(
        overlap <= MAX_OVERLAP,
        "--overlap: must be at most {}, not {}",
        MAX_OVERLAP.as_secs(),
        wanted.overlap
    );
    let (log, control) = control(&mut config, &wanted.at).await?;
    let team = team_or_first(&log, wanted.team).await?;
    // Checked before anything is rotated: a secret that cannot be printed helps nobody.
    let master = secrets::webhook_master(&config.data, Missing::Refuse)?;
    if wanted.rotate {
        let by = Author::from(Actor::Operator("cli".into()));
        control
            .rotate_signing_secret(&team, environment, overlap, &by)
            .await?;
    }
    let signing = control.team(&team).await?.signing_of(environment);
    let signs_for = team.in_environment(environment);
    let secret = derive_team_secret(&master, &signs_for, signing.current);
    writeln!(output::stdout(), "{}", secret.expose())?;
    let former = signing
        .former(SystemClock.now())
        .and(signing.former_until)
        .map(|until| format!("; the one before signs too until {}", until.to_rfc3339()));
    eprint_line(&format!(
        "number {} of {team}, {}{}",
        signing.current,
        environment.as_str(),
        former.unwrap_or_default()
    ));
    Ok(())
}
