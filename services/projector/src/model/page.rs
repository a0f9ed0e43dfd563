//! Limits and cursors of pages.

use crate::query::{MAX_FILTER_BYTES, MAX_LIMIT};

/// A part of a query is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidQuery {
    /// The field, as clients name it.
    pub field: &'static str,
    /// What was wrong, and what would be right.
    pub message: String,
}

impl InvalidQuery {
    pub(super) fn new(field: &'static str, message: impl Into<String>) -> Self {
        Self {
            field,
            message: message.into(),
        }
    }
}

/// First byte of a cursor in a list of tasks.
pub(super) const TASKS_CURSOR: u8 = 1;
/// First byte of a cursor in a list of activity.
pub(super) const ACTIVITY_CURSOR: u8 = 2;
/// First byte of a cursor in a list of runs.
pub(super) const RUNS_CURSOR: u8 = 3;
/// First byte of a cursor in a list of workflows.
pub(super) const FLOWS_CURSOR: u8 = 4;

pub(super) fn write_cursor(kind: u8, place: [u8; 16]) -> String {
    hex::encode([&[kind][..], &place].concat())
}

pub(super) fn read_cursor(kind: u8, text: &str) -> Result<[u8; 16], InvalidQuery> {
    let mut bytes = [0; 17];
    let ours = hex::decode_to_slice(text, &mut bytes).is_ok() && bytes[0] == kind;
    match bytes.last_chunk() {
        Some(place) if ours => Ok(*place),
        _ => Err(InvalidQuery::new(
            "cursor",
            "cursor must be one that an earlier page of this list gave",
        )),
    }
}

pub(super) fn limit(limit: u16) -> Result<usize, InvalidQuery> {
    if (1..=MAX_LIMIT).contains(&limit) {
        Ok(limit.into())
    } else {
        Err(InvalidQuery::new(
            "limit",
            format!("limit must be between 1 and {MAX_LIMIT}, not {limit}"),
        ))
    }
}

pub(super) fn check_text(field: &'static str, text: Option<&str>) -> Result<(), InvalidQuery> {
    match text.map(str::len) {
        Some(len) if len > MAX_FILTER_BYTES => Err(InvalidQuery::new(
            field,
            format!("{field} must be at most {MAX_FILTER_BYTES} bytes, not {len}"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_only_good_where_it_came_from() {
        let text = write_cursor(TASKS_CURSOR, [7; 16]);
        assert_eq!(read_cursor(TASKS_CURSOR, &text), Ok([7; 16]));
        assert!(read_cursor(ACTIVITY_CURSOR, &text).is_err());
        for bad in ["", "zz", &text[2..], &format!("{text}00"), "é"] {
            assert!(read_cursor(TASKS_CURSOR, bad).is_err(), "{bad}");
        }
    }
}
