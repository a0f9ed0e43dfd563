//! Follows CONTROL from its first record, for copies that must know all of it.

use std::sync::Arc;
use std::time::Duration;

use waybill_fence::CopyCheck;
use waybill_log::{Continuity, Log, Mark, Record, Stream, StreamSeq, Watch, WentBackwards};

use crate::takeover::went_backwards;

/// Limit of records in one batch.
const RECORDS_AT_A_TIME: usize = 500;
/// Pause after the log did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What is derived from CONTROL.
pub(crate) trait ControlCopy: Send + Sync + 'static {
    /// Its name in logs and metrics.
    fn name(&self) -> &'static str;
    /// Applies records, in order.
    fn apply(&self, records: &[Record]);
    /// Everything is known that CONTROL had when reading began.
    fn complete(&self);
    /// Everything up to this position is applied.
    fn applied(&self, seq: StreamSeq);
    /// What was read belongs to a history that the log no longer has.
    fn begin_anew(&self);
}

/// Follows for ever.
pub(crate) async fn follow(
    log: Arc<dyn Log>,
    copy: Arc<dyn ControlCopy>,
    copy_check: Arc<CopyCheck>,
) {
    loop {
        let backwards = follow_one_history(&log, &*copy, &copy_check).await;
        went_backwards(copy.name());
        tracing::error!(
            copy = copy.name(), %backwards,
            "CONTROL does not hold what this worker has read of it, as after a restore from a backup; what depends on it waits until it was read again"
        );
        copy.begin_anew();
    }
}

/// Follows CONTROL until it no longer has what was read of it.
async fn follow_one_history(
    log: &Arc<dyn Log>,
    copy: &dyn ControlCopy,
    copy_check: &CopyCheck,
) -> WentBackwards {
    let wanted = copy_check.newest();
    let start = loop {
        match log.bounds(Stream::Control).await {
            Ok(bounds) => break bounds,
            Err(error) => {
                tracing::warn!(copy = copy.name(), %error, "CONTROL cannot be read, so nothing that depends on it begins; retrying");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    };
    if start.last == StreamSeq(0) {
        copy.complete();
    }
    // Nothing is known yet, so nothing is known that the log does not hold.
    copy_check.answer(wanted);
    let mut mark = None;
    let mut tail = log.tail(Stream::Control, Vec::new(), StreamSeq(1));
    let mut watch = Watch::new(Arc::clone(log), Stream::Control);
    loop {
        // All three are cancellation safe: a tail keeps what has arrived, a comparison goes on, and a
        // request that is not answered here is found again in the next turn.
        let batch = tokio::select! {
            batch = tail.next_batch(RECORDS_AT_A_TIME) => batch,
            backwards = watch.went_backwards(mark) => return backwards,
            wanted = copy_check.wanted() => {
                if let Some(mark) = mark
                    && let Continuity::WentBackwards(backwards) =
                        waybill_log::compare(&**log, Stream::Control, mark).await
                {
                    return backwards;
                }
                copy_check.answer(wanted);
                continue;
            }
        };
        let records = match batch {
            Ok(records) => records,
            Err(error) => {
                tracing::warn!(copy = copy.name(), %error, "reading CONTROL failed, so changes of it are not seen; retrying");
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        copy.apply(&records);
        if let Some(last) = records.last() {
            mark = Some(Mark::of(last, start.incarnation));
            if last.seq >= start.last {
                copy.complete();
            }
            copy.applied(last.seq);
        }
    }
}
