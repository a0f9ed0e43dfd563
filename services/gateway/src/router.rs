//! All routes in one router, and the layers around them.

use std::sync::Arc;

use axum::Router;
use http::{HeaderName, HeaderValue, Method, header};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::gateway::StartError;
use crate::state::AppState;
use crate::{docs, health};
use waybill_edge::config::GatewayConfig;
use waybill_edge::error;
use waybill_edge::request::room::Room;
use waybill_edge::request::{EdgeLayer, Rooms};

/// Smallest answer that is compressed, in bytes. For shorter ones, compression costs more than it saves.
const LEAST_COMPRESSED_BYTES: u64 = 1024;

/// The descriptions of all routes.
pub(crate) fn description() -> OpenApi {
    let api = OpenApiRouter::<()>::with_openapi(docs::base()).into_openapi();
    let own = api.merge_from(own_routes().into_openapi());
    let all = descriptions().into_iter();
    all.fold(own, |api, (_, described)| api.merge_from(described))
}

/// The description of each API by itself, under the name of its file in `schemas/openapi`.
pub(crate) fn descriptions() -> [(&'static str, OpenApi); 12] {
    [
        ("account", waybill_api_account::router().into_openapi()),
        ("keys", waybill_api_keys::router().into_openapi()),
        ("activity", waybill_api_activity::router().into_openapi()),
        ("system", waybill_api_system::router().into_openapi()),
        ("schedules", waybill_api_schedules::router().into_openapi()),
        ("tasks", waybill_api_tasks::router().into_openapi()),
        ("vault", waybill_api_vault::router().into_openapi()),
        ("work", waybill_api_work::router().into_openapi()),
        ("workflows", waybill_api_workflows::router().into_openapi()),
        ("jobs", waybill_api_jobs_flows::router().into_openapi()),
        ("jobs-live", waybill_api_jobs_live::router().into_openapi()),
        (
            "organizations",
            waybill_api_organizations::router().into_openapi(),
        ),
    ]
}

fn own_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

/// The whole application.
pub(crate) fn build(state: &AppState) -> Result<Router, StartError> {
    let cors = cors(&state.config)?;
    let edge = EdgeLayer::new(
        &state.config.trusted_proxies,
        Arc::clone(&state.limiter),
        Arc::clone(&state.refusals),
        Arc::clone(&state.usage),
        Rooms {
            bodies: Room::of_bodies(state.config.max_body_bytes_in_flight),
            requests: Room::of_requests(state.config.max_requests_under_way),
        },
    );
    let sink = state.config.has_sink().then(waybill_dashboard::sink);
    let router = Router::new()
        .merge(Router::from(own_routes()).with_state(state.clone()))
        .merge(Router::from(waybill_api_account::router()).with_state(state.account_api.clone()))
        .merge(Router::from(waybill_api_keys::router()).with_state(state.edge.clone()))
        .merge(Router::from(waybill_api_activity::router()).with_state(state.activity_api.clone()))
        .merge(Router::from(waybill_api_system::router()).with_state(state.edge.clone()))
        .merge(Router::from(waybill_api_schedules::router()).with_state(state.tasks_api.clone()))
        .merge(Router::from(waybill_api_tasks::router()).with_state(state.tasks_api.clone()))
        .merge(Router::from(waybill_api_vault::router()).with_state(state.edge.clone()))
        .merge(Router::from(waybill_api_work::router()).with_state(state.edge.clone()))
        .merge(Router::from(waybill_api_workflows::router()).with_state(state.tasks_api.clone()))
        .merge(Router::from(waybill_api_jobs_flows::router()).with_state(state.tasks_api.clone()))
        .merge(waybill_api_jobs_grpc::router(&state.tasks_api))
        .merge(waybill_api_jobs_live::routes(&state.tasks_api))
        .merge(Router::from(waybill_api_organizations::router()).with_state(state.edge.clone()))
        .merge(docs::router(docs::openapi()))
        .merge(waybill_dashboard::router(
            state.config.dashboard_from.clone(),
        ))
        .merge(sink.unwrap_or_default())
        .fallback(error::no_such_path)
        .layer(edge)
        .layer(
            CompressionLayer::new().compress_when(
                SizeAbove::new(LEAST_COMPRESSED_BYTES)
                    .and(NotForContentType::const_new("text/event-stream"))
                    .and(NotForContentType::GRPC),
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
                ours("prefer"),
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
                ours("waybill-position"),
                ours("waybill-warnings"),
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
