//! `waybill log`: what operators ask about the log itself.

use std::io::Write;

use anyhow::bail;
use serde_json::json;
use waybill_log::{Skipped, Stream, StreamSeq};
use waybill_projector::QueryClient;
use waybill_projector::query::{ListSkipped, MAX_LIMIT, Position};

use crate::args::{Log, SkippedRecords};
use crate::beside::connect;
use crate::config::Config;
use crate::telemetry;

/// `waybill log ...`
pub(crate) async fn run(config: Config, command: Log) -> anyhow::Result<()> {
    match command {
        Log::Skipped(wanted) => skipped(config, wanted).await,
    }
}

/// `waybill log skipped`: every record of both logs that no reader counts, as a running projector has found it.
async fn skipped(mut config: Config, wanted: SkippedRecords) -> anyhow::Result<()> {
    let _telemetry = telemetry::start_beside(&config, "log")?;
    let log = connect(&mut config, &wanted.at).await?;
    let queries = QueryClient::new(log.client());
    let mut out = std::io::stdout();
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
    // A stranger chose subject and event: nothing in them may move the cursor of a terminal.
    let clean = |text: &str| text.escape_debug().to_string();
    format!(
        "{stream:<8} {:>12}  {reason:<12} {}  {}",
        seq.0,
        clean(subject),
        clean(detail)
    )
}
