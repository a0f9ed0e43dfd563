//! `waybill-bench`: how much Waybill takes, how fast, and what that costs.
//!
//! Each scenario starts a system of its own (`waybill up` on an empty folder, with fsync before every acknowledgement as shipped),
//! loads it over real connections, counts what arrives at a sink in this process, and reads what the processes have used from
//! `/proc`. Everything is bounded in count and time. `README.md` beside this crate holds the figures and how they were made.

mod args;
mod deliveries;
mod http1;
mod latency;
mod load;
mod metrics;
mod processes;
mod report;
mod request;
mod scenario;
mod system;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use args::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: the generator must not take both cores from what it measures, and it needs far less than one.
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
