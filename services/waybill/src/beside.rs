//! Commands beside a running server: they reach it over NATS, at NATS_URL or as the `waybill up` on a data folder says.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::{KeyStatus, Team};
use waybill_domain::actor::Actor;
use waybill_domain::id::{KeyId, TeamId};
use waybill_domain::time::Timestamp;
use waybill_gateway::replay::{self, Bound, ReplayOptions, parse_stream};
use waybill_gateway::{By, ControlWriter};
use waybill_log::jetstream::JetStreamLog;
use waybill_log::{Log, Stream, StreamSeq};
use waybill_projector::QueryClient;
use waybill_worker::{Clock, SystemClock};

use crate::args::{DataDir, Keys, Replay};
use crate::config::{Config, environment};
use crate::nats_server::{Connection, NatsServer};
use crate::roles::{self, Setting};
use crate::telemetry;
use crate::up;

/// Connects as the configuration says, or as the `waybill up` on the data folder says.
pub(crate) async fn connect(config: &mut Config, at: &DataDir) -> anyhow::Result<JetStreamLog> {
    if let Some(data) = &at.data {
        config.data.clone_from(data);
    }
    if !named() {
        config.nats = Connection::of(&config.data)?.over(&config.nats);
    }
    Ok(waybill_log::connect(&config.nats).await?)
}

/// Whether the environment says where NATS is.
fn named() -> bool {
    environment("NATS_URL").is_some()
}

/// `waybill keys ...`
pub(crate) async fn keys(mut config: Config, command: Keys) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "keys")?;
    let mut out = std::io::stdout();
    let by = By::from(Actor::Operator("cli".into()));
    match command {
        Keys::Create {
            name,
            team,
            scopes,
            at,
        } => {
            let (log, control) = control(&mut config, &at).await?;
            let team = team_or_first(&log, team).await?;
            let scopes = scopes
                .iter()
                .map(|text| {
                    Scope::parse(text).ok_or_else(|| {
                        let all: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
                        let all = all.join(", ");
                        anyhow!("--scopes: there is no scope {text:?}; there are {all}")
                    })
                })
                .collect::<Result<Vec<_>, _>>()?;
            let scopes = if scopes.is_empty() {
                Scope::ALL.to_vec()
            } else {
                scopes
            };
            let made = control.create_key(&team, &name, &scopes, &by).await?;
            writeln!(out, "{}", made.key.reveal())?;
            eprint_line(&format!(
                "{} of {team}, shown this once; keep it",
                made.created.key
            ));
        }
        Keys::List { team, at } => {
            let (log, control) = control(&mut config, &at).await?;
            let team = team_or_first(&log, team).await?;
            list(&mut out, &control.team(&team).await?, SystemClock.now())?;
        }
        Keys::Revoke { key, at } => {
            let key = KeyId::parse(&key)
                .map_err(|_| anyhow!("{key:?} is no key id such as key_4fG7aB2x"))?;
            let (_, control) = control(&mut config, &at).await?;
            let team = control
                .find_key(&key)
                .await
                .with_context(|| key.to_string())?;
            let revoked = control.revoke_key(&team, &key, &by).await?;
            if let Some((at, _)) = revoked.key.revoked {
                writeln!(out, "{key} revoked {}", at.to_rfc3339())?;
            }
        }
        Keys::CreateTeam { name, plan, at } => {
            // A plan that nobody knows would silently be as narrow as the smallest.
            let plans = config.plans()?;
            let names: Vec<_> = plans.plans().map(|plan| &*plan.name).collect();
            ensure!(
                names.contains(&plan.as_str()),
                "--plan: there is no plan {plan:?}; there are {}",
                names.join(", ")
            );
            let (_, control) = control(&mut config, &at).await?;
            let team = control.create_team(&name, &plan, &by).await?;
            writeln!(out, "{team}")?;
        }
    }
    Ok(())
}

/// A line for the team, then one for each key.
fn list(out: &mut impl Write, team: &Team, now: Timestamp) -> std::io::Result<()> {
    if let Some(info) = &team.info {
        writeln!(out, "{}  {:?}  plan {}", info.id, info.name, info.plan)?;
    }
    for key in team.keys_by_age() {
        let created = &key.created;
        let scopes: Vec<_> = created.scopes.iter().map(|scope| scope.as_str()).collect();
        let may = if scopes.len() == Scope::ALL.len() {
            "everything".to_owned()
        } else {
            scopes.join(",")
        };
        write!(
            out,
            "{}  {}...{}  {:?}  may {may}  created {}",
            created.key,
            created.prefix,
            created.last4,
            created.name,
            created.at.to_rfc3339()
        )?;
        match (key.revoked, key.status(now)) {
            (Some((at, _)), _) => writeln!(out, "  revoked {}", at.to_rfc3339())?,
            (None, KeyStatus::Expired) => writeln!(out, "  expired")?,
            (None, _) => writeln!(out)?,
        }
    }
    Ok(())
}

