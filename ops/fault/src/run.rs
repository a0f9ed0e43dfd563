//! A run from its start to its verdict.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::args::Arguments;
use crate::bulk;
use crate::checker::{self, Check, Evidence, Span, Told};
use crate::client::Client;
use crate::collect::{self, Reading};
use crate::faults::{Fault, Lacking};
use crate::fleet::Fleet;
use crate::flows;
use crate::hosts::{self, Judging};
use crate::inject::{Injector, KEPT};
use crate::probe::Probe;
use crate::pullers::{self, Finishers};
use crate::recorder::Recorder;
use crate::say;
use crate::schedules::Schedules;
use crate::seeded::Seeded;
use crate::shaped::{self, Shaped};
use crate::shaper;
use crate::shared;
use crate::steered;
use crate::stream::Subscriber;
use crate::turns;
use crate::workload::{Target, Workload, now};

/// Number of concurrent clients.
const CLIENTS: u64 = 8;
/// Time for all processes to be up and to own all partitions.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Tasks accepted between two faults, so that each fault hits work in progress.
const BETWEEN_FAULTS: u64 = 25;
/// Time limit for these tasks, and for subscribers to have read everything.
const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two polls.
const POLL: Duration = Duration::from_millis(50);
/// After a clock was set right its process may go by the wrong one for so long: the library looks once a second.
const CLOCK_SETTLES: Duration = Duration::from_secs(2);
/// How long the connections of the restless subscriber last.
const HANG_UP: Duration = Duration::from_millis(2_500);

/// Performs a run, prints the verdicts, and returns whether all checks passed.
pub(crate) async fn run(arguments: &Arguments) -> Result<bool> {
    let seed = arguments.length.seed();
    let servers = arguments.length.servers();
    let folder = tempfile::Builder::new()
        .prefix("waybill-fault-")
        .tempdir()?;
    say(&format!(
        "waybill-fault: seed {seed}, nats-servers: {servers}"
    ))?;
    let outcome = attempt(arguments, seed, folder.path()).await;
    if arguments.keep || !matches!(outcome, Ok(true)) {
        say(&format!(
            "waybill-fault: seed {seed}, nats-servers: {servers}; everything is kept in {}",
            folder.keep().display()
        ))?;
    }
    outcome
}

