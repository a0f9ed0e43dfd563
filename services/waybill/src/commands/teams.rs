//! `waybill teams ...`: the teams, their plans and their members.

mod invite;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use anyhow::{anyhow, ensure};
use waybill_commands::Author;
use waybill_commands::ControlWriter;
use waybill_domain::access::Aggregate;
use waybill_domain::access::team::Team;
use waybill_domain::actor::Actor;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::{TeamId, UserId};
use waybill_log::jetstream::JetStreamLog;
use waybill_log::{Log, MAX_BATCH, Stream, StreamSeq, control_event};

use crate::args::Teams;
use crate::config::Config;
use crate::output;
use crate::running_server;
use crate::telemetry;

/// Everything about teams themselves, and about their members.
const OF_TEAMS: [&str; 2] = ["control.*.team.*", "control.*.member.*"];
/// Everything about people.
const OF_PEOPLE: [&str; 1] = ["control._.user.*"];

/// Runs one of the commands.
pub(crate) async fn run(mut config: Config, command: Teams) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "teams")?;
    let mut out = output::stdout();
    match command {
        Teams::List { at } => {
            let log = running_server::connect(&mut config, &at).await?;
            list(&mut out, &log).await
        }
        Teams::Plan { team, plan, at } => {
            let team = parse(&team)?;
            let plans = config.plans()?;
            let names: Vec<_> = plans.plans().map(|plan| &*plan.name).collect();
            ensure!(
                names.contains(&plan.as_str()),
                "--plan: there is no plan {plan:?}; there are {}",
                names.join(", ")
            );
            let (log, control) = running_server::control(&mut config, &at).await?;
            change_plan(&mut out, &log, &control, team, plan).await
        }
        Teams::Invite {
            team,
            email,
            role,
            at,
        } => {
            let wanted = invite::Wanted::parse(team, &email, &role)?;
            let (log, control) = running_server::control(&mut config, &at).await?;
            invite::invite(&mut out, &config, &log, &control, wanted).await
        }
        Teams::Members { team, at } => {
            let team = parse(&team)?;
            let (log, control) = running_server::control(&mut config, &at).await?;
            let known = control.team(&team).await?;
            ensure!(known.info.is_some(), "--team: there is no team {team}");
            members(&mut out, &log, &team, &known).await
        }
    }
}

fn parse(team: &str) -> anyhow::Result<TeamId> {
    TeamId::parse(team).map_err(|_| anyhow!("--team: {team:?} is no team id"))
}

/// A line for each team, oldest first.
async fn list(out: &mut impl Write, log: &JetStreamLog) -> anyhow::Result<()> {
    let mut teams: BTreeMap<TeamId, Team> = BTreeMap::new();
    for_each(log, &OF_TEAMS, |event| {
        if let Some(team) = event.team() {
            teams.entry(team.clone()).or_default().evolve(event);
        }
    })
    .await?;
    for team in teams.values() {
        if let Some(info) = &team.info {
            writeln!(
                out,
                "{}  {:?}  plan {}  members {}  created {}",
                info.id,
                info.name,
                info.plan,
                team.members.len(),
                info.created_at.to_rfc3339()
            )?;
        }
    }
    Ok(())
}

async fn change_plan(
    out: &mut impl Write,
    log: &JetStreamLog,
    control: &ControlWriter,
    team: TeamId,
    plan: String,
) -> anyhow::Result<()> {
    let by = Author::from(Actor::Operator("cli".into()));
    let command = waybill_domain::access::team::TeamCommand::ChangePlan { plan };
    let after = control.run_team(&team, command, &by).await?;
    running_server::settled(log, after.version).await?;
    if let Some(info) = after.state.info {
        writeln!(out, "{team} is on the plan {}", info.plan)?;
    }
    Ok(())
}

/// A line for each member, those who have been there longest first.
async fn members(
    out: &mut impl Write,
    log: &JetStreamLog,
    id: &TeamId,
    team: &Team,
) -> anyhow::Result<()> {
    if team.members.is_empty() {
        // Not on standard output: there a line is a member.
        writeln!(
            std::io::stderr(),
            "{id} has no members; `waybill teams invite --team {id} --email ADDRESS --role owner` invites the first"
        )?;
        return Ok(());
    }
    let mut known: BTreeMap<UserId, (String, String)> = BTreeMap::new();
    for_each(log, &OF_PEOPLE, |event| match event {
        ControlEvent::UserConfirmed(e) if team.members.contains_key(&e.user) => {
            known.insert(e.user.clone(), (e.email.clone(), e.name.clone()));
        }
        ControlEvent::UserRenamed(e) => {
            if let Some((_, name)) = known.get_mut(&e.user) {
                name.clone_from(&e.name);
            }
        }
        _ => {}
    })
    .await?;
    let mut members: Vec<_> = team.members.iter().collect();
    members.sort_by_key(|(user, member)| (member.since, (*user).clone()));
    for (user, member) in members {
        let (email, name) = known.get(user).cloned().unwrap_or_default();
        let since = member.since.to_rfc3339();
        writeln!(
            out,
            "{user}  {:6}  {email}  {name:?}  since {since}",
            member.role.as_str()
        )?;
    }
    Ok(())
}

/// Shows all events of CONTROL under these filters, in order. What this version cannot read is left out.
async fn for_each(
    log: &JetStreamLog,
    filters: &[&str],
    mut look: impl FnMut(&ControlEvent),
) -> anyhow::Result<()> {
    let filters: Vec<_> = filters.iter().map(|filter| (*filter).to_owned()).collect();
    let log: Arc<dyn Log> = Arc::new(log.clone());
    let last = log.bounds(Stream::Control).await?.last;
    let mut from = StreamSeq(1);
    loop {
        let page = log
            .range(Stream::Control, &filters, from, last, MAX_BATCH)
            .await?;
        for record in &page {
            if let Ok(event) = control_event(record) {
                look(&event);
            }
            from = record.seq.next();
        }
        if page.len() < MAX_BATCH {
            return Ok(());
        }
    }
}
