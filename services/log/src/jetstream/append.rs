//! Group commit: all appends of a process to a stream go through one appender.
//!
//! Callers put requests on a bounded [`queue`]. Events of TASKS go into frames: while the frame of a partition and a writer is in flight,
//! the next one fills ([`lanes`]). Everything else gathers while appends are in flight, and leaves together: few as pipelined singles,
//! many as one atomic batch ([`plan`] decides which). What has been sent together is a [`unit`]: it is sent
//! again until it is answered, with the same ids, so that a second landing is recognised. The [`appender`] task owns all of it;
//! [`outcome`] is what it does with an answer.

mod answer;
mod appender;
mod content;
mod heard;
mod lanes;
mod locate;
mod outcome;
mod plan;
mod queue;
mod unit;

pub(super) use appender::Settings;
pub(super) use queue::Appender;