async fn attempt(arguments: &Arguments, seed: u64, folder: &Path) -> Result<bool> {
    let begin = Instant::now();
    let servers = arguments.length.servers();
    let target = Target::start().await?;
    let mut fleet = Fleet::start(servers, folder).await?;
    let client = Client::new(&fleet.address, fleet.key());
    let probe = Probe::new(&client, &target).await?;
    let up = probe
        .until_through(START_DEADLINE)
        .await
        .context("the processes do not come up")?;
    say(&format!("up after {:.1} s", up.as_secs_f64()))?;
    let log = fleet.log().await?;
    let recorder = Recorder::start(log.clone(), &fleet);

    let subscribers = Subscribers::start(&client);
    let shaped = Shaped::set_limits(&client).await?;
    let scheduled = Schedules::set(&client, &target, arguments.length.rate()).await?;
    let mut workload = Workload::start(CLIENTS, &client, &target, seed);
    bulk::start(
        arguments.length.rate(),
        &mut workload,
        &client,
        &target,
        seed,
    );
    shaper::start(&shaped, &mut workload, &client, &target, seed);
    shared::start(&mut workload, &client, &target, seed);
    pullers::start(&mut workload, &client, seed);
    steered::start(&mut workload, &client, &target, seed);
    let judging = Judging::set(&client, &target).await?;
    judging.start(&mut workload, &client, &target, seed);
    shaped.start_pausing(&mut workload, &client, hosts::host(&target.held()), seed);
    flows::start(&mut workload, &client, &target, seed);
    let mut checks = Vec::new();
    let mut planned = Vec::new();
    let mut wrong_clocks = Vec::new();
    let mut planted = Vec::new();
    let mut schedule = Schedule::new(arguments, servers, &fleet, seed);
    while let Some(fault) = schedule.next() {
        until_accepted(&workload, BETWEEN_FAULTS).await?;
        checks.extend(
            fleet
                .restart_ended()?
                .into_iter()
                .map(|how| Check::of("no process ends by itself", Err(how))),
        );
        let mut injector = Injector {
            fleet: &mut fleet,
            log: &log,
            counters: Arc::clone(&workload.counters),
            probe: &probe,
            planted: &mut planted,
            recorder: &recorder,
        };
        let from_ms = now().0;
        let survived = injector.inject(fault).await;
        if fault.sets_a_clock() {
            let to_ms = now().plus(CLOCK_SETTLES).0;
            wrong_clocks.push(Span { from_ms, to_ms });
        }
        if let Err(error) = &survived {
            say(&format!("{fault}: {error:#}"))?;
        }
        if let Ok(survived) = &survived {
            let (bit, recovered) = (survived.bit.as_secs_f64(), survived.recovered.as_secs_f64());
            let slowest = survived.slowest.as_secs_f64();
            say(&format!(
                "{fault}: bit after {bit:.1} s, recovered {recovered:.1} s after healing, slowest creation {slowest:.1} s"
            ))?;
            planned.extend(survived.planned);
        }
        checks.push(Check::of(
            fault.check_name(),
            survived.map(|_| ()).map_err(|error| format!("{error:#}")),
        ));
    }
    until_accepted(&workload, BETWEEN_FAULTS).await?;
    let mut told = workload.stop().await?;
    let scheduled = scheduled.pause(&client).await?;
    let judged = judging.stop(&client).await?;
    checks.push(Check::of(
        "no process ends by itself",
        fleet
            .restart_ended()?
            .into_iter()
            .next()
            .map_or(Ok(()), Err),
    ));

    let finishers = Finishers::start(&client, seed);
    let mut reading = Reading::default();
    reading.until_all_ended(&log, &recorder, &planted).await?;
    told.extend(flows::last(&client, &target, seed).await?);
    reading.until_all_ended(&log, &recorder, &planted).await?;
    let before_crowd = reading.last();
    Shaped::crowd(&client, &target).await?;
    shared::crowd(&client, &target).await?;
    reading.until_all_ended(&log, &recorder, &planted).await?;
    told.extend(finishers.stop().await?);
    let (streamed, stream_told) = subscribers.stop_at(reading.last()).await?;
    told.extend(stream_told);
    let records = shaped.records();
    let purges = recorder.purges();
    let kept = reading.kept(recorder.first());
    let evidence = Evidence {
        told,
        calls: target.calls(),
        listed: collect::list(&client, kept.len()).await?,
        read: collect::sample(&client, &kept, seed).await?,
        streamed,
        outputs: fleet.outputs(),
        planned,
        limited: shaped::limits(),
        shared: shared::limits(),
        pauses: records.pauses,
        held: records.held,
        judged: Some(judged),
        lines: records.lines,
        wrong_clocks,
        scheduled,
        before_crowd,
        purges,
        kept_ms: i64::try_from(KEPT.as_millis())?,
        restated: reading.restated,
        log: reading.entries,
    };
    checks.push(Check::of(
        "waybill verify finds the read model as the log makes it",
        fleet.verify(evidence.log.len()).await,
    ));
    let leak = reading
        .leaks
        .first()
        .map_or(Ok(()), |seq| Err(format!("TASKS {seq} holds it")));
    checks.push(Check::of("no event holds the API key", leak));
    checks.extend(checker::check(&evidence));
    let turns = turns::check(&mut fleet, &client, &target, &log, &probe).await;
    checks.push(Check::of(
        "teams that crowd for slots get their shares, by the weights of their plans",
        turns.map_err(|error| format!("{error:#}")),
    ));

    let passed = verdict(&checks, &evidence, begin)?;
    if arguments.keep || !passed {
        let text = serde_json::to_vec_pretty(&evidence)?;
        std::fs::write(folder.join("evidence.json"), text)?;
    }
    Ok(passed)
}

fn verdict(checks: &[Check], evidence: &Evidence, begin: Instant) -> Result<bool> {
    for check in checks {
        say(&check.to_string())?;
    }
    let passed = checks.iter().filter(|check| check.passed()).count();
    let failed = checks.len() - passed;
    let lost = |entry: &&checker::Entry| {
        matches!(entry.step, checker::Step::AttemptFailed { lost: true, .. })
    };
    let acknowledged: HashSet<&str> = evidence.told.iter().filter_map(Told::accepted).collect();
    say(&format!(
        "{} tasks acknowledged, {} events ({} attempts lost with their worker, or by its fault), {} answers to clients, {} calls received, in {:.0} s",
        acknowledged.len(),
        evidence.log.len(),
        evidence.log.iter().filter(lost).count(),
        evidence.told.len(),
        evidence.calls.len(),
        begin.elapsed().as_secs_f64()
    ))?;
    say(&format!("{passed} passed, {failed} failed"))?;
    Ok(failed == 0)
}

