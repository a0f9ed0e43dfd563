//! A log that is replaced under a notary, with its checkpoints or without them.

use std::time::Duration;

use waybill_domain::audit::TreeId;
use waybill_domain::audit::verify::Outcome;
use waybill_log::Stream;
use waybill_log::memory::{MemoryCheckpoints, MemoryLog};
use waybill_projector::{Notary, NotaryConfig, NotaryError, NotaryStatus};

use super::{append, config, covered, over, standing, verify};
use crate::history::team;

/// It would sign two histories with one name: what it has read, and what the log says from there on.
#[tokio::test(start_paused = true)]
async fn a_notary_stops_when_the_log_is_replaced_while_it_runs_and_what_it_signed_is_not() {
    let (log, checkpoints) = (standing(), MemoryCheckpoints::default());
    let notary = signing(&log, &checkpoints, config("first")).await;
    // Restored to its beginning, and grown past what was read before the notary asks again.
    log.core().cut(Stream::Control, 2);
    for number in 4..9 {
        append(&log, &team(2), &format!("event {number}")).await;
    }
    let mut status = notary.watch();
    let stopped = status.wait_for(|status| matches!(status, NotaryStatus::Stopped(_)));
    drop(
        tokio::time::timeout(Duration::from_secs(60), stopped)
            .await
            .expect("it stops")
            .expect("it tells"),
    );
    let error = notary.shutdown().await.expect_err("for good");
    assert!(matches!(error, NotaryError::Mismatch(_)), "{error}");
    let signed = covered(&checkpoints, &TreeId::Control).await;
    assert_eq!(signed, 4, "nothing of the other history is signed");
}

/// Four events, all of them signed.
async fn signing(log: &MemoryLog, checkpoints: &MemoryCheckpoints, config: NotaryConfig) -> Notary {
    for number in 0..4 {
        append(log, &team(1), &format!("event {number}")).await;
    }
    let notary = Notary::start(config, over(log, checkpoints));
    while covered(checkpoints, &TreeId::Control).await < 4 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    notary
}

/// The log and the checkpoints are those of one backup: there is nothing that they could contradict.
#[tokio::test(start_paused = true)]
async fn a_notary_goes_on_with_a_log_that_is_restored_with_its_checkpoints_while_it_runs() {
    let (log, checkpoints) = (standing(), MemoryCheckpoints::default());
    let folder = tempfile::tempdir().expect("a folder");
    let config = NotaryConfig {
        folder: Some(folder.path().join("projector")),
        ..config("first")
    };
    let notary = signing(&log, &checkpoints, config).await;
    log.core().cut(Stream::Control, 2);
    checkpoints.all().clear();
    for number in 4..9 {
        append(&log, &team(2), &format!("event {number}")).await;
    }
    let signs = async {
        while covered(&checkpoints, &TreeId::Control).await < 7 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), signs)
        .await
        .expect("it signs what there is now");
    let told = std::fs::read_to_string(folder.path().join("log_went_backwards.jsonl"));
    let told = told.expect("written down");
    assert!(told.contains("\"copy\":\"notary\""), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
    notary.shutdown().await.expect("it ends well");
    let now = 1_795_245_100_000 * 1_000_000;
    let report = verify(&log, &checkpoints, now).await;
    assert_eq!(report.outcome, Outcome::Intact);
}
