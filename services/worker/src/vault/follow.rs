//! Follows CONTROL from its first record, so that the directory knows every token.

use std::sync::Arc;

use tokio::sync::watch;
use waybill_domain::event::ControlEvent;
use waybill_log::{Closes, Record, Stream, StreamSeq, control_event, set_aside};

use super::directory::Directory;
use crate::follow::ControlCopy;

/// The directory as a copy of CONTROL.
pub(super) struct Tokens {
    pub(super) directory: Arc<Directory>,
    /// Raised only when every look-up in the directory takes the records into account.
    pub(super) applied: watch::Sender<StreamSeq>,
}

impl ControlCopy for Tokens {
    fn name(&self) -> &'static str {
        "vault"
    }

    fn apply(&self, records: &[Record]) {
        let read = |record| event(record, &self.directory);
        let events: Vec<_> = records.iter().filter_map(read).collect();
        let events = events.iter().map(|(seq, event)| (*seq, event));
        self.directory.apply(events);
    }

    fn complete(&self) {
        self.directory.complete();
    }

    fn applied(&self, seq: StreamSeq) {
        self.applied.send_replace(seq);
    }

    fn begin_anew(&self) {
        self.directory.begin_anew();
        self.applied.send_replace(StreamSeq(0));
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
    use std::time::Duration;

    use super::*;
    use crate::follow::follow;
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
        let tokens = Tokens {
            directory: Arc::clone(&directory),
            applied,
        };
        let following = tokio::spawn(follow(
            Arc::new(log.clone()),
            Arc::new(tokens),
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
