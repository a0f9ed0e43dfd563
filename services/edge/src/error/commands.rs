//! The errors that clients get when a command is refused or fails.

use http::StatusCode;
use waybill_domain::access::plan::jobs::JobsLimits;
use waybill_domain::access::team::TeamRefusal;
use waybill_domain::access::team::app::AppRefusal;
use waybill_domain::access::team::vault::TokenRefusal;
use waybill_domain::operation::OperationRefusal;
use waybill_domain::schedule::ScheduleRefusal;

use crate::auth::NotAppliedYet;
use crate::error::{ApiError, ErrorCode};
use waybill_commands::{CommandError, ControlError};

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Command(error) => error.into(),
            ControlError::NoSuchKey => Self::no_such_key(),
            ControlError::KeyIdTaken | ControlError::NoKeyMade => Self::internal(&error),
        }
    }
}

impl<R: std::error::Error + Into<Self>> From<CommandError<R>> for ApiError {
    fn from(error: CommandError<R>) -> Self {
        match error {
            CommandError::Refused(refusal) => refusal.into(),
            CommandError::Contended => Self::unavailable(ErrorCode::Conflict, error.to_string()),
            CommandError::Read(error) => error.into(),
            CommandError::Append(error) => error.into(),
            CommandError::History(_) => Self::not_understood(),
            CommandError::Subject(_) => Self::internal(&error),
        }
    }
}

impl From<TeamRefusal> for ApiError {
    fn from(refusal: TeamRefusal) -> Self {
        let text = refusal.to_string();
        let limit = |text| Self::new(StatusCode::FORBIDDEN, ErrorCode::PlanLimitExceeded, text);
        match refusal {
            TeamRefusal::Invalid { field, .. } => Self::bad_field(field, text),
            TeamRefusal::NoSuchPlan(_) => Self::bad_field("plan", text),
            TeamRefusal::NoSuchTeam
            | TeamRefusal::NoSuchKey
            | TeamRefusal::NoSuchMember
            | TeamRefusal::NoSuchInvitation => Self::not_found(text),
            TeamRefusal::KeyLimit { .. } | TeamRefusal::MemberLimit { .. } => limit(text),
            TeamRefusal::FeatureNotAllowed(plan) => Self::feature_not_allowed(&plan),
            TeamRefusal::WiderThanCaller(scope) => Self::missing_scope(scope),
            TeamRefusal::BeyondCaller { field, .. } => {
                Self::new(StatusCode::FORBIDDEN, ErrorCode::ExceedsCredential, text).about(field)
            }
            TeamRefusal::SecretAlreadyShown(key) => {
                Self::conflict(ErrorCode::SecretAlreadyShown, text).for_key(&key)
            }
            TeamRefusal::SettingsChanged => Self::new(
                StatusCode::PRECONDITION_FAILED,
                ErrorCode::PreconditionFailed,
                text,
            ),
            TeamRefusal::RequestMismatch => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                ErrorCode::IdempotencyMismatch,
                text,
            ),
            TeamRefusal::App(refusal) => refusal.into(),
            TeamRefusal::Token(refusal) => refusal.into(),
            TeamRefusal::NotEntitled => Self::forbidden(),
            TeamRefusal::JobsQuota {
                resource,
                current,
                limit,
                limits,
            } => quota(resource, current, limit, &limits),
            TeamRefusal::SlugTaken(_) => Self::conflict(ErrorCode::Conflict, text).about("slug"),
            TeamRefusal::ScopesStay
            | TeamRefusal::AlreadyExists
            | TeamRefusal::KeyIdTaken
            | TeamRefusal::NotRotatable(_)
            | TeamRefusal::PredecessorAccepted
            | TeamRefusal::HasMembers => Self::conflict(ErrorCode::Conflict, text),
            TeamRefusal::NoSuchListener => Self::not_found(text),
            TeamRefusal::AlreadyMember => Self::conflict(ErrorCode::AlreadyMember, text),
            TeamRefusal::LastOwner => Self::conflict(ErrorCode::LastOwner, text),
            TeamRefusal::TooManyInvitations(_) => {
                Self::conflict(ErrorCode::TooManyInvitations, text)
            }
            TeamRefusal::TooManyTeams(_) => {
                Self::new(StatusCode::FORBIDDEN, ErrorCode::TeamLimitExceeded, text)
            }
        }
    }
}

