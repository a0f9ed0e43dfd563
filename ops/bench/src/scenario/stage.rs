//! Common to all scenarios: a running system that has been warmed up, a sink, and the figures.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use tokio::time::sleep;
use waybill_domain::time::Timestamp;
use waybill_sink::Sink;

use crate::args::Arguments;
use crate::deliveries::Deliveries;
use crate::load::{Load, Loaded, Pace, Until};
use crate::metrics::Metrics;
use crate::peer::Product;
use crate::processes::{self, Usage};
use crate::report::Report;
use crate::request::{Due, Tasks, Template};
use crate::system::System;

/// Most tasks of a run with a set time; it fails when there are more.
const MAX_TASKS: u64 = 4_000_000;
/// Tasks sent first, to check that everything works, and to warm it up.
const PRIMING: u64 = 200;
/// If nothing arrives or completes for this long, it never will.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Pause between two polls of the completed tasks.
const POLL: Duration = Duration::from_millis(50);
/// Writes with fsync that are timed, and their size.
const FSYNCS: usize = 200;
const FSYNC_BYTES: usize = 4096;

/// A system with a sink.
pub(crate) struct Stage {
    pub(crate) arguments: Arguments,
    pub(crate) system: System,
    pub(crate) sink: Sink,
    pub(crate) deliveries: Arc<Deliveries>,
    pub(crate) report: Report,
    /// Number of the next task.
    pub(crate) next: u64,
}

/// The figures at the start of a measured period.
pub(crate) struct Mark {
    usage: Vec<Usage>,
    bench: Usage,
    metrics: Option<Metrics>,
}

impl Stage {
    /// Starts everything and sends the first tasks.
    pub(crate) async fn set(
        title: &'static str,
        system: System,
        arguments: &Arguments,
    ) -> Result<Self> {
        let (sink, deliveries) = Deliveries::sink(MAX_TASKS).await?;
        let mut stage = Self {
            arguments: arguments.clone(),
            system,
            sink,
            deliveries,
            report: Report::new(title),
            next: 0,
        };
        let loaded = stage
            .load(8, Pace::Closed, Until::Count(PRIMING), &Due::Now)
            .await?;
        ensure!(
            loaded.accepted == PRIMING,
            "the first tasks are not accepted: {:?}",
            loaded.failures
        );
        stage.deliveries.wait_for(PRIMING, PATIENCE).await?;
        if stage.system.target.product == Product::Waybill {
            stage.completed(PRIMING).await?;
        }
        if let Some(folder) = stage.system.folder() {
            let millis = fsync_millis(folder)?;
            stage.report.figure(
                "one 4 KiB write with fsync on this disk, median",
                millis,
                "ms",
            );
        }
        Ok(stage)
    }

    /// Runs a load, with numbers following those of earlier ones.
    pub(crate) async fn load(
        &mut self,
        connections: u16,
        pace: Pace,
        until: Until,
        due: &Due,
    ) -> Result<Loaded> {
        let url = self.sink.url("/");
        let members = "";
        let url = url.as_str();
        self.load_of(connections, pace, until, Tasks { url, due, members })
            .await
    }

    /// The same with tasks of a given kind.
    pub(crate) async fn load_of(
        &mut self,
        connections: u16,
        pace: Pace,
        until: Until,
        tasks: Tasks<'_>,
    ) -> Result<Loaded> {
        let target = self.system.target.clone();
        let template = Template::of(&self.arguments, &target, tasks)?;
        let load = Load {
            target,
            template,
            connections,
            pace,
            until,
            first: self.next,
            deliveries: self.deliveries.clone(),
        };
        let loaded = load.run().await?;
        // Every number that was tried counts as used.
        self.next += loaded.accepted + loaded.failures.count();
        Ok(loaded)
    }

    /// The usual load of scenarios with a set time.
    pub(crate) fn timed(&self) -> Until {
        Until::Elapsed {
            warm_up: self.arguments.warm_up(),
            measured: self.arguments.measured(),
        }
    }

    /// Waits until the read model shows `tasks` completed tasks, and returns when that was.
    pub(crate) async fn completed(&self, tasks: u64) -> Result<Instant> {
        self.counted("completed", tasks).await
    }

