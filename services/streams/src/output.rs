//! What goes out of a subscription, before an API has written it: the native one writes frames of server-sent events.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use waybill_domain::seq::StreamSeq;

use super::frame;
use super::view::Step;

/// What a subscriber is told next.
#[derive(Debug)]
pub enum Output {
    /// The stream begins after this position.
    Opening(StreamSeq),
    /// What has happened, in its order.
    Steps(Vec<Arc<Step>>),
    /// What happened between the two is gone by retention.
    Gap {
        after: StreamSeq,
        /// The first position that is still stored.
        first_available: StreamSeq,
    },
    /// Nothing has happened for a while, up to this position.
    Heartbeat(StreamSeq),
    /// Nothing more will come of the task.
    End {
        /// Its id.
        task: String,
        position: StreamSeq,
    },
    /// The stream ends early; it can be resumed after this position.
    Closing {
        /// A sentence for people.
        why: &'static str,
        position: StreamSeq,
    },
}

impl Output {
    /// As frames of the native API.
    #[must_use]
    pub fn frame(&self) -> Bytes {
        match self {
            Self::Opening(position) => frame::opening(position),
            Self::Steps(steps) => match steps.as_slice() {
                [only] => only.frame().clone(),
                several => {
                    let mut chunk = BytesMut::new();
                    for step in several {
                        chunk.extend_from_slice(step.frame());
                    }
                    chunk.freeze()
                }
            },
            Self::Gap {
                after,
                first_available,
            } => frame::gap(*after, *first_available),
            Self::Heartbeat(position) => frame::heartbeat(position),
            Self::End { task, position } => frame::end(*position, task.clone()),
            Self::Closing { why, position } => frame::closing(why, position),
        }
    }
}
