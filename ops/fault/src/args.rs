//! The command line.

use std::time::Duration;

use clap::{Parser, Subcommand};

/// Kills, freezes and cuts off Waybill's processes under load, and checks that no promise is broken.
#[derive(Debug, Parser)]
#[command(name = "waybill-fault", max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) length: Length,
    /// Keep the folder of the run, with the evidence, even if all checks pass.
    #[arg(long, global = true)]
    pub(crate) keep: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Length {
    /// Each fault once: on one server all of them, in about a minute; on three servers those of the
    /// log itself.
    Ci {
        /// nats-servers: 1, or 3 with a copy of everything each.
        #[arg(long, default_value = "1", value_parser = servers)]
        servers: u16,
        /// Seed of all random choices.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Faults in random order for a given time.
    Long {
        /// nats-servers: 1, or 3 with a copy of everything each.
        #[arg(long, default_value = "1", value_parser = servers)]
        servers: u16,
        /// Inject only faults whose name begins with one of these.
        #[arg(long)]
        only: Vec<String>,
        /// Tasks per second that producers create in batches, besides the requests of the usual clients.
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=5_000))]
        rate: u64,
        /// How many minutes to inject faults.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=180))]
        minutes: u64,
        /// Seed of all random choices. By default taken from the clock, and printed.
        #[arg(long)]
        seed: Option<u64>,
    },
}

impl Length {
    /// The seed of all random choices.
    pub(crate) fn seed(&self) -> u64 {
        match self {
            Self::Ci { seed, .. }
            | Self::Long {
                seed: Some(seed), ..
            } => *seed,
            Self::Long { seed: None, .. } => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.unwrap_or_default().as_secs()
            }
        }
    }

    /// Number of nats-servers.
    pub(crate) fn servers(&self) -> u16 {
        match self {
            Self::Ci { servers, .. } | Self::Long { servers, .. } => *servers,
        }
    }

    /// Tasks per second that are created in batches; 0 for none.
    pub(crate) fn rate(&self) -> u64 {
        match self {
            Self::Ci { .. } => 0,
            Self::Long { rate, .. } => *rate,
        }
    }

    /// Whether `--only` admits a fault of this name.
    pub(crate) fn wants(&self, name: &str) -> bool {
        match self {
            Self::Ci { .. } => true,
            Self::Long { only, .. } => {
                only.is_empty() || only.iter().any(|begin| name.starts_with(begin.as_str()))
            }
        }
    }

    /// How long to draw faults at random. `None` to inject each once.
    pub(crate) fn duration(&self) -> Option<Duration> {
        match self {
            Self::Ci { .. } => None,
            Self::Long { minutes, .. } => Some(Duration::from_secs(60 * minutes)),
        }
    }
}

fn servers(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        other => Err(format!("1 or 3, not {other}")),
    }
}
