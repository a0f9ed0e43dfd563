//! `waybill doctor`: problems of an installation, present and coming, a line each, with the remedy. It changes nothing.

mod folder;
mod server;
mod settings;

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use waybill_log::jetstream::NatsConfig;

use crate::args::DataDir;
use crate::config::Config;
use crate::nats_server::{Connection, program_version};
use crate::output;
use crate::running_server;

/// Share of the disk or of JetStream's storage that should stay free; with less, room must be made now.
const LITTLE_ROOM: f64 = 0.10;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It works, and somebody should look at it.
    Doubtful,
    /// It does not work, or loses something.
    Wrong,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Good => "ok",
            Self::Doubtful => "WARN",
            Self::Wrong => "FAIL",
        })
    }
}

/// A line: what was looked at, what was found, and the remedy when there is something to do.
#[derive(Debug)]
struct Line {
    verdict: Verdict,
    what: &'static str,
    found: String,
    remedy: Option<String>,
}

impl Line {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        let found = found.into();
        Self {
            verdict: Verdict::Good,
            what,
            found,
            remedy: None,
        }
    }

    fn bad(
        verdict: Verdict,
        what: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (found, remedy) = (found.into(), Some(remedy.into()));
        Self {
            verdict,
            what,
            found,
            remedy,
        }
    }
}

/// Looks at everything. The exit code is 1 when something does not work.
pub(crate) async fn run(mut config: Config, at: DataDir) -> anyhow::Result<ExitCode> {
    running_server::locate(&mut config, &at);
    let is_up = !running_server::named();
    let mut lines = vec![Line::good(
        "waybill",
        format!("version {}", env!("CARGO_PKG_VERSION")),
    )];
    lines.extend(settings::configuration(&config, is_up));
    lines.push(settings::descriptors());
    lines.push(folder::disk(&config.data));
    lines.extend(folder::secrets(&config.data, is_up));
    lines.extend(folder::owners(&config.data));
    lines.extend(folder::losses(&config.data));
    if is_up {
        lines.push(match program_version().await {
            Ok(found) => server::nats_version(&found),
            Err(error) => Line::bad(
                Verdict::Wrong,
                "nats-server",
                format!("{error:#}"),
                "run ops/install-nats, or set WAYBILL_NATS_SERVER to its path",
            ),
        });
    }
    match connection(&config, is_up) {
        Ok(nats) => lines.extend(server::look(&nats).await),
        Err(line) => lines.push(line),
    }
    print(&lines)
}

fn print(lines: &[Line]) -> anyhow::Result<ExitCode> {
    let mut out = String::new();
    for line in lines {
        writeln!(out, "{:<5} {:<14} {}", line.verdict, line.what, line.found)?;
        if let Some(remedy) = &line.remedy {
            writeln!(out, "      {:<14} -> {remedy}", "")?;
        }
    }
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let (wrong, doubtful) = (count(Verdict::Wrong), count(Verdict::Doubtful));
    writeln!(
        out,
        "{} checks, {doubtful} to look at, {wrong} wrong",
        lines.len()
    )?;
    output::tell_verdict(&out)?;
    Ok(ExitCode::from(u8::from(wrong > 0)))
}

/// How NATS is reached, or why it is not.
fn connection(config: &Config, is_up: bool) -> Result<NatsConfig, Line> {
    let mut nats = match is_up {
        false => config.nats.clone(),
        true => match Connection::of(&config.data) {
            Ok(connection) => connection.over(&config.nats),
            Err(error) => {
                return Err(Line::bad(
                    Verdict::Doubtful,
                    "running",
                    format!("{error:#}"),
                    "start `waybill up`, then look again: streams and clocks are seen only while it runs",
                ));
            }
        },
    };
    nats.connect_timeout_ms = nats.connect_timeout_ms.min(3_000);
    Ok(nats)
}
