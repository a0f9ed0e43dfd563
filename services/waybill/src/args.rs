//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Waybill: HTTP tasks that are durable, retried and streamed.
#[derive(Debug, Parser)]
#[command(name = "waybill", version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Configuration file (TOML). Default: `waybill.toml` in the working directory, if it is there.
    #[arg(long, global = true, env = "WAYBILL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything in one process, over a private nats-server (or the one at NATS_URL).
    Up(Up),
    /// Only the gateway: HTTP in, events out.
    Gateway,
    /// Only a worker: owns partitions and calls targets.
    Worker,
    /// Only a projector: read models and queries.
    Projector,
    /// A small HTTP target for trying things: prints what it receives, fails or stalls on request.
    Sink(Sink),
    /// API keys and teams.
    #[command(subcommand)]
    Keys(Keys),
    /// The events of a team as JSON lines, from the log.
    Replay(Replay),
    /// Wipes the read model of a stopped projector, or of a stopped `waybill up`, and makes it anew from the log.
    Rebuild(DataDir),
    /// Asks a running projector to make its read model anew beside the live one, and compares them byte for byte.
    Verify(DataDir),
    /// Prints the effective configuration, secrets hidden.
    Config,
    /// Writes the generated schemas, or checks that those in the tree are up to date.
    Schemas(Schemas),
}

impl Command {
    /// Whether what it prints is all that it is for.
    pub(crate) fn prints_its_result(&self) -> bool {
        matches!(
            self,
            Self::Keys(_) | Self::Replay(_) | Self::Verify(_) | Self::Rebuild(_) | Self::Config
        )
    }
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// Folder of all data. Default: `data`, as in the configuration.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of the API. Default: 127.0.0.1:8080, as in the configuration.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct Sink {
    /// Port on 127.0.0.1.
    #[arg(long, default_value_t = 9000)]
    pub port: u16,
    /// Print one line a request instead of all of it.
    #[arg(long)]
    pub brief: bool,
}

/// Which `waybill up` is meant, when NATS_URL does not say it.
#[derive(Debug, Args)]
pub(crate) struct DataDir {
    /// Folder of the data of a running `waybill up`. Default: `data`, as in the configuration.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Makes a key and prints it: this once and never again.
    Create {
        /// For people.
        #[arg(long)]
        name: String,
        /// The team. Default: the first one.
        #[arg(long)]
        team: Option<String>,
        /// What it may do, separated by commas, such as `tasks:read,tasks:write`. Default: everything.
        #[arg(long, value_delimiter = ',')]
        scopes: Vec<String>,
        #[command(flatten)]
        at: DataDir,
    },
    /// The keys of a team, without the keys themselves.
    List {
        /// The team. Default: the first one.
        #[arg(long)]
        team: Option<String>,
        #[command(flatten)]
        at: DataDir,
    },
    /// Revokes a key: it is refused from then on.
    Revoke {
        /// Id of the key, such as `key_4fG7aB2x`.
        key: String,
        #[command(flatten)]
        at: DataDir,
    },
    /// Makes a team.
    CreateTeam {
        /// For people.
        #[arg(long)]
        name: String,
        /// Name of its plan.
        #[arg(long, default_value = "free")]
        plan: String,
        #[command(flatten)]
        at: DataDir,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The team.
    #[arg(long)]
    pub team: String,
    /// Only of this log: `control` or `tasks`. Needed when an end is given as a sequence.
    #[arg(long)]
    pub(crate) stream: Option<String>,
    /// From this time (ISO 8601) or sequence on.
    #[arg(long)]
    pub from: Option<String>,
    /// Up to this time (ISO 8601) or sequence.
    #[arg(long)]
    pub to: Option<String>,
    /// Only events of this type, such as `task.dead` or `key.created`; may be given several times.
    #[arg(long = "type")]
    pub types: Vec<String>,
    #[command(flatten)]
    pub at: DataDir,
}

#[derive(Debug, Args)]
pub(crate) struct Schemas {
    /// Change nothing; fail when something is not up to date.
    #[arg(long)]
    pub check: bool,
    /// The folder.
    #[arg(long, default_value = "schemas")]
    pub dir: PathBuf,
}
