//! The load: connections that create tasks, in a closed loop, with a bounded number on their way, or at a fixed rate.
//!
//! A closed loop sends when the answer to the one before is there: it finds the highest rate, and its latencies are those at that rate. At a
//! fixed rate each request has a time at which it should be sent, and its latency counts from then: when the
//! system stalls, the requests that had to wait for it count with their wait (no coordinated omission).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::deliveries::Deliveries;
use crate::http1::Connection;
use crate::latency::Latencies;
use crate::request::Template;
use crate::system::Target;

/// Failures of one connection in a row after which the system counts as gone.
const MAX_BROKEN_IN_A_ROW: u32 = 20;
/// Pause before a broken connection is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// The pacer looks at the clock at least so often; requests that fall due meanwhile are sent together.
const PACE: Duration = Duration::from_micros(200);

/// What decides when the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each connection sends when its last answer is there.
    Closed,
    /// The same, while no more than so many tasks are accepted and not yet delivered.
    Window(u32),
    /// So many a second, whatever the answers do.
    Rate(u32),
}

/// How much is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// So long is measured after the warm-up.
    Elapsed {
        warm_up: Duration,
        measured: Duration,
    },
    /// So many tasks; all are measured.
    Count(u64),
}

/// A load to be run.
pub(crate) struct Load {
    pub(crate) target: Target,
    pub(crate) template: Template,
    pub(crate) connections: u16,
    pub(crate) pace: Pace,
    pub(crate) until: Until,
    /// Number of the first task; those before are taken.
    pub(crate) first: u64,
    pub(crate) deliveries: Arc<Deliveries>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Tasks accepted, the warm-up included.
    pub(crate) accepted: u64,
    /// Answers within the measured stretch that accept a task.
    pub(crate) accepted_measured: u64,
    /// Latency of the measured accepts.
    pub(crate) latencies: Latencies,
    pub(crate) failures: Failures,
    pub(crate) begin: Instant,
    /// The stretch that is measured.
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// Requests that did not make a task, so far as anybody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Failures {
    /// By HTTP status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Without an answer.
    pub(crate) broken: u64,
}

impl Failures {
    pub(crate) fn count(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.broken
    }
}

impl Loaded {
    /// Seconds of the measured stretch.
    pub(crate) fn seconds(&self) -> f64 {
        (self.to - self.from).as_secs_f64()
    }
}

struct Shared {
    pace: Pace,
    begin: Instant,
    from: Instant,
    stop_at: Option<Instant>,
    next: AtomicU64,
    first: u64,
    end: u64,
    due: Semaphore,
    deliveries: Arc<Deliveries>,
    target: Target,
}

struct Ticket {
    number: u64,
    intended: Instant,
}

impl Load {
    /// Runs it to its end.
    pub(crate) async fn run(self) -> Result<Loaded> {
        let begin = Instant::now();
        let (from, stop_at, count) = match self.until {
            Until::Elapsed { warm_up, measured } => {
                (begin + warm_up, Some(begin + warm_up + measured), u64::MAX)
            }
            Until::Count(count) => (begin, None, count),
        };
        let end = self
            .first
            .saturating_add(count)
            .min(self.deliveries.capacity());
        if let Pace::Window(window) = self.pace {
            let room = &self.deliveries.room;
            room.forget_permits(room.available_permits());
            room.add_permits(window as usize);
        }
        let shared = Arc::new(Shared {
            pace: self.pace,
            begin,
            from,
            stop_at,
            next: AtomicU64::new(self.first),
            first: self.first,
            end,
            due: Semaphore::new(0),
            deliveries: self.deliveries,
            target: self.target,
        });
        let pacer = Pacer::start(&shared)?;
        let mut connections = JoinSet::new();
        for _ in 0..self.connections {
            connections.spawn(connection(shared.clone(), self.template.clone()));
        }
        let mut loaded = Loaded {
            accepted: 0,
            accepted_measured: 0,
            latencies: Latencies::new()?,
            failures: Failures::default(),
            begin,
            from,
            to: begin,
        };
        while let Some(tally) = connections.join_next().await {
            loaded.add(tally??);
        }
        drop(pacer);
        loaded.to = stop_at.unwrap_or_else(Instant::now);
        let ran_out = stop_at.is_some() && shared.next.load(Ordering::Relaxed) >= shared.end;
        ensure!(
            !ran_out,
            "more tasks than there is room for; measure for a shorter time"
        );
        Ok(loaded)
    }
}

