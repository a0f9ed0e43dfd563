//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use waybill_domain::id::QueueName;

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
    /// Prints the secret that signs the calls of a team; rotates it on request.
    SigningSecret(SigningSecret),
    /// Teams, their plans and their people.
    #[command(subcommand)]
    Teams(Teams),
    /// The events of a team as JSON lines, from the log.
    Replay(Replay),
    /// Wipes the read model of a stopped projector, or of a stopped `waybill up`, and rebuilds it from the log.
    Rebuild(DataDir),
    /// Asks a running projector to rebuild its read model beside the live one, and compares the two byte for byte.
    Verify(DataDir),
    /// The keys that credentials are sealed with.
    #[command(subcommand)]
    Vault(Vault),
    /// The keys that events of access are signed with.
    #[command(subcommand)]
    Signatures(Signatures),
    /// Questions about the log itself.
    #[command(subcommand)]
    Log(Log),
    /// Proofs that nobody changed the log: checkpoints and their verification.
    #[command(subcommand)]
    Audit(Audit),
    /// Writes the log and the secrets of a running installation to one file, and tries a restore of it.
    Backup(Backup),
    /// Puts a backup back: into an empty data folder, or into the empty NATS at NATS_URL.
    Restore(Restore),
    /// Looks for problems, present and coming: configuration, clock, NATS, streams, disk, secrets, versions; each line with its remedy.
    Doctor(DataDir),
    /// Prints a link that opens the dashboard in a browser on this machine, signed in; good once, for 10 minutes.
    Dashboard(DataDir),
    /// Prints the effective configuration, secrets hidden.
    Config,
    /// Writes the generated schemas and the reference of settings, or checks that those in the tree are up to date.
    Schemas(Schemas),
}

