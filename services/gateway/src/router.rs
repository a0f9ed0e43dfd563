//! All routes in one router, and the layers around them.

use std::sync::Arc;

use axum::Router;
use http::{HeaderName, HeaderValue, Method, header};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::config::GatewayConfig;
use crate::edge::EdgeLayer;
use crate::edge::room::BodyRoom;
use crate::gateway::StartError;
use crate::state::AppState;
use crate::{docs, error, faces, health, streams};

/// Shorter answers do not get shorter by compression.
const LEAST_COMPRESSED_BYTES: u64 = 1024;

/// Every route with its description.
pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(docs::base())
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .merge(faces::oauth::router())
        .merge(faces::activity::router())
        .merge(faces::tasks::router())
        .merge(faces::keys::router())
        .merge(faces::people::router())
        .merge(faces::signing::router())
        .merge(faces::teams::router())
        .merge(faces::tokens::router())
        .merge(streams::router())
}

/// The whole application.
pub(crate) fn build(state: AppState) -> Result<Router, StartError> {
    let cors = cors(&state.config)?;
    let edge = EdgeLayer::new(
        &state.config.trusted_proxies,
        Arc::clone(&state.limiter),
        Arc::clone(&state.refusals),
        BodyRoom::new(state.config.max_body_bytes_in_flight),
    );
    let (router, api) = routes().split_for_parts();
    let router = router
        .merge(docs::router(docs::finish(api)))
        .fallback(error::no_such_path)
        .with_state(state)
        .layer(edge)
        .layer(
            CompressionLayer::new().compress_when(
                SizeAbove::new(LEAST_COMPRESSED_BYTES)
                    .and(NotForContentType::const_new("text/event-stream")),
            ),
        );
    Ok(match cors {
        Some(cors) => router.layer(cors),
        None => router,
    })
}

fn cors(config: &GatewayConfig) -> Result<Option<CorsLayer>, StartError> {
    if config.cors_origins.is_empty() {
        return Ok(None);
    }
    let everybody = config.cors_origins.iter().any(|origin| origin == "*");
    let allowed = if everybody {
        AllowOrigin::any()
    } else {
        let origins = config
            .cors_origins
            .iter()
            .map(|origin| self::origin(origin))
            .collect::<Result<Vec<_>, _>>()?;
        AllowOrigin::list(origins)
    };
    let ours = |name: &'static str| HeaderName::from_static(name);
    Ok(Some(
        CorsLayer::new()
            .allow_origin(allowed)
            // Only pages of origins that were named may bring the cookie of a session along.
            .allow_credentials(!everybody)
            .allow_methods([
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                ours("x-api-key"),
                ours("idempotency-key"),
                ours("last-event-id"),
                ours("x-request-id"),
                ours("traceparent"),
                ours("x-team-id"),
                ours("x-environment"),
            ])
            .expose_headers([
                header::RETRY_AFTER,
                ours("idempotency-replayed"),
                ours("x-request-id"),
                ours("traceparent"),
                ours("x-ratelimit-limit"),
                ours("x-ratelimit-remaining"),
                ours("x-ratelimit-reset"),
                ours("ratelimit-policy"),
                ours("ratelimit"),
            ]),
    ))
}

fn origin(text: &str) -> Result<HeaderValue, StartError> {
    let wrong = || StartError::Origin(text.to_owned());
    let url = url::Url::parse(text).map_err(|_| wrong())?;
    let is_origin =
        matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == text;
    if !is_origin {
        return Err(wrong());
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}
