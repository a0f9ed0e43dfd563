//! The pages that a person sees. They load nothing, run nothing and are shown in no frame.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::id::TeamId;

use super::request::AuthorizationRequest;
use waybill_edge::error::ApiError;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:30rem;margin:4rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}\
h1{font-size:1.25rem}label{display:block;margin:.75rem 0}input,select{font:inherit;width:100%;padding:.4rem;box-sizing:border-box}\
button{font:inherit;padding:.5rem 1rem;margin:1rem .5rem 0 0}code{overflow-wrap:anywhere}.error{color:#a00}.small{color:#555;font-size:.875rem}";

/// The style stands in the page; its hash allows it and nothing else.
static STYLE_HASH: LazyLock<String> =
    LazyLock::new(|| BASE64_STANDARD.encode(Sha256::digest(STYLE)));

/// A team that a person could let an application into.
pub(super) struct Choice {
    pub(super) team: TeamId,
    pub(super) name: String,
    pub(super) role: Role,
    /// What it would be able to do there: of what it asks for, as much as the person may.
    pub(super) scopes: ScopeSet,
}

/// A page that reports an error and leads nowhere.
pub(super) fn refusal(status: StatusCode, text: &str) -> Response {
    let body = format!(
        "<h1>This request cannot be granted</h1><p>{}</p>\
         <p class=\"small\">Tell whoever made the application that sent you here. Nothing was given to it.</p>",
        escape(text)
    );
    page(status, "Request refused", &body, "'none'")
}

/// The application asks for something that it cannot have. The browser goes back to it only when its person says so.
pub(super) fn wrong_request(text: &str, back: &str) -> Response {
    let body = format!(
        "<h1>This request cannot be granted</h1><p>The application that sent you here made a mistake: {}.</p>\
         <p class=\"small\">Nothing was given to it.</p><p><a rel=\"noreferrer\" href=\"{}\">Go back to the application</a></p>",
        escape(text),
        escape(back)
    );
    page(StatusCode::BAD_REQUEST, "Request refused", &body, "'none'")
}

/// An error of the API, on a page.
pub(super) fn failure(error: &ApiError) -> Response {
    let body = format!(
        "<h1>This did not work</h1><p class=\"error\">{}</p><p>Go back and try again.</p>",
        escape(&error.body.error)
    );
    let page = page(error.status, "Not done", &body, "'none'");
    with_retry_after(page, error)
}

/// Asks for address and password; the error of the last attempt stands above.
pub(super) fn sign_in(
    status: StatusCode,
    request: &AuthorizationRequest,
    wrong: Option<&str>,
) -> Response {
    let wrong = wrong.map(|text| format!("<p class=\"error\" role=\"alert\">{}</p>", escape(text)));
    let body = format!(
        "<h1>Sign in to Waybill</h1><p>The application <strong>{}</strong> asks for access. Sign in to decide.</p>{}\
         <form method=\"post\" action=\"/oauth/sign-in\">{}\
         <label>E-mail address <input name=\"email\" type=\"email\" autocomplete=\"username\" required></label>\
         <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label>\
         <button>Sign in</button></form>",
        escape(&request.app.name),
        wrong.unwrap_or_default(),
        hidden(request),
    );
    page(status, "Sign in", &body, "'self'")
}

/// The same after an attempt that failed.
pub(super) fn sign_in_again(request: &AuthorizationRequest, error: &ApiError) -> Response {
    let page = sign_in(error.status, request, Some(&error.body.error));
    with_retry_after(page, error)
}

/// Asks for a decision.
pub(super) fn consent(
    request: &AuthorizationRequest,
    email: &str,
    choices: &[Choice],
    page_token: &str,
) -> Response {
    let mut scopes = String::new();
    for scope in request.scopes.iter() {
        let words = in_words(scope);
        let _ = write!(scopes, "<li>{} <code>{scope}</code></li>", escape(&words));
    }
    let mut teams = String::new();
    for choice in choices {
        let _ = write!(
            teams,
            "<option value=\"{}\">{} (you are {})</option>",
            escape(choice.team.as_str()),
            escape(&choice.name),
            choice.role,
        );
    }
    let body = format!(
        "<h1>{app} asks for access</h1><p>It would act in your name, {email}, in the <strong>{environment}</strong> environment of the \
         team you choose, and could</p><ul>{scopes}</ul>\
         <p class=\"small\">It can never do more than you may yourself. You can take this back at any time. Afterwards you are sent to \
         <code>{redirect}</code>.</p>\
         <form method=\"post\" action=\"/oauth/authorize\">{hidden}<input type=\"hidden\" name=\"page\" value=\"{page_token}\">\
         <label>Team <select name=\"team\">{teams}</select></label>\
         <button name=\"decision\" value=\"allow\">Allow</button><button name=\"decision\" value=\"deny\">Deny</button></form>",
        app = escape(&request.app.name),
        email = escape(email),
        environment = request.app.created.environment,
        redirect = escape(request.redirect.as_str()),
        hidden = hidden(request),
        page_token = escape(page_token),
    );
    // Browsers apply this to where the answer to the form leads, too.
    let actions = format!("'self' {}", request.redirect.csp_source());
    page(StatusCode::OK, "Allow access?", &body, &actions)
}

/// Sends the browser to another place by GET, whatever brought it here.
pub(super) fn redirect(to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(location) => (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response(),
        Err(_) => ApiError::internal(&"a redirect that is no header").into_response(),
    }
}

/// The request, as the form sends it on.
fn hidden(request: &AuthorizationRequest) -> String {
    let mut inputs = String::new();
    for (name, value) in request.parameters() {
        let value = escape(&value);
        let _ = write!(
            inputs,
            "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">"
        );
    }
    inputs
}

fn page(status: StatusCode, title: &str, body: &str, form_action: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} - Waybill</title><style>{STYLE}</style><body>{body}</body></html>"
    );
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; form-action {form_action}; base-uri 'none'; frame-ancestors 'none'",
        *STYLE_HASH
    );
    let Ok(policy) = HeaderValue::from_str(&policy) else {
        return ApiError::internal(&"a policy that is no header").into_response();
    };
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CONTENT_SECURITY_POLICY, policy);
    // With `no-referrer` a browser would send its forms with `Origin: null`.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn with_retry_after(mut page: Response, error: &ApiError) -> Response {
    let plain = error.clone().into_response();
    if let Some(after) = plain.headers().get(RETRY_AFTER) {
        page.headers_mut().insert(RETRY_AFTER, after.clone());
    }
    page
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A scope, for people.
fn in_words(scope: Scope) -> String {
    let (resource, verb) = scope
        .as_str()
        .split_once(':')
        .unwrap_or((scope.as_str(), ""));
    let verb = match verb {
        "read" => "see",
        _ => "create and change",
    };
    let resource = match resource {
        "dlq" => "tasks that failed for good",
        "tokens" => "secrets in the vault, without their values",
        "keys" => "API keys, without the keys themselves",
        "activity" => "the activity log",
        other => other,
    };
    format!("{verb} {resource}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(escape("<script>'\"&"), "&lt;script&gt;&#39;&quot;&amp;");
    }

    #[test]
    fn every_scope_has_words() {
        for scope in Scope::ALL {
            let words = in_words(*scope);
            assert!(!words.contains(':') && words.contains(' '), "{scope}");
        }
    }
}
