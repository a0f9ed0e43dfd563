//! `waybill replay`: events of a team as JSON lines, or who could do what at a time.

mod access_at;
mod events;

use std::io::BufWriter;
use std::sync::Arc;

use anyhow::anyhow;
use waybill_domain::id::TeamId;
use waybill_log::Log;

use crate::args::Replay;
use crate::config::Config;
use crate::output;
use crate::running_server::{connect, eprint_line};
use crate::telemetry;
use access_at::Until;
use events::{Bound, ReplayOptions, parse_stream};

/// `waybill replay`
pub(crate) async fn run(mut config: Config, wanted: Replay) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "replay")?;
    let team = TeamId::parse(&wanted.team)
        .map_err(|_| anyhow!("--team: {:?} is no team id", wanted.team))?;
    if let Some(at) = &wanted.as_of {
        let until = Until::parse(at)?;
        let log = connect(&mut config, &wanted.at).await?;
        let out = &mut output::stdout();
        return access_at::show(out, &log, &team.base(), until, wanted.digest).await;
    }
    let bound =
        |option, text: Option<&String>| text.map(|text| Bound::parse(option, text)).transpose();
    let options = ReplayOptions::new(
        team,
        bound("from", wanted.from.as_ref())?,
        bound("to", wanted.to.as_ref())?,
        wanted.types,
        wanted.stream.as_deref().map(parse_stream).transpose()?,
    )?;
    let log: Arc<dyn Log> = Arc::new(connect(&mut config, &wanted.at).await?);
    let replayed = events::replay(&log, &options, BufWriter::new(output::stdout())).await?;
    if replayed.unreadable > 0 {
        eprint_line(&format!(
            "{} events were written by a newer version and cannot be read",
            replayed.unreadable
        ));
    }
    Ok(())
}
