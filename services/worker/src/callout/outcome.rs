//! How a call ended, and its representation in the log.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::StatusCode;
use rustix::io::Errno;
use waybill_domain::event::task::{Answer, BodyEncoding, Failure, FailureKind};

/// How a call ended. The dispatcher decides whether that is a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered, with any status.
    Answered(Answered),
    /// There is no complete answer.
    Failed(CallFailed),
}

/// The answer of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub status: StatusCode,
    /// Headers in the order received, at most [`super::answer::KEPT_HEADER_BYTES`]. Invalid UTF-8
    /// is replaced.
    pub headers: Vec<(String, String)>,
    /// Length of all headers, if not all of them are kept.
    pub header_bytes: Option<u32>,
    /// The body, or its beginning: at most as much as the request asked to keep.
    pub body: Bytes,
    /// Whether `body` is incomplete.
    pub truncated: bool,
    /// Length of the whole body, as far as it was counted: see
    /// [`super::answer::COUNTED_BODY_BYTES`].
    pub body_bytes: u64,
    /// Time from the start of the call to the end of the answer, over all hops.
    pub duration: Duration,
}

/// Why there is no complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailed {
    pub reason: FailReason,
    /// A sentence for the team. It contains no address, no header and no part of the URL.
    pub message: Cow<'static, str>,
    pub duration: Duration,
}

/// Kinds of failed calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailReason {
    /// The name did not resolve.
    Dns,
    /// No connection could be established.
    Connect,
    /// The worker itself could not make the call.
    Own(OwnFault),
    /// No trusted TLS session could be established.
    Tls,
    /// A time limit was reached.
    Timeout(Phase),
    /// The connection ended before the answer was complete. The target may have processed the
    /// request.
    ClosedEarly,
    /// The answer is not valid HTTP, or exceeds its limits.
    Protocol,
    /// The target may not be called. Nothing was sent.
    BlockedAddress,
    /// The task cannot be turned into a request. Nothing was sent.
    InvalidRequest,
    /// The request contains a credential that may not be sent there. It was not sent.
    Vault,
}

/// The resource that a worker lacks when it cannot make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnFault {
    /// `EMFILE`, `ENFILE`.
    Descriptors,
    /// `EADDRNOTAVAIL` for an IPv4 address: all local ports are in use.
    Ports,
    /// `ENOBUFS`, `ENOMEM`.
    Memory,
    /// No name server answers any question.
    Resolver,
}

impl OwnFault {
    /// The fault of this machine that an error of the operating system indicates, if any.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
            Errno::ADDRNOTAVAIL => Some(Self::Ports),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::Memory),
            _ => None,
        }
    }

    /// The value of the metric's label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Descriptors => "descriptors",
            Self::Ports => "ports",
            Self::Memory => "memory",
            Self::Resolver => "resolver",
        }
    }

    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Descriptors => {
                "Waybill could not make the call: the worker is out of file descriptors"
            }
            Self::Ports => "Waybill could not make the call: the worker is out of local ports",
            Self::Memory => {
                "Waybill could not make the call: the worker is out of memory for connections"
            }
            Self::Resolver => "Waybill could not make the call: no name server answers the worker",
        }
    }
}

/// What a call was waiting for when its time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Resolving the name, connecting, or the TLS handshake.
    Connect,
    /// The head of the answer.
    FirstByte,
    /// The rest of the answer's body.
    Body,
}

impl Answered {
    /// The representation in the log. A text that was truncated within a character ends before it,
    /// and remains a text.
    #[must_use]
    pub fn into_event(self) -> Answer {
        let (body, encoding) = text_or_base64(&self.body, self.truncated);
        Answer {
            status: self.status.as_u16(),
            headers: self.headers,
            body,
            encoding,
            body_bytes: self.body_bytes,
            duration_ms: u32::try_from(self.duration.as_millis()).unwrap_or(u32::MAX),
            header_bytes: self.header_bytes,
        }
    }
}

impl CallFailed {
    /// The representation in the log.
    #[must_use]
    pub fn into_event(self) -> Failure {
        Failure {
            kind: self.reason.into(),
            message: self.message.into_owned(),
        }
    }
}

impl From<FailReason> for FailureKind {
    fn from(reason: FailReason) -> Self {
        match reason {
            FailReason::Dns => Self::Dns,
            FailReason::Connect => Self::Connect,
            FailReason::Own(_) => Self::WorkerFault,
            FailReason::Tls => Self::Tls,
            FailReason::Timeout(_) => Self::Timeout,
            FailReason::ClosedEarly => Self::Closed,
            FailReason::Protocol => Self::Protocol,
            FailReason::BlockedAddress => Self::BlockedAddress,
            FailReason::InvalidRequest => Self::InvalidRequest,
            FailReason::Vault => Self::Vault,
        }
    }
}

pub(crate) fn text_or_base64(body: &[u8], truncated: bool) -> (String, BodyEncoding) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.to_owned(), BodyEncoding::Text),
        Err(e) if truncated && e.error_len().is_none() => {
            let whole = body.get(..e.valid_up_to()).unwrap_or_default();
            (
                String::from_utf8_lossy(whole).into_owned(),
                BodyEncoding::Text,
            )
        }
        Err(_) => (BASE64.encode(body), BodyEncoding::Base64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cut_inside_a_character_stays_a_text() {
        let body = "aü".as_bytes();
        assert_eq!(
            text_or_base64(&body[..2], true),
            ("a".to_owned(), BodyEncoding::Text)
        );
        assert_eq!(
            text_or_base64(&body[..2], false),
            ("YcM=".to_owned(), BodyEncoding::Base64)
        );
        assert_eq!(text_or_base64(&[0xff, b'a'], true).1, BodyEncoding::Base64);
        assert_eq!(
            text_or_base64(body, false),
            ("aü".to_owned(), BodyEncoding::Text)
        );
    }
}
