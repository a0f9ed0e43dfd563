//! The same load on Waybill and on what its users would pick instead, in turn, several times.
//!
//! A round starts each product on an empty folder, measures it and stops it, so that drifts of the
//! machine meet all of them. What is shown is the median of the rounds and their range.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde::Serialize;

use super::stage::Stage;
use crate::args::Arguments;
use crate::load::Pace;
use crate::peer::Product;
use crate::report;
use crate::request::Due;
use crate::spread::Spread;
use crate::system::System;

/// Connections of the two runs at the highest rate.
const CONNECTIONS: [u16; 2] = [64, 256];
/// Tasks a second of the run that shows latencies far from any limit.
const CALM_RATE: u32 = 150;

/// What one round found of one product.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Round {
    product: String,
    /// Deliveries a second at each of `CONNECTIONS`.
    delivered: [f64; 2],
    /// CPU seconds of all its processes for 1,000 tasks, at each of `CONNECTIONS`.
    cpu: [f64; 2],
    /// Request to arrival at `CALM_RATE`, in milliseconds.
    p50: f64,
    p99: f64,
    /// Sum over its processes at the end, and of their peaks, in MiB.
    memory: f64,
    peak: f64,
}

/// Measures all products and prints the table.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        for product in Product::ALL {
            eprintln!(
                "waybill-bench: round {number} of {}: {product}",
                arguments.rounds
            );
            let round = measure(product, arguments)
                .await
                .with_context(|| format!("measuring {product}"))?;
            eprintln!("waybill-bench: {}", serde_json::to_string(&round)?);
            rounds.push(round);
        }
    }
    report::print(&table(&rounds))?;
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&rounds)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}

async fn measure(product: Product, arguments: &Arguments) -> Result<Round> {
    let system = match product {
        Product::Waybill => System::start(arguments).await?,
        Product::BullMq | Product::Restate => System::start_peer(product, arguments).await?,
    };
    let mut stage = Stage::set("peers", system, arguments).await?;
    let round = measure_on(&mut stage, product).await;
    stage.system.stop().await?;
    round
}

async fn measure_on(stage: &mut Stage, product: Product) -> Result<Round> {
    let (mut delivered, mut cpu) = ([0.0; 2], [0.0; 2]);
    for (at, connections) in CONNECTIONS.into_iter().enumerate() {
        let before = stage.next;
        let mark = stage.mark().await?;
        let pace = Pace::Window(stage.arguments.window);
        let loaded = stage
            .load(connections, pace, stage.timed(), &Due::Now)
            .await?;
        let arrived = stage.deliveries.arrivals_between(loaded.from, loaded.to);
        stage.delivered(before + loaded.accepted).await?;
        stage.account(&mark, loaded.accepted).await?;
        anyhow::ensure!(
            loaded.failures.count() == 0,
            "requests failed: {:?}",
            loaded.failures
        );
        delivered[at] = arrived as f64 / loaded.seconds();
        cpu[at] = stage.report.cpu_per_thousand();
    }
    let before = stage.next;
    let calm = stage
        .load(8, Pace::Rate(CALM_RATE), stage.timed(), &Due::Now)
        .await?;
    stage.delivered(before + calm.accepted).await?;
    let latency = stage.deliveries.latencies(calm.from, calm.to)?.sum_up();
    let usage = stage.system.usage()?;
    Ok(Round {
        product: product.to_string(),
        delivered,
        cpu,
        p50: latency.p50_ms,
        p99: latency.p99_ms,
        memory: usage.iter().map(|process| process.rss_mib).sum(),
        peak: usage.iter().map(|process| process.peak_rss_mib).sum(),
    })
}

/// As Markdown: medians, with the range of the rounds.
fn table(rounds: &[Round]) -> String {
    let mut out = format!(
        "\n| | delivered/s, {} / {} connections | request to arrival at {CALM_RATE}/s, ms, p50 / p99 | CPU s per 1000 tasks, all its processes | memory at the end, peak, MiB |\n|---|---|---|---|---|\n",
        CONNECTIONS[0], CONNECTIONS[1]
    );
    for product in Product::ALL.map(|product| product.to_string()) {
        let of = |figure: fn(&Round) -> f64| {
            let of_product = rounds.iter().filter(|round| round.product == product);
            Spread::of(of_product.map(figure).collect())
        };
        // Writing to a String has no way to fail.
        let _ = writeln!(
            out,
            "| {product} | {:.0} / {:.0} | {:.2} / {:.2} | {:.3} / {:.3} | {:.0}, {:.0} |",
            of(|round| round.delivered[0]),
            of(|round| round.delivered[1]),
            of(|round| round.p50),
            of(|round| round.p99),
            of(|round| round.cpu[0]),
            of(|round| round.cpu[1]),
            of(|round| round.memory),
            of(|round| round.peak),
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_median_of_its_rounds_and_their_range() {
        let round = |product: Product, delivered| Round {
            product: product.to_string(),
            delivered: [delivered, 2.0 * delivered],
            cpu: [0.25, 0.125],
            p50: 1.5,
            p99: 4.0,
            memory: 100.0,
            peak: 120.0,
        };
        let rounds = [5.0, 1.0, 3.0].map(|delivered| round(Product::BullMq, delivered));
        let text = table(&rounds);
        assert!(
            text.contains(
                "| BullMQ | 3 (1-5) / 6 (2-10) | 1.50 / 4.00 | 0.250 / 0.125 | 100, 120 |"
            ),
            "{text}"
        );
    }
}
