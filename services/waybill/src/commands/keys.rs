//! `waybill keys`: the operator's commands for API keys, without a gateway. Gateways apply the changes within moments.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use waybill_commands::{Author, ControlWriter, KeyWish};
use waybill_domain::access::scope::{Preset, Scope, ScopeSet};
use waybill_domain::access::team::{Key, KeyStatus, Team};
use waybill_domain::actor::Actor;
use waybill_domain::id::{Environment, KeyId, QueueName};
use waybill_domain::time::Timestamp;
use waybill_log::jetstream::JetStreamLog;
use waybill_worker::{Clock, SystemClock};

use crate::args::{Keys, NewKey};
use crate::config::Config;
use crate::output;
use crate::running_server::{control, eprint_line, settled, team_or_first};
use crate::telemetry;

const SECONDS_PER_DAY: u64 = 86_400;

/// `waybill keys ...`
pub(crate) async fn run(mut config: Config, command: Keys) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "keys")?;
    let mut out = output::stdout();
    let by = Author::from(Actor::Operator("cli".into()));
    match command {
        Keys::Create { team, wanted, at } => {
            let wish = wish(&config, wanted)?;
            let (log, control) = control(&mut config, &at).await?;
            let team = team_or_first(&log, team).await?;
            let made = control.make_key(&team, wish, &by).await?;
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
        Keys::Rotate { key, overlap, at } => {
            let key = key_id(&key)?;
            let (log, control) = control(&mut config, &at).await?;
            let team = control
                .find_key(&key)
                .await
                .with_context(|| key.to_string())?;
            let overlap = Duration::from_secs(overlap);
            let (made, old) = control.rotate_key(&team, &key, overlap, &by).await?;
            writeln!(out, "{}", made.key.reveal())?;
            settled(&log, made.seq).await?;
            let until = old.accepted_until().map(Timestamp::to_rfc3339);
            eprint_line(&format!(
                "{} of {team}, shown this once; keep it. {key} is accepted until {}",
                made.created.key,
                until.unwrap_or_default()
            ));
        }
        Keys::Revoke { key, at } => {
            let (log, control) = control(&mut config, &at).await?;
            let (key, at) = revoke(&log, &control, &key_id(&key)?, &by).await?;
            writeln!(out, "{key} revoked {}", at.to_rfc3339())?;
        }
        Keys::CreateTeam { name, plan, at } => {
            // An unknown plan would silently have the limits of the smallest one.
            let plans = config.plans()?;
            let plan = plan.unwrap_or_else(|| plans.plan_of_new_teams().name.to_string());
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

async fn revoke(
    log: &JetStreamLog,
    control: &ControlWriter,
    key: &KeyId,
    by: &Author,
) -> anyhow::Result<(KeyId, Timestamp)> {
    let team = control
        .find_key(key)
        .await
        .with_context(|| key.to_string())?;
    let revoked = control.revoke_key(&team, key, by).await?;
    settled(log, revoked.seq).await?;
    let (at, _) = revoked.key.revoked.context("it is revoked")?;
    Ok((key.clone(), at))
}

fn key_id(text: &str) -> anyhow::Result<KeyId> {
    KeyId::parse(text).map_err(|_| anyhow!("{text:?} is no key id such as key_4fG7aB2x"))
}

fn wish(config: &Config, wanted: NewKey) -> anyhow::Result<KeyWish> {
    let gateway = config.gateway(false)?;
    if let Some(brand) = &wanted.brand {
        let brands: Vec<_> = gateway.minted_brands().collect();
        ensure!(
            brands.contains(&brand.as_str()),
            "--brand: must be one of {}, not {brand:?}",
            brands.join(", ")
        );
    }
    let environment = Environment::parse(&wanted.environment).with_context(|| {
        let text = &wanted.environment;
        format!("--environment: must be live or test, not {text:?}")
    })?;
    let expires_at = wanted.expires.as_deref().map(expiry).transpose()?;
    Ok(KeyWish {
        scopes: scopes(&wanted)?,
        brand: wanted.brand,
        environment,
        expires_at,
        sources: wanted.allow_source,
        queues: wanted.queues,
        ..KeyWish::new(wanted.name, &[])
    })
}

fn scopes(wanted: &NewKey) -> anyhow::Result<ScopeSet> {
    if let Some(name) = &wanted.preset {
        let preset = Preset::find(name).with_context(|| {
            let all: Vec<_> = Preset::ALL.iter().map(|preset| preset.name).collect();
            let all = all.join(", ");
            format!("--preset: there is no preset {name:?}; there are {all}")
        })?;
        return Ok(preset.scopes());
    }
    if wanted.scopes.is_empty() {
        return Ok(ScopeSet::all());
    }
    let scope = |text: &String| {
        Scope::parse(text).ok_or_else(|| {
            let all: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
            let all = all.join(", ");
            anyhow!("--scopes: there is no scope {text:?}; there are {all}")
        })
    };
    wanted.scopes.iter().map(scope).collect()
}

/// A time, or days from now such as `90d`.
fn expiry(text: &str) -> anyhow::Result<Timestamp> {
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.parse::<u64>().ok());
    let after = |days: u64| {
        let seconds = days.checked_mul(SECONDS_PER_DAY)?;
        Some(SystemClock.now().plus(Duration::from_secs(seconds)))
    };
    Timestamp::parse_iso8601(text)
        .or_else(|| after(days?))
        .with_context(|| {
            format!("--expires: must be a time such as 2027-01-31T12:00:00Z or days such as 90d, not {text:?}")
        })
}

/// A line for the team, then one for each key.
fn list(out: &mut impl Write, team: &Team, now: Timestamp) -> std::io::Result<()> {
    if let Some(info) = &team.info {
        writeln!(out, "{}  {:?}  plan {}", info.id, info.name, info.plan)?;
    }
    for key in team.keys_by_age() {
        let created = &key.created;
        writeln!(
            out,
            "{}  {}...{}  {:?}  may {}  created {}  {}",
            created.key,
            created.prefix,
            created.last4,
            created.name,
            may(&key),
            created.at.to_rfc3339(),
            standing(&key, now)
        )?;
    }
    Ok(())
}

fn may(key: &Key) -> String {
    let mut may = if key.scopes == ScopeSet::all() {
        "everything".to_owned()
    } else {
        let scopes: Vec<_> = key.scopes.iter().map(Scope::as_str).collect();
        scopes.join(",")
    };
    if !key.created.sources.is_empty() {
        may.push_str(" from ");
        may.push_str(&key.created.sources.join(","));
    }
    if let Some(queues) = key.only_queues() {
        let queues: Vec<_> = queues.iter().map(QueueName::as_str).collect();
        may.push_str(" in ");
        may.push_str(&queues.join(","));
    }
    may
}

/// Whether it is accepted, and since or until when.
fn standing(key: &Key, now: Timestamp) -> String {
    let status = key.status(now);
    let until = key.accepted_until().map(Timestamp::to_rfc3339);
    match (status, key.revoked, until) {
        (KeyStatus::Revoked, Some((at, _)), _) => format!("revoked {}", at.to_rfc3339()),
        (KeyStatus::Active, _, Some(until)) => format!("active until {until}"),
        (KeyStatus::Expired, _, Some(until)) => format!("expired {until}"),
        (status, ..) => status.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> NewKey {
        NewKey {
            name: "ci".into(),
            scopes: Vec::new(),
            preset: None,
            brand: None,
            environment: "live".into(),
            expires: None,
            allow_source: Vec::new(),
            queues: Vec::new(),
        }
    }

    #[test]
    fn options_are_read_and_wrong_ones_named() {
        let config = Config::default();
        let wish = |wanted| wish(&config, wanted);
        let branded = NewKey {
            brand: Some("aitk".into()),
            ..wanted()
        };
        assert_eq!(wish(branded).expect("fine").brand.as_deref(), Some("aitk"));
        let all = wish(wanted()).expect("fine");
        assert_eq!((all.scopes, all.expires_at), (ScopeSet::all(), None));
        let reads = NewKey {
            preset: Some("read_only".into()),
            environment: "test".into(),
            expires: Some("2040-01-01T00:00:00Z".into()),
            ..wanted()
        };
        let reads = wish(reads).expect("fine");
        assert_eq!(reads.scopes, ScopeSet::read_only());
        assert_eq!(reads.environment, Environment::Test);
        assert!(expiry("90d").expect("days") > SystemClock.now());
        for (wrong, option) in [
            (
                NewKey {
                    preset: Some("god".into()),
                    ..wanted()
                },
                "--preset",
            ),
            (
                NewKey {
                    scopes: vec!["fly".into()],
                    ..wanted()
                },
                "--scopes",
            ),
            (
                NewKey {
                    environment: "prod".into(),
                    ..wanted()
                },
                "--environment",
            ),
            (
                NewKey {
                    brand: Some("sk".into()),
                    ..wanted()
                },
                "--brand",
            ),
            (
                NewKey {
                    expires: Some("soon".into()),
                    ..wanted()
                },
                "--expires",
            ),
            (
                NewKey {
                    expires: Some(format!("{}d", u64::MAX)),
                    ..wanted()
                },
                "--expires",
            ),
        ] {
            let error = wish(wrong).expect_err("refused").to_string();
            assert!(error.starts_with(option), "{error}");
        }
    }
}
