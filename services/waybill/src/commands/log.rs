//! `waybill log`: questions about the log itself.

use std::io::Write;

use anyhow::bail;
use serde_json::json;
use waybill_log::jetstream::JetStreamLog;
use waybill_log::{Fences, Leases, Log as _, Skipped, Stream, StreamSeq};
use waybill_projector::QueryClient;
use waybill_projector::query::{ListSkipped, MAX_LIMIT, Position};

use crate::args::{DataDir, Log, SkippedRecords};
use crate::config::{Config, fence_timing};
use crate::output;
use crate::running_server::connect;
use crate::telemetry;

/// `waybill log ...`
pub(crate) async fn run(config: Config, command: Log) -> anyhow::Result<()> {
    match command {
        Log::Skipped(wanted) => skipped(config, wanted).await,
        Log::Frames(at) => frames(config, at).await,
    }
}

/// `waybill log frames`: switches TASKS to frames while no role runs.
async fn frames(mut config: Config, at: DataDir) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "log")?;
    let log = connect(&mut config, &at).await?;
    let mut out = output::stdout();
    if has_frames(&log).await? {
        writeln!(out, "events are stored in frames already")?;
        return Ok(());
    }
    // Workers, notaries and janitors hold leases; gateways and workers write to FENCE several times in one lease.
    let before = log.fence_bounds().await?.last;
    nobody_holds_a_lease(&log).await?;
    tokio::time::sleep(fence_timing().lease).await;
    nobody_holds_a_lease(&log).await?;
    if log.fence_bounds().await?.last != before {
        bail!(
            "a gateway or a worker writes to FENCE: every role has to be stopped before the switch"
        );
    }
    drop(log);
    let log = waybill_log::connect_alone(&config.nats).await?;
    if !has_frames(&log).await? {
        bail!("the stream TASKS does not say that it was switched");
    }
    writeln!(
        out,
        "events are stored in frames from now on: start the roles again, none of them in an earlier version than this one"
    )?;
    Ok(())
}

async fn nobody_holds_a_lease(log: &JetStreamLog) -> anyhow::Result<()> {
    match log.holders().await?.first() {
        Some((lease, holder)) => bail!(
            "{holder} holds the lease {lease}: every role has to be stopped before the switch"
        ),
        None => Ok(()),
    }
}

async fn has_frames(log: &JetStreamLog) -> anyhow::Result<bool> {
    let bounds = log.bounds(Stream::Tasks).await?;
    Ok(bounds.positions.has_frames())
}

/// `waybill log skipped`: every record of both logs that all readers ignore, as a running projector has found it.
async fn skipped(mut config: Config, wanted: SkippedRecords) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "log")?;
    let log = connect(&mut config, &wanted.at).await?;
    let queries = QueryClient::new(log.client());
    let mut out = output::stdout();
    let mut after: Option<(Stream, StreamSeq)> = None;
    let mut count = 0_u64;
    loop {
        let query = ListSkipped {
            after,
            limit: MAX_LIMIT,
        };
        let page = queries.ask(query, Position::default()).await?.value;
        for record in &page.skipped {
            count += 1;
            writeln!(out, "{}", line(record, wanted.json))?;
        }
        let last = page.skipped.last().map(|last| (last.stream, last.seq));
        match (page.has_more, last) {
            (false, _) => break,
            (true, Some(last)) => after = Some(last),
            (true, None) => bail!("the projector says that there is more, but sends nothing"),
        }
    }
    if count == 0 && !wanted.json {
        writeln!(out, "every record of both logs counts")?;
    }
    Ok(())
}

fn line(record: &Skipped, as_json: bool) -> String {
    let Skipped {
        stream,
        seq,
        event,
        subject,
        reason,
        detail,
    } = record;
    let (stream, reason) = (stream.name(), reason.as_str());
    if as_json {
        let fields = json!({
            "stream": stream, "seq": seq, "event": event, "subject": subject, "reason": reason, "detail": detail,
        });
        return fields.to_string();
    }
    // Subject and event may come from a stranger, so nothing in them may move the cursor of a terminal.
    let clean = |text: &str| text.escape_debug().to_string();
    format!(
        "{stream:<8} {:>12}  {reason:<12} {}  {}",
        seq.0,
        clean(subject),
        clean(detail)
    )
}
