//! The command line.

use std::time::Duration;

use clap::{Parser, Subcommand};

/// Kills, freezes and cuts off Waybill's processes under load, and checks that no promise is broken.
#[derive(Debug, Parser)]
#[command(name = "waybill-fault", max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) length: Length,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Length {
    /// Every fault once, about a minute.
    Ci {
        /// Chooses keys, targets and moments.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Faults in random order for so long.
    Long {
        /// How long faults are injected.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=180))]
        minutes: u64,
        /// Chooses everything random. Default: from the clock; it is printed.
        #[arg(long)]
        seed: Option<u64>,
    },
}

impl Length {
    /// What everything random comes from.
    pub(crate) fn seed(self) -> u64 {
        match self {
            Self::Ci { seed }
            | Self::Long {
                seed: Some(seed), ..
            } => seed,
            Self::Long { seed: None, .. } => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                now.unwrap_or_default().as_secs()
            }
        }
    }

    /// For how long faults are drawn; `None`: each once.
    pub(crate) fn duration(self) -> Option<Duration> {
        match self {
            Self::Ci { .. } => None,
            Self::Long { minutes, .. } => Some(Duration::from_secs(60 * minutes)),
        }
    }
}
