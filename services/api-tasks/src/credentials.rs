//! The vault's part in a new task: the tokens that it names exist and may be used, and the credentials that it brings along are sealed.

use url::Url;
use waybill_domain::id::{EpochId, TaskId, TeamId, TokenId};
use waybill_domain::task::queue_defaults::Given;
use waybill_domain::task::{Limits, QueueDefaults, TaskSpec};
use waybill_domain::vault::{
    AllowedHosts, CredentialHeaders, Place, RawHeaders, Reference, is_mask, selects_a_part,
};
use waybill_vault::SecretBytes;

use crate::state::TasksApi;
use waybill_commands::entropy;
use waybill_edge::error::ApiError;

/// A task whose references are valid, with its credentials taken out of the headers.
pub struct Checked {
    /// The request, with masks where credentials were.
    pub spec: TaskSpec,
    /// Those credentials, to be sealed under the id that the task gets.
    pub raw: Option<RawHeaders>,
    /// The fingerprint of the request as it was given, if defaults of its queue were filled in since.
    pub as_given: Option<String>,
}

impl Checked {
    /// Checks a task against the team's current state. A token that is revoked later is found by the worker.
    pub(crate) fn new(
        state: &TasksApi,
        team: &TeamId,
        mut spec: TaskSpec,
    ) -> Result<Self, ApiError> {
        check_references(state, team, &spec)?;
        let raw = if state.vault.is_configured() {
            let more = state
                .auth
                .directory()
                .with_team(&team.base(), |team| {
                    let info = team.info.as_ref()?;
                    Some(info.vault.sealed_headers.clone())
                })
                .flatten()
                .unwrap_or_default();
            let names = CredentialHeaders::and(&more);
            check_no_mask(&spec, &names)?;
            spec.take_raw_credentials(&names)
        } else {
            None
        };
        let has_credential = raw.is_some() || spec.references().next().is_some();
        let part = spec.headers.iter().find(|(name, _)| selects_a_part(name));
        if let (true, Some((name, _))) = (has_credential, part) {
            return Err(ApiError::bad_field(
                "headers",
                format!(
                    "headers: {name} cannot be sent along with a credential, which a target could echo in parts"
                ),
            ));
        }
        Ok(Self {
            spec,
            raw,
            as_given: None,
        })
    }

    /// Fills in what the request left open. Repeated after the defaults have changed, it is still the same request.
    pub(crate) fn fill_in(&mut self, defaults: &QueueDefaults, given: Given, limits: &Limits) {
        self.as_given = Some(self.spec.fingerprint());
        defaults.apply(&mut self.spec, given, limits);
    }
}

/// Refuses a task that was read back and sent again: its credential is not in it any more.
fn check_no_mask(spec: &TaskSpec, names: &CredentialHeaders<'_>) -> Result<(), ApiError> {
    let mut headers = spec.headers.iter();
    match headers.find(|(name, value)| names.contains(name) && is_mask(value)) {
        Some((name, value)) => Err(ApiError::bad_field(
            "headers",
            format!(
                "headers: {name} is {value:?}, which stands for a credential that is not kept; send the credential itself"
            ),
        )),
        None => Ok(()),
    }
}

/// Refuses a task that refers to a token which it may not use, or not for its target. Unknown, revoked and expired tokens and those of
/// other teams get the same answer.
fn check_references(state: &TasksApi, team: &TeamId, spec: &TaskSpec) -> Result<(), ApiError> {
    let named = named(spec);
    if named.is_empty() {
        return Ok(());
    }
    state.vault.check_configured()?;
    let now = entropy::now();
    let environment = team.environment();
    let tokens = state.auth.directory().with_team(&team.base(), |team| {
        let find = |(_, id): &(_, TokenId)| team.token(id, environment, now).cloned();
        named.iter().map(find).collect::<Vec<_>>()
    });
    let tokens = tokens.unwrap_or_default();
    let url = Url::parse(&spec.url).map_err(|error| ApiError::internal(&error))?;
    for (at, (reference, _)) in named.iter().enumerate() {
        let Some(token) = tokens.get(at).and_then(Option::as_ref) else {
            return Err(reference.unknown().into());
        };
        let allowed = AllowedHosts::stored(&token.allowed_hosts);
        if !allowed.allows(&url) {
            return Err(reference.not_to(&allowed, &url).into());
        }
        if matches!(reference.place, Place::Header(_)) && !token.fits_header {
            return Err(reference.not_in_a_header().into());
        }
    }
    Ok(())
}

/// Each token that the task names, with the first reference to it, and the first one in a header: a body may name one a thousand times.
fn named(spec: &TaskSpec) -> Vec<(Reference<'_>, TokenId)> {
    let mut named: Vec<(Reference<'_>, TokenId)> = Vec::new();
    for reference in spec.references() {
        // A malformed one is refused with the rest of the request.
        let Some(token) = reference.token.clone() else {
            continue;
        };
        let in_header = |reference: &Reference<'_>| matches!(reference.place, Place::Header(_));
        let told = |(other, id): &(Reference<'_>, TokenId)| {
            *id == token && (in_header(other) || !in_header(&reference))
        };
        if !named.iter().any(told) {
            named.push((reference, token));
        }
    }
    named
}

/// Seals what was taken out of a task's headers, for that task only. Returns the envelope and the epoch whose key opens it; that key is stored
/// by then. Other tasks may need it too, so it stays when this task is not stored after all.
pub(crate) async fn seal(
    state: &TasksApi,
    team: &TeamId,
    task: TaskId,
    raw: &RawHeaders,
) -> Result<(String, EpochId), ApiError> {
    let packed = SecretBytes::new(raw.encode().to_vec());
    state.vault.seal_for_task(team, task, &packed).await
}
