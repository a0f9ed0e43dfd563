//! `waybill doctor`: what is wrong with an installation or about to be, a line each, with what to do about it. Nothing is changed.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use rustix::fs::statvfs;
use rustix::process::{Resource, getrlimit};
use waybill_domain::time::Timestamp;
use waybill_log::jetstream::NatsConfig;
use waybill_log::jetstream::inspect::{InspectedStream, Inspection, StreamState, inspect};
use waybill_worker::{Clock, SystemClock};

use crate::args::DataDir;
use crate::beside;
use crate::config::Config;
use crate::nats_server::{Connection, program_version};

/// Two machines whose clocks differ by more tell different stories about the same event, and access tokens of one are not yet valid on the other.
const CLOCK_SKEW: Duration = Duration::from_secs(5);
/// Below this share of the disk or of JetStream's storage, room must be made now.
const LITTLE_ROOM: f64 = 0.10;
/// Below this share of the disk `waybill up` refuses creations.
const NO_ROOM: f64 = 0.02;
/// Connections of clients and targets need one each, and the stores some hundreds.
const DESCRIPTORS: u64 = 4_096;
/// The line that the tests use.
const TESTED_NATS: &str = "2.15";

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
    if let Some(data) = at.data {
        config.data = data;
    }
    let is_up = !beside::named();
    let mut lines = vec![Line::good(
        "waybill",
        format!("version {}", env!("CARGO_PKG_VERSION")),
    )];
    lines.extend(configuration(&config));
    lines.push(descriptors());
    lines.push(disk(&config.data));
    lines.extend(secrets(&config.data, is_up));
    if is_up {
        lines.push(match program_version().await {
            Ok(found) => nats_version(&found),
            Err(error) => Line::bad(
                Verdict::Wrong,
                "nats-server",
                format!("{error:#}"),
                "run ops/install-nats, or set WAYBILL_NATS_SERVER to its path",
            ),
        });
    }
    match connection(&config, is_up) {
        Ok(nats) => lines.extend(server(&nats).await),
        Err(line) => lines.push(line),
    }
    print(&lines)
}

fn print(lines: &[Line]) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
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

/// What a valid configuration may still get wrong. An invalid one ends every command with its sentence.
fn configuration(config: &Config) -> Vec<Line> {
    let mut lines = vec![Line::good(
        "configuration",
        "valid; `waybill config` prints it",
    )];
    let is_open = !config.gateway.listen.ip().is_loopback();
    match &config.auth.public_url {
        None if is_open => lines.push(Line::bad(
            Verdict::Doubtful,
            "public_url",
            format!("the gateway listens on {} and auth.public_url is not set", config.gateway.listen),
            "set auth.public_url to the https address that clients use; put TLS in front of the gateway",
        )),
        Some(url) if url.scheme() == "https" && config.gateway.trusted_proxies.is_empty() => lines.push(Line::bad(
            Verdict::Doubtful,
            "proxies",
            "auth.public_url is https and no proxy is trusted: every client has the proxy's address, and shares its limits",
            "set gateway.trusted_proxies to the networks of the proxy that ends TLS",
        )),
        _ => {}
    }
    lines
}

fn descriptors() -> Line {
    let limit = getrlimit(Resource::Nofile);
    match limit.maximum {
        Some(most) if most < DESCRIPTORS => Line::bad(
            Verdict::Doubtful,
            "descriptors",
            format!("at most {most} open files and connections"),
            format!(
                "raise the hard limit to {DESCRIPTORS} or more (`ulimit -Hn`, LimitNOFILE= of a unit)"
            ),
        ),
        Some(most) => Line::good("descriptors", format!("up to {most}")),
        None => Line::good("descriptors", "without a limit"),
    }
}

fn disk(data: &Path) -> Line {
    // The folder may not be there yet: then its disk is that of the nearest one that is.
    let there = data
        .ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("."));
    match statvfs(there) {
        Ok(disk) if disk.f_blocks > 0 => {
            #[expect(clippy::cast_precision_loss, reason = "a share of a disk, for people")]
            let free = disk.f_bavail as f64 / disk.f_blocks as f64;
            let gib = disk.f_bavail.saturating_mul(disk.f_frsize) >> 30;
            let found = format!(
                "{gib} GiB free ({:.0} %) for {}",
                free * 100.0,
                data.display()
            );
            if free < LITTLE_ROOM {
                Line::bad(
                    match free < NO_ROOM {
                        true => Verdict::Wrong,
                        false => Verdict::Doubtful,
                    },
                    "disk",
                    found,
                    "make room or enlarge it: a disk that is really full stops JetStream as a whole",
                )
            } else {
                Line::good("disk", found)
            }
        }
        Ok(_) => Line::good("disk", "its size is not told"),
        Err(error) => Line::bad(
            Verdict::Wrong,
            "disk",
            format!("{}: {error}", there.display()),
            "name the data folder by --data",
        ),
    }
}

