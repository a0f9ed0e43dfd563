//! One client's cursor over the log: what has happened, as events of this API, until its credential ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use waybill_api_tasks::parameters::end_behind;
use waybill_domain::seq::StreamSeq;
use waybill_edge::error::ApiError;
use waybill_edge::standing::still_valid;
use waybill_streams::{EventFilter, Output, Remainder, Slot, Step, Subscription};

use crate::reader::JobsReader;
use crate::state::LiveApi;
use crate::told::Events;

/// Pause before rows are read again that no projector had in time.
const PAUSE: Duration = Duration::from_millis(100);
/// How often that is tried before the stream ends: its client comes back, perhaps to another gateway.
const TRIES: u32 = 10;

/// What a client learns next.
pub(crate) enum Next {
    /// It follows the log from here on.
    Opened,
    /// What has happened at these positions, in their order. Some of it may be about no job.
    Happened(Vec<(StreamSeq, Events)>),
    /// Nothing has happened up to there.
    Quiet(StreamSeq),
    /// What happened before there is gone by retention.
    Gap(StreamSeq),
    /// The stream ends; it can be resumed elsewhere.
    Ends(&'static str),
    /// The credential has ended.
    Refused,
}

/// The cursor.
pub(crate) struct Source {
    api: LiveApi,
    caller: Arc<JobsReader>,
    subscription: Subscription,
    /// Steps that are not translated yet.
    pending: VecDeque<Arc<Step>>,
}

impl Source {
    /// Everything of the caller's team that the filter lets through, after a position; without one, from now on.
    pub(crate) async fn open(
        api: &LiveApi,
        caller: Arc<JobsReader>,
        filter: EventFilter,
        after: Option<StreamSeq>,
        slot: Slot,
    ) -> Result<Self, ApiError> {
        let end = end_behind(api, after.unwrap_or_default()).await?;
        let mut source = Self::of(api, caller, filter, (after.unwrap_or(end), None), slot);
        if after.is_none() {
            source.subscription = source.subscription.at_the_end();
        }
        Ok(source)
    }

    /// The rest of one job.
    pub(crate) fn of(
        api: &LiveApi,
        caller: Arc<JobsReader>,
        filter: EventFilter,
        (after, rest): (StreamSeq, Option<Remainder>),
        slot: Slot,
    ) -> Self {
        let valid = still_valid(api, &caller);
        let hub = Arc::clone(&api.hub);
        Self {
            api: api.clone(),
            caller,
            subscription: Subscription::new(hub, filter, after, rest, slot, valid),
            pending: VecDeque::new(),
        }
    }

    /// What comes next; `None` after the end. Cancel safe: what a dropped call would have returned, the next one returns.
    pub(crate) async fn next(&mut self) -> Option<Next> {
        let (api, caller) = (self.api.clone(), Arc::clone(&self.caller));
        // Both may be dropped at any time: a step is taken off the queue only once its events are known.
        tokio::select! {
            biased;
            () = api.until_refused(&caller.principal, &caller.team) => Some(Next::Refused),
            next = self.advance() => next,
        }
    }

    async fn advance(&mut self) -> Option<Next> {
        if self.pending.is_empty() {
            match self.subscription.next().await? {
                Output::Opening(_) => return Some(Next::Opened),
                Output::Steps(steps) => self.pending.extend(steps),
                Output::Gap {
                    first_available, ..
                } => return Some(Next::Gap(first_available)),
                Output::Heartbeat(position) => return Some(Next::Quiet(position)),
                Output::End { .. } => return None,
                Output::Closing { why, .. } => return Some(Next::Ends(why)),
            }
        }
        for _ in 0..TRIES {
            let read = join_all(self.pending.iter().map(|step| async {
                let events = self.api.told.of(step).await;
                events.map(|events| (step.seq, events))
            }));
            let read: Result<Vec<_>, _> = read.await.into_iter().collect();
            if let Ok(happened) = read {
                self.pending.clear();
                return Some(Next::Happened(happened));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Some(Next::Ends("jobs cannot be read at the moment"))
    }
}
