//! Refusals as OAuth clients know them: `{"error", "error_description"}` (RFC 6749, 5.2).

use std::borrow::Cow;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::grant::GrantRefusal;

use waybill_commands::CommandError;
use waybill_edge::auth::NotAppliedYet;
use waybill_edge::error::{ApiError, ErrorCode};
use waybill_edge::fence::{FenceError, NoLease};
use waybill_edge::limits::LimitRefusal;

/// A refusal of the endpoints that applications call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OAuthErrorBody {
    /// `invalid_request`, `invalid_client`, `invalid_grant`, `unauthorized_client`, `unsupported_grant_type` or `invalid_scope`; of a device
    /// also `authorization_pending`, `slow_down`, `access_denied`, `expired_token` or `temporarily_unavailable`.
    error: &'static str,
    /// For whoever writes the application.
    error_description: Cow<'static, str>,
}

/// Why an endpoint that applications call refuses.
#[derive(Debug)]
pub(crate) enum OAuthError {
    /// With an error code of the protocol.
    Refused {
        status: StatusCode,
        body: OAuthErrorBody,
    },
    /// Something that the protocol has no code for, such as a limit or a log that does not answer.
    Other(ApiError),
}

impl OAuthError {
    fn refused(error: &'static str, description: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused {
            status: StatusCode::BAD_REQUEST,
            body: OAuthErrorBody {
                error,
                error_description: description.into(),
            },
        }
    }

    /// A parameter is missing, repeated or malformed.
    pub(super) fn invalid_request(description: impl Into<Cow<'static, str>>) -> Self {
        Self::refused("invalid_request", description)
    }

    /// The caller did not prove to be that client. Unknown clients and wrong secrets get the same answer.
    pub(super) fn invalid_client() -> Self {
        Self::Refused {
            status: StatusCode::UNAUTHORIZED,
            body: OAuthErrorBody {
                error: "invalid_client",
                error_description: "client authentication failed".into(),
            },
        }
    }

    /// The code or refresh token is invalid. Unknown, used and expired ones and those of other clients get the same answer.
    pub(super) fn invalid_grant() -> Self {
        Self::refused(
            "invalid_grant",
            "the code or refresh token is invalid, expired, revoked or was issued to another client",
        )
    }

    /// This client may not do that.
    pub(super) fn unauthorized_client(description: impl Into<Cow<'static, str>>) -> Self {
        Self::refused("unauthorized_client", description)
    }

    /// The grant type does not exist here.
    pub(super) fn unsupported_grant_type() -> Self {
        Self::refused(
            "unsupported_grant_type",
            "grant_type must be authorization_code, client_credentials, refresh_token or urn:ietf:params:oauth:grant-type:device_code",
        )
    }

    /// Scopes that do not exist or cannot be granted.
    pub(super) fn invalid_scope(description: impl Into<Cow<'static, str>>) -> Self {
        Self::refused("invalid_scope", description)
    }

    /// Nobody has decided about the device yet.
    pub(super) fn authorization_pending() -> Self {
        Self::refused(
            "authorization_pending",
            "nobody has decided yet; ask again after the interval",
        )
    }

    /// The device asks too often.
    pub(super) fn slow_down(interval: Duration) -> Self {
        let seconds = interval.as_secs();
        Self::refused(
            "slow_down",
            format!("ask again after {seconds} seconds, and not more often from now on"),
        )
    }

    /// As many devices wait for a decision as may.
    pub(super) fn too_many_devices() -> Self {
        Self::refused(
            "temporarily_unavailable",
            "too many devices wait for a decision; try again in some minutes",
        )
    }

    /// Whether a client failed to prove who it is.
    pub(super) fn is_failed_authentication(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED)
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        match self {
            Self::Refused { status, body } => {
                let mut response = (status, axum::Json(body)).into_response();
                let headers = response.headers_mut();
                if status == StatusCode::UNAUTHORIZED {
                    let challenge =
                        HeaderValue::from_static("Basic realm=\"oauth\", charset=\"UTF-8\"");
                    headers.insert(WWW_AUTHENTICATE, challenge);
                }
                uncached(&mut response);
                response
            }
            Self::Other(error) => error.into_response(),
        }
    }
}

/// Keeps caches from storing an answer (RFC 6749, 5.1).
pub(super) fn uncached(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
}

impl From<ApiError> for OAuthError {
    fn from(error: ApiError) -> Self {
        Self::Other(error)
    }
}

impl From<LimitRefusal> for OAuthError {
    fn from(refusal: LimitRefusal) -> Self {
        Self::Other(refusal.into())
    }
}

impl From<NotAppliedYet> for OAuthError {
    fn from(late: NotAppliedYet) -> Self {
        Self::Other(late.into())
    }
}

impl From<NoLease> for OAuthError {
    fn from(error: NoLease) -> Self {
        Self::Other(error.into())
    }
}

impl From<FenceError> for OAuthError {
    fn from(error: FenceError) -> Self {
        Self::Other(error.into())
    }
}

impl From<CommandError<GrantRefusal>> for OAuthError {
    fn from(error: CommandError<GrantRefusal>) -> Self {
        match error {
            CommandError::Refused(GrantRefusal::WiderThanGrant) => {
                Self::invalid_scope("a refresh cannot ask for more than was granted")
            }
            CommandError::Refused(GrantRefusal::AlreadyGiven) => {
                Self::Other(ApiError::internal(&GrantRefusal::AlreadyGiven))
            }
            CommandError::Refused(GrantRefusal::Undecided) => Self::authorization_pending(),
            CommandError::Refused(GrantRefusal::Denied) => {
                Self::refused("access_denied", "the person refused")
            }
            CommandError::Refused(GrantRefusal::Expired) => Self::refused(
                "expired_token",
                "nobody decided in time, or the device did not ask again in time; begin anew",
            ),
            CommandError::Refused(refusal) => {
                tracing::debug!(%refusal, "a code or refresh token is refused");
                Self::invalid_grant()
            }
            CommandError::Contended => Self::Other(ApiError::unavailable(
                ErrorCode::Conflict,
                error.to_string(),
            )),
            CommandError::Read(error) => Self::Other(error.into()),
            CommandError::Append(error) => Self::Other(error.into()),
            CommandError::History(_) => Self::Other(ApiError::not_understood()),
            CommandError::Subject(_) => Self::Other(ApiError::internal(&error)),
        }
    }
}
