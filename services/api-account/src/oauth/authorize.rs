//! The consent page, and the decision.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use utoipa::ToSchema;
use waybill_domain::access::grant::{CODE_LIFETIME, GRANT_LIFETIME, GrantCommand, GrantFamily};
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::access::team::App;
use waybill_domain::access::token::TokenKind;
use waybill_domain::event::{Boundary, GrantGiven};
use waybill_domain::id::{GrantId, TeamId, UserId};

use super::error::OAuthError;
use super::metadata::Issuer;
use super::page::{self, Choice};
use super::parameters::{Form, Parameters};
use super::request::{AuthorizationRequest, RequestRefused};
use super::{browser, decidable};
use crate::people::cookie::check_origin;
use crate::state::AccountApi;
use waybill_commands::entropy;
use waybill_edge::auth::SignedIn;
use waybill_edge::error::{ApiError, ErrorBody};
use waybill_edge::request::RequestContext;

/// What the consent page sends.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes a form, which is read by name")]
pub(crate) struct Decision {
    /// `code`, as in the request.
    response_type: String,
    client_id: String,
    #[schema(format = "uri")]
    redirect_uri: String,
    scope: Option<String>,
    state: Option<String>,
    code_challenge: String,
    code_challenge_method: String,
    /// The team that the application gets access to.
    team: String,
    /// `allow` or `deny`.
    decision: String,
    /// The token of the page that this form stood on.
    page: String,
}

/// Ask a person to give an application access (a page, for browsers).
///
/// A person who is not signed in is asked to sign in. A wrong application or redirect URI is reported on a page; every other error goes
/// to the application, with `error`, `state` and `iss`.
#[utoipa::path(
    get,
    path = "/oauth/authorize",
    operation_id = "oauth.authorization.ask",
    tag = "oauth",
    params(
        ("response_type" = String, Query, description = "`code`"),
        ("client_id" = String, Query, description = "Id of the application"),
        ("redirect_uri" = String, Query, description = "A redirect URI that the application registered, to the letter"),
        ("scope" = Option<String>, Query, description = "Scopes separated by spaces; default: all that it is registered for"),
        ("state" = Option<String>, Query, description = "Returned unchanged"),
        ("code_challenge" = String, Query, description = "SHA-256 of the verifier in base64url (RFC 7636)"),
        ("code_challenge_method" = String, Query, description = "`S256`"),
    ),
    responses(
        (status = 200, description = "A page that asks for a decision, or to sign in", content_type = "text/html", body = String),
        (status = 400, description = "A page: something about the request is wrong; it leads back to the application, with the error, if its redirect URI is right", content_type = "text/html", body = String),
        (status = 403, description = "A page: the person belongs to no team", content_type = "text/html", body = String),
        (status = 503, description = "A page: cannot be done now; see Retry-After", content_type = "text/html", body = String),
        (status = 404, description = "No public address is configured, so there is no OAuth here", body = ErrorBody),
    )
)]
pub(crate) async fn ask(
    issuer: Issuer,
    State(state): State<AccountApi>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    if let Err(error) = decidable(&state).await {
        return page::failure(&error);
    }
    let query = uri.query().unwrap_or_default();
    let Some(parameters) = Parameters::read(query.as_bytes()) else {
        return page::refusal(StatusCode::BAD_REQUEST, "The request is not UTF-8.");
    };
    let request = match AuthorizationRequest::read(&parameters, state.auth.directory()) {
        Ok(request) => request,
        Err(refused) => return refuse(&issuer, refused),
    };
    let Some(person) = browser::signed_in(&state, &headers, &context).await else {
        return page::sign_in(StatusCode::OK, &request, None);
    };
    let choices = choices(&state, &person.user, &request.app, request.scopes);
    if choices.is_empty() {
        let text = "You belong to no team in which you could let it do any of what it asks for.";
        return page::refusal(StatusCode::FORBIDDEN, text);
    }
    let user = state.auth.directory().user(&person.user);
    let who = user.as_ref().and_then(|user| user.who.as_ref());
    let email = who.map_or("", |who| who.email.as_str());
    let token = browser::page_token(&state, &person.session, &request);
    page::consent(&request, email, &choices, &token)
}

/// Decide whether an application gets access (what the consent page sends).
#[utoipa::path(
    post,
    path = "/oauth/authorize",
    operation_id = "oauth.authorization.decide",
    tag = "oauth",
    request_body(content = Decision, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 303, description = "To the application, with a code or an error, `state` and `iss`"),
        (status = 400, description = "A page: the request is wrong", content_type = "text/html", body = String),
        (status = 401, description = "A page: the person is no longer signed in", content_type = "text/html", body = String),
        (status = 403, description = "A page: the form does not come from a consent page that this service made for this person", content_type = "text/html", body = String),
        (status = 503, description = "A page: cannot be done now; see Retry-After", content_type = "text/html", body = String),
        (status = 404, description = "No public address is configured, so there is no OAuth here", body = ErrorBody),
    )
)]
pub(crate) async fn decide(
    issuer: Issuer,
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
        Err(refused) => return refuse(&issuer, refused),
    };
    let Some(person) = browser::signed_in(&state, &headers, &context).await else {
        let text = "You are not signed in any more.";
        return page::sign_in(StatusCode::UNAUTHORIZED, &request, Some(text));
    };
    let token = form.get("page").unwrap_or_default();
    if !browser::is_of_page(&state, &person.session, &request, token) {
        let text = "This page is out of date, or was not made for you. Go back to the application and begin again.";
        return page::refusal(StatusCode::FORBIDDEN, text);
    }
    let back = |parameters: &[(&str, &str)]| send_back(&issuer, &request, parameters);
    match form.get("decision") {
        Some("allow") => {}
        Some("deny") => return back(&[("error", "access_denied")]),
        _ => return page::refusal(StatusCode::BAD_REQUEST, "The form cannot be read."),
    }
    let team = form.get("team").and_then(|team| TeamId::parse(team).ok());
    let chosen = choices(&state, &person.user, &request.app, request.scopes)
        .into_iter()
        .find(|choice| Some(&choice.team) == team.as_ref());
    let Some(chosen) = chosen else {
        return page::refusal(StatusCode::FORBIDDEN, "That is no team of yours.");
    };
    match give(&state, &person, &request, chosen).await {
        Ok(code) => back(&[("code", &code)]),
        Err(error) => page::failure(&error),
    }
}