/// `waybill rebuild`
pub(crate) async fn rebuild(mut config: Config, at: DataDir) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "rebuild")?;
    if let Some(data) = &at.data {
        config.data.clone_from(data);
    }
    let stopped = if named() {
        None
    } else {
        Some(StoppedUp::start(&config.data).await?)
    };
    if let Some(up) = &stopped {
        config.nats = up.server.connection.over(&config.nats);
    }
    let rebuilt = rebuild_over(&config).await;
    if let Some(up) = stopped {
        up.server.stop().await;
    }
    rebuilt
}

/// The nats-server of a `waybill up` that does not run, for as long as its log is needed.
struct StoppedUp {
    server: NatsServer,
    _lock: File,
}

impl StoppedUp {
    async fn start(data: &Path) -> anyhow::Result<Self> {
        // Nothing may be made in a folder that was only mistyped.
        ensure!(
            data.join("nats").is_dir(),
            "there is no data of `waybill up` in {}; name its folder by --data, or set NATS_URL",
            data.display()
        );
        let data = data.canonicalize()?;
        let lock = up::lock(&data)
            .context("stop it before rebuilding (`waybill verify` works while it runs)")?;
        Ok(Self {
            server: NatsServer::start(&data).await?,
            _lock: lock,
        })
    }
}

async fn rebuild_over(config: &Config) -> anyhow::Result<()> {
    let log: Arc<dyn Log> = Arc::new(waybill_log::connect(&config.nats).await?);
    let folder = config.data.join("projector");
    let rebuilt = waybill_projector::rebuild(&log, &folder, config.projector().cache_bytes)
        .await
        .with_context(|| {
            format!(
                "rebuilding {} (stop its projector first; `waybill verify` works while it runs)",
                folder.display()
            )
        })?;
    writeln!(
        std::io::stdout(),
        "rebuilt up to CONTROL {} and TASKS {} in {:.1} s",
        rebuilt.at.control,
        rebuilt.at.tasks,
        rebuilt.took.as_secs_f64()
    )?;
    Ok(())
}

/// `waybill verify`
pub(crate) async fn verify(mut config: Config, at: DataDir) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "verify")?;
    let log = connect(&mut config, &at).await?;
    let verdict = QueryClient::new(log.client()).verify().await?.value;
    let mut out = std::io::stdout();
    for tree in &verdict.trees {
        let word = if tree.live == tree.rebuilt {
            "equal"
        } else {
            "DIFFERENT"
        };
        writeln!(out, "{:<24} {word}  {}", tree.tree, tree.live)?;
    }
    writeln!(
        out,
        "compared at CONTROL {} and TASKS {}",
        verdict.at.control, verdict.at.tasks
    )?;
    if !verdict.is_equal() {
        bail!(
            "the live read model is not what the log says; stop the projector and run `waybill rebuild`"
        );
    }
    Ok(())
}

/// `waybill replay`
pub(crate) async fn replay(mut config: Config, wanted: Replay) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "replay")?;
    let team = TeamId::parse(&wanted.team)
        .map_err(|_| anyhow!("--team: {:?} is no team id", wanted.team))?;
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
    let replayed = replay::replay(&log, &options, tokio::io::stdout()).await?;
    if replayed.unreadable > 0 {
        eprint_line(&format!(
            "{} events were written by a newer version and cannot be read",
            replayed.unreadable
        ));
    }
    Ok(())
}

/// `waybill config`
pub(crate) fn show(config: &Config) -> anyhow::Result<()> {
    write!(std::io::stdout(), "{}", toml::to_string(config)?)?;
    Ok(())
}

async fn control(
    config: &mut Config,
    at: &DataDir,
) -> anyhow::Result<(JetStreamLog, ControlWriter)> {
    let log = connect(config, at).await?;
    let pepper = Arc::new(roles::pepper(config, Setting::Apart)?);
    let control = roles::control(config, &log, pepper)?;
    Ok((log, control))
}

/// The team named, or the one that was made first.
async fn team_or_first(log: &JetStreamLog, team: Option<String>) -> anyhow::Result<TeamId> {
    if let Some(team) = team {
        return TeamId::parse(&team).map_err(|_| anyhow!("{team:?} is no team id"));
    }
    let first = log
        .range(
            Stream::Control,
            &["control.*.team.*".to_owned()],
            StreamSeq(1),
            StreamSeq(u64::MAX),
            1,
        )
        .await?;
    let subject = first
        .first()
        .map(|record| record.subject.clone())
        .context("there is no team yet")?;
    let team = subject.split('.').nth(1).unwrap_or_default();
    TeamId::parse(team).map_err(|_| anyhow!("the first event is of no team; use --team"))
}

fn eprint_line(text: &str) {
    // Beside the key itself, which is alone on standard output for scripts.
    let _ = writeln!(std::io::stderr(), "{text}");
}