impl Loaded {
    fn add(&mut self, tally: Tally) {
        self.accepted += tally.accepted;
        self.accepted_measured += tally.measured.len() as u64;
        for latency in tally.measured {
            self.latencies.record(latency);
        }
        for (status, count) in tally.failures.refused {
            *self.failures.refused.entry(status).or_default() += count;
        }
        self.failures.broken += tally.failures.broken;
    }
}

impl Shared {
    /// The next task to send, when it is time; `None` at the end.
    async fn next(&self) -> Option<Ticket> {
        match self.pace {
            Pace::Closed => {}
            Pace::Window(_) => self.permit(&self.deliveries.room).await?,
            Pace::Rate(_) => self.permit(&self.due).await?,
        }
        let now = Instant::now();
        if self.stop_at.is_some_and(|stop| now >= stop) {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.end {
            return None;
        }
        let intended = match self.pace {
            Pace::Rate(rate) => self.begin + interval(rate, number - self.first),
            Pace::Closed | Pace::Window(_) => now,
        };
        Some(Ticket { number, intended })
    }

    /// Takes a permit for good; `None` when the end comes first.
    async fn permit(&self, permits: &Semaphore) -> Option<()> {
        let acquired = match self.stop_at {
            Some(stop) => tokio::time::timeout_at(stop.into(), permits.acquire())
                .await
                .ok()?,
            None => permits.acquire().await,
        };
        acquired.ok()?.forget();
        Some(())
    }
}

/// How long after the begin the request of that index is due.
fn interval(rate: u32, index: u64) -> Duration {
    Duration::from_secs_f64(index as f64 / f64::from(rate))
}

/// What one connection has seen.
#[derive(Default)]
struct Tally {
    accepted: u64,
    measured: Vec<Duration>,
    failures: Failures,
}

async fn connection(shared: Arc<Shared>, mut template: Template) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut open = Connection::open(shared.target.address).await?;
    let mut broken_in_a_row = 0;
    while let Some(Ticket { number, intended }) = shared.next().await {
        shared.deliveries.sent(number, intended);
        let answer = open.exchange(template.patch(number)).await;
        let now = Instant::now();
        match answer {
            Ok(answer) if answer.status == 201 => {
                tally.accepted += 1;
                let in_time = shared.stop_at.is_none_or(|stop| now < stop);
                if intended >= shared.from && in_time {
                    tally.measured.push(now - intended);
                }
                broken_in_a_row = 0;
                continue;
            }
            Ok(answer) => *tally.failures.refused.entry(answer.status).or_default() += 1,
            Err(error) => {
                tally.failures.broken += 1;
                broken_in_a_row += 1;
                if broken_in_a_row >= MAX_BROKEN_IN_A_ROW {
                    return Err(error.context("the gateway is gone"));
                }
                tokio::time::sleep(RECONNECT_PAUSE).await;
                if let Ok(again) = Connection::open(shared.target.address).await {
                    open = again;
                }
            }
        }
        if let Pace::Window(_) = shared.pace {
            // It will not arrive, so far as we know; the place is free again.
            shared.deliveries.room.add_permits(1);
        }
    }
    Ok(tally)
}

