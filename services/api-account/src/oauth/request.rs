//! The authorization request with which an application sends the browser here.

use std::sync::Arc;

use waybill_domain::access::pkce::{self, Challenge};
use waybill_domain::access::redirect::RedirectUri;
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::access::team::App;
use waybill_domain::id::AppId;

use super::parameters::{Parameters, Repeated};
use super::{read_scopes, write_scopes};
use waybill_edge::auth::Directory;

/// Longest `state`, in bytes: it comes back in a URL.
const MAX_STATE_BYTES: usize = 1024;

/// A valid request, which can be shown to a person.
#[derive(Debug, Clone)]
pub(super) struct AuthorizationRequest {
    pub(super) app: Arc<App>,
    pub(super) redirect: RedirectUri,
    pub(super) state: Option<String>,
    pub(super) scopes: ScopeSet,
    pub(super) challenge: Challenge,
}

/// Why a request is not shown to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum RequestRefused {
    /// It is not certain where the browser may go, so it goes nowhere: a page says what is wrong.
    Here(&'static str),
    /// The application is told, at its own registered address.
    There {
        redirect: Box<RedirectUri>,
        state: Option<String>,
        error: &'static str,
        description: &'static str,
    },
}

impl AuthorizationRequest {
    pub(super) fn read(
        parameters: &Parameters,
        directory: &Directory,
    ) -> Result<Self, RequestRefused> {
        let here = RequestRefused::Here;
        let id = match parameters.one("client_id") {
            Ok(Some(id)) => id,
            Ok(None) => return Err(here("The parameter client_id is missing.")),
            Err(Repeated(_)) => return Err(here("The parameter client_id is there twice.")),
        };
        let app = AppId::parse(id).ok().and_then(|id| directory.app(&id));
        let app = app.ok_or(here("There is no such application, or it was removed."))?;
        let redirect = match parameters.one("redirect_uri") {
            Ok(Some(uri)) => app.redirect(uri),
            Ok(None) => return Err(here("The parameter redirect_uri is missing.")),
            Err(Repeated(_)) => return Err(here("The parameter redirect_uri is there twice.")),
        };
        let redirect = redirect.ok_or(here(
            "The application did not register the address that it wants you to be sent to.",
        ))?;
        let back = Back {
            parameters,
            redirect: &redirect,
        };
        let state = back.state()?;
        back.expect_code()?;
        let challenge = back.challenge()?;
        let scopes = match back.one("scope")? {
            Some(text) => read_scopes(text).ok_or_else(|| {
                back.refused("invalid_scope", "a scope of that name does not exist")
            })?,
            None => app.scopes,
        };
        if !scopes.is_within(app.scopes) || scopes.is_empty() {
            let text = "the application is not registered for that scope";
            return Err(back.refused("invalid_scope", text));
        }
        Ok(Self {
            state: state.map(str::to_owned),
            redirect,
            app,
            scopes,
            challenge,
        })
    }

    /// The same as parameters: one request has one text.
    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![
            ("response_type", "code".to_owned()),
            ("client_id", self.app.created.app.to_string()),
            ("redirect_uri", self.redirect.as_str().to_owned()),
            ("scope", write_scopes(self.scopes)),
            ("code_challenge", self.challenge.as_str().to_owned()),
            ("code_challenge_method", pkce::METHOD.to_owned()),
        ];
        parameters.extend(self.state.clone().map(|state| ("state", state)));
        parameters
    }

    /// The same as a query.
    pub(super) fn query(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.parameters());
        query.finish()
    }
}

/// Builds refusals that go back to the application.
struct Back<'a> {
    parameters: &'a Parameters,
    redirect: &'a RedirectUri,
}

impl<'a> Back<'a> {
    fn refused(&self, error: &'static str, description: &'static str) -> RequestRefused {
        let state = self.parameters.one("state").ok().flatten();
        RequestRefused::There {
            redirect: Box::new(self.redirect.clone()),
            state: state.filter(|state| is_sane(state)).map(str::to_owned),
            error,
            description,
        }
    }

    fn one(&self, name: &str) -> Result<Option<&'a str>, RequestRefused> {
        self.parameters.one(name).map_err(|Repeated(_)| {
            self.refused("invalid_request", "a parameter is there more than once")
        })
    }

    fn state(&self) -> Result<Option<&'a str>, RequestRefused> {
        let state = self.one("state")?;
        if state.is_none_or(is_sane) {
            return Ok(state);
        }
        let text = "state must be printable ASCII of at most 1024 characters";
        Err(self.refused("invalid_request", text))
    }

    fn expect_code(&self) -> Result<(), RequestRefused> {
        match self.one("response_type")? {
            Some("code") => {}
            Some(_) => {
                let text = "response_type must be code";
                return Err(self.refused("unsupported_response_type", text));
            }
            None => return Err(self.refused("invalid_request", "response_type is required")),
        }
        let mode = self.one("response_mode")?;
        if mode.is_some_and(|mode| mode != "query") {
            return Err(self.refused("invalid_request", "response_mode must be query"));
        }
        for (name, error) in [
            ("request", "request_not_supported"),
            ("request_uri", "request_uri_not_supported"),
        ] {
            if self.one(name)?.is_some() {
                return Err(self.refused(error, "requests are passed as parameters only"));
            }
        }
        Ok(())
    }

    fn challenge(&self) -> Result<Challenge, RequestRefused> {
        let method = self.one("code_challenge_method")?;
        let Some(challenge) = self.one("code_challenge")? else {
            return Err(self.refused("invalid_request", "code_challenge is required"));
        };
        // Left out, it would mean `plain`.
        if method != Some(pkce::METHOD) {
            return Err(self.refused("invalid_request", "code_challenge_method must be S256"));
        }
        Challenge::parse(challenge).ok_or_else(|| {
            let text = "code_challenge must be a SHA-256 in base64url";
            self.refused("invalid_request", text)
        })
    }
}

fn is_sane(state: &str) -> bool {
    state.len() <= MAX_STATE_BYTES && state.bytes().all(|b| (0x20..0x7f).contains(&b))
}
