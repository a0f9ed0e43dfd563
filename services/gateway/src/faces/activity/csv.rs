//! The activity as a table for spreadsheets (RFC 4180): one line per entry, newest first.
//!
//! Names come from people, and end up in programs that take some texts for more than text. So no cell begins like a formula, and what
//! would move a cursor, break a line or turn the direction of writing is spelled out.

use std::fmt::Write;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::sync::{Semaphore, SemaphorePermit};
use waybill_domain::id::{Environment, TeamId};
use waybill_projector::QueryError;
use waybill_projector::query::{ActivityFilter, MAX_LIMIT, Outcome, Position};

use super::entry::ActivityEntry;
use super::given::Given;
use super::list::ends;
use crate::auth::Caller;
use crate::auth::needs::ActivityRead;
use crate::error::ApiError;
use crate::state::AppState;
use crate::streams::{StillValid, still_valid};

/// Exports of this process under way: each asks a projector page after page.
const MAX_EXPORTS: usize = 4;
static EXPORTS: Semaphore = Semaphore::const_new(MAX_EXPORTS);
/// When to come back, in seconds.
const BUSY_RETRY: u64 = 5;

const HEADER: &str = "at,type,actor,actorName,actorEmail,targetKind,targetId,targetName,queue,environment,source,requestId,userAgent,outcome,refusalCode,refusalCount,stream,seq\r\n";

/// Exports what matches. The first page is read before the answer begins; when a later one cannot be read, the answer breaks off.
pub(crate) async fn export(
    state: AppState,
    caller: &Caller<ActivityRead>,
    given: &Given,
) -> Result<Response, ApiError> {
    let filter = given.filter_in_time()?;
    let permit = EXPORTS.try_acquire().map_err(|_| {
        let message = "Too many exports are under way; try again later";
        ApiError::unavailable("too_many_exports", message).retry_after(BUSY_RETRY)
    })?;
    let mut export = Export {
        seen: ends(&state).await?,
        still_valid: still_valid(&state, caller),
        team: caller.team.clone(),
        state,
        filter,
        cursor: None,
        ended: false,
        _permit: permit,
    };
    let begin = Bytes::from(format!("{HEADER}{}", export.page().await?));
    let file = format!("attachment; filename=\"{}-activity.csv\"", caller.team);
    let headers = [
        (
            CONTENT_TYPE,
            HeaderValue::from_static("text/csv; charset=utf-8; header=present"),
        ),
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
            tracing::warn!(%error, "an export of activity broke off");
        })?;
        Ok::<_, BrokenOff>(Some((Bytes::from(page), export)))
    });
    let whole = futures::StreamExt::chain(stream::iter([Ok(begin)]), rest);
    Ok((headers, Body::from_stream(whole)).into_response())
}

/// Why an export broke off.
#[derive(Debug, thiserror::Error)]
enum BrokenOff {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("the credential that began it has ended")]
    Refused,
}

/// An export under way. Holds one page at a time.
struct Export {
    state: AppState,
    still_valid: StillValid,
    team: TeamId,
    filter: ActivityFilter,
    seen: Position,
    cursor: Option<String>,
    ended: bool,
    _permit: SemaphorePermit<'static>,
}

impl Export {
    async fn next_page(&mut self) -> Result<String, BrokenOff> {
        if !(self.still_valid)() {
            return Err(BrokenOff::Refused);
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
            line(&mut text, &entry.into());
        }
        Ok(text)
    }
}

fn line(text: &mut String, entry: &ActivityEntry) {
    let target = entry.target.as_ref();
    let refusal = entry.refusal.as_ref();
    let (count, seq) = (
        refusal.map(|refusal| refusal.count.to_string()),
        entry.seq.to_string(),
    );
    let cells = [
        Some(&*entry.at),
        Some(&*entry.kind),
        Some(&*entry.actor),
        entry.actor_name.as_deref(),
        entry.actor_email.as_deref(),
        target.map(|target| &*target.kind),
        target.map(|target| &*target.id),
        target.and_then(|target| target.name.as_deref()),
        entry.queue.as_deref(),
        entry.environment.map(Environment::as_str),
        entry.source.as_deref(),
        entry.request_id.as_deref(),
        entry.user_agent.as_deref(),
        Some(match entry.outcome {
            Outcome::Ok => "ok",
            Outcome::Refused => "refused",
        }),
        refusal.map(|refusal| &*refusal.code),
        count.as_deref(),
        Some(entry.stream),
        Some(&*seq),
    ];
    for (at, value) in cells.into_iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        cell(text, value.unwrap_or_default());
    }
    text.push_str("\r\n");
}

/// Writes one cell.
fn cell(text: &mut String, value: &str) {
    let is_formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let quoted = value.contains(['"', ',', '\r', '\n']);
    if quoted {
        text.push('"');
    }
    if is_formula {
        text.push('\'');
    }
    for c in value.chars() {
        match c {
            '"' => text.push_str("\"\""),
            c if c.is_control() || turns_direction(c) => {
                // Writing to memory has no way to fail.
                let _ = write!(text, "\\u{{{:04x}}}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    if quoted {
        text.push('"');
    }
}

/// Characters that reorder what stands around them (UAX #9), and separators that some programs take for the end of a line.
fn turns_direction(c: char) -> bool {
    matches!(
        c,
        '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &str) -> String {
        let mut text = String::new();
        cell(&mut text, value);
        text
    }

    #[test]
    fn a_cell_is_text_and_nothing_else() {
        for (value, cell) in [
            ("plain", "plain"),
            ("", ""),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\u{0009}=1"),
            ("\r=1", "\"'\\u{000d}=1\""),
            ("two\nlines", "\"two\\u{000a}lines\""),
            ("\u{1b}[31mred", "\\u{001b}[31mred"),
            ("abc\u{202e}txt.exe", "abc\\u{202e}txt.exe"),
            ("<b>ü</b>", "<b>ü</b>"),
            ("=\"a\",1", "\"'=\"\"a\"\",1\""),
        ] {
            assert_eq!(written(value), cell, "{value:?}");
        }
    }
}
