//! The first team and its first key: created at the first start, and found at every later one.

use waybill_domain::access::key::ApiKey;
use waybill_domain::access::plan::UNLIMITED_PLAN;
use waybill_domain::access::scope::Scope;
use waybill_domain::access::team::{TeamCommand, TeamRefusal};
use waybill_domain::id::TeamId;
use waybill_domain::time::Timestamp;

use crate::error::{CommandError, ControlError};
use crate::keys::KeyWish;
use crate::writer::{Author, ControlWriter};

/// Name of the first team and of its key.
const NAME: &str = "bootstrap";

/// Result of a bootstrap.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    pub team: TeamId,
    /// The key, if it was created just now: it must be shown, since it cannot be shown again.
    pub key: Option<ApiKey>,
}

/// The bootstrap key cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error(
        "WAYBILL_BOOTSTRAP_KEY is not an API key: it must be <brand>_live_ or <brand>_test_ (brand: 2 to 8 lower-case letters) \
         and 46 of 0-9 A-Z a-z, of which the last six are the checksum of all before"
    )]
    Malformed,
    /// Another key has the same public part.
    #[error(
        "WAYBILL_BOOTSTRAP_KEY has the public part of a key that exists and is another one (or was made under another pepper): give another key"
    )]
    OtherKey,
    /// The key was installed earlier and then revoked.
    #[error("WAYBILL_BOOTSTRAP_KEY was revoked: give another key")]
    Revoked,
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// Id of the first team. It is equal in every deployment, so that any number of processes that
/// start at once agree on it.
#[must_use]
pub fn bootstrap_team() -> TeamId {
    TeamId::new(Timestamp(0), 0)
}

impl ControlWriter {
    /// Creates the first team, on the unlimited plan, and its first key: the given one, or a random
    /// one if the team has none yet.
    pub async fn bootstrap(
        &self,
        given: Option<&str>,
        by: &Author,
    ) -> Result<Bootstrap, BootstrapError> {
        let given = given
            .map(|text| ApiKey::parse(text.trim()).ok_or(BootstrapError::Malformed))
            .transpose()?;
        let team = bootstrap_team();
        let create = TeamCommand::Create {
            team: team.clone(),
            name: NAME.to_owned(),
            plan: UNLIMITED_PLAN.to_owned(),
            owner: None,
        };
        match self.run_team(&team, create, by).await {
            Ok(_) | Err(CommandError::Refused(TeamRefusal::AlreadyExists)) => {}
            // The team stays closed until an upgrade. That is no reason not to serve the other
            // teams.
            Err(CommandError::History(why)) => {
                tracing::error!(%team, %why, "this version cannot decode a change of access of the first team, so the team is closed and no key is created; upgrade Waybill");
                return Ok(Bootstrap { team, key: None });
            }
            Err(error) => return Err(ControlError::from(error).into()),
        }
        let key = match given {
            Some(key) => self.install_given(&team, key, by).await?,
            None if self.team(&team).await?.keys.is_empty() => {
                let made = self.create_key(&team, NAME, Scope::ALL, by).await?;
                Some(made.key)
            }
            None => None,
        };
        Ok(Bootstrap { team, key })
    }

    async fn install_given(
        &self,
        team: &TeamId,
        key: ApiKey,
        by: &Author,
    ) -> Result<Option<ApiKey>, BootstrapError> {
        let wish = KeyWish {
            environment: key.environment(),
            ..KeyWish::new(NAME, Scope::ALL)
        };
        match self.install_key(team, key.clone(), wish, by).await {
            Ok(made) => return Ok(Some(made.key)),
            Err(ControlError::Command(CommandError::Refused(TeamRefusal::KeyIdTaken))) => {}
            Err(ControlError::KeyIdTaken) => return Err(BootstrapError::OtherKey),
            Err(error) => return Err(error.into()),
        }
        let loaded = self.team(team).await?;
        let Some(found) = loaded.keys.get(key.id()) else {
            return Err(ControlError::NoSuchKey.into());
        };
        let pepper = self.pepper().of(found.created.pepper_version);
        let is_this = |mac| pepper.is_some_and(|pepper| key.matches(mac, pepper, team));
        if !found.mac.as_ref().is_some_and(is_this) {
            return Err(BootstrapError::OtherKey);
        }
        match found.revoked {
            Some(_) => Err(BootstrapError::Revoked),
            None => Ok(None),
        }
    }
}
