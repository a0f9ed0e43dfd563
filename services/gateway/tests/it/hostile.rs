//! The catalogue of attacks (design/access.md 4.1 and 4.8), as a client that means harm would send them. Each test names its row.
//!
//! - [`credentials`]: keys that are none, keys in the wrong place.
//! - [`bodies`]: members that only the server sets, cursors and limits made up.
//! - [`framing`]: requests that two parsers would cut at different places.
//! - [`paths`]: methods, spellings of a path, headers that claim another.
//! - [`routes`]: every described route with a key that may only read, and with another team's.
//! - [`timing`]: what the time of a refusal tells.
//! - [`wire`]: a connection in plain bytes, for what no HTTP client sends.

mod bodies;
mod credentials;
mod framing;
mod paths;
mod routes;
mod timing;
mod wire;
