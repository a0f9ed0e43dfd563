//! `/`: people are sent to the dashboard, programs learn where to go on.

use axum::Json;
use axum::response::{IntoResponse, Redirect, Response};
use http::header::{ACCEPT, VARY};
use http::{HeaderMap, HeaderValue};
use serde_json::json;

/// A browser names `text/html` in `Accept`; whoever does not gets links.
pub(crate) async fn root(headers: HeaderMap) -> Response {
    let mut answer = if wants_page(&headers) {
        Redirect::to("/ui/").into_response()
    } else {
        links().into_response()
    };
    let vary = HeaderValue::from_static("accept");
    answer.headers_mut().insert(VARY, vary);
    answer
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let mut accepted = accepted.filter_map(|value| value.to_str().ok());
    accepted.any(|value| value.contains("text/html"))
}

fn links() -> Json<serde_json::Value> {
    Json(json!({
        "name": "Waybill",
        "links": {
            "dashboard": "/ui/",
            "reference": "/docs",
            "openapi": "/openapi.json",
            "meta": "/v1/meta",
            "tasks": "/v1/tasks",
            "events": "/v1/events",
            "health": "/healthz",
            "readiness": "/readyz",
        }
    }))
}
