//! Asking all processes what they are and how far they are.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, timeout_at};
use waybill_domain::roll_call::{RoleReport, SUBJECT};
use waybill_edge::error::{ApiError, ErrorCode};

/// How long answers are waited for. Nobody knows how many processes there are, so all of it is waited.
const PATIENCE: Duration = Duration::from_millis(500);
/// Reports that are taken; an installation with more is shown in part.
const MAX_REPORTS: usize = 1_000;

/// What every process says that answers in time, by role and id.
pub(crate) async fn call(nats: &async_nats::Client) -> Result<Vec<RoleReport>, ApiError> {
    let away = |error: &dyn std::fmt::Display| {
        let text = format!("The processes cannot be asked now: {error}");
        ApiError::unavailable(ErrorCode::LogUnavailable, text)
    };
    let inbox = nats.new_inbox();
    let mut answers = nats
        .subscribe(inbox.clone())
        .await
        .map_err(|error| away(&error))?;
    nats.publish_with_reply(SUBJECT, inbox, "".into())
        .await
        .map_err(|error| away(&error))?;
    let until = Instant::now() + PATIENCE;
    let mut reports: Vec<RoleReport> = Vec::new();
    // Cancellation safe: nothing is lost but answers that nobody will read.
    while let Ok(Some(answer)) = timeout_at(until, answers.next()).await {
        // Of a later version, or of nobody: when nobody listens the server says so.
        reports.extend(serde_json::from_slice::<RoleReport>(&answer.payload).ok());
        if reports.len() >= MAX_REPORTS {
            break;
        }
    }
    reports.sort_by(|a, b| (a.role, &a.id).cmp(&(b.role, &b.id)));
    Ok(reports)
}