/// 429, or 403 where the plan has none of it: as many of a resource as an organisation may have in the jobs API.
#[must_use]
pub fn quota(resource: &str, current: u64, limit: u64, limits: &JobsLimits) -> ApiError {
    let mut members = serde_json::Map::new();
    let mut put = |name: &str, value: serde_json::Value| {
        members.insert(name.to_owned(), value);
    };
    put("plan", limits.tier.into());
    let upgrade = limits.upgrade_to();
    if let Some(next) = upgrade {
        put("upgrade_to", next.into());
    }
    let words = resource.replace('_', " ");
    if limit == 0 {
        put("feature", resource.into());
        let text = format!("{words} are not available on the {} plan", limits.tier);
        let code = ErrorCode::FeatureNotAllowed;
        return ApiError::new(StatusCode::FORBIDDEN, code, text).with_members(members);
    }
    put("resource", resource.into());
    put("current", current.into());
    put("limit", limit.into());
    let mut text = format!("{words} limit reached ({current}/{limit}).");
    if let Some(next) = upgrade {
        text.push_str(&format!(" Upgrade to {next} for higher limits."));
    }
    let code = ErrorCode::PlanLimitExceeded;
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, code, text).with_members(members)
}

impl From<OperationRefusal> for ApiError {
    fn from(refusal: OperationRefusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            OperationRefusal::NoSuchOperation => Self::not_found(text),
            OperationRefusal::Mismatch => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                ErrorCode::IdempotencyMismatch,
                text,
            ),
            OperationRefusal::Over | OperationRefusal::Overtaken => {
                Self::conflict(ErrorCode::Conflict, text)
            }
            OperationRefusal::Invalid(refusal) => refusal.into(),
        }
    }
}

impl From<ScheduleRefusal> for ApiError {
    fn from(refusal: ScheduleRefusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            ScheduleRefusal::NoSuchSchedule => Self::not_found(text),
            ScheduleRefusal::Changed(_) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                ErrorCode::PreconditionFailed,
                text,
            ),
            ScheduleRefusal::TooOften | ScheduleRefusal::OtherApi => {
                Self::conflict(ErrorCode::Conflict, text)
            }
            ScheduleRefusal::InvalidSchedule(invalid) => invalid.into(),
            ScheduleRefusal::Invalid(refusal) => refusal.into(),
        }
    }
}

impl From<AppRefusal> for ApiError {
    fn from(refusal: AppRefusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            AppRefusal::NoSuchApp => Self::not_found(text),
            AppRefusal::TooMany | AppRefusal::NoSecret => Self::conflict(ErrorCode::Conflict, text),
        }
    }
}

impl From<TokenRefusal> for ApiError {
    fn from(refusal: TokenRefusal) -> Self {
        let text = refusal.to_string();
        match refusal {
            TokenRefusal::NoSuchToken => Self::not_found(text),
            TokenRefusal::TooMany { .. } => {
                Self::new(StatusCode::FORBIDDEN, ErrorCode::PlanLimitExceeded, text)
            }
            TokenRefusal::VersionMoved => Self::conflict(ErrorCode::Conflict, text),
        }
    }
}

impl From<NotAppliedYet> for ApiError {
    fn from(late: NotAppliedYet) -> Self {
        tracing::warn!(%late, "a change of access is stored, but this gateway did not apply it in time; the client got 503");
        Self::unavailable(
            ErrorCode::NotAppliedYet,
            "The change is stored, but this gateway has not applied it yet; try again",
        )
    }
}
