//! `waybill-fault`: does Waybill keep its promises while its processes are killed, frozen and cut off?
//!
//! A run starts real processes (nats-server or three of them, gateway, projector, two workers), loads them, injects faults one after the other, heals
//! everything, waits until every task has ended, and lets the [`checker`] compare what clients were told, what the target
//! received and what subscribers read with what the log holds.

mod args;
mod brief;
mod bulk;
mod checker;
mod client;
mod clock;
mod collect;
mod creating;
mod faults;
mod fleet;
mod flows;
mod hosts;
mod inject;
mod leader;
mod poison;
mod probe;
mod pullers;
mod recorder;
mod role;
mod run;
mod schedules;
mod seeded;
mod servers;
mod shaped;
mod shaper;
mod shared;
mod steered;
mod stream;
mod turns;
mod workload;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use args::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("waybill-fault: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run_or_interrupted(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("waybill-fault: {error:#}");
            // ops/test adds up these lines, and must count this run as failed.
            let _ = say("0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Dropping the run ends every process that it has started.
async fn run_or_interrupted(arguments: &Arguments) -> Result<bool> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        outcome = run::run(arguments) => outcome,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminated.recv() => bail!("terminated"),
    }
}

/// One line to standard output, at once.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
