//! Commands of the jobs API about organisations and their keys.

use std::collections::BTreeMap;

use waybill_domain::access::key::ApiKey;
use waybill_domain::access::team::jobs_keys::{JobsKeyCommand, NewJobsKey};
use waybill_domain::access::team::organization::{FoundOrganization, SlugClaims, slug_fault};
use waybill_domain::access::team::{TeamCommand, TeamRefusal};
use waybill_domain::event::Boundary;
use waybill_domain::id::{Environment, TeamId};
use waybill_log::subject::ControlSubject;

use crate::entropy;
use crate::error::{CommandError, ControlError};
use crate::keys::{MAX_KEYS_TRIED, NewKey, fresh_key, new_key};
use crate::writer::{Author, ControlWriter};

/// The brand of keys that the jobs API makes: its Node client refuses others.
pub const JOBS_BRAND: &str = "sp";

/// Properties of a new organisation. Its first key may do everything.
#[derive(Debug, Clone)]
pub struct OrganizationWish {
    /// Name shown to people.
    pub name: String,
    pub slug: String,
    /// Name of a plan of the catalogue.
    pub plan: String,
    pub billing_email: Option<String>,
    /// An object in JSON.
    pub settings: Option<String>,
    pub custom_limits: BTreeMap<String, u64>,
    pub key: NewJobsKey,
}

impl ControlWriter {
    /// Creates a team with a slug and a first key, all or nothing. Of simultaneous foundings with one slug, one succeeds.
    pub async fn found_organization(
        &self,
        wish: OrganizationWish,
        by: &Author,
    ) -> Result<(TeamId, NewKey), ControlError> {
        // Refused before a filter is made of it: another text might match the claims of several slugs.
        if let Some(fault) = slug_fault(&wish.slug) {
            let refusal = TeamRefusal::Invalid {
                field: "slug",
                message: format!("slug {fault}"),
            };
            return Err(CommandError::Refused(refusal).into());
        }
        let filter = ControlSubject::of_any_team("slug", &wish.slug)
            .map_err(CommandError::<TeamRefusal>::from)?;
        let team = TeamId::new(entropy::now(), entropy::random_u128());
        let key = fresh_key(JOBS_BRAND, Environment::Live)?;
        let found = FoundOrganization {
            team: team.clone(),
            name: wish.name,
            slug: wish.slug,
            plan: wish.plan,
            billing_email: wish.billing_email,
            settings: wish.settings,
            custom_limits: wish.custom_limits,
            draft: self.draft(&team, key.clone()).await?,
            key: wish.key,
        };
        self.run_over::<SlugClaims>(&filter, found, self.plans(), by)
            .await?;
        let after = self.load(&Boundary::Team(team.clone())).await?;
        Ok((team, new_key(key, &after)?))
    }

    /// Creates a key as the jobs API has them.
    pub async fn make_jobs_key(
        &self,
        team: &TeamId,
        wish: &NewJobsKey,
        environment: Environment,
        by: &Author,
    ) -> Result<NewKey, ControlError> {
        for _ in 0..MAX_KEYS_TRIED {
            let key = fresh_key(JOBS_BRAND, environment)?;
            match self.install_jobs_key(team, key, wish.clone(), by).await {
                Err(error) if error.is_id_taken() => {}
                made => return made,
            }
        }
        Err(ControlError::KeyIdTaken)
    }

    async fn install_jobs_key(
        &self,
        team: &TeamId,
        key: ApiKey,
        wish: NewJobsKey,
        by: &Author,
    ) -> Result<NewKey, ControlError> {
        let command = JobsKeyCommand::Create {
            draft: self.draft(team, key.clone()).await?,
            key: wish,
        };
        let command = TeamCommand::JobsKey(Box::new(command));
        let after = self.run_team(team, command, by).await?;
        new_key(key, &after)
    }
}
