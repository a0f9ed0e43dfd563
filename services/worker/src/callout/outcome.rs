//! How a call ended, and its form in the log.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::StatusCode;
use rustix::io::Errno;
use waybill_domain::event::task::{Answer, BodyEncoding, Failure, FailureKind};

/// How a call ended. Whether that is a success is for the dispatcher to decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered, with whatever status.
    Answered(Answered),
    /// There is no complete answer.
    Failed(CallFailed),
}

/// What the target answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub status: StatusCode,
    /// In the order received, at most [`super::answer::KEPT_HEADER_BYTES`]. What is no UTF-8 is replaced.
    pub headers: Vec<(String, String)>,
    /// At most [`super::answer::KEPT_BODY_BYTES`].
    pub body: Bytes,
    /// `body` is not the whole one.
    pub truncated: bool,
    /// Length of the whole body, as far as it was counted: see [`super::answer::COUNTED_BODY_BYTES`].
    pub body_bytes: u64,
    /// From the start of the call to the end of the answer, over all hops.
    pub duration: Duration,
}

/// Why there is no complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFailed {
    pub reason: FailReason,
    /// A sentence for the team. Names no address, no header and no part of the URL.
    pub message: Cow<'static, str>,
    pub duration: Duration,
}

/// Classes of failed calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailReason {
    /// The name did not resolve.
    Dns,
    /// No connection.
    Connect,
    /// The worker itself could not make the call.
    Own(OwnFault),
    /// No trusted TLS session.
    Tls,
    /// A time limit was reached.
    Timeout(Phase),
    /// The connection ended before the answer did. The target may have done what was asked.
    ClosedEarly,
    /// What came back is not HTTP, or beyond its limits.
    Protocol,
    /// The target is one that may not be called. Nothing was sent.
    BlockedAddress,
    /// No request can be made of what was given. Nothing was sent.
    InvalidRequest,
    /// It holds a credential that may not be sent there. It was not.
    Vault,
}

/// What a worker lacks when it cannot make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OwnFault {
    /// `EMFILE`, `ENFILE`.
    Descriptors,
    /// `EADDRNOTAVAIL` for an IPv4 address: all local ports are taken.
    Ports,
    /// `ENOBUFS`, `ENOMEM`.
    Memory,
    /// No name server answers, whatever it is asked.
    Resolver,
}

impl OwnFault {
    /// What an error of the operating system says about this machine; `None`: nothing.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<Self> {
        match Errno::from_io_error(error)? {
            Errno::MFILE | Errno::NFILE => Some(Self::Descriptors),
            Errno::ADDRNOTAVAIL => Some(Self::Ports),
            Errno::NOBUFS | Errno::NOMEM => Some(Self::Memory),
            _ => None,
        }
    }

    /// The label of the metric.
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

/// What a call was waiting for when its time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Resolving the name, the connection or its TLS session.
    Connect,
    /// The head of the answer.
    FirstByte,
    /// The rest of the answer's body.
    Body,
}

impl Answered {
    /// The form in the log. A text that was cut inside a character ends before it, and stays a text.
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
        }
    }
}

impl CallFailed {
    /// The form in the log.
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

fn text_or_base64(body: &[u8], truncated: bool) -> (String, BodyEncoding) {
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
