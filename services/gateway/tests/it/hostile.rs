//! Attacks on the API as a client that means harm would make them. Each test names its row in docs/design/access.md ("Attacks that
//! tests make").
//!
//! - [`credentials`]: malformed keys, keys in the wrong place.
//! - [`bodies`]: members that only the server sets, cursors and limits made up.
//! - [`endless`]: bodies that do not end.
//! - [`framing`]: requests that two parsers would cut at different places.
//! - [`paths`]: methods, spellings of a path, headers that claim another.
//! - [`routes`]: every described route with a key that may only read, and with another team's.
//! - [`timing`]: what the time of a refusal tells.
//! - [`wire`]: a connection in plain bytes, for what no HTTP client sends.

mod bodies;
mod credentials;
mod endless;
mod framing;
mod paths;
pub(crate) mod routes;
mod timing;
mod wire;
