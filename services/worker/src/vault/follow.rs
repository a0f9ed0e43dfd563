//! Following CONTROL from its first record on, so that the directory knows every token.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use waybill_domain::event::ControlEvent;
use waybill_log::{Closes, Log, Record, Stream, StreamSeq, control_event, set_aside};

use super::directory::Directory;

/// Records taken from the log at a time.
const RECORDS_AT_A_TIME: usize = 500;
/// Pause after the log did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Follows for ever. `applied` is raised only once whoever looks into the directory sees what stands there.
pub(super) async fn follow(
    log: Arc<dyn Log>,
    directory: Arc<Directory>,
    applied: watch::Sender<StreamSeq>,
) {
    let mut tail = log.tail(Stream::Control, Vec::new(), StreamSeq(1));
    loop {
        let records = match tail.next_batch(RECORDS_AT_A_TIME).await {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(%error, "CONTROL cannot be read");
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        let read = |record| event(record, &directory);
        let events: Vec<_> = records.iter().filter_map(read).collect();
        directory.apply(events.iter().map(|(seq, event)| (*seq, event)));
        if let Some(last) = records.last() {
            applied.send_replace(last.seq);
        }
    }
}

/// Of all that is decided on CONTROL, what tokens depend on.
fn event(record: &Record, directory: &Directory) -> Option<(StreamSeq, ControlEvent)> {
    let is_relevant = record.event.starts_with("token.") || record.event.starts_with("team.");
    if !is_relevant {
        return None;
    }
    match control_event(record) {
        Ok(event) => Some((record.seq, event)),
        Err(why) => {
            set_aside("vault", Stream::Control, record, &why);
            if let Some(Closes::Team(team)) = Closes::of(record, &why) {
                directory.close(team);
            }
            None
        }
    }
}
