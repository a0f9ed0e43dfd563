//! Follows CONTROL from its first record, so that the directory knows every token.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use waybill_domain::event::ControlEvent;
use waybill_fence::CopyCheck;
use waybill_log::{
    Closes, Continuity, Log, Mark, Record, Stream, StreamSeq, Watch, WentBackwards, control_event,
    set_aside,
};

use super::directory::Directory;
use crate::takeover::went_backwards;

/// Limit of records in one batch.
const RECORDS_AT_A_TIME: usize = 500;
/// Pause after the log did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Follows for ever. `applied` is raised only when every look-up in the directory takes the records
/// into account.
pub(super) async fn follow(
    log: Arc<dyn Log>,
    directory: Arc<Directory>,
    applied: watch::Sender<StreamSeq>,
    copy_check: Arc<CopyCheck>,
) {
    loop {
        let backwards = follow_one_history(&log, &directory, &applied, &copy_check).await;
        went_backwards("vault");
        tracing::error!(
            %backwards,
            "CONTROL does not hold what this worker has read of it, as after a restore from a backup; nothing is sent with tokens of the \
             vault until it was read again"
        );
        directory.begin_anew();
        applied.send_replace(StreamSeq(0));
    }
}

/// Follows CONTROL until it no longer has what was read of it.
async fn follow_one_history(
    log: &Arc<dyn Log>,
    directory: &Directory,
    applied: &watch::Sender<StreamSeq>,
    copy_check: &CopyCheck,
) -> WentBackwards {
    let wanted = copy_check.newest();
    let start = loop {
        match log.bounds(Stream::Control).await {
            Ok(bounds) => break bounds,
            Err(error) => {
                tracing::warn!(%error, "CONTROL cannot be read, so no vault token can be used yet; retrying");
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    };
    if start.last == StreamSeq(0) {
        directory.complete();
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
                tracing::warn!(%error, "reading CONTROL failed, so changes of vault tokens are not seen; retrying");
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
        };
        let read = |record| event(record, directory);
        let events: Vec<_> = records.iter().filter_map(read).collect();
        directory.apply(events.iter().map(|(seq, event)| (*seq, event)));
        if let Some(last) = records.last() {
            mark = Some(Mark::of(last, start.incarnation));
            if last.seq >= start.last {
                directory.complete();
            }
            applied.send_replace(last.seq);
        }
    }
}

/// Decodes the events of CONTROL that tokens depend on.
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

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::event::TokenCreated;
    use waybill_domain::id::{Environment, TeamId, TokenId};
    use waybill_domain::time::Timestamp;
    use waybill_log::memory::MemoryLog;

    use crate::vault::failure::VaultFailure;

    fn team() -> TeamId {
        TeamId::new(Timestamp(1), 1)
    }

    async fn create(log: &MemoryLog, number: u128) -> TokenId {
        let token = TokenId::new(Timestamp(1), number);
        let event = ControlEvent::TokenCreated(TokenCreated {
            token: token.clone(),
            team: team(),
            environment: Environment::Live,
            name: "n".into(),
            version: 1,
            envelope: String::new(),
            fits_header: true,
            allowed_hosts: Vec::new(),
            expires_at: None,
            created_by: "user:u".into(),
            at: Timestamp(1),
        });
        crate::testing::store(log, &event).await;
        token
    }

    async fn until(is_so: impl Fn() -> bool) {
        let wait = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        // The clock is paused: it takes no time.
        tokio::time::timeout(Duration::from_secs(120), wait)
            .await
            .expect("in time");
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_of_a_history_that_the_log_has_left_are_forgotten() {
        let log = MemoryLog::default();
        let directory = Arc::new(Directory::default());
        let (kept, lost) = (create(&log, 1).await, create(&log, 2).await);
        let (applied, _) = watch::channel(StreamSeq(0));
        let following = tokio::spawn(follow(
            Arc::new(log.clone()),
            Arc::clone(&directory),
            applied,
            Arc::default(),
        ));
        let usable = |token: &TokenId| directory.usable(token, &team(), Timestamp(2));
        until(|| usable(&lost).is_ok()).await;
        log.core().cut(Stream::Control, 1);
        let new = create(&log, 3).await;
        until(|| usable(&new).is_ok()).await;
        assert!(usable(&kept).is_ok());
        let gone = usable(&lost).err();
        assert!(matches!(gone, Some(VaultFailure::Unknown(_))), "{gone:?}");
        following.abort();
    }
}
