//! Serves the dashboard: static files that are part of the binary, or lie in a folder while somebody works on them.
//!
//! The pages do nothing that the public API does not let their user do, so nothing here knows a team, a session or a task.

/// The build script's own, for its tests.
#[cfg(test)]
#[path = "../bundle.rs"]
mod bundle;
#[cfg(test)]
#[path = "../compact.rs"]
mod compact;
mod discovery;
mod files;
mod page;
mod sink;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};

use files::Files;

/// The routes of the dashboard: `/`, the pages below `/ui/`, and the files that they load below `/ui/assets/<hash>/`.
///
/// `folder` is where the files are read from at each request (`web/dashboard` of a working tree); without it those in the binary are served.
pub fn router(folder: Option<PathBuf>) -> Router {
    let files = Arc::new(folder.map_or_else(Files::embedded, |folder| Files::in_folder(&folder)));
    Router::new()
        .route("/", get(discovery::root))
        .route("/ui", get(page::moved))
        .route("/ui/", get(page::page))
        .route("/ui/assets/{hash}/{*path}", get(page::asset))
        // The address of a page is read by the page itself; every one gets the same document.
        .route("/ui/{*path}", get(page::page))
        .with_state(files)
}

/// `/sink`: a target for first tries. It answers anybody, so it is for a gateway that only this machine reaches.
pub fn sink() -> Router {
    Router::new().route("/sink", any(sink::sink))
}

#[cfg(test)]
mod tests;