/// The form that a page of this service sent, or the page that refuses it.
pub(super) async fn page_form(
    state: &AccountApi,
    headers: &HeaderMap,
    form: Result<Form, OAuthError>,
) -> Result<Form, Response> {
    let form = form.map_err(|error| match error {
        OAuthError::Other(error) => page::failure(&error),
        OAuthError::Refused { status, .. } => page::refusal(status, "The form cannot be read."),
    })?;
    check_origin(&state.people, headers)
        .map_err(|error| page::refusal(error.status, &error.body.error))?;
    decidable(state)
        .await
        .map_err(|error| page::failure(&error))?;
    Ok(form)
}

/// The teams in which this person could give the application access, the application's own first.
pub(super) fn choices(
    state: &AccountApi,
    user: &UserId,
    app: &App,
    wanted: ScopeSet,
) -> Vec<Choice> {
    let directory = state.auth.directory();
    let app = &app.created;
    let mut choices: Vec<_> = directory
        .teams_of(user)
        .into_iter()
        .filter_map(|team| {
            let role = directory.role_of(user, &team)?;
            let most = directory.app_scopes(&app.app, &team, Some(user))?;
            let scopes = wanted.intersection(most);
            if scopes.is_empty() {
                return None;
            }
            let name = directory.with_team(&team, |team| Some(team.info.as_ref()?.name.clone()));
            let name = name.flatten()?;
            Some(Choice {
                team,
                name,
                role,
                scopes,
            })
        })
        .collect();
    choices.sort_by_key(|choice| choice.team != app.team);
    choices
}

/// Grants what was asked for, as far as this person may, and makes the code.
async fn give(
    state: &AccountApi,
    person: &SignedIn,
    request: &AuthorizationRequest,
    chosen: Choice,
) -> Result<String, ApiError> {
    let app = &request.app.created;
    let now = entropy::now();
    let grant = GrantId::new(now, entropy::random_u128());
    let (code, mac, pepper_version) = state
        .people
        .token(TokenKind::Code, grant.ulid())
        .ok_or_else(|| ApiError::internal(&"no code could be made"))?;
    let given = GrantGiven {
        grant: grant.clone(),
        app: app.app.clone(),
        team: chosen.team,
        environment: app.environment,
        user: Some(person.user.clone()),
        scopes: chosen.scopes.iter().collect(),
        code_mac: Some(mac.to_hex()),
        challenge: Some(request.challenge.as_str().to_owned()),
        redirect_uri: Some(request.redirect.as_str().to_owned()),
        code_expires_at: Some(now.plus(CODE_LIFETIME)),
        token_mac: None,
        token_expires_at: None,
        pepper_version,
        expires_at: now.plus(GRANT_LIFETIME),
        at: now,
    };
    let command = GrantCommand::Give(Box::new(given));
    let (boundary, by) = (Boundary::Grant(grant), person.by());
    let run = state
        .control
        .run::<GrantFamily>(&boundary, command, &(), &by);
    match run.await.map_err(OAuthError::from) {
        Ok(_) => Ok(code.reveal().to_owned()),
        Err(OAuthError::Other(error)) => Err(error),
        Err(OAuthError::Refused { .. }) => Err(ApiError::internal(&"a new grant is refused")),
    }
}

/// Sends the browser back to the application, with `iss` (RFC 9207), so that it takes no other server's answer for this one.
fn send_back(
    issuer: &Issuer,
    request: &AuthorizationRequest,
    parameters: &[(&str, &str)],
) -> Response {
    let mut parameters = parameters.to_vec();
    parameters.extend(request.state.as_deref().map(|state| ("state", state)));
    parameters.push(("iss", &issuer.0));
    page::redirect(&request.redirect.with(&parameters))
}

fn refuse(issuer: &Issuer, refused: RequestRefused) -> Response {
    match refused {
        RequestRefused::Here(text) => page::refusal(StatusCode::BAD_REQUEST, text),
        RequestRefused::There {
            redirect,
            state: sent,
            error,
            description,
        } => {
            let mut parameters = vec![("error", error), ("error_description", description)];
            parameters.extend(sent.as_deref().map(|state| ("state", state)));
            parameters.push(("iss", &issuer.0));
            // Nobody has acted yet, and anybody can register an application: a redirect would be an open one (RFC 9700, 4.11.2).
            page::wrong_request(description, &redirect.with(&parameters))
        }
    }
}
