//! The results, as Markdown for people and as JSON for programs.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::args::Arguments;
use crate::latency::Latency;
use crate::processes::Spent;

/// One number with its unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
}

/// A distribution with its name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Distribution {
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) latency: Latency,
}

/// The outcome of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// Number of tasks by which the CPU time is divided.
    pub(crate) tasks: u64,
    pub(crate) figures: Vec<Figure>,
    pub(crate) latencies: Vec<Distribution>,
    /// Resources used by the system.
    pub(crate) processes: Vec<Spent>,
    /// Resources used by the generator and the sink.
    pub(crate) bench: Vec<Spent>,
}

impl Report {
    pub(crate) fn new(scenario: &'static str) -> Self {
        Self {
            scenario,
            tasks: 0,
            figures: Vec::new(),
            latencies: Vec::new(),
            processes: Vec::new(),
            bench: Vec::new(),
        }
    }

    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
        });
    }

    pub(crate) fn latency(&mut self, name: impl Into<String>, latency: Latency) {
        self.latencies.push(Distribution {
            name: name.into(),
            latency,
        });
    }

    /// CPU seconds of all processes of the system for 1,000 tasks.
    pub(crate) fn cpu_per_thousand(&self) -> f64 {
        self.per_thousand(self.processes.iter().map(|spent| spent.cpu_seconds).sum())
    }

    fn per_thousand(&self, seconds: f64) -> f64 {
        // Counts of tasks are far below 2^52, so the conversion is exact.
        seconds * 1000.0 / self.tasks.max(1) as f64
    }

    /// Tables for people.
    pub(crate) fn markdown(&self) -> String {
        let mut out = format!("\n### {}\n\n", self.scenario);
        // Writing to a String cannot fail.
        let _ = writeln!(out, "| figure | value |\n|---|---|");
        for Figure { name, value, unit } in &self.figures {
            let _ = writeln!(out, "| {name} | {} {unit} |", number(*value));
        }
        if !self.latencies.is_empty() {
            let _ = writeln!(
                out,
                "\n| latency, ms | p50 | p90 | p95 | p99 | p99.9 | max |\n|---|---|---|---|---|---|---|"
            );
        }
        for Distribution { name, latency: l } in &self.latencies {
            let _ = writeln!(
                out,
                "| {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} |",
                l.p50_ms, l.p90_ms, l.p95_ms, l.p99_ms, l.p999_ms, l.max_ms
            );
        }
        let _ = writeln!(
            out,
            "\n| process | CPU s | CPU s per 1000 tasks | RSS MiB | grown by | peak |\n|---|---|---|---|---|---|"
        );
        let row = |out: &mut String, s: &Spent, note: &str| {
            let _ = writeln!(
                out,
                "| {}{note} | {:.2} | {:.3} | {:.0} | {:.1} | {:.0} |",
                s.name,
                s.cpu_seconds,
                self.per_thousand(s.cpu_seconds),
                s.rss_mib,
                s.rss_growth_mib,
                s.peak_rss_mib
            );
        };
        for process in &self.processes {
            row(&mut out, process, "");
        }
        let total: f64 = self.processes.iter().map(|p| p.cpu_seconds).sum();
        let _ = writeln!(
            out,
            "| **all of Waybill** | {total:.2} | **{:.3}** | | {:.1} | |",
            self.per_thousand(total),
            self.processes.iter().map(|p| p.rss_growth_mib).sum::<f64>()
        );
        for process in &self.bench {
            row(&mut out, process, " (generator and sink)");
        }
        out
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1000.0 {
        format!("{value:.0}")
    } else if value.abs() >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.3}")
    }
}

/// Prints the tables to standard output.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes all reports to one file, with the parameters of the run.
pub(crate) fn write_json(path: &Path, arguments: &Arguments, reports: &[Report]) -> Result<()> {
    let asked = serde_json::json!({
        "measuredSeconds": arguments.measured().as_secs(),
        "warmUpSeconds": arguments.warm_up().as_secs(),
        "connections": arguments.connections,
        "rate": arguments.rate,
        "bodyBytes": arguments.body,
        "queues": arguments.queues,
        "window": arguments.window,
    });
    let all = serde_json::json!({ "asked": asked, "reports": reports });
    let text = serde_json::to_string_pretty(&all)?;
    std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_shown_per_thousand_tasks() {
        let mut report = Report::new("x");
        report.tasks = 20_000;
        report.figure("accepts", 10_000.4, "/s");
        let spent = |name: &str, cpu_seconds| Spent {
            name: name.into(),
            cpu_seconds,
            rss_mib: 10.0,
            rss_growth_mib: 1.0,
            peak_rss_mib: 12.0,
        };
        report.processes = vec![spent("waybill", 4.0), spent("nats-server", 2.0)];
        let text = report.markdown();
        assert!(text.contains("| accepts | 10000 /s |"), "{text}");
        assert!(text.contains("| waybill | 4.00 | 0.200 |"), "{text}");
        assert!(
            text.contains("| **all of Waybill** | 6.00 | **0.300** |"),
            "{text}"
        );
    }
}
