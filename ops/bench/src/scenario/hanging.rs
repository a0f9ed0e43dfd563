//! One task at a time while another target hangs: how much its calls slow other tasks down.

use std::sync::Arc;

use anyhow::{Result, ensure};
use waybill_sink::{Answer, Recording, Sink, SinkOptions};

use super::idle;
use super::stage::{PATIENCE, Stage};
use crate::http1::Connection;
use crate::report::Report;
use crate::request::{Due, Template};

/// Tasks for the target that hangs: more than the slots of a host.
const HANGING: u64 = 900;
/// Calls that must hang before the measurement. One host may use half of the slots, of which there
/// are 512 by default.
const SLOTS_TAKEN: u64 = 256;

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    let options = SinkOptions {
        recording: Recording::CountOnly,
        script: Some(Arc::new(|_| Some(Answer::Hang.into()))),
        ..SinkOptions::default()
    };
    let hanging = Sink::start(([127, 0, 0, 1], 0).into(), options).await?;
    let target = stage.system.target.clone();
    let url = hanging.url("/");
    let mut template = Template::new(&stage.arguments, &target, &url, &Due::Now)?;
    let mut connection = Connection::open(target.address).await?;
    for number in 0..HANGING {
        // Their numbers do not matter, since they never arrive at the sink that counts.
        let answer = connection.exchange(template.patch(number)).await?;
        ensure!(
            answer.status == 201,
            "a task is answered with {}",
            answer.status
        );
    }
    hanging.wait_for(SLOTS_TAKEN, PATIENCE).await?;
    stage
        .report
        .figure("tasks for a target that hangs", HANGING as f64, "");
    idle::run(stage).await
}
