//! A verdict, for people or as JSON.

use std::io::Write;

use waybill_domain::audit::verify::{Outcome, Report};

/// Writes a verdict.
pub(super) fn print(out: &mut impl Write, report: &Report, json: bool) -> std::io::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, report)?;
        return writeln!(out);
    }
    let verdict = match report.outcome {
        Outcome::Intact => "intact",
        Outcome::Tampered => "TAMPERED WITH",
        Outcome::Incomplete => "cannot be said",
        Outcome::Untrusted => "keys or signatures do not do",
    };
    let tree = report.tree.as_deref().unwrap_or("?");
    writeln!(
        out,
        "{tree}: {verdict}. {} events, {} of them covered by {} checkpoints.",
        report.events, report.covered, report.checkpoints
    )?;
    for finding in &report.findings {
        let kind = serde_json::to_value(finding.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or("?").to_owned();
        match (finding.seq, finding.until) {
            (Some(from), Some(to)) => write!(out, "  {kind} at {from} to {to}: ")?,
            (Some(at), None) => write!(out, "  {kind} at {at}: ")?,
            _ => write!(out, "  {kind}: ")?,
        }
        writeln!(out, "{}", finding.detail)?;
    }
    if report.more_findings > 0 {
        writeln!(out, "  and {} more", report.more_findings)?;
    }
    Ok(())
}
