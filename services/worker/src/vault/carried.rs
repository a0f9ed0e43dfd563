//! What a request carries that nobody but its target may see: where it may go, and what is taken out of the answer.

use std::sync::Arc;

use bytes::Bytes;
use url::Url;
use waybill_domain::id::TokenId;
use waybill_domain::vault::hosts::may_carry_secrets;
use waybill_domain::vault::scrub::End;
use waybill_domain::vault::{AllowedHosts, Scrubber};

use super::failure::VaultFailure;
use crate::callout::Outcome;
use crate::callout::answer::{KEPT_BODY_BYTES, KEPT_HEADER_BYTES};

/// The secrets of one request.
pub struct Carried {
    /// Tokens whose values it holds, and where each may be sent.
    tokens: Vec<(TokenId, Arc<AllowedHosts>)>,
    /// A value stands in the query or in the body.
    in_line: bool,
    scrubber: Scrubber,
}

impl std::fmt::Debug for Carried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Carried")
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl Carried {
    pub(super) fn new(
        tokens: Vec<(TokenId, Arc<AllowedHosts>)>,
        in_line: bool,
        scrubber: Scrubber,
    ) -> Self {
        Self {
            tokens,
            in_line,
            scrubber,
        }
    }

    /// Whether a value stands in the query or in the body, where redirects do not take it out.
    #[must_use]
    pub fn is_in_line(&self) -> bool {
        self.in_line
    }

    /// Whether the values may be sent to where this URL leads.
    pub fn check(&self, url: &Url) -> Result<(), VaultFailure> {
        for (token, hosts) in &self.tokens {
            if !may_carry_secrets(url) {
                return Err(VaultFailure::Readable(token.clone()));
            }
            if !hosts.allows(url) {
                return Err(VaultFailure::OtherHost {
                    token: token.clone(),
                    allowed: hosts.to_string(),
                    host: url.host_str().unwrap_or_default().to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Whether a redirect may be followed. To another origin goes nothing that is part of the request itself, nor what the target has
    /// written into the URL; headers with secrets are left out by then.
    pub fn check_redirect(&self, from: &Url, to: &Url) -> Result<(), VaultFailure> {
        let elsewhere = from.origin() != to.origin();
        if elsewhere && (self.in_line || self.is_in(to.as_str())) {
            return Err(VaultFailure::Redirected);
        }
        Ok(())
    }

    fn is_in(&self, text: &str) -> bool {
        self.scrubber.text(text) != text
    }

    /// Takes the secrets out of what came back, before anybody else sees it.
    #[must_use]
    pub fn scrub(&self, outcome: Outcome) -> Outcome {
        if self.scrubber.is_empty() {
            return outcome;
        }
        match outcome {
            Outcome::Answered(mut answered) => {
                let end = if answered.truncated {
                    End::Cut
                } else {
                    End::Whole
                };
                let mut body = answered.body.to_vec();
                self.scrubber.answer(&mut answered.headers, &mut body, end);
                // What stands in a secret's place may be longer than it was.
                answered.truncated |= body.len() > KEPT_BODY_BYTES;
                body.truncate(KEPT_BODY_BYTES);
                answered.body = Bytes::from(body);
                let mut room = KEPT_HEADER_BYTES;
                answered.headers.retain(|(name, value)| {
                    let left = room.checked_sub(name.len() + value.len());
                    room = left.unwrap_or(0);
                    left.is_some()
                });
                Outcome::Answered(answered)
            }
            Outcome::Failed(mut failed) => {
                failed.message = self.scrubber.text(&failed.message).into_owned().into();
                Outcome::Failed(failed)
            }
        }
    }
}
