//! What is generated from `proto/spooled.proto`.

/// Messages, clients' names for them, and the traits of the services.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    reason = "generated: which lints it meets changes with its generator"
)]
pub mod pb {
    tonic::include_proto!("spooled.v1");
}

/// The files that the services are described in, for reflection: an encoded `FileDescriptorSet`.
pub const FILES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spooled.bin"));
