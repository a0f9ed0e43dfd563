//! `GET /.well-known/waybill-audit-keys`: the public keys that sign checkpoints.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use tokio::sync::Mutex;
use tokio::time::Instant;
use waybill_projector::query::{AuditKeys, Position};

use super::checkpoint::{plain, unsigned};
use crate::error::{ApiError, ErrorBody};
use crate::state::AppState;

/// Keys change once in years; who asks without a credential must not make work for others.
const KEPT: Duration = Duration::from_secs(60);
/// Nobody knowing them is asked about again sooner.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// The keys as last heard. Only one question is under way; whoever else comes waits for its answer.
#[derive(Default)]
pub struct KnownKeys(Mutex<Option<Heard>>);

struct Heard {
    until: Instant,
    keys: Result<Arc<str>, ApiError>,
}

impl fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownKeys")
    }
}

impl KnownKeys {
    async fn get(&self, state: &AppState) -> Result<Arc<str>, ApiError> {
        let mut heard = self.0.lock().await;
        if let Some(heard) = heard.as_ref().filter(|heard| Instant::now() < heard.until) {
            return heard.keys.clone();
        }
        let answer = state.queries.ask(AuditKeys {}, Position::default()).await;
        let (keys, kept) = match answer {
            Ok(answered) => (Ok(Arc::from(answered.value)), KEPT),
            Err(error) => (Err(unsigned(&error)), FAILURE_KEPT),
        };
        *heard = Some(Heard {
            until: Instant::now() + kept,
            keys: keys.clone(),
        });
        keys
    }
}

/// The public keys that sign checkpoints of activity.
///
/// A key a line, `<name>+<key id>+<base64> <from> <until>`, as `waybill audit verify --keys` reads them. Keep a copy: keys that come from
/// whoever is to be checked prove little.
#[utoipa::path(
    get,
    path = "/.well-known/waybill-audit-keys",
    tag = "activity",
    responses(
        (status = 200, description = "The keys", body = String, content_type = "text/plain"),
        (status = 503, description = "Nobody signs now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn audit_keys(State(state): State<AppState>) -> Result<Response, ApiError> {
    let keys = state.audit_keys.get(&state).await?;
    Ok(plain(keys.to_string()))
}
