//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Puts load on a Waybill and reports rates, latencies, CPU and memory.
#[derive(Debug, Clone, Parser)]
#[command(name = "waybill-bench", max_term_width = 100)]
pub(crate) struct Arguments {
    /// The scenario to run.
    #[arg(value_enum)]
    pub(crate) scenario: Choice,
    /// Seconds of load that are measured, in scenarios that run for a set time.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds of load before that, which are not measured.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(0..=60))]
    warm_up: u64,
    /// Connections of the generator.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) connections: u16,
    /// Requests per second of the open loops (`accept-open`, `e2e-open`).
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Tasks of `idle`, `hanging` and `chain` (default: 1000), `drain`, `memory`, `takeover`, `fairness`, `claim` and `claim-one` (100000), schedules of `schedules` (10000), `delayed` (1000000), and of each backlog
    /// of `controls` (20000).
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) tasks: Option<u32>,
    /// Bytes of a task's body.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    pub(crate) body: u32,
    /// Number of queues that the tasks are spread over. A queue is in one partition.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(crate) queues: u8,
    /// The `Authorization` of the tasks.
    #[arg(long, value_enum, default_value_t = Credential::None)]
    pub(crate) credential: Credential,
    /// Most tasks in flight in `e2e`: accepted and not yet delivered.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) window: u32,
    /// Seconds after which the backlog of `drain`, `precision`, `fairness` and `controls` is due: longer than accepting it takes.
    #[arg(long, default_value_t = 45, value_parser = clap::value_parser!(u64).range(1..=600))]
    due_in: u64,
    /// The program to measure. Default: the one that WAYBILL_BIN names, or `waybill` next to this
    /// one.
    #[arg(long, env = "WAYBILL_BIN", value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,
    /// Folder in which data folders are created and removed again. Default: the system's temporary
    /// folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Measures a running Waybill at this address instead of starting one. It must be allowed to
    /// call this machine.
    #[arg(long, value_name = "ADDR:PORT", requires = "key_file")]
    pub(crate) target: Option<SocketAddr>,
    /// A file with an API key for `--target`.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// Ids of the processes of `--target` whose use is measured, with their children. May be given
    /// several times.
    #[arg(long = "pid", value_name = "PID")]
    pub(crate) pids: Vec<u32>,
    /// Metrics endpoint of `--target`.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) metrics: Option<SocketAddr>,
    /// The program that `versus` compares with.
    #[arg(long, value_name = "FILE")]
    pub(crate) other: Option<PathBuf>,
    /// Times that `peers`, `versus` and `controls` measure each, in turn. Odd, so that a median is a run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=21))]
    pub(crate) rounds: u8,
    /// Folder in which `peers` finds the programs of the other products.
    #[arg(long, value_name = "DIR", default_value = ".tools/peers")]
    pub(crate) peers: PathBuf,
    /// File to which the figures are also written, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Arguments {
    /// How long to measure.
    pub(crate) fn measured(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How long the load runs before the measurement.
    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs(self.warm_up)
    }

    /// When a backlog is due.
    pub(crate) fn due_in(&self) -> Duration {
        Duration::from_secs(self.due_in)
    }
}

/// Whether and how tasks have a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Credential {
    /// Tasks carry no credential.
    None,
    /// In the task itself, sealed for that task alone.
    Raw,
    /// By reference to a token of the vault.
    Token,
}

/// One scenario, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Choice {
    /// Closed loop of creations; the tasks are due in an hour, so that no callouts compete.
    Accept,
    /// The same with tasks that are due at once: callouts run meanwhile.
    AcceptLive,
    /// Creations at a fixed rate, due in an hour; latency counted from when each should have been sent.
    AcceptOpen,
    /// As many tasks as possible through to completion, with a bounded number in flight.
    E2e,
    /// Tasks at a fixed rate through to completion; latency counted from when each should have been sent.
    E2eOpen,
    /// One task at a time on an otherwise idle system.
    Idle,
    /// The same while 900 calls to another target hang.
    Hanging,
    /// A backlog that becomes due all at once.
    Drain,
    /// Memory that queued tasks take.
    Memory,
    /// `kill -9` while many tasks are open, until all partitions have an owner again. Not with `--target`.
    Takeover,
    /// A million tasks that are due in a month: memory, and the time of a planned restart. Not with `--target`.
    Delayed,
    /// Tasks that are due one after the other, a thousand a second: how late each arrives.
    Precision,
    /// One task at a time of a team while another team has a crowd queued. Not with `--target`.
    Fairness,
    /// A backlog with ordering keys, with limited queues, with fairness keys and with none of these, in turn.
    Controls,
    /// A backlog of pulled tasks, claimed and completed 50 at a time.
    Claim,
    /// The same, one task in a request.
    ClaimOne,
    /// Pulled tasks at 100 a second, for claims that wait.
    ClaimWait,
    /// Jobs enqueued, claimed and completed through REST and gRPC, at 1,000 a second and as fast as they go.
    Jobs,
    /// Schedules that are all due at the same second.
    Schedules,
    /// A workflow of a thousand tasks, each of which runs after the one before it.
    Chain,
    /// All of them, one after the other.
    All,
    /// The same load on Waybill, on BullMQ and on Restate, in turn. `ops/bench/peers/run` installs those two first.
    Peers,
    /// The same load on this build and on another one (`--other`), in turn: what a change costs tasks that do not use it.
    Versus,
}

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Accept,
    AcceptLive,
    AcceptOpen,
    E2e,
    E2eOpen,
    Idle,
    Hanging,
    Drain,
    Memory,
    Takeover,
    Delayed,
    Precision,
    Fairness,
    Controls,
    Claim,
    ClaimOne,
    ClaimWait,
    Jobs,
    Schedules,
    Chain,
}