impl Command {
    /// Whether it prints something that is shown only once.
    pub(crate) fn shows_once(&self) -> bool {
        match self {
            Self::Up(_) | Self::Gateway | Self::Dashboard(_) => true,
            Self::Keys(keys) => matches!(keys, Keys::Create { .. } | Keys::Rotate { .. }),
            Self::Teams(teams) => matches!(teams, Teams::Invite { .. }),
            Self::Vault(vault) => matches!(
                vault,
                Vault::Init { print: true, .. } | Vault::Rotate { .. }
            ),
            _ => false,
        }
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
    /// Serves the dashboard from this folder instead of from the binary, for working on it: `web/dashboard` of a working tree.
    #[arg(long, value_name = "DIR")]
    pub dashboard_from: Option<PathBuf>,
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

/// The `waybill up` to talk to, when NATS_URL is not set.
#[derive(Debug, Args)]
pub(crate) struct DataDir {
    /// Folder of the data of a running `waybill up`. Default: `data`, as in the configuration.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SigningSecret {
    /// The team. Default: the first one.
    #[arg(long)]
    pub team: Option<String>,
    /// `live` or `test`: each has its own.
    #[arg(long, default_value = "live")]
    pub environment: String,
    /// Sign with a new secret from now on, and print that.
    #[arg(long)]
    pub rotate: bool,
    /// Seconds for which the former secret signs as well; at most 604800, which is 7 days.
    #[arg(
        long,
        default_value_t = 86_400,
        value_name = "SECONDS",
        requires = "rotate"
    )]
    pub overlap: u64,
    #[command(flatten)]
    pub at: DataDir,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Creates a key and prints it; it is shown only once.
    Create {
        /// The team. Default: the first one.
        #[arg(long)]
        team: Option<String>,
        #[command(flatten)]
        wanted: NewKey,
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
    /// Creates a successor with the same rights and prints it; it is shown only once.
    Rotate {
        /// Id of the key, such as `key_4fG7aB2x`.
        key: String,
        /// Seconds for which the old key is accepted beside the new one; at most 604800, which is 7 days.
        #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
        overlap: u64,
        #[command(flatten)]
        at: DataDir,
    },
    /// Revokes a key.
    Revoke {
        /// Id of the key, such as `key_4fG7aB2x`.
        key: String,
        #[command(flatten)]
        at: DataDir,
    },
    /// Creates a team.
    CreateTeam {
        /// A name for people.
        #[arg(long)]
        name: String,
        /// Name of its plan. Default: `plans.default`.
        #[arg(long)]
        plan: Option<String>,
        #[command(flatten)]
        at: DataDir,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Teams {
    /// All teams, oldest first.
    List {
        #[command(flatten)]
        at: DataDir,
    },
    /// Changes the plan of a team. Gateways apply it within moments.
    Plan {
        /// Id of the team.
        #[arg(long)]
        team: String,
        /// Name of the plan.
        #[arg(long)]
        plan: String,
        #[command(flatten)]
        at: DataDir,
    },
    /// Invites somebody to a team. Where the configuration names a mail server the letter goes there; else this prints what the letter
    /// would say, and for an address without an account also how to make one. An invitation to the same address replaces the one before.
    Invite {
        /// The team. Default: the first one.
        #[arg(long)]
        team: Option<String>,
        /// Address of whoever is invited. Nobody else can accept.
        #[arg(long)]
        email: String,
        /// `owner`, `admin`, `member` or `viewer`.
        #[arg(long)]
        role: String,
        #[command(flatten)]
        at: DataDir,
    },
    /// The people of a team and their roles.
    Members {
        /// Id of the team.
        #[arg(long)]
        team: String,
        #[command(flatten)]
        at: DataDir,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Signatures {
    /// Requires signatures from now on, and prints the setting that says from which position. First every gateway must have its key, since
    /// what one without a key writes afterwards does not count. A second time changes nothing.
    Require {
        #[command(flatten)]
        at: DataDir,
    },
    /// Shows from which position on signatures are required, and which keys are trusted.
    Show {
        #[command(flatten)]
        at: DataDir,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Vault {
    /// Creates both rings with a first KEK, in the folder of secrets, and prints the KEK's id. Never replaces a ring. Processes read them
    /// when they start.
    Init {
        /// Writes nothing; prints the rings as two variables instead: WAYBILL_VAULT_SEAL for gateways, WAYBILL_VAULT_OPEN for workers.
        #[arg(long)]
        print: bool,
        #[command(flatten)]
        at: DataDir,
    },
    /// Shows the KEKs, which of them is in force, and how many keys each has wrapped.
    Status {
        #[command(flatten)]
        at: DataDir,
    },
    /// Creates a new KEK, puts it in force and wraps all keys again, while everything runs. After an interruption, run it again to continue.
    Rotate {
        /// Only puts a new KEK into the rings (or prints them, if they are variables), to bring them to other machines first.
        #[arg(long)]
        prepare: bool,
        #[command(flatten)]
        at: DataDir,
    },
    /// Forgets a KEK. Refused while it is in force or a key needs it.
    Retire {
        /// Its id, such as `4f0c6b1d2a3e5f70`.
        kek: String,
        #[command(flatten)]
        at: DataDir,
    },
}

/// The properties of a new key.
#[derive(Debug, Args)]
pub(crate) struct NewKey {
    /// A name for people.
    #[arg(long)]
    pub name: String,
    /// What it may do, separated by commas, such as `tasks:read,tasks:write`. Default: everything.
    #[arg(long, value_delimiter = ',', conflicts_with = "preset")]
    pub scopes: Vec<String>,
    /// Instead of `--scopes`: the name of a preset, such as `read_only` or `task_poster`.
    #[arg(long)]
    pub preset: Option<String>,
    /// The brand that it begins with: one of `gateway.key_brands`. Default: the first one.
    #[arg(long)]
    pub brand: Option<String>,
    /// `live`, or `test` for the team's test environment.
    #[arg(long, default_value = "live")]
    pub environment: String,
    /// When it ends: a time (ISO 8601) or days from now, such as `90d`. Default: never.
    #[arg(long, value_name = "WHEN")]
    pub expires: Option<String>,
    /// Network that it may be used from, such as `192.0.2.0/24`; may be given several times. Default: any.
    #[arg(long, value_name = "CIDR")]
    pub allow_source: Vec<String>,
    /// Queue that it is limited to; may be given several times. Default: all.
    #[arg(long = "queue", value_name = "NAME", value_parser = queue)]
    pub queues: Vec<QueueName>,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// Id of the team whose events are written.
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
    /// Instead of events: who could do what in the team at this time (ISO 8601) or sequence of CONTROL, as JSON.
    #[arg(long = "at", value_name = "TIME", conflicts_with_all = ["stream", "from", "to", "types"])]
    pub(crate) as_of: Option<String>,
    /// With `--at`: only the sequence and the SHA-256 of that state, equal wherever the same log is read.
    #[arg(long, requires = "as_of")]
    pub(crate) digest: bool,
    /// Only events of this type, such as `task.dead` or `key.created`; may be given several times.
    #[arg(long = "type")]
    pub types: Vec<String>,
    #[command(flatten)]
    pub at: DataDir,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write, readable by its owner alone.
    pub file: PathBuf,
    /// Also includes the ring that opens the vault: then this file alone opens every stored credential.
    #[arg(long)]
    pub with_vault_open_ring: bool,
    /// Replaces a file of that name.
    #[arg(long)]
    pub overwrite: bool,
    /// Does not try a restore of the file (it takes as long again, and as much disk as the log).
    #[arg(long)]
    pub no_verify: bool,
    #[command(flatten)]
    pub at: DataDir,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// What `waybill backup` wrote.
    pub file: PathBuf,
    /// The vault's open ring, which a backup leaves out.
    #[arg(long, value_name = "FILE")]
    pub vault_open_ring: Option<PathBuf>,
    #[command(flatten)]
    pub at: DataDir,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Log {
    /// Lists the records that all readers ignore: damaged ones, misplaced ones, and those of a newer version.
    Skipped(SkippedRecords),
    /// Lets several events of tasks share a message from now on, which takes less time and processor. Earlier versions do not read that,
    /// and it is not taken back. Every role has to be stopped; a `waybill up` on a server of its own does it by itself.
    Frames(DataDir),
}

#[derive(Debug, Args)]
pub(crate) struct SkippedRecords {
    /// One JSON object a line.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: DataDir,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Verifies an export, or the log itself, by signed checkpoints. Exit code: 0 intact, 1 tampered with, 2 no verdict possible,
    /// 3 keys or signatures not valid, 4 wrong command line.
    Verify(VerifyLog),
    /// Prints the newest checkpoint, signed now if there are new events: keep it where whoever runs the servers cannot change it.
    Checkpoint {
        /// Of a team. Default: of all of CONTROL.
        #[arg(long)]
        team: Option<String>,
        #[command(flatten)]
        at: DataDir,
    },
    /// Prints the public keys that sign checkpoints here.
    Keys {
        #[command(flatten)]
        at: DataDir,
    },
}

#[derive(Debug, Args)]
pub(crate) struct VerifyLog {
    /// An export (`GET /v1/activity/export?format=jsonl`), `-` for standard input. Without it the log itself is read.
    pub export: Option<PathBuf>,
    /// A checkpoint that was kept: without one, a log that was cut off together with its checkpoints looks whole.
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// Public keys to trust, as `waybill audit keys` prints them. Default: those of this deployment.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// File for the newest checkpoint, written when all is intact, for the next verification.
    #[arg(long, value_name = "FILE")]
    pub write_checkpoint: Option<PathBuf>,
    /// The verdict as JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: DataDir,
}

#[derive(Debug, Args)]
pub(crate) struct Schemas {
    /// Change nothing; fail when something is not up to date.
    #[arg(long)]
    pub check: bool,
    /// The folder of the schemas.
    #[arg(long, default_value = "schemas")]
    pub dir: PathBuf,
    /// The folder of the pages, one of which is generated: configuration.md.
    #[arg(long, default_value = "docs")]
    pub docs: PathBuf,
}

fn queue(name: &str) -> Result<QueueName, String> {
    QueueName::parse(name).map_err(|_| "a queue is 1 to 100 of a-z, A-Z, 0-9, _ and -".to_owned())
}
