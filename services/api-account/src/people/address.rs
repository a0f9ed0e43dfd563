//! The owner of an installation, who came by a sign-in link, gives an address and a password.

use axum::extract::State;
use serde::Deserialize;
use utoipa::ToSchema;
use waybill_commands::CommandError;
use waybill_domain::access::email::Email;
use waybill_domain::access::local_owner::{GiveAddress, GivenAddress};
use waybill_domain::access::user::{Newcomer, UserRefusal};
use waybill_domain::event::Boundary;
use waybill_edge::auth::SignedIn;
use waybill_edge::body::Json;
use waybill_edge::error::{ApiError, ErrorBody, ErrorCode};

use super::by_address::catch_up_fully;
use super::fields::{email, new_password, required};
use super::me::{Me, me};
use crate::state::AccountApi;

/// An address and a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnAddress {
    /// The address to sign in with from now on. Nothing is sent to it.
    #[schema(required = true, max_length = 254)]
    email: Option<String>,
    /// 8 to 1024 bytes; none of the most common ones.
    #[schema(required = true)]
    password: Option<String>,
    /// A name for people, at most 100 characters. Default: the part of the address before the `@`.
    name: Option<String>,
}

/// Give your e-mail address and a password, once, if you were signed in by a link and have none. Your sessions go on.
#[utoipa::path(
    post,
    path = "/v1/me/address",
    operation_id = "account.address.create",
    tag = "people",
    security(("session" = [])),
    request_body = OwnAddress,
    responses(
        (status = 200, description = "You, now", body = Me),
        (status = 400, description = "A field is wrong", body = ErrorBody),
        (status = 409, description = "You have an address, or that one has an account", body = ErrorBody),
        (status = 503, description = "Cannot be done now; see Retry-After", body = ErrorBody),
    )
)]
pub(crate) async fn give_address(
    State(state): State<AccountApi>,
    person: SignedIn,
    Json(request): Json<OwnAddress>,
) -> Result<axum::Json<Me>, ApiError> {
    let email = email(request.email)?;
    let password = required("password", request.password)?;
    let password = new_password("password", password, email.as_str())?;
    // Another gateway may have taken an address a moment ago.
    catch_up_fully(&state).await?;
    let user = state.auth.directory().user(&person.user);
    let user = user.ok_or_else(ApiError::session_refused)?;
    let (who, account) = user.confirmed().ok_or_else(ApiError::session_refused)?;
    if !Email::is_of_local_owner(&who.email) {
        return Err(ApiError::conflict(
            ErrorCode::Conflict,
            "You have an address already; it cannot be changed",
        ));
    }
    let email_hash = state.people.address(&email);
    let local = email.as_str().split('@').next().unwrap_or_default();
    let name = request.name.unwrap_or_else(|| local.to_owned());
    let given = GiveAddress {
        newcomer: Newcomer {
            id: who.id.clone(),
            email,
            email_hash: email_hash.clone(),
        },
        password: state.people.passwords.hash(password).await?,
        name,
        generation: account.generation,
    };
    let by = person.by();
    let boundary = Boundary::User(email_hash);
    let given = state
        .control
        .run::<GivenAddress>(&boundary, given, &(), &by);
    state.settle(given.await.map_err(taken)?.version).await?;
    me(&state, &person)
}

fn taken(error: CommandError<UserRefusal>) -> ApiError {
    match error {
        CommandError::Refused(UserRefusal::AlreadyConfirmed) => ApiError::conflict(
            ErrorCode::Conflict,
            "That address has an account already; give another one",
        )
        .about("email"),
        error => error.into(),
    }
}
