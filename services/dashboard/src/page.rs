//! The document of every page, and the files that it loads.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use waybill_edge::error::ApiError;

use crate::files::Files;

/// Scripts, styles and requests of this origin only, and no text becomes markup but through the templates of `lit-html`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types lit-html";
const DOCUMENT: &str = "index.html";
/// Stands in the document where the address of the files belongs.
const PLACEHOLDER: &str = "{{assets}}";
/// What begins with it is a file, never a page.
const ASSETS: &str = "assets/";

/// Adds the slash below which the pages are.
pub(crate) async fn moved() -> Redirect {
    Redirect::permanent("/ui/")
}

/// The document of every page.
pub(crate) async fn page(
    State(files): State<Arc<Files>>,
    path: Option<Path<String>>,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("There is no such file of the dashboard");
    if path.is_some_and(|Path(path)| path.starts_with(ASSETS)) {
        return Err(missing());
    }
    let document = files.read(DOCUMENT).await.ok_or_else(missing)?;
    let assets = format!("/ui/assets/{}", files.hash());
    let text = String::from_utf8_lossy(&document).replace(PLACEHOLDER, &assets);
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/html; charset=utf-8"),
        ),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        // It names the files of one version: a browser has to ask whether there is another one.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, text).into_response())
}

/// A script, a style or a picture.
pub(crate) async fn asset(
    State(files): State<Arc<Files>>,
    Path((hash, path)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let missing = || ApiError::not_found("There is no such file of the dashboard");
    // A page of another version reads this as: load the page again.
    if hash != files.hash() {
        return Err(missing());
    }
    let kind = content_type(&path).ok_or_else(missing)?;
    let bytes = files.read(&path).await.ok_or_else(missing)?;
    let caching = if files.is_immutable() {
        "public, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static(kind)),
        (CACHE_CONTROL, HeaderValue::from_static(caching)),
    ];
    Ok((headers, bytes.into_owned()).into_response())
}

/// The kinds of files that there are; others are not served.
fn content_type(path: &str) -> Option<&'static str> {
    let (_, extension) = path.rsplit_once('.')?;
    match extension {
        "js" => Some("text/javascript; charset=utf-8"),
        "css" => Some("text/css; charset=utf-8"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}
