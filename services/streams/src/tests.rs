//! Tests of streams without HTTP: on the in-memory log, with the clock paused.

mod behaviour;
mod exactness;
mod labels;
mod stage;
