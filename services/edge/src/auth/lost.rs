//! What is lost when CONTROL went backwards: how far this gateway's copy and the log agree, and what the copy knew beyond.

use std::time::Duration;

use waybill_commands::entropy;
use waybill_domain::event::ControlEvent;
use waybill_log::{Log, ReadError, Stream, StreamSeq, WentBackwards, control_event};
use waybill_store::loss::Loss;

/// Names the copy in what is written down, and in metrics.
pub(super) const COPY: &str = "access";
/// Changes that are named one by one; the rest is counted.
const MAX_NAMED: usize = 1_000;
/// Tries to compare the copy with a log that does not answer, and the pause between two of them.
const MAX_TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// Finds what the log does not hold. `events`: all that the copy knows, with their positions, in that order.
pub(super) async fn find(
    log: &dyn Log,
    backwards: &WentBackwards,
    events: &[(u64, ControlEvent)],
) -> Loss {
    let mut tries = 0;
    let common = loop {
        match common(log, events).await {
            Ok(common) => break Some(common),
            Err(error) => {
                tries += 1;
                tracing::warn!(%error, tries, "reading CONTROL to find where it differs failed; trying again");
                if tries == MAX_TRIES {
                    break None;
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    // Where that stays unknown, naming too much is better than naming too little.
    let beyond = common.unwrap_or(0);
    let lost: Vec<String> = events
        .iter()
        .filter(|(seq, event)| *seq > beyond && event.takes_away())
        .map(|(_, event)| format!("{} {}", event.name(), event.aggregate().1))
        .collect();
    Loss {
        at: entropy::now().to_string(),
        copy: COPY.into(),
        stream: backwards.stream.name().into(),
        read: backwards.read.0,
        last: backwards.last.0,
        common,
        more: lost.len().saturating_sub(MAX_NAMED) as u64,
        lost: lost.into_iter().take(MAX_NAMED).collect(),
    }
}

/// The last position at which the copy knows an event that the log holds as well. Two histories that part never meet again, so it is
/// found by halving.
async fn common(log: &dyn Log, events: &[(u64, ControlEvent)]) -> Result<u64, ReadError> {
    let (mut low, mut high) = (0, events.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let (seq, known) = &events[middle];
        let record = log.read(Stream::Control, StreamSeq(*seq)).await?;
        let held = record.and_then(|record| control_event(&record).ok());
        if held.as_ref() == Some(known) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low.checked_sub(1).map_or(0, |last| events[last].0))
}
