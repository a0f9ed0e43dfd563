//! What tests stand on: a real nats-server or three, a network that can be cut, an HTTP client, waiting for conditions.

pub mod cluster;
pub mod eventually;
pub mod http;
pub mod nats;
pub mod proxy;
pub mod search;

pub use cluster::NatsCluster;
pub use eventually::eventually;
pub use nats::{NatsOptions, NatsServer};
pub use proxy::Proxy;
