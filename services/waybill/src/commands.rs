//! The subcommands: a file for each, named after it.
//!
//! `up` runs all roles in one process, `apart` each on its own (`gateway`, `worker`, `projector`). `read_model` has `rebuild` and `verify`,
//! and `backup` has `restore`. The others reach a running server by `running_server`.

pub(crate) mod apart;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod dashboard;
pub(crate) mod doctor;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod read_model;
pub(crate) mod replay;
pub(crate) mod schemas;
pub(crate) mod signatures;
pub(crate) mod signing_secret;
pub(crate) mod sink;
pub(crate) mod teams;
pub(crate) mod up;
pub(crate) mod vault;
