//! `waybill-bench`: measures Waybill's throughput and latency, and what they cost.
//!
//! Each scenario starts its own system (`waybill up` on an empty folder, with fsync before every
//! acknowledgement as in production), puts load on it over real connections, counts what arrives at
//! a sink in this process, and reads the CPU and memory use from `/proc`. Everything is bounded in
//! count and time. This crate's `README.md` has the figures and how they were measured.

mod args;
mod deliveries;
mod http1;
mod latency;
mod load;
mod metrics;
mod peer;
mod processes;
mod report;
mod request;
mod scenario;
mod spread;
mod system;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use args::{Arguments, Choice};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: the generator needs far less than one core, and must not take both from the
    // system that it measures.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run(&arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("waybill-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    if arguments.scenario == Choice::Peers {
        return scenario::peers::run(arguments).await;
    }
    if arguments.scenario == Choice::Versus {
        return scenario::versus::run(arguments).await;
    }
    let mut reports = Vec::new();
    for kind in arguments.scenario.each() {
        eprintln!("waybill-bench: {}", kind.title());
        let report = scenario::run(kind, arguments).await?;
        report::print(&report.markdown())?;
        reports.push(report);
    }
    if let Some(path) = &arguments.json {
        report::write_json(path, arguments, &reports)?;
    }
    Ok(())
}
