//! Group commit: all appends of a process to a stream go through one appender task.
//!
//! Callers put requests on a bounded [`queue`]. Events of TASKS go into frames: while a frame of
//! one partition and kind is in flight, the next one fills ([`lanes`]). All other appends gather
//! while earlier ones are in flight, and are then sent together: few of them as pipelined single
//! messages, many as one atomic batch ([`plan`] decides which). What is sent together is a
//! [`unit`]. It is sent again until it is answered, with the same ids, so that the server
//! recognises a repetition. The [`appender`] task owns all of this; [`outcome`] has its reactions
//! to answers.

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
