//! Builds the request of a task: references are replaced by values, and masks by the headers that
//! were sealed for the task.
//!
//! The order matters. The lease is checked before the directory is read, never after. The values
//! that are sent are those that were looked up under that lease, without waiting in between. What
//! is not cached is read first, and then everything is looked up again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use url::Url;
use waybill_domain::event::TaskCreated;
use waybill_domain::id::TokenId;
use waybill_domain::vault::replace::{self, BodyForm};
use waybill_domain::vault::scrub::Label;
use waybill_domain::vault::selects_a_part;
use waybill_domain::vault::{AllowedHosts, RawHeaders, Scrubber};
use waybill_log::KeyName;
use waybill_vault::SecretBytes;
use zeroize::Zeroizing;

use super::carried::Carried;
use super::directory::Token;
use super::failure::VaultFailure;
use super::open::{Opened, integrity_error, key_of};
use super::{Opening, Vault};
use crate::callout::{HeaderText, TaskHeader};

/// How often everything is looked up again, because keys had to be read or tokens were rotated
/// meanwhile.
const MAX_ROUNDS: u32 = 5;
/// How often to wait for a lease; each wait takes as long as a renewal may.
const WAITS_FOR_LEASE: u32 = 10;

/// The parts of a task's request.
pub struct Prepared<'t> {
    /// Replaces the URL's own query, if that contains references.
    pub query: Option<Zeroizing<String>>,
    /// All headers that the task gives.
    pub headers: Vec<TaskHeader<'t>>,
    /// The body to send; empty if there is none.
    pub body: Bytes,
    /// The secrets in the request.
    pub carried: Option<Arc<Carried>>,
}

impl<'t> Prepared<'t> {
    /// A task that needs nothing from the vault.
    #[must_use]
    pub fn plain(task: &'t TaskCreated) -> Self {
        Self {
            query: None,
            headers: task.headers.iter().map(TaskHeader::plain).collect(),
            body: task.body_bytes().into(),
            carried: None,
        }
    }
}

/// Whether the request of this task needs the vault.
#[must_use]
pub fn needs_vault(task: &TaskCreated) -> bool {
    task.sealed.is_some() || task.references().next().is_some()
}

/// An opened value, and the token version that it belongs to.
struct Value {
    token: Arc<Token>,
    secret: SecretBytes,
}

type Values = BTreeMap<TokenId, Value>;
/// The tokens whose keys must be read first.
type Missing = Vec<(TokenId, Arc<Token>)>;
/// Keys that were read for one attempt; the directory may have dropped them again before they are
/// used.
type Fetched = HashMap<(TokenId, u32), Arc<Opened>>;

impl Vault {
    /// The request of a task, with all references replaced.
    pub async fn prepare<'t>(&self, task: &'t TaskCreated) -> Result<Prepared<'t>, VaultFailure> {
        let started = Instant::now();
        let prepared = self.prepared(task).await;
        let outcome = if prepared.is_ok() {
            "resolved"
        } else {
            "failed"
        };
        metrics::histogram!("waybill_vault_resolve_seconds", "outcome" => outcome)
            .record(started.elapsed());
        prepared
    }

    async fn prepared<'t>(&self, task: &'t TaskCreated) -> Result<Prepared<'t>, VaultFailure> {
        let wanted = wanted(task)?;
        let opening = self.opening.as_ref().ok_or(VaultFailure::NotConfigured)?;
        let sealed = match &task.sealed {
            Some(sealed) => Some(opening.opener.headers(&task.team, task.id, sealed).await?),
            None => None,
        };
        // Last, so that nothing is waited for between this and the call.
        let values = if wanted.is_empty() {
            Values::new()
        } else {
            self.values(opening, task, &wanted).await?
        };
        let prepared = filled(task, &values, sealed.as_ref())?;
        if let Some(carried) = &prepared.carried
            && let Ok(url) = Url::parse(&task.url)
        {
            carried.check(&url)?;
            for (id, value) in &values {
                self.uses
                    .used(id, &value.token, task, &url, self.clock.now());
            }
        }
        Ok(prepared)
    }

    async fn values(
        &self,
        opening: &Opening,
        task: &TaskCreated,
        wanted: &BTreeSet<TokenId>,
    ) -> Result<Values, VaultFailure> {
        let mut fetched = Fetched::new();
        for _ in 0..MAX_ROUNDS {
            self.leased(opening).await?;
            let (values, missing) = self.look_up(task, wanted, &fetched)?;
            if missing.is_empty() {
                return Ok(values);
            }
            self.fetch(opening, task, missing, &mut fetched).await?;
        }
        tracing::warn!(task = %task.id, "the vault tokens of a task change faster than they can be read; the attempt is retried later");
        Err(VaultFailure::KeysAway)
    }

    /// Waits briefly for a lease if there is none, for example at the start.
    async fn leased(&self, opening: &Opening) -> Result<(), VaultFailure> {
        for _ in 0..WAITS_FOR_LEASE {
            if opening.fence.may_decide_soon().await.is_ok() {
                return Ok(());
            }
        }
        Err(VaultFailure::NoLease)
    }

    /// Looks up everything that is needed in the directory, and returns the values and what must be
    /// read first.
    fn look_up(
        &self,
        task: &TaskCreated,
        wanted: &BTreeSet<TokenId>,
        fetched: &Fetched,
    ) -> Result<(Values, Missing), VaultFailure> {
        let now = self.clock.now();
        let (mut values, mut missing) = (Values::new(), Missing::new());
        for id in wanted {
            let token = self.directory.usable(id, &task.team, now)?;
            let held = self
                .directory
                .key(id, token.version)
                .or_else(|| fetched.get(&(id.clone(), token.version)).cloned());
            let Some(opened) = held else {
                missing.push((id.clone(), token));
                continue;
            };
            let secret = opened
                .value(&task.team, id, token.version)
                .map_err(|_| broken(task, id, token.version, "the envelope does not open"))?;
            values.insert(id.clone(), Value { token, secret });
        }
        Ok((values, missing))
    }

    async fn fetch(
        &self,
        opening: &Opening,
        task: &TaskCreated,
        missing: Missing,
        fetched: &mut Fetched,
    ) -> Result<(), VaultFailure> {
        for (id, token) in missing {
            let version = token.version;
            let opened = opening
                .opener
                .token(&task.team, &id, version, token.sealed_at)
                .await;
            match opened {
                Ok(opened) => {
                    let opened = Arc::new(opened);
                    self.directory.hold(&id, version, &opened);
                    fetched.insert((id, version), opened);
                }
                Err(not_opened) => {
                    let Some(why) = not_opened.fault() else {
                        return Err(VaultFailure::KeysAway);
                    };
                    // A key is erased only when no lease holder uses it. So if the token is looked
                    // at again under the lease, it is either unchanged or revoked.
                    self.leased(opening).await?;
                    let still = self.directory.usable(&id, &task.team, self.clock.now())?;
                    if still.version == version {
                        return Err(broken(task, &id, version, why));
                    }
                }
            }
        }
        Ok(())
    }
}

