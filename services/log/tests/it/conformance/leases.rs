//! Leases, and snapshots.

use bytes::Bytes;
use waybill_log::LeaseError;
use waybill_testkit::eventually;

use crate::fixture::{Full, SOON};

pub(super) async fn a_lease_has_one_holder(log: impl Full) {
    let lease = log.acquire("partition.1", "a").await.unwrap();
    let other = log.acquire("partition.2", "b").await.unwrap();
    let refused = log.acquire("partition.1", "b").await;
    assert!(
        matches!(refused, Err(LeaseError::NotHeld { .. })),
        "{refused:?}"
    );
    let renewed = log.renew(&lease).await.unwrap();
    assert!(matches!(
        log.renew(&lease).await,
        Err(LeaseError::NotHeld { .. })
    ));
    log.renew(&renewed).await.unwrap();
    log.renew(&other).await.unwrap();
    let holders = [("partition.1", "a"), ("partition.2", "b")];
    let holders = holders.map(|(name, holder)| (name.to_owned(), holder.to_owned()));
    assert_eq!(log.holders().await.unwrap(), holders);
}

pub(super) async fn a_lease_runs_out_and_cannot_be_renewed(log: impl Full) {
    let lease = log.acquire("partition.1", "a").await.unwrap();
    let mut taken = None;
    eventually(SOON, async || {
        taken = log.acquire("partition.1", "b").await.ok();
        taken.is_some()
    })
    .await
    .unwrap();
    assert!(matches!(
        log.renew(&lease).await,
        Err(LeaseError::NotHeld { .. })
    ));
    assert!(matches!(
        log.release(&lease).await,
        Err(LeaseError::NotHeld { .. })
    ));
    log.renew(&taken.unwrap()).await.unwrap();
}

pub(super) async fn a_lease_given_back_is_free(log: impl Full) {
    for holder in ["a", "b", "a"] {
        let lease = log.acquire("partition.1", holder).await.unwrap();
        log.release(&lease).await.unwrap();
        assert!(log.holders().await.unwrap().is_empty());
    }
}

pub(super) async fn a_lease_is_taken_again_by_its_own_holder(log: impl Full) {
    let lost = log.acquire("partition.1", "a").await.unwrap();
    let taken = log.acquire("partition.1", "a").await.unwrap();
    assert!(matches!(
        log.renew(&lost).await,
        Err(LeaseError::NotHeld { .. })
    ));
    log.renew(&taken).await.unwrap();
}

pub(super) async fn snapshots_are_replaced(log: impl Full) {
    assert_eq!(log.get("partition-1").await.unwrap(), None);
    for value in [
        Bytes::from_static(b"small"),
        Bytes::from(vec![7; 700_000]),
        Bytes::new(),
    ] {
        log.put("partition-1", value.clone()).await.unwrap();
        assert_eq!(log.get("partition-1").await.unwrap(), Some(value));
    }
}
