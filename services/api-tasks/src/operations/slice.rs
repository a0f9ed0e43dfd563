//! The next tasks of an operation: found, done at its pace, and told.

use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use waybill_domain::id::TaskId;
use waybill_domain::operation::{Pace, Progress, Verdict};
use waybill_domain::task::TaskRow;

use super::aim::Aim;
use super::item::{Work, refused};
use crate::lookup;
use waybill_edge::error::ApiError;

/// Most tasks of a slice. A pause or a cancellation is noticed behind it, so a slice is that of a second at most.
const MAX_SLICE: u32 = 100;
/// Tasks of one operation that are under way at a time.
const AT_A_TIME: usize = 8;

/// What became of the next tasks.
pub(super) struct Slice {
    /// In their order.
    pub(super) verdicts: Vec<(TaskId, Verdict)>,
    /// Where the rest begins; `None`: nothing is left.
    pub(super) next: Option<String>,
}

/// A task of a slice: found, or named and not there.
enum Next {
    Found(Box<TaskRow>),
    Missing(TaskId, Verdict),
}

impl Work<'_> {
    /// Does the next tasks. An error leaves some of them done; the whole slice can be repeated.
    pub(super) async fn slice(
        &self,
        aim: &Aim,
        progress: &Progress,
        pace: &mut (Pace, Instant),
        room: &Semaphore,
    ) -> Result<Slice, ApiError> {
        let limit = self.operation.rate.clamp(1, MAX_SLICE);
        let limit = u16::try_from(limit).unwrap_or(u16::MAX);
        let cursor = progress.cursor.clone();
        let (tasks, next) = if self.operation.tasks.is_empty() {
            let found = aim.select(self.state, self.team, cursor, limit).await?;
            let tasks = found.rows.into_iter();
            (
                tasks.map(|row| Next::Found(row.into())).collect(),
                found.next,
            )
        } else {
            self.named(cursor.as_deref(), limit.into()).await?
        };
        let ((pace, begun), this) = (pace, self);
        let verdicts = futures::stream::iter(tasks)
            .map(move |next: Next| {
                let turn = pace.turn(begun.elapsed());
                let wait = turn.saturating_sub(begun.elapsed());
                async move {
                    match next {
                        Next::Missing(task, verdict) => Ok::<_, ApiError>((task, verdict)),
                        Next::Found(row) => {
                            tokio::time::sleep(wait).await;
                            // Closed by nobody.
                            let _place = room.acquire().await;
                            Ok((row.id, this.take(&row).await?))
                        }
                    }
                }
            })
            .buffered(AT_A_TIME)
            .try_collect::<Vec<_>>();
        Ok(Slice {
            verdicts: verdicts.await?,
            next,
        })
    }

    /// The next of the tasks that are named one by one; the cursor counts them.
    async fn named(
        &self,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Next>, Option<String>), ApiError> {
        let all = &self.operation.tasks;
        let from = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
        let end = all.len().min(from + limit);
        let mut found = Vec::new();
        for task in all.get(from..end).unwrap_or_default() {
            let up_to = self.operation.up_to;
            match lookup::find_row(self.state, self.team, *task, up_to).await {
                Ok(row) => found.push(Next::Found(row.into())),
                Err(error) if error.status.is_client_error() => {
                    found.push(Next::Missing(*task, refused(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((found, (end < all.len()).then(|| end.to_string())))
    }
}
