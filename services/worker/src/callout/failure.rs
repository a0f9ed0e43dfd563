//! Turns errors of connections and of the HTTP client into a reason and a sentence that a team may
//! read.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use h2::Reason;
use hyper_util::client::legacy;
use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use waybill_domain::egress::{Blocked, TargetRefused};
use waybill_domain::time::Timestamp;

use super::outcome::{FailReason, OwnFault, Phase};
use super::stream::Use;
use crate::vault::VaultFailure;

/// Limit of certificate names that a sentence shows.
const MAX_SHOWN_NAMES: usize = 5;

/// A reason and its sentence, before the duration is known.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) reason: FailReason,
    pub(super) message: Cow<'static, str>,
}

impl Fault {
    pub(super) fn new(reason: FailReason, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    pub(super) fn timeout(phase: Phase, limit: Duration) -> Self {
        let what = match phase {
            Phase::Connect => "No connection to the target",
            Phase::FirstByte => "No answer from the target",
            Phase::Body => "The target's answer did not end",
        };
        let seconds = limit.as_secs_f64();
        Self::new(
            FailReason::Timeout(phase),
            format!("{what} within {seconds} s"),
        )
    }
}

impl From<TargetRefused> for Fault {
    fn from(refused: TargetRefused) -> Self {
        match refused {
            TargetRefused::Address(blocked) => ConnectFailure::Blocked(blocked).into_fault(),
            TargetRefused::LocalName => Self::new(
                FailReason::BlockedAddress,
                "The target may not be called: it is a local name",
            ),
            other => Self::new(
                FailReason::InvalidRequest,
                format!("The target's URL {other}"),
            ),
        }
    }
}

impl From<VaultFailure> for Fault {
    fn from(failure: VaultFailure) -> Self {
        Self::new(FailReason::Vault, failure.to_string())
    }
}

/// Why the connector established no connection. It passes through the HTTP client as the source of
/// its error.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectFailure {
    #[error(transparent)]
    Blocked(Blocked),
    #[error("the name does not resolve")]
    NoSuchName,
    #[error("resolving failed: {0}")]
    Resolver(String),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("this machine lacks what a connection takes: {0:?}")]
    Own(OwnFault),
    #[error("no TLS session: {0}")]
    Tls(io::Error),
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("not a host: no TLS server name can be made of it")]
    NotAHost,
}

impl From<io::Error> for ConnectFailure {
    fn from(error: io::Error) -> Self {
        match OwnFault::of(&error) {
            Some(fault) => Self::Own(fault),
            None => Self::Connect(error),
        }
    }
}

impl ConnectFailure {
    fn into_fault(self) -> Fault {
        (&self).into()
    }
}

impl From<&ConnectFailure> for Fault {
    fn from(failure: &ConnectFailure) -> Self {
        match failure {
            ConnectFailure::Blocked(blocked) => {
                Self::new(FailReason::BlockedAddress, blocked.to_string())
            }
            ConnectFailure::NoSuchName => {
                Self::new(FailReason::Dns, "The target's name does not resolve")
            }
            ConnectFailure::Resolver(_) => Self::new(
                FailReason::Dns,
                "The target's name could not be resolved: no answer from the name servers",
            ),
            ConnectFailure::Own(fault) => Self::new(FailReason::Own(*fault), fault.sentence()),
            ConnectFailure::Connect(e) => Self::new(
                FailReason::Connect,
                match e.kind() {
                    io::ErrorKind::ConnectionRefused => "The target refused the connection",
                    io::ErrorKind::ConnectionReset => "The target reset the connection",
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                        "The target cannot be reached"
                    }
                    _ => "No connection to the target",
                },
            ),
            ConnectFailure::Tls(e) => Self::new(FailReason::Tls, tls_sentence(e)),
            ConnectFailure::TimedOut(limit) => Self::timeout(Phase::Connect, *limit),
            ConnectFailure::NotAHost => Self::new(
                FailReason::InvalidRequest,
                "The target's URL must name a host",
            ),
        }
    }
}

fn tls_sentence(error: &io::Error) -> Cow<'static, str> {
    let inner = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(why)) => certificate_sentence(why),
        Some(rustls::Error::InvalidMessage(_)) => {
            "No TLS session with the target: what it sent is not TLS".into()
        }
        Some(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion))
        | Some(rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        )) => "No TLS session with the target: it speaks neither TLS 1.2 nor TLS 1.3".into(),
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("No TLS session with the target: it broke off with the alert {alert:?}").into()
        }
        Some(rustls::Error::PeerIncompatible(why)) => {
            format!("No TLS session with the target: it offers nothing in common ({why:?})").into()
        }
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "No TLS session with the target: it closed the connection during the handshake".into()
        }
        _ => "No TLS session with the target".into(),
    }
}

