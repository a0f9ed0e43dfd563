//! `waybill dashboard`: a link that opens the dashboard on this machine, signed in.

use std::io::Write;

use waybill_commands::Author;
use waybill_domain::actor::Actor;

use crate::args::DataDir;
use crate::config::Config;
use crate::output;
use crate::running_server::{control, eprint_line, locate};
use crate::sign_in_link;
use crate::telemetry;

/// Makes a link and prints it alone on standard output.
pub(crate) async fn run(mut config: Config, at: DataDir) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "dashboard")?;
    locate(&mut config, &at);
    // Before anything is made: an address that no link works on is refused by itself.
    let base = sign_in_link::base(&config, sign_in_link::noted_address(&config))?;
    let (_, control) = control(&mut config, &at).await?;
    let by = Author::from(Actor::Operator("cli".into()));
    let link = control.sign_in_link(&by).await?;
    writeln!(output::stdout(), "{}", sign_in_link::address(&base, &link))?;
    eprint_line(
        "open it in a browser on this machine; it signs in once, within 10 minutes, and takes the place of any link before",
    );
    Ok(())
}