impl Choice {
    /// The scenarios to run: one, or all of them.
    pub(crate) fn each(self) -> Vec<Kind> {
        match self {
            Self::Accept => vec![Kind::Accept],
            Self::AcceptLive => vec![Kind::AcceptLive],
            Self::AcceptOpen => vec![Kind::AcceptOpen],
            Self::E2e => vec![Kind::E2e],
            Self::E2eOpen => vec![Kind::E2eOpen],
            Self::Idle => vec![Kind::Idle],
            Self::Hanging => vec![Kind::Hanging],
            Self::Drain => vec![Kind::Drain],
            Self::Memory => vec![Kind::Memory],
            Self::Takeover => vec![Kind::Takeover],
            Self::Delayed => vec![Kind::Delayed],
            Self::Precision => vec![Kind::Precision],
            Self::Fairness => vec![Kind::Fairness],
            Self::Controls => vec![Kind::Controls],
            Self::Claim => vec![Kind::Claim],
            Self::ClaimOne => vec![Kind::ClaimOne],
            Self::ClaimWait => vec![Kind::ClaimWait],
            Self::Jobs => vec![Kind::Jobs],
            Self::Schedules => vec![Kind::Schedules],
            Self::Chain => vec![Kind::Chain],
            Self::Peers | Self::Versus => vec![],
            Self::All => vec![
                Kind::Accept,
                Kind::AcceptLive,
                Kind::AcceptOpen,
                Kind::E2e,
                Kind::E2eOpen,
                Kind::Idle,
                Kind::Hanging,
                Kind::Drain,
                Kind::Memory,
                Kind::Takeover,
                Kind::Delayed,
                Kind::Precision,
                Kind::Fairness,
                Kind::Controls,
                Kind::Claim,
                Kind::ClaimOne,
                Kind::ClaimWait,
                Kind::Jobs,
                Kind::Schedules,
                Kind::Chain,
            ],
        }
    }
}

impl Kind {
    /// The name on the command line and in the report.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Accept => "accept: closed loop, tasks due in an hour",
            Self::AcceptLive => "accept-live: closed loop, callouts run meanwhile",
            Self::AcceptOpen => "accept-open: fixed rate, tasks due in an hour",
            Self::E2e => "e2e: as many tasks as go through",
            Self::E2eOpen => "e2e-open: fixed rate through to completion",
            Self::Idle => "idle: one task at a time",
            Self::Hanging => "hanging: one task at a time while another target hangs",
            Self::Drain => "drain: a backlog due at once",
            Self::Memory => "memory: queued tasks",
            Self::Takeover => "takeover: killed while many tasks are open",
            Self::Delayed => "delayed: many tasks that are due in a month",
            Self::Precision => "precision: a thousand tasks due each second",
            Self::Fairness => "fairness: one task at a time while another team has a crowd queued",
            Self::Controls => {
                "controls: a backlog with ordering keys, limits and fairness keys, in turn"
            }
            Self::Claim => "claim: a backlog claimed and completed 50 at a time",
            Self::ClaimOne => "claim-one: a backlog claimed and completed one by one",
            Self::ClaimWait => "claim-wait: tasks for claims that wait",
            Self::Jobs => "jobs: enqueued, claimed and completed through REST and gRPC",
            Self::Schedules => "schedules: all due at the same second",
            Self::Chain => "chain: a workflow in which each task runs after the one before",
        }
    }
}
