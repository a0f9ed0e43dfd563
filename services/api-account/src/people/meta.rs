//! What a client needs to know of an installation before anybody has signed in.

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use waybill_identity::SignUpPolicy;

use crate::state::AccountApi;

/// `{"meta": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct MetaEnvelope {
    meta: MetaObject,
}

/// An installation, as everybody may know it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetaObject {
    /// Always `Waybill`.
    name: &'static str,
    /// Version of the gateway that answers.
    version: &'static str,
    /// How people sign in.
    sign_in: SignInMethods,
    /// The issuer of OAuth tokens, whose description is at `/.well-known/oauth-authorization-server`; `null`: there is no OAuth here.
    #[schema(value_type = Option<String>, format = "uri")]
    oauth_issuer: Option<String>,
    /// Names of the plans that teams can have.
    plans: Vec<String>,
    /// The plan of teams that are created.
    plan_of_new_teams: String,
    /// Path of a target for trying things out: it accepts every request, and with `?fail=2` fails the first two attempts of a task. `null` if this server has none.
    sink: Option<&'static str>,
    /// The brands that new API keys may begin with, the usual one first.
    key_brands: Vec<String>,
}

/// How people sign in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignInMethods {
    /// Who may ask for an account: `open` everybody, `invited` whoever has an invitation to a team, `off` nobody.
    #[schema(value_type = SignUpWho)]
    sign_up: SignUpPolicy,
    /// Whether letters can be sent, with tokens to confirm an address or to set a new password.
    letters: bool,
    /// Outside issuers that people can sign in with, by name.
    issuers: Vec<OutsideIssuer>,
}

/// Who may ask for an account.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only described")]
enum SignUpWho {
    Open,
    Invited,
    Off,
}

/// An outside issuer.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutsideIssuer {
    /// As it is configured.
    name: String,
    /// Where a browser goes to sign in with it.
    start: String,
}

/// See what this installation offers: its version, how people sign in, which plans there are.
///
/// Nobody has to sign in for it, and it tells nothing about teams or people.
#[utoipa::path(
    get,
    path = "/v1/meta",
    operation_id = "system.meta.get",
    tag = "system",
    responses((status = 200, description = "What it offers", body = MetaEnvelope))
)]
pub(crate) async fn get_meta(State(state): State<AccountApi>) -> axum::Json<MetaEnvelope> {
    let issuer = |name: &str| OutsideIssuer {
        name: name.to_owned(),
        start: format!("/v1/auth/oidc/{name}/start"),
    };
    let plans = &state.config.plans;
    let brands = state.config.minted_brands();
    axum::Json(MetaEnvelope {
        meta: MetaObject {
            name: "Waybill",
            version: env!("CARGO_PKG_VERSION"),
            sign_in: SignInMethods {
                sign_up: state.people.sign_up,
                letters: state.people.outbox.letter_box().is_ok(),
                issuers: state.people.oidc.names().map(issuer).collect(),
            },
            oauth_issuer: state.issuer.as_deref().map(str::to_owned),
            plans: plans.plans().map(|plan| plan.name.to_string()).collect(),
            plan_of_new_teams: plans.plan_of_new_teams().name.to_string(),
            sink: state.config.has_sink().then_some("/sink"),
            key_brands: brands.map(str::to_owned).collect(),
        },
    })
}
