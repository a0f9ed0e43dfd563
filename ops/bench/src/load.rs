//! The load: connections that create tasks in a closed loop, with a bounded number in flight, or at
//! a fixed rate.
//!
//! A closed loop sends the next request when the previous answer has arrived: it finds the highest
//! rate, and the latencies at that rate. At a fixed rate each request has a time at which it should
//! be sent, and its latency counts from then: when the system stalls, the wait of the requests that
//! it delays is included (no coordinated omission).

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

/// Consecutive failures of a connection after which the system counts as gone.
const MAX_BROKEN_IN_A_ROW: u32 = 20;
/// Pause before a broken connection is reopened.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Longest interval at which the pacer checks the clock; requests that fall due in between are sent
/// together.
const PACE: Duration = Duration::from_micros(200);

/// When the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each connection sends when its last answer has arrived.
    Closed,
    /// The same, but with at most this many tasks accepted and not yet delivered.
    Window(u32),
    /// This many a second, regardless of the answers.
    Rate(u32),
}

/// When the load ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// After the warm-up and this measured time.
    Elapsed {
        warm_up: Duration,
        measured: Duration,
    },
    /// After this many tasks, all of which are measured.
    Count(u64),
}

/// Parameters of a load.
pub(crate) struct Load {
    pub(crate) target: Target,
    pub(crate) template: Template,
    pub(crate) connections: u16,
    pub(crate) pace: Pace,
    pub(crate) until: Until,
    /// Number of the first task; lower ones are already used.
    pub(crate) first: u64,
    pub(crate) deliveries: Arc<Deliveries>,
}

/// The result of a load.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Tasks accepted, including the warm-up.
    pub(crate) accepted: u64,
    /// Tasks accepted within the measured period.
    pub(crate) accepted_measured: u64,
    /// Latency of the measured accepts.
    pub(crate) latencies: Latencies,
    pub(crate) failures: Failures,
    pub(crate) begin: Instant,
    /// The measured period.
    pub(crate) from: Instant,
    pub(crate) to: Instant,
}

/// Requests that created no task, as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Failures {
    /// By HTTP status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Requests without an answer.
    pub(crate) broken: u64,
}

impl Failures {
    pub(crate) fn count(&self) -> u64 {
        self.refused.values().sum::<u64>() + self.broken
    }
}

impl Loaded {
    /// Length of the measured period in seconds.
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
    /// Waits until the next task is to be sent, and returns its number. `None` at the end.
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

    /// Consumes a permit. `None` if the end comes first.
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

/// When request `index` is due, counted from the start of the load.
fn interval(rate: u32, index: u64) -> Duration {
    Duration::from_secs_f64(index as f64 / f64::from(rate))
}

/// The results of one connection.
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
            Ok(answer) if matches!(answer.status, 201 | 202) => {
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
            // As far as we know the task will not arrive, so return its permit.
            shared.deliveries.room.add_permits(1);
        }
    }
    Ok(tally)
}

/// A thread that signals when requests are due. The runtime's timer has a resolution of a
/// millisecond, which would distort the latencies.
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
                    // Not negative, and far below the largest u64.
                    let due = (shared.begin.elapsed().as_secs_f64() * f64::from(rate)) as u64 + 1;
                    if due > given {
                        // Requests that fell due since the last check.
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
            // Joining fails only if the thread panicked, and then its message has been printed.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use crate::peer::Product;
    use crate::request::Due;
    use clap::Parser;
    use waybill_sink::{Plan, Script, Sink, SinkOptions};

    /// A server that answers like a gateway.
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
            product: Product::Waybill,
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

    /// With one connection, answers that take 50 ms and 100 requests a second, requests are later
    /// and later.
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

    /// Nothing is delivered here, so the number in flight reaches its limit and stays there.
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
