//! Positions of TASKS as clients see them: `Waybill-Position` of the answer to a write, and `at` of a read that must know of that write,
//! whichever gateway it reaches.
//!
//! One gateway remembers by itself what it has acknowledged to a team, see [`crate::acknowledged`]; a position lets a client carry that to
//! another gateway, or to another process of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use waybill_domain::access::scope::Scope;
use waybill_domain::id::TeamId;
use waybill_log::StreamSeq;

use crate::error::ApiError;
use crate::state::Edge;

/// The header of an answer to a write.
pub const HEADER: HeaderName = HeaderName::from_static("waybill-position");
/// The parameter of a read.
pub const PARAMETER: &str = "at";

/// The last position that a request has acknowledged; 0 if none. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct PositionSlot(Arc<AtomicU64>);

impl PositionSlot {
    /// Remembers a position for the answer.
    pub fn note(&self, seq: StreamSeq) {
        self.0.fetch_max(seq.0, Ordering::Relaxed);
    }

    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let seq = self.0.load(Ordering::Relaxed);
        if seq > 0 {
            headers.insert(HEADER, HeaderValue::from(seq));
        }
    }
}

/// Whether requests with this method and need read what was made of TASKS.
pub(crate) fn is_for_reads(method: &Method, scope: Scope) -> bool {
    method == Method::GET && matches!(scope, Scope::TasksRead | Scope::QueuesRead)
}

/// The position that a read names.
fn named(query: &str) -> Result<Option<StreamSeq>, ApiError> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let Some((_, text)) = pairs.find(|(name, _)| name == PARAMETER) else {
        return Ok(None);
    };
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.map(|number| Some(StreamSeq(number))).ok_or_else(|| {
        ApiError::bad_field(
            PARAMETER,
            "at must be a position, as Waybill-Position of an answer",
        )
    })
}

impl Edge {
    /// Remembers what a request has acknowledged: for its answer, and so that its team reads its own writes here.
    pub fn acknowledge(&self, slot: &PositionSlot, team: &TeamId, seq: StreamSeq) {
        slot.note(seq);
        self.acknowledged.told(team, seq);
    }

    /// Lets this read and later ones of the team wait for the position that it names.
    ///
    /// A position that the log has not reached was never answered. It is refused, since a team that is taken to know of it would wait for
    /// it in every read.
    pub(crate) async fn read_at(&self, parts: &Parts, team: &TeamId) -> Result<(), ApiError> {
        let Some(at) = named(parts.uri.query().unwrap_or_default())? else {
            return Ok(());
        };
        if at <= self.acknowledged.to(team) {
            return Ok(());
        }
        let end = self.end_of_tasks().await?;
        if at > end {
            let message = format!(
                "at must not be beyond the end of the log, which is {}",
                end.0
            );
            return Err(ApiError::bad_field(PARAMETER, message));
        }
        self.acknowledged.told(team, at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_digits_alone() {
        let of = |query: &str| named(query).map_err(|error| error.body.field);
        assert_eq!(of("limit=5&at=17"), Ok(Some(StreamSeq(17))));
        assert_eq!(of("attempt=17&%61t=3"), Ok(Some(StreamSeq(3))));
        assert_eq!(of("limit=5"), Ok(None));
        for wrong in [
            "at=",
            "at=-1",
            "at=%2B1",
            "at=1.5",
            "at=18446744073709551616",
        ] {
            assert_eq!(of(wrong), Err(Some(PARAMETER.into())), "{wrong}");
        }
    }

    #[test]
    fn an_answer_tells_the_last_of_its_positions() {
        let (slot, mut headers) = (PositionSlot::default(), HeaderMap::new());
        slot.write(&mut headers);
        assert!(headers.is_empty(), "nothing was written");
        slot.note(StreamSeq(9));
        slot.clone().note(StreamSeq(4));
        slot.write(&mut headers);
        assert_eq!(headers[HEADER], "9");
    }
}
