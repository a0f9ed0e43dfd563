//! Signing in on the way to the consent page.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use utoipa::ToSchema;

use super::authorize::page_form;
use super::error::OAuthError;
use super::metadata::Issuer;
use super::page;
use super::parameters::Form;
use super::request::{AuthorizationRequest, RequestRefused};
use crate::people::answer::DEVICE_LIFETIME;
use crate::people::cookie::Jar;
use crate::people::fields::{candidate, email};
use crate::people::log_in::{Before, prove};
use crate::people::{self, SignedInNow};
use crate::state::AccountApi;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::request::RequestContext;

/// How sessions that are begun here are listed.
const METHOD: &str = "consent";

/// What the sign-in page sends.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a form, which is read by name")]
pub(crate) struct SignInForm {
    email: String,
    password: String,
    /// `code`, as in the request that led here.
    response_type: String,
    /// As in that request, like all that follow.
    client_id: String,
    #[schema(format = "uri")]
    redirect_uri: String,
    scope: Option<String>,
    state: Option<String>,
    code_challenge: String,
    /// Always `S256`.
    code_challenge_method: String,
}

/// Sign in on the way to the consent page (what the sign-in page sends).
#[utoipa::path(
    post,
    path = "/oauth/sign-in",
    operation_id = "oauth.session.create",
    tag = "oauth",
    request_body(content = SignInForm, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "To the consent page, with a cookie for it"),
        (status = 400, description = "A page: the request is wrong", content_type = "text/html", body = String),
        (status = 401, description = "The sign-in page again: wrong address or password", content_type = "text/html", body = String),
        (status = 403, description = "A page: no page of this service has sent that", content_type = "text/html", body = String),
        (status = 429, description = "The sign-in page again: too many attempts", content_type = "text/html", body = String),
        (status = 503, description = "A page: cannot be done now", content_type = "text/html", body = String),
        (status = 404, description = "No public address is configured, so there is no OAuth here", body = ErrorBody),
    )
)]
pub(crate) async fn sign_in(
    _issuer: Issuer,
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    form: Result<Form, OAuthError>,
) -> Response {
    let form = match page_form(&state, &headers, form).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let request = match AuthorizationRequest::read(form.parameters(), state.auth.directory()) {
        Ok(request) => request,
        Err(RequestRefused::Here(text)) => return page::refusal(StatusCode::BAD_REQUEST, text),
        Err(RequestRefused::There { description, .. }) => {
            return page::refusal(StatusCode::BAD_REQUEST, description);
        }
    };
    let device = Jar::Device.find(&state.people, &headers);
    match begin(&state, &context, &form, device).await {
        Ok((session, device)) => {
            // Where it goes is put together here: nothing that was sent decides it.
            let mut response = page::redirect(&format!("/oauth/authorize?{}", request.query()));
            let lifetime = state.config.people.access_lifetime;
            let headers = response.headers_mut();
            Jar::Consent.set(&state.people, headers, Some(&session.access), lifetime);
            Jar::Device.set(&state.people, headers, device.as_deref(), DEVICE_LIFETIME);
            response
        }
        Err(error) if error.status.is_client_error() => page::sign_in_again(&request, &error),
        Err(error) => page::failure(&error),
    }
}

/// Begins a session, always another one: what cookie the browser came with has no say.
async fn begin(
    state: &AccountApi,
    context: &RequestContext,
    form: &Form,
    device: Option<&str>,
) -> Result<(SignedInNow, Option<String>), ApiError> {
    let address = email(form.get("email").map(str::to_owned))?;
    let password = candidate("password", form.get("password").map(str::to_owned))?;
    let user = prove(state, context, &address, password, Before::Device(device)).await?;
    let session = people::sign_in(state, &user, METHOD, context).await?;
    Ok((session, state.people.issue_device_token(&user)))
}
