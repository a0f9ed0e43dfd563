//! Support for tests: real nats-servers, a network that can be cut, an HTTP client, a mail server,
//! and waiting for conditions.

pub mod cluster;
pub mod descriptors;
pub mod eventually;
pub mod http;
pub mod nats;
pub mod proxy;
pub mod raw_nats;
pub mod search;
pub mod smtp;

pub use cluster::NatsCluster;
pub use eventually::eventually;
pub use nats::{NatsOptions, NatsServer};
pub use proxy::Proxy;