    /// Waits until the read model shows `tasks` tasks with a status. Fails only when there is no
    /// progress.
    pub(crate) async fn counted(&self, status: &str, tasks: u64) -> Result<Instant> {
        let mut last = (0, Instant::now());
        loop {
            // Behind by a million tasks it refuses to guess, and may do so for a while.
            let count = self.system.count(status).await.unwrap_or(last.0);
            if count >= tasks {
                return Ok(Instant::now());
            }
            if count > last.0 {
                last = (count, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                bail!(
                    "only {count} of {tasks} tasks are {status}, and none became so for {PATIENCE:?}"
                );
            }
            sleep(POLL).await;
        }
    }

    /// Waits until `tasks` tasks have arrived.
    pub(crate) async fn delivered(&self, tasks: u64) -> Result<()> {
        self.deliveries.wait_for(tasks, PATIENCE).await
    }

    /// Begins a measured period.
    pub(crate) async fn mark(&self) -> Result<Mark> {
        Ok(Mark {
            usage: self.system.usage()?,
            bench: processes::usage(std::process::id())?,
            metrics: self.system.metrics().await?,
        })
    }

    /// Ends the period: reports what the processes used since its start for `tasks` tasks, and
    /// averages from the metrics.
    pub(crate) async fn account(&mut self, since: &Mark, tasks: u64) -> Result<()> {
        let now = self.mark().await?;
        self.report.tasks = tasks;
        self.report.processes = processes::spent(&since.usage, &now.usage);
        self.report.bench = processes::spent(std::slice::from_ref(&since.bench), &[now.bench]);
        let (Some(before), Some(after)) = (&since.metrics, &now.metrics) else {
            return Ok(());
        };
        let inside = [
            (
                "records in an append batch, mean",
                "waybill_log_append_batch_records",
                "TASKS",
                1.0,
                "",
            ),
            (
                "append to the log, mean",
                "waybill_log_append_seconds",
                "TASKS",
                1e3,
                "ms",
            ),
            (
                "accept inside the gateway, mean",
                "waybill_accept_seconds",
                "",
                1e3,
                "ms",
            ),
            (
                "wait from due to started, mean",
                "waybill_queue_wait_seconds",
                "",
                1e3,
                "ms",
            ),
            ("callout, mean", "waybill_callout_seconds", "", 1e3, "ms"),
        ];
        for (name, metric, label, scale, unit) in inside {
            if let Some(mean) = after.mean_since(before, metric, label) {
                self.report.figure(name, mean * scale, unit);
            }
        }
        Ok(())
    }

    /// Reports failures, if there were any.
    pub(crate) fn note_failures(&mut self, loaded: &Loaded) {
        for (status, count) in &loaded.failures.refused {
            self.report
                .figure(format!("answers {status}"), *count as f64, "");
        }
        if loaded.failures.broken > 0 {
            self.report
                .figure("broken connections", loaded.failures.broken as f64, "");
        }
        if self.deliveries.repeats() > 0 {
            self.report
                .figure("repeated deliveries", self.deliveries.repeats() as f64, "");
        }
    }
}

/// The time since 1970.
pub(crate) fn wall_clock() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

/// The date that far from now, in the API's format.
pub(crate) fn wall_clock_in(ahead: Duration) -> String {
    let millis = i64::try_from((wall_clock() + ahead).as_millis()).unwrap_or(i64::MAX);
    Timestamp(millis).to_rfc3339()
}

/// The memory of processes, in MiB.
pub(crate) fn resident(usage: &[Usage]) -> f64 {
    usage.iter().map(|process| process.rss_mib).sum()
}

fn fsync_millis(folder: &Path) -> Result<f64> {
    use std::io::Write as _;
    let path = folder.join("fsync");
    let mut file = std::fs::File::create(&path)?;
    let mut times = Vec::with_capacity(FSYNCS);
    for _ in 0..FSYNCS {
        let begin = Instant::now();
        file.write_all(&[1; FSYNC_BYTES])?;
        file.sync_data()?;
        times.push(begin.elapsed());
    }
    std::fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times[FSYNCS / 2].as_secs_f64() * 1e3)
}
