//! The server's answers to a publish, sorted by what the appender must do.

use serde::Deserialize;

use super::super::api::{Refusal, code};
use crate::StreamSeq;

/// The answer to a single or to the commit of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Stored; `last` is the sequence of the last record.
    Stored {
        last: StreamSeq,
        /// An earlier message with the same id had stored it.
        duplicate: bool,
    },
    /// The first message of the batch has an id that is already stored.
    StoredBefore,
    /// The expectation does not hold. Nothing was stored.
    Conflict,
    /// Nothing was stored; a later attempt can succeed.
    Busy(String),
    /// Nothing was stored, since there is no room.
    Full(String),
    /// No server takes appends: the stream has no leader, or its server is not ready.
    Leaderless,
    /// Nothing was stored, and no later attempt can succeed.
    Refused(String),
}

#[derive(Deserialize)]
struct Ack {
    error: Option<Refusal>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
}

/// Parses an answer. `None` for other messages, such as the empty one after the first message of a
/// batch.
pub(super) fn read(message: &async_nats::Message) -> Option<Answer> {
    if message.status == Some(async_nats::StatusCode::NO_RESPONDERS) {
        return Some(Answer::Leaderless);
    }
    let ack: Ack = serde_json::from_slice(&message.payload).ok()?;
    Some(match ack.error {
        None => Answer::Stored {
            last: StreamSeq(ack.seq),
            duplicate: ack.duplicate,
        },
        Some(refusal) => sort(&refusal),
    })
}

fn sort(refusal: &Refusal) -> Answer {
    /// JetStream's own "try again".
    const UNAVAILABLE: u64 = 503;
    match refusal.err_code {
        code::WRONG_LAST_SEQUENCE => Answer::Conflict,
        code::BATCH_HAS_DUPLICATE => Answer::StoredBefore,
        code::EXPECTATION_IN_FLIGHT
        | code::DUPLICATE_IN_FLIGHT
        | code::TOO_MANY_REQUESTS
        | code::BATCH_INCOMPLETE
        | code::TOO_MANY_BATCHES
        | code::TOO_MANY_BATCHES_BYTES => Answer::Busy(refusal.to_string()),
        _ if refusal.says_full() => Answer::Full(refusal.to_string()),
        code::NOT_AVAILABLE => Answer::Leaderless,
        code::STORE_FAILED => Answer::Refused(refusal.to_string()),
        _ if refusal.code == UNAVAILABLE => Answer::Busy(refusal.to_string()),
        _ => Answer::Refused(refusal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(payload: &str) -> Option<Answer> {
        let message = async_nats::Message {
            subject: "_INBOX.a".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        read(&message)
    }

    #[test]
    fn answers_are_sorted_by_what_to_do() {
        assert_eq!(
            said(r#"{"stream":"TASKS","seq":7,"duplicate":true}"#),
            Some(Answer::Stored {
                last: StreamSeq(7),
                duplicate: true
            })
        );
        let wrong = r#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 4"},"stream":"TASKS","seq":0}"#;
        assert_eq!(said(wrong), Some(Answer::Conflict));
        let away =
            r#"{"error":{"code":503,"err_code":10008,"description":"temporarily unavailable"}}"#;
        assert_eq!(said(away), Some(Answer::Leaderless));
        let large = r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
        assert!(matches!(said(large), Some(Answer::Refused(_))));
        let full =
            r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}"#;
        assert!(matches!(said(full), Some(Answer::Full(_))));
        let resources =
            r#"{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}"#;
        assert!(matches!(said(resources), Some(Answer::Full(_))));
        assert_eq!(said(""), None);
    }
}
