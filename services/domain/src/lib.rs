//! The decisions of Waybill as plain functions over values: no I/O, no clock, no randomness, no
//! async.

pub mod access;
pub mod actor;
pub mod audit;
pub mod command;
pub mod compartment;
pub mod dispatcher;
pub mod egress;
pub mod event;
pub mod flow;
pub mod health;
pub mod id;
pub mod limit;
pub mod operation;
pub mod partition;
pub mod rate;
pub mod recurring;
pub mod roll_call;
pub mod room;
pub mod schedule;
pub mod seq;
pub mod signature;
pub mod stream_token;
pub mod task;
pub mod time;
pub mod trace;
pub mod trust;
pub mod vault;
pub mod view;
mod words;
pub mod worker;
pub mod workflow;