/// A thread that says when requests are due. The runtime's timer has a resolution of a millisecond, which would show in the latencies.
struct Pacer {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Pacer {
    fn start(shared: &Arc<Shared>) -> Result<Option<Self>> {
        let Pace::Rate(rate) = shared.pace else {
            return Ok(None);
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, shared) = (stop.clone(), shared.clone());
        let thread = std::thread::Builder::new()
            .name("pacer".into())
            .spawn(move || {
                let mut given = 0_u64;
                while !stopping.load(Ordering::Relaxed) {
                    // Non-negative and far below the range of u64.
                    let due = (shared.begin.elapsed().as_secs_f64() * f64::from(rate)) as u64 + 1;
                    if due > given {
                        // The difference is what fell due since the last look.
                        shared.due.add_permits((due - given) as usize);
                        given = due;
                    }
                    let next = shared.begin + interval(rate, given);
                    std::thread::sleep(next.saturating_duration_since(Instant::now()).max(PACE));
                }
            })
            .context("starting the pacer")?;
        Ok(Some(Self {
            stop,
            thread: Some(thread),
        }))
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only fails if the thread panicked, and then its last words are printed already.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use crate::request::Due;
    use clap::Parser;
    use waybill_sink::{Plan, Script, Sink, SinkOptions};

    /// Something that answers like a gateway.
    async fn gateway(script: Script) -> Sink {
        let options = SinkOptions {
            script: Some(script),
            ..SinkOptions::default()
        };
        Sink::start(([127, 0, 0, 1], 0).into(), options)
            .await
            .expect("a gateway")
    }

    fn accepting() -> Script {
        Arc::new(|_| Some(Plan::of("/status/201", None)))
    }

    async fn load(gateway: &Sink, connections: u16, pace: Pace, until: Until) -> Load {
        let (_, deliveries) = Deliveries::sink(100_000).await.expect("a sink");
        let target = Target {
            address: gateway.addr,
            key: "k".into(),
            credential: None,
        };
        let arguments = Arguments::parse_from(["waybill-bench", "idle"]);
        let template =
            Template::new(&arguments, &target, "http://s/", &Due::Now).expect("a template");
        Load {
            target,
            template,
            connections,
            pace,
            until,
            first: 7,
            deliveries,
        }
    }

    #[tokio::test]
    async fn a_closed_loop_sends_each_number_once() {
        let gateway = gateway(accepting()).await;
        let loaded = load(&gateway, 8, Pace::Closed, Until::Count(500))
            .await
            .run()
            .await
            .expect("run");
        assert_eq!(
            (loaded.accepted, loaded.accepted_measured, gateway.count()),
            (500, 500, 500)
        );
        let mut numbers: Vec<u64> = gateway
            .received()
            .iter()
            .map(|r| {
                let json: serde_json::Value = serde_json::from_slice(&r.body).expect("JSON");
                json["body"]
                    .as_str()
                    .and_then(|body| crate::request::number_in(body.as_bytes()))
                    .expect("a number")
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (7..507).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_is_refused_is_counted_and_not_measured() {
        let script: Script = Arc::new(|_| Some(Plan::of("/status/503", None)));
        let gateway = gateway(script).await;
        let loaded = load(&gateway, 2, Pace::Closed, Until::Count(20))
            .await
            .run()
            .await
            .expect("run");
        assert_eq!((loaded.accepted, loaded.failures.refused[&503]), (0, 20));
        assert_eq!(loaded.latencies.sum_up().count, 0);
    }

    /// One connection, an answer that takes 50 ms, 100 requests a second offered: half of them are late, and later and later.
    #[tokio::test]
    async fn at_a_fixed_rate_a_slow_system_shows_in_the_latencies() {
        let script: Script = Arc::new(|_| Some(Plan::of("/delay/50ms/status/201", None)));
        let gateway = gateway(script).await;
        let until = Until::Elapsed {
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(1),
        };
        let loaded = load(&gateway, 1, Pace::Rate(100), until)
            .await
            .run()
            .await
            .expect("run");
        let latency = loaded.latencies.sum_up();
        assert!(latency.max_ms > 300.0, "coordinated omission: {latency:?}");
    }

    #[tokio::test]
    async fn a_fixed_rate_is_kept() {
        let gateway = gateway(accepting()).await;
        let until = Until::Elapsed {
            warm_up: Duration::from_millis(200),
            measured: Duration::from_secs(1),
        };
        let loaded = load(&gateway, 8, Pace::Rate(200), until)
            .await
            .run()
            .await
            .expect("run");
        assert!(
            (150..=201).contains(&loaded.accepted_measured),
            "{loaded:?}"
        );
    }

    /// Nothing is delivered here, so the window fills up and stays full.
    #[tokio::test]
    async fn a_window_bounds_what_is_on_its_way() {
        let gateway = gateway(accepting()).await;
        let until = Until::Elapsed {
            warm_up: Duration::ZERO,
            measured: Duration::from_millis(300),
        };
        let loaded = load(&gateway, 8, Pace::Window(25), until)
            .await
            .run()
            .await
            .expect("run");
        assert_eq!(loaded.accepted, 25);
    }
}