/// Secret files that others can read or write.
fn secrets(data: &Path, is_up: bool) -> Vec<Line> {
    let folder = data.join("secrets");
    let Ok(entries) = fs::read_dir(&folder) else {
        let found = match is_up {
            true => format!(
                "{} is not there yet: the first start of `waybill up` makes it",
                folder.display()
            ),
            false => "from the environment".to_owned(),
        };
        return vec![Line::good("secrets", found)];
    };
    let mut open = Vec::new();
    let mut count = 0_usize;
    let files = entries.flatten().map(|entry| entry.path());
    for path in files.chain([folder.clone()]) {
        count += 1;
        match fs::metadata(&path) {
            Ok(metadata) if metadata.permissions().mode() & 0o077 == 0 => {}
            Ok(_) | Err(_) => open.push(path),
        }
    }
    if open.is_empty() {
        let found = format!("{} files, readable by their owner alone", count - 1);
        return vec![Line::good("secrets", found)];
    }
    let lines = open.into_iter().map(|path| {
        Line::bad(
            Verdict::Wrong,
            "secrets",
            format!("{} can be read by others", path.display()),
            format!(
                "chmod go= {}; who could read it meanwhile may have: rotate what it holds",
                path.display()
            ),
        )
    });
    lines.collect()
}

async fn server(nats: &NatsConfig) -> Vec<Line> {
    let found = match inspect(nats).await {
        Ok(found) => found,
        Err(error) => {
            return vec![Line::bad(
                Verdict::Wrong,
                "nats",
                error.to_string(),
                "is the server up, and are nats.servers, user and password right? Every request answers 503 until it is reached",
            )];
        }
    };
    let mut lines = vec![
        nats_version(&found.version),
        clock(&found, SystemClock.now()),
        storage(&found),
    ];
    lines.extend(found.streams.iter().map(stream));
    lines
}

fn nats_version(found: &str) -> Line {
    match found.starts_with(TESTED_NATS) {
        true => Line::good("nats-server", format!("version {found}")),
        false => Line::bad(
            Verdict::Doubtful,
            "nats-server",
            format!("version {found}; {TESTED_NATS} is what is tested"),
            "ops/install-nats installs the pinned one",
        ),
    }
}

fn clock(found: &Inspection, here: Timestamp) -> Line {
    let Some(there) = found.clock else {
        return Line::good("clock", "the server does not tell its own");
    };
    let apart = here.since(there).max(there.since(here));
    match apart > CLOCK_SKEW {
        true => Line::bad(
            Verdict::Wrong,
            "clock",
            format!("this machine's clock is {apart:?} apart from the server's"),
            "run an NTP client on both",
        ),
        false => Line::good(
            "clock",
            format!("{} ms apart from the server's", apart.as_millis()),
        ),
    }
}

fn storage(found: &Inspection) -> Line {
    let mib = |bytes: u64| bytes >> 20;
    let used = found.storage.used;
    match found.storage.limit {
        None => Line::good(
            "storage",
            format!("{} MiB in files; JetStream names no limit", mib(used)),
        ),
        Some(limit) => {
            #[expect(clippy::cast_precision_loss, reason = "a share, for people")]
            let free = 1.0 - used as f64 / limit as f64;
            let found = format!("{} of {} MiB in files", mib(used), mib(limit));
            match free < LITTLE_ROOM {
                true => Line::bad(
                    Verdict::Wrong,
                    "storage",
                    found,
                    "raise max_file_store of nats-server, or keep tasks for less time",
                ),
                false => Line::good("storage", found),
            }
        }
    }
}

fn stream(stream: &InspectedStream) -> Line {
    let name = &stream.name;
    match &stream.state {
        StreamState::Good { bytes, max_bytes } => {
            let share = max_bytes.map(|most| format!(" of {} MiB", most >> 20));
            Line::good(
                "stream",
                format!("{name}: {} MiB{}", bytes >> 20, share.unwrap_or_default()),
            )
        }
        StreamState::Missing => Line::bad(
            Verdict::Doubtful,
            "stream",
            format!("{name} is missing"),
            "the next start of a role whose NATS user may make streams makes it",
        ),
        StreamState::Differs(differences) => Line::bad(
            Verdict::Wrong,
            "stream",
            differences
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
            "no role starts like this; nats/README.md says how a stream is changed",
        ),
        StreamState::Unknown(reason) => Line::bad(
            Verdict::Wrong,
            "stream",
            format!("{name}: {reason}"),
            "is its leader up? `waybill doctor` as the user admin sees all",
        ),
    }
}
