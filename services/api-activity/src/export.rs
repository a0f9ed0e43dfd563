//! `GET /v1/activity/export`: all of the team's activity, with everything that is needed to check it offline.
//!
//! Straight from the log and not from a read model, up to a checkpoint made at the beginning. An incomplete export never looks complete:
//! when the log does not hold what was signed, the answer breaks off before the last line.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Deserialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use utoipa::IntoParams;
use waybill_domain::audit::Checkpoint;
use waybill_domain::audit::export::{Header, Line};
use waybill_domain::audit::tree::team_of;
use waybill_domain::id::TeamId;
use waybill_log::subject::ControlSubject;
use waybill_log::{ReadError, Stream, StreamSeq};

use super::checkpoint::{self, Fresh};
use super::filtered::{self, Form};
use super::parameters::{FILTERS, FilterParameters, QueryParameters, TIMES, TimeParameters};
use super::signed_for;
use crate::state::ActivityApi;
use waybill_edge::auth::Caller;
use waybill_edge::auth::needs::ActivityRead;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};

/// Exports of this process under way: each reads the log from its beginning.
const MAX_EXPORTS: usize = 4;
static EXPORTS: Semaphore = Semaphore::const_new(MAX_EXPORTS);
/// `Retry-After` of a refused export, in seconds.
const BUSY_RETRY: u64 = 5;
/// Events read at once, and listed by one line of leaves at most. An event of CONTROL has some hundred bytes.
const PAGE: usize = 500;
const FORMAT: &str = "format";
const JSONL: &str = "jsonl";
const CSV: &str = "csv";

/// The form of an export.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what `QueryParameters` reads")]
pub struct ExportParams {
    /// `jsonl` (default): without a filter, everything with what is needed to verify it; with a filter or a period, the matching entries of
    /// `GET /v1/activity`, one a line. `csv`: these entries as a table.
    #[param(example = "csv")]
    format: Option<String>,
}

/// Export the team's activity, for `waybill audit verify` or as a table.
///
/// JSON lines: a header, the events with their leaves, and a signed checkpoint of all of them as the last line. An answer without that last
/// line is incomplete. With a filter or a period the answer holds only the matching entries, and nothing to verify them by.
#[utoipa::path(
    get,
    path = "/v1/activity/export",
    operation_id = "activity.event.export",
    tag = "activity",
    security(("api_key" = ["activity:read"])),
    params(ExportParams, FilterParameters, TimeParameters),
    responses(
        (status = 200, description = "The export", content((String = "application/x-ndjson"), (String = "text/csv"))),
        (status = 400, description = "No such format", body = ErrorBody),
        (status = 404, description = "The team has no activity yet", body = ErrorBody),
        (status = 503, description = "Nobody signs now, or too many exports are under way; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn export_activity(
    State(state): State<ActivityApi>,
    caller: Caller<ActivityRead>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let given = QueryParameters::read(query.as_deref(), &[&[FORMAT], &FILTERS, &TIMES])?;
    match given.text(FORMAT) {
        Some(CSV) => return filtered::export(state, &caller, &given, Form::Csv).await,
        // A selection cannot be verified as complete, so it has no leaves and no checkpoint.
        None | Some(JSONL) if given.has_any(&[&FILTERS, &TIMES]) => {
            return filtered::export(state, &caller, &given, Form::JsonLines).await;
        }
        None | Some(JSONL) => {}
        Some(format) => {
            let shown: String = format.chars().take(40).collect();
            let message = format!("format must be {JSONL} or {CSV}, not {shown:?}");
            return Err(ApiError::bad_field(FORMAT, message));
        }
    }
    let permit = EXPORTS.try_acquire().map_err(|_| {
        let message = "Too many exports are under way; try again later";
        ApiError::unavailable(ErrorCode::TooManyExports, message).retry_after(BUSY_RETRY)
    })?;
    let team = signed_for(&caller)?;
    let fresh = checkpoint::fresh(&state, &team).await?;
    let name = format!("attachment; filename=\"{team}-activity.jsonl\"");
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-ndjson"),
        ),
        (
            CONTENT_DISPOSITION,
            HeaderValue::try_from(name).map_err(|error| ApiError::internal(&error))?,
        ),
    ];
    let body = Body::from_stream(lines(Export::new(state, team, fresh, permit)));
    Ok((headers, body).into_response())
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error("CONTROL holds {found} events of {team} where {signed} were signed")]
    Differs {
        team: TeamId,
        found: u64,
        signed: u64,
    },
}

/// An export under way.
struct Export {
    state: ActivityApi,
    team: TeamId,
    filters: [String; 2],
    note: String,
    signed: Checkpoint,
    /// The sequence to read next.
    next: StreamSeq,
    written: u64,
    part: Part,
    _permit: SemaphorePermit<'static>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Header,
    Events,
    Checkpoint,
    End,
}

fn lines(export: Export) -> impl futures::Stream<Item = Result<Bytes, ExportError>> {
    stream::try_unfold(export, async |mut export| {
        let next = export.next_part().await.inspect_err(|error| {
            tracing::error!(%error, "an export of activity ended early; the client has to start it again");
        })?;
        Ok(next.map(|text| (Bytes::from(text), export)))
    })
}

impl Export {
    fn new(
        state: ActivityApi,
        team: TeamId,
        fresh: Fresh,
        permit: SemaphorePermit<'static>,
    ) -> Self {
        Self {
            state,
            // Events about a team are stored below the team, or below the global subjects: grants, for example.
            filters: [
                ControlSubject::all_of_team(&team),
                ControlSubject::all_global(),
            ],
            team,
            note: fresh.note,
            signed: fresh.checkpoint,
            next: StreamSeq(1),
            written: 0,
            part: Part::Header,
            _permit: permit,
        }
    }

    /// Some more lines, or nothing after the last ones.
    async fn next_part(&mut self) -> Result<Option<String>, ExportError> {
        match self.part {
            Part::Header => {
                self.part = Part::Events;
                let header = Header {
                    deployment: self.signed.deployment.clone(),
                    tree: self.signed.tree.clone(),
                    stream: self.signed.stream,
                };
                Ok(Some(Line::Header(header).write() + "\n"))
            }
            Part::Events => self.events().await.map(Some),
            Part::Checkpoint => {
                self.part = Part::End;
                let note = std::mem::take(&mut self.note);
                Ok(Some(Line::Checkpoint(note).write() + "\n"))
            }
            Part::End => Ok(None),
        }
    }

    /// A page of events and their leaves; empty when the page held only those of others.
    async fn events(&mut self) -> Result<String, ExportError> {
        let last = self.signed.last_seq;
        let log = &self.state.log;
        let page = log
            .range(Stream::Control, &self.filters, self.next, last, PAGE)
            .await?;
        let is_last = page.len() < PAGE;
        let (mut text, mut leaves) = (String::new(), Vec::new());
        for record in page {
            self.next = record.seq.next();
            let stored = record.stored();
            if team_of(&stored).as_ref() != Some(&self.team) {
                continue;
            }
            leaves.push(stored.leaf(self.signed.stream));
            text.push_str(&Line::event(stored).write());
            text.push('\n');
        }
        self.written += leaves.len() as u64;
        if !leaves.is_empty() {
            text.push_str(&Line::Leaves(leaves).write());
            text.push('\n');
        }
        if is_last || self.next > last {
            if self.written != self.signed.size {
                return Err(ExportError::Differs {
                    team: self.team.clone(),
                    found: self.written,
                    signed: self.signed.size,
                });
            }
            self.part = Part::Checkpoint;
        }
        Ok(text)
    }
}
