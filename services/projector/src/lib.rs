//! Read models of the log, and the query service over them.
//!
//! [`Projector`] is the role: it follows CONTROL and TASKS (`follow`), keeps a read model
//! ([`model`]) in its own folder, and answers queries about it over NATS ([`query`] is the
//! protocol, `service` receives the requests, `answer` answers them). [`QueryClient`] is the
//! client. [`notary`] signs the contents of CONTROL. Any number of replicas run side by side, each
//! with its own model. The model is a disposable cache: [`rebuild`] recreates it, and [`verify`]
//! compares it with a recreated one.

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
