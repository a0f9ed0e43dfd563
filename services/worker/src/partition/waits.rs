//! What the loop of a partition waits for.

use futures::future::{BoxFuture, FutureExt};
use waybill_log::{ReadError, Record, Tail};

use super::MAX_TAIL;
use crate::vault::{Page, Sweep};

pub(super) type Reading = BoxFuture<'static, (Box<dyn Tail>, Result<Vec<Record>, ReadError>)>;

/// The next page of a sweep; pending for ever if there is none.
pub(super) async fn next_page(sweep: &mut Option<Sweep>) -> Page {
    match sweep {
        Some(sweep) => sweep.next().await,
        None => std::future::pending().await,
    }
}

/// Continues reading. The loop keeps this future while it handles other events: restarted each time, it would never finish.
pub(super) fn read(mut tail: Box<dyn Tail>) -> Reading {
    async move {
        let records = tail.next_batch(MAX_TAIL).await;
        (tail, records)
    }
    .boxed()
}

/// Waits for an optional future and removes it when it completes; pending for ever if there is none.
pub(super) async fn poll_option<F: Future + Unpin>(slot: &mut Option<F>) -> Option<F::Output> {
    match slot {
        Some(future) => {
            let output = future.await;
            *slot = None;
            Some(output)
        }
        None => std::future::pending().await,
    }
}