fn certificate_sentence(why: &CertificateError) -> Cow<'static, str> {
    match why {
        CertificateError::UnknownIssuer => "The target's certificate is not trusted: unknown issuer. \
             The target must send its intermediate certificates too; an authority of your own belongs into worker.extra_ca_file"
            .into(),
        CertificateError::ExpiredContext { not_after, .. } => {
            let at = date_of(*not_after);
            format!("The target's certificate has expired on {at}: renew it").into()
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let at = date_of(*not_before);
            format!("The target's certificate is not valid before {at}").into()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            // rustls formats names as `DnsName("a.example")`.
            let names: Vec<&str> = presented
                .iter()
                .take(MAX_SHOWN_NAMES)
                .map(|name| name.split('"').nth(1).unwrap_or(name))
                .collect();
            let names = names.join(", ");
            format!("The target's certificate is for another name: it names {names}").into()
        }
        CertificateError::Expired => "The target's certificate has expired".into(),
        CertificateError::NotValidYet => "The target's certificate is not valid yet".into(),
        CertificateError::NotValidForName => "The target's certificate is for another name".into(),
        CertificateError::Revoked => "The target's certificate is revoked".into(),
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "The target's certificate is one of an authority: put this very certificate into worker.extra_ca_file, or give the \
             target one without CA:TRUE"
                .into()
        }
        other => format!("The target's certificate is not valid: {other}").into(),
    }
}

fn date_of(time: UnixTime) -> String {
    let millis = i64::try_from(time.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_mul(1000);
    Timestamp(millis).to_rfc3339()
}

/// An error of the HTTP client during a request.
pub(super) fn of_request(error: &legacy::Error) -> Fault {
    if let Some(failure) = find::<ConnectFailure>(error) {
        return failure.into();
    }
    of_exchange(error)
}

/// An error after the connection was established: of the request, of the head or of the body.
pub(super) fn of_exchange(error: &(dyn StdError + 'static)) -> Fault {
    let closed = || {
        Fault::new(
            FailReason::ClosedEarly,
            "The target closed the connection before its answer was complete",
        )
    };
    if let Some(e) = find::<hyper::Error>(error) {
        if e.is_parse_too_large() {
            return Fault::new(
                FailReason::Protocol,
                "The head of the target's answer is too large",
            );
        }
        if e.is_parse() {
            return Fault::new(FailReason::Protocol, not_http(&e.to_string()));
        }
        if e.is_incomplete_message() || e.is_canceled() || e.is_closed() {
            return closed();
        }
    }
    if let Some(e) = find::<h2::Error>(error) {
        return if e.is_io() {
            closed()
        } else {
            let reason = e.reason().unwrap_or(Reason::INTERNAL_ERROR);
            Fault::new(
                FailReason::Protocol,
                format!(
                    "The target broke the HTTP/2 session off: {}",
                    reason.description()
                ),
            )
        };
    }
    if let Some(e) = find::<io::Error>(error) {
        return match e.kind() {
            // hyper reports broken chunked encodings as input errors.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                Fault::new(FailReason::Protocol, "What the target answered is not HTTP")
            }
            _ => closed(),
        };
    }
    closed()
}

/// Which part of an answer is not valid HTTP. hyper only tells by its message.
fn not_http(error: &str) -> Cow<'static, str> {
    let part = [
        ("version", "its first line names no version of HTTP"),
        ("status", "its first line has no status from 100 to 999"),
        ("content-length", "its Content-Length is no number"),
        ("transfer-encoding", "its Transfer-Encoding is unknown"),
        ("chunk", "the length of a chunk of its body is no number"),
        ("header", "a line of its head is no header"),
    ]
    .into_iter()
    .find(|(word, _)| error.contains(word));
    match part {
        Some((_, part)) => format!("What the target answered is not HTTP: {part}").into(),
        None => "What the target answered is not HTTP".into(),
    }
}

/// Whether the target has certainly not begun to process the request, so that it may be sent again
/// at once (RFC 9113, 8.7): it refused the stream, or announced that it goes away before reaching
/// this stream.
///
/// HTTP/1.1 has nothing comparable. There, the client itself repeats what it had not begun to write
/// on a pooled connection, and [`met_a_closing_connection`] covers what it had.
pub(super) fn surely_not_processed(error: &legacy::Error) -> bool {
    find::<h2::Error>(error).is_some_and(|e| {
        e.is_remote()
            && (e.reason() == Some(Reason::REFUSED_STREAM)
                || e.is_go_away() && e.reason() == Some(Reason::NO_ERROR))
    })
}

/// Whether the request was sent on a reused connection that ended before the first byte of an
/// answer.
pub(super) fn met_a_closing_connection(error: &legacy::Error) -> bool {
    let mut extras = http::Extensions::new();
    if let Some(connected) = error.connect_info() {
        connected.get_extras(&mut extras);
    }
    extras
        .get::<Use>()
        .is_some_and(Use::is_reused_without_answer)
        && of_request(error).reason == FailReason::ClosedEarly
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
