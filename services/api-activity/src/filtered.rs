//! Exports of the entries that `GET /v1/activity` shows, by the same filters: as a table, or as JSON lines. They come from a projector, so
//! they cannot be verified as [`super::export`] can.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::sync::{Semaphore, SemaphorePermit};
use waybill_domain::id::TeamId;
use waybill_projector::QueryError;
use waybill_projector::query::{ActivityFilter, MAX_LIMIT, Position};

use super::csv;
use super::entry::ActivityEntry;
use super::list::ends;
use super::parameters::QueryParameters;
use crate::state::ActivityApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::ActivityRead;
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::standing::still_valid;
use waybill_streams::StillValid;

/// How entries are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Form {
    /// A table for spreadsheets.
    Csv,
    /// One JSON object a line.
    JsonLines,
}

impl Form {
    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::JsonLines => "application/x-ndjson",
        })
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::JsonLines => "jsonl",
        }
    }

    fn header(self) -> &'static str {
        match self {
            Self::Csv => csv::HEADER,
            Self::JsonLines => "",
        }
    }

    fn write(self, text: &mut String, entry: &ActivityEntry) {
        match self {
            Self::Csv => csv::line(text, entry),
            Self::JsonLines => {
                // An entry is plain data; writing it has no way to fail.
                text.push_str(&serde_json::to_string(entry).unwrap_or_default());
                text.push('\n');
            }
        }
    }
}

/// Exports of this process under way: each asks a projector page after page.
const MAX_EXPORTS: usize = 4;
static EXPORTS: Semaphore = Semaphore::const_new(MAX_EXPORTS);
/// `Retry-After` of a refused export, in seconds.
const BUSY_RETRY: u64 = 5;

/// Exports what matches. The first page is read before the answer begins; when a later one cannot be read, the answer breaks off.
pub(crate) async fn export(
    state: ActivityApi,
    caller: &Caller<ActivityRead>,
    given: &QueryParameters,
    form: Form,
) -> Result<Response, ApiError> {
    let filter = given.filter_in_time()?;
    let permit = EXPORTS.try_acquire().map_err(|_| {
        let message = "Too many exports are under way; try again later";
        ApiError::unavailable(ErrorCode::TooManyExports, message).retry_after(BUSY_RETRY)
    })?;
    let mut export = Export {
        seen: ends(&state).await?,
        still_valid: still_valid(&state, caller),
        team: caller.team.clone(),
        state,
        filter,
        form,
        cursor: None,
        ended: false,
        _permit: permit,
    };
    let begin = Bytes::from(format!("{}{}", form.header(), export.page().await?));
    let (team, extension) = (&caller.team, form.extension());
    let file = format!("attachment; filename=\"{team}-activity.{extension}\"");
    let headers = [
        (CONTENT_TYPE, form.content_type()),
        (
            CONTENT_DISPOSITION,
            HeaderValue::try_from(file).map_err(|error| ApiError::internal(&error))?,
        ),
    ];
    let rest = stream::try_unfold(export, async |mut export| {
        if export.ended {
            return Ok(None);
        }
        let page = export.next_page().await.inspect_err(|error| {
            tracing::warn!(%error, "an export of activity ended early; the client has to start it again");
        })?;
        Ok::<_, ExportError>(Some((Bytes::from(page), export)))
    });
    let whole = futures::StreamExt::chain(stream::iter([Ok(begin)]), rest);
    Ok((headers, Body::from_stream(whole)).into_response())
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the credential that started it is no longer valid")]
    Refused,
}

/// An export under way. Holds one page at a time.
struct Export {
    state: ActivityApi,
    still_valid: StillValid,
    team: TeamId,
    filter: ActivityFilter,
    form: Form,
    seen: Position,
    cursor: Option<String>,
    ended: bool,
    _permit: SemaphorePermit<'static>,
}

impl Export {
    async fn next_page(&mut self) -> Result<String, ExportError> {
        if !(self.still_valid)() {
            return Err(ExportError::Refused);
        }
        Ok(self.page().await?)
    }

    async fn page(&mut self) -> Result<String, QueryError> {
        let (filter, cursor) = (self.filter.clone(), self.cursor.take());
        let page = self
            .state
            .queries
            .activity(&self.team, filter, MAX_LIMIT, cursor, self.seen)
            .await?
            .value;
        self.cursor = page.next;
        self.ended = self.cursor.is_none();
        let mut text = String::new();
        for entry in page.entries {
            self.form.write(&mut text, &entry.into());
        }
        Ok(text)
    }
}
