//! The words that programs tell errors apart by. `docs/errors.md` says of each what it means and what to do; a test compares the two.

use serde::Serialize;
use utoipa::ToSchema;

/// Declares the enum together with the word of each variant, so that no code can be added without both.
macro_rules! error_codes {
    ($($variant:ident = $word:literal,)+) => {
        /// What went wrong, as a stable word for programs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($variant,)+
        }

        impl ErrorCode {
            /// Every code that a client can get, in alphabetical order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The code as it stands in the body of an error.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

error_codes! {
    AccessDenied = "access_denied",
    AccessNotUnderstood = "access_not_understood",
    AddressNeeded = "address_needed",
    AlreadyEnded = "already_ended",
    AlreadyMember = "already_member",
    AlreadyRunning = "already_running",
    ApiKeyRequired = "api_key_required",
    AuthorizationUnavailable = "authorization_unavailable",
    BadRequest = "bad_request",
    BadSignature = "bad_signature",
    BodyTimeout = "body_timeout",
    Busy = "busy",
    Conflict = "conflict",
    CredentialsGone = "credentials_gone",
    DuplicateTask = "duplicate_task",
    EmailNotVerified = "email_not_verified",
    ExceedsCredential = "exceeds_credential",
    FeatureNotAllowed = "feature_not_allowed",
    Forbidden = "forbidden",
    HeadersTooLarge = "headers_too_large",
    IdempotencyExpired = "idempotency_expired",
    IdempotencyMismatch = "idempotency_mismatch",
    IncompleteBody = "incomplete_body",
    InsufficientRole = "insufficient_role",
    InsufficientScope = "insufficient_scope",
    Internal = "internal",
    InvalidBody = "invalid_body",
    InvalidCredentials = "invalid_credentials",
    InvalidField = "invalid_field",
    InvalidJson = "invalid_json",
    InvalidPath = "invalid_path",
    InvalidQuery = "invalid_query",
    InvalidRequest = "invalid_request",
    IssuerUnavailable = "issuer_unavailable",
    KeyReportsNotConfigured = "key_reports_not_configured",
    LastOwner = "last_owner",
    LeaseLost = "lease_lost",
    LiveCredentialRequired = "live_credential_required",
    LogFull = "log_full",
    LogRefused = "log_refused",
    LogUnavailable = "log_unavailable",
    LogWentBackwards = "log_went_backwards",
    LoginDeclined = "login_declined",
    LoginNotBegunHere = "login_not_begun_here",
    LoginRefused = "login_refused",
    LoopbackOnly = "loopback_only",
    MailOff = "mail_off",
    MethodNotAllowed = "method_not_allowed",
    NoLongerKept = "no_longer_kept",
    NoPassword = "no_password",
    NoResult = "no_result",
    NoWebhook = "no_webhook",
    NotAppliedYet = "not_applied_yet",
    NotCancellable = "not_cancellable",
    NotEnded = "not_ended",
    NotFound = "not_found",
    NotReady = "not_ready",
    NotaryUnavailable = "notary_unavailable",
    OauthNotConfigured = "oauth_not_configured",
    OperatorOnly = "operator_only",
    OriginRefused = "origin_refused",
    OutcomeUnknown = "outcome_unknown",
    OwnerUnavailable = "owner_unavailable",
    PayloadTooLarge = "payload_too_large",
    PayloadWithheld = "payload_withheld",
    PersonRequired = "person_required",
    PlanChangeDisabled = "plan_change_disabled",
    PlanLimitExceeded = "plan_limit_exceeded",
    PreconditionFailed = "precondition_failed",
    ProofsUnavailable = "proofs_unavailable",
    QueueLimit = "queue_limit",
    RateLimitExceeded = "rate_limit_exceeded",
    RateLimitUnavailable = "rate_limit_unavailable",
    ReadsUnavailable = "reads_unavailable",
    RequestGone = "request_gone",
    SecretAlreadyShown = "secret_already_shown",
    SigningNotConfigured = "signing_not_configured",
    SignupOff = "signup_off",
    SourceNotAllowed = "source_not_allowed",
    TeamLimitExceeded = "team_limit_exceeded",
    Timeout = "timeout",
    TooManyEntries = "too_many_entries",
    TooManyExports = "too_many_exports",
    TooManyInvitations = "too_many_invitations",
    TooManyOperations = "too_many_operations",
    TooManyStreams = "too_many_streams",
    Unauthorized = "unauthorized",
    UnsupportedEncoding = "unsupported_encoding",
    UriTooLong = "uri_too_long",
    VaultUnavailable = "vault_unavailable",
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Tests compare what a client gets with the word that it looks for.
impl PartialEq<&str> for ErrorCode {
    fn eq(&self, word: &&str) -> bool {
        self.as_str() == *word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/errors.md");

    /// The codes in the first column of the page's tables.
    fn documented() -> Vec<&'static str> {
        let rows = PAGE.lines().filter_map(|line| line.strip_prefix("| `"));
        rows.filter_map(|row| row.split_once('`'))
            .map(|(code, _)| code)
            .collect()
    }

    #[test]
    fn every_code_is_documented_and_every_documented_code_exists() {
        let mut documented = documented();
        documented.sort_unstable();
        let codes: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(documented, codes, "docs/errors.md against ErrorCode");
    }

    #[test]
    fn each_documented_code_says_what_it_means_and_what_to_do() {
        for row in PAGE.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            assert_eq!(cells.len(), 4, "code, status, meaning, remedy: {row}");
            assert!(cells.iter().all(|cell| !cell.is_empty()), "{row}");
        }
    }

    #[test]
    fn a_code_is_written_as_its_word() {
        for code in ErrorCode::ALL {
            let written = serde_json::to_value(code).expect("a word");
            assert_eq!(written, code.as_str());
        }
    }
}
