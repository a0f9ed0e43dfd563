//! Read models of the log, and their query service.
//!
//! [`Projector`] is the role: it follows CONTROL and TASKS (`follow`), keeps a read model ([`model`]) in a folder of its own, and answers
//! queries about it over NATS ([`query`] is the protocol, `service` takes the requests, `answer` answers them). [`QueryClient`] is the
//! other end. [`notary`] signs what CONTROL holds. Any number of replicas run side by side, each with its own model. The model is a disposable cache: [`rebuild`] makes it
//! anew, [`verify`] compares it with one made anew.

mod answer;
pub mod client;
pub mod detail;
mod follow;
pub mod model;
pub mod notary;
mod progress;
mod projector;
pub mod query;
mod rebuild;
mod replay;
mod service;
mod verify;

pub use client::{Answered, QueryClient, QueryError};
pub use notary::{Notary, NotaryConfig, NotaryError, NotaryParts, NotaryStatus};
pub use progress::Status;
pub use projector::{Projector, ProjectorConfig, ProjectorError};
pub use rebuild::{RebuildError, Rebuilt, rebuild};
pub use replay::ReplayError;
pub use service::ServiceConfig;
pub use verify::{VerifyError, verify};