/// Waits until `more` further tasks are accepted: the calm between two faults.
async fn until_accepted(workload: &Workload, more: u64) -> Result<()> {
    let accepted = || workload.counters.accepted.load(Ordering::Relaxed);
    let (enough, give_up) = (accepted() + more, Instant::now() + PATIENCE);
    while accepted() < enough {
        if Instant::now() > give_up {
            anyhow::bail!(
                "clients get no more tasks accepted: {} of {enough} within {PATIENCE:?}",
                accepted()
            );
        }
        sleep(POLL).await;
    }
    Ok(())
}

/// The faults of a run, and their order.
struct Schedule {
    faults: Vec<Fault>,
    next: usize,
    /// When to stop drawing faults. `None` to inject each once.
    until: Option<Instant>,
    random: Seeded,
}

impl Schedule {
    fn new(arguments: &Arguments, servers: u16, fleet: &Fleet, seed: u64) -> Self {
        let lacking = Lacking {
            clocks: fleet.workers.iter().any(|worker| worker.clock.is_none()),
            small_disk: !fleet.servers.has_small_disk(),
        };
        let until = arguments
            .length
            .duration()
            .map(|duration| Instant::now() + duration);
        let mut faults = if until.is_some() {
            Fault::any(servers, lacking)
        } else {
            Fault::each(servers, lacking)
        };
        faults.retain(|fault| arguments.length.wants(&fault.to_string()));
        Self {
            faults,
            next: 0,
            until,
            random: Seeded::new(seed, u64::MAX),
        }
    }

    fn next(&mut self) -> Option<Fault> {
        match self.until {
            None => {
                self.next += 1;
                self.faults.get(self.next - 1).copied()
            }
            Some(until) if Instant::now() < until => Fault::draw(&self.faults, &mut self.random),
            Some(_) => None,
        }
    }
}

/// Two subscribers: one stays connected as long as it can, one hangs up again and again.
struct Subscribers {
    stop: CancellationToken,
    positions: Vec<Arc<AtomicU64>>,
    readers: JoinSet<Result<(checker::Streamed, Vec<checker::Told>)>>,
}

impl Subscribers {
    fn start(client: &Client) -> Self {
        let stop = CancellationToken::new();
        let mut positions = Vec::new();
        let mut readers = JoinSet::new();
        for (name, hang_up_after) in [
            ("the steady subscriber", None),
            ("the restless subscriber", Some(HANG_UP)),
        ] {
            let position = Arc::new(AtomicU64::new(0));
            positions.push(Arc::clone(&position));
            let subscriber = Subscriber {
                name: name.to_owned(),
                client: client.clone(),
                hang_up_after,
                position,
            };
            readers.spawn(subscriber.read(stop.clone()));
        }
        Self {
            stop,
            positions,
            readers,
        }
    }

    /// Stops them when they have read up to `last`, or when none has read on for a while.
    async fn stop_at(mut self, last: u64) -> Result<(Vec<checker::Streamed>, Vec<checker::Told>)> {
        let behind = |position: &Arc<AtomicU64>| position.load(Ordering::Acquire) < last;
        let read = || self.positions.iter().map(|at| at.load(Ordering::Acquire));
        // However far they are behind: only one that stands still has lost its way.
        let (mut furthest, mut moved) = (read().collect::<Vec<_>>(), Instant::now());
        while self.positions.iter().any(behind) && moved.elapsed() < PATIENCE {
            sleep(POLL).await;
            let now: Vec<_> = read().collect();
            if now != furthest {
                (furthest, moved) = (now, Instant::now());
            }
        }
        self.stop.cancel();
        let (mut streamed, mut told) = (Vec::new(), Vec::new());
        while let Some(reader) = self.readers.join_next().await {
            let (stream, answers) = reader??;
            streamed.push(stream);
            told.extend(answers);
        }
        Ok((streamed, told))
    }
}
