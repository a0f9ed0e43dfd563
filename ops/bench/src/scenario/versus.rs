//! The same load on two builds in turn, several times: what a change costs tasks that do not use it.

use anyhow::{Context, Result, ensure};

use super::stage::Stage;
use crate::args::Arguments;
use crate::load::Pace;
use crate::report;
use crate::request::Due;
use crate::spread::Spread;
use crate::system::System;

/// Measures both and prints the table.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let other = arguments.other.clone().context("--other names a program")?;
    let programs = [
        ("this", arguments.program.clone()),
        ("the other", Some(other)),
    ];
    let mut found: [[Vec<f64>; 2]; 2] = Default::default();
    for round in 1..=arguments.rounds {
        for ((name, program), found) in programs.iter().zip(&mut found) {
            let mut arguments = arguments.clone();
            arguments.program.clone_from(program);
            let (rate, cpu) = measure(&arguments).await?;
            eprintln!("waybill-bench: round {round}, {name}: {rate:.0}/s, {cpu:.3} CPU s per 1000");
            found[0].push(rate);
            found[1].push(cpu);
        }
    }
    let [this, other] = found.map(|both| both.map(Spread::of));
    report::print(&table(this, other))
}

/// Deliveries a second, and CPU seconds for 1,000 tasks.
async fn measure(arguments: &Arguments) -> Result<(f64, f64)> {
    let mut stage = Stage::set("versus", System::start(arguments).await?, arguments).await?;
    let measured = measure_on(&mut stage).await;
    stage.system.stop().await?;
    measured
}

async fn measure_on(stage: &mut Stage) -> Result<(f64, f64)> {
    let before = stage.next;
    let mark = stage.mark().await?;
    let pace = Pace::Window(stage.arguments.window);
    let connections = stage.arguments.connections;
    let loaded = stage
        .load(connections, pace, stage.timed(), &Due::Now)
        .await?;
    let arrived = stage.deliveries.arrivals_between(loaded.from, loaded.to);
    stage.delivered(before + loaded.accepted).await?;
    stage.completed(before + loaded.accepted).await?;
    stage.account(&mark, loaded.accepted).await?;
    ensure!(loaded.failures.count() == 0, "{:?}", loaded.failures);
    let rate = arrived as f64 / loaded.seconds();
    Ok((rate, stage.report.cpu_per_thousand()))
}

/// As Markdown: medians, with the range of the rounds, and the ratio of the medians.
fn table([rate, cpu]: [Spread; 2], [other_rate, other_cpu]: [Spread; 2]) -> String {
    format!(
        "\n| | delivered/s | CPU s per 1000 tasks |\n|---|---|---|\n| this | {rate:.0} | {cpu:.3} |\n| the other | {other_rate:.0} | {other_cpu:.3} |\n| this against the other | {:.3} | {:.3} |\n",
        rate.median / other_rate.median,
        cpu.median / other_cpu.median
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_both_and_their_relation() {
        let this = [vec![90.0, 95.0, 99.0], vec![0.5]].map(Spread::of);
        let other = [vec![100.0], vec![0.25]].map(Spread::of);
        let text = table(this, other);
        assert!(text.contains("| this | 95 (90-99) | 0.500 |"), "{text}");
        assert!(
            text.contains("| this against the other | 0.950 | 2.000 |"),
            "{text}"
        );
    }
}
