//! The scenarios. Each has its own system, so that none is affected by what another one left
//! behind.

mod accept;
mod chain;
mod claims;
mod controls;
mod delayed;
mod drain;
mod e2e;
mod fairness;
mod hanging;
mod idle;
mod jobs;
mod memory;
pub(crate) mod peers;
mod precision;
mod schedules;
mod stage;
mod takeover;
pub(crate) mod versus;

use anyhow::Result;

use crate::args::{Arguments, Kind};
use crate::report::Report;
use crate::system::System;
use stage::Stage;

/// Runs one scenario on a fresh system.
pub(crate) async fn run(kind: Kind, arguments: &Arguments) -> Result<Report> {
    let mut stage = Stage::set(kind.title(), System::start(arguments).await?, arguments).await?;
    let report = match kind {
        Kind::Accept | Kind::AcceptLive | Kind::AcceptOpen => accept::run(&mut stage, kind).await,
        Kind::E2e | Kind::E2eOpen => e2e::run(&mut stage, kind).await,
        Kind::Chain => chain::run(&mut stage).await,
        Kind::Idle => idle::run(&mut stage).await,
        Kind::Hanging => hanging::run(&mut stage).await,
        Kind::Drain => drain::run(&mut stage).await,
        Kind::Memory => memory::run(&mut stage).await,
        Kind::Takeover => takeover::run(&mut stage).await,
        Kind::Delayed => delayed::run(&mut stage).await,
        Kind::Precision => precision::run(&mut stage).await,
        Kind::Fairness => fairness::run(&mut stage).await,
        Kind::Controls => controls::run(&mut stage).await,
        Kind::Claim | Kind::ClaimOne | Kind::ClaimWait => claims::run(&mut stage, kind).await,
        Kind::Jobs => jobs::run(&mut stage).await,
        Kind::Schedules => schedules::run(&mut stage).await,
    };
    stage.system.stop().await?;
    report
}