fn broken(task: &TaskCreated, token: &TokenId, version: u32, why: &'static str) -> VaultFailure {
    let name = KeyName::Token {
        team: task.team.clone(),
        token: token.clone(),
        version,
    };
    integrity_error(&name, why);
    VaultFailure::BrokenToken(token.clone())
}

/// The tokens that a task refers to.
fn wanted(task: &TaskCreated) -> Result<BTreeSet<TokenId>, VaultFailure> {
    task.references()
        .map(|reference| {
            reference
                .token
                .ok_or_else(|| VaultFailure::Unknown(shortened(reference.text)))
        })
        .collect()
}

/// Enough of a text to recognise it.
fn shortened(text: &str) -> String {
    const CHARS: usize = 64;
    text.chars().take(CHARS).collect()
}

/// Inserts all values into the request.
fn filled<'t>(
    task: &'t TaskCreated,
    values: &Values,
    sealed: Option<&RawHeaders>,
) -> Result<Prepared<'t>, VaultFailure> {
    let mut texts = BTreeMap::new();
    for (id, value) in values {
        let text = std::str::from_utf8(value.secret.expose())
            .map_err(|_| broken(task, id, value.token.version, "the value is no text"))?;
        texts.insert(id, text);
    }
    let lookup = |id: &TokenId| texts.get(id).copied();
    let mut scrubber = Scrubber::new();
    let mut headers = Vec::with_capacity(task.headers.len());
    let raw = sealed.map(|sealed| sealed.restore(&task.headers));
    let raw = raw.transpose().map_err(|_| {
        if let Some(sealed) = &task.sealed {
            let name = key_of(&task.team, task.id, sealed);
            integrity_error(&name, "the sealed headers are of another task");
        }
        VaultFailure::BrokenHeaders
    })?;
    for (at, (name, given)) in task.headers.iter().enumerate() {
        if selects_a_part(name) {
            // In a partial answer, an echo of the credential would not be found. New tasks with
            // both are refused.
            continue;
        }
        let restored = raw
            .as_ref()
            .and_then(|raw| raw.get(at))
            .filter(|(.., was_sealed)| *was_sealed);
        let value = match restored {
            Some((_, value, _)) => {
                if name.eq_ignore_ascii_case("cookie") {
                    scrubber.add_cookie(&Label::Task, value);
                } else {
                    scrubber.add(&Label::Task, value);
                }
                Some(Zeroizing::new((*value).to_owned()))
            }
            None => replace::header(given, lookup).map_err(VaultFailure::Unfit)?,
        };
        headers.push(match value {
            Some(secret) => TaskHeader::secret(name, secret),
            None => TaskHeader {
                name,
                value: HeaderText::Plain(given),
            },
        });
    }
    let query = if task.resolve.query {
        replace::query(&task.url, lookup).map_err(VaultFailure::Unfit)?
    } else {
        None
    };
    let replaced = match &task.body {
        Some(body) if task.resolve.body => {
            let form = BodyForm::of(&task.headers, body);
            replace::body(body, form, lookup).map_err(VaultFailure::Unfit)?
        }
        Some(_) | None => None,
    };
    let in_line = query.is_some() || replaced.is_some();
    let body = match (replaced, &task.body) {
        // Overwritten when the last clone of the handle is dropped.
        (Some(replaced), _) => Bytes::from_owner(replaced),
        (None, Some(body)) => Bytes::copy_from_slice(body.as_bytes()),
        (None, None) => Bytes::new(),
    };
    for (id, text) in &texts {
        scrubber.add(&Label::Token((*id).clone()), text);
    }
    let tokens: Vec<(TokenId, Arc<AllowedHosts>)> = values
        .iter()
        .map(|(id, value)| (id.clone(), Arc::clone(&value.token.hosts)))
        .collect();
    Ok(Prepared {
        query,
        headers,
        body,
        carried: Some(Arc::new(Carried::new(tokens, in_line, scrubber))),
    })
}
