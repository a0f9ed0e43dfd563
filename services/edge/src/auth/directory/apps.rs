//! OAuth applications and their grants: what they may do now.

use std::sync::Arc;

use waybill_domain::access::grant::Grant;
use waybill_domain::access::plan::Plan;
use waybill_domain::access::proof::Proof;
use waybill_domain::access::scope::ScopeSet;
use waybill_domain::access::team::App;
use waybill_domain::access::token::{Token, TokenKind};
use waybill_domain::id::{AppId, Environment, GrantId, TeamId, UserId};
use waybill_domain::time::Timestamp;

use super::{Directory, Inner};
use waybill_commands::Pepper;

/// What an access token of an application stands for now.
#[derive(Debug, Clone)]
pub struct AppStanding {
    /// Whose token it is.
    pub app: Arc<App>,
    pub grant: GrantId,
    /// Whom it acts for. `None`: itself.
    pub user: Option<UserId>,
    /// The team that it acts in, in the application's environment.
    pub team: TeamId,
    /// What the team may use.
    pub plan: Arc<Plan>,
    /// The scopes of the token that the application is still registered for and that its person may still use.
    pub scopes: ScopeSet,
    /// Since when the grant exists.
    pub given_at: Timestamp,
    /// The token is void from then on.
    pub expires_at: Timestamp,
}

/// What looking an access token up leads to.
#[derive(Debug, Clone)]
pub enum AppRecognition {
    /// It is valid.
    Known(Box<AppStanding>),
    /// It is not valid. Malformed, unknown, revoked and expired ones are reported alike.
    Refused,
    /// It may be valid, but this gateway lacks the pepper that it was hashed under.
    PepperMissing,
}

impl Directory {
    /// Looks an access token up. One MAC is computed in every case, so that the time tells nothing about the token.
    #[must_use]
    pub fn recognise_app(
        &self,
        presented: &Token,
        pepper: &Pepper,
        now: Timestamp,
    ) -> AppRecognition {
        let proof = Proof::new(presented, pepper.each());
        let grant = GrantId::from_ulid(presented.ulid())
            .ok()
            .filter(|_| presented.kind() == TokenKind::Access)
            .and_then(|id| self.grant(&id));
        let Some((grant, token)) = grant
            .as_deref()
            .and_then(|grant| Some((grant, grant.live_token(now)?.1)))
        else {
            return AppRecognition::Refused;
        };
        if pepper.of(token.stored.pepper_version).is_none() {
            tracing::error!(
                version = token.stored.pepper_version,
                "an access token was made under a pepper that this gateway does not have"
            );
            return AppRecognition::PepperMissing;
        }
        if !token.stored.is(&proof) {
            return AppRecognition::Refused;
        }
        match self.read(|inner| inner.standing_app(grant, now)) {
            Some(standing) => AppRecognition::Known(Box::new(standing)),
            None => AppRecognition::Refused,
        }
    }

    /// Whether an application still has all of these scopes.
    #[must_use]
    pub fn app_stands(&self, grant: &GrantId, scopes: ScopeSet, now: Timestamp) -> bool {
        self.read(|inner| {
            let standing = inner.standing_app(inner.grants.get(grant)?, now)?;
            Some(scopes.is_within(standing.scopes))
        })
        .unwrap_or(false)
    }

    /// What the access token of a grant stands for now.
    #[must_use]
    pub fn standing_app(&self, grant: &Grant, now: Timestamp) -> Option<AppStanding> {
        self.read(|inner| inner.standing_app(grant, now))
    }

    /// The most that an application may do in a team for a person, or for itself. `None`: nothing, since one of them does not exist.
    #[must_use]
    pub fn app_scopes(
        &self,
        app: &AppId,
        team: &TeamId,
        user: Option<&UserId>,
    ) -> Option<ScopeSet> {
        self.read(|inner| Some(inner.app_in(app, team, user)?.1))
    }

    /// An existing application, by id.
    #[must_use]
    pub fn app(&self, id: &AppId) -> Option<Arc<App>> {
        self.read(|inner| inner.app(id).cloned())
    }

    /// A grant by id, also one that has ended.
    #[must_use]
    pub fn grant(&self, id: &GrantId) -> Option<Arc<Grant>> {
        self.read(|inner| inner.grants.get(id).cloned())
    }

    /// What devices asked for and nobody has decided yet, oldest first.
    #[must_use]
    pub fn grants_asked(&self, now: Timestamp) -> Vec<Arc<Grant>> {
        self.read(|inner| inner.grants.asked(now))
    }

    /// What a person granted to applications that still exist, newest first.
    #[must_use]
    pub fn grants_of(&self, user: &UserId, now: Timestamp) -> Vec<(Arc<Grant>, Arc<App>)> {
        self.read(|inner| {
            let given = inner.grants.given_by(user, now).into_iter();
            given
                .filter_map(|grant| {
                    let app = inner.app(&grant.given.as_ref()?.app)?;
                    Some((Arc::clone(&grant), Arc::clone(app)))
                })
                .collect()
        })
    }

    /// What the members of a team granted to applications that act in it, newest first. A grant of somebody who has left counts for nothing.
    #[must_use]
    pub fn grants_in(&self, team: &TeamId, now: Timestamp) -> Vec<(Arc<Grant>, Arc<App>)> {
        self.read(|inner| {
            let members = inner.teams.get(team).map(|entry| &entry.team.members);
            let members = members.into_iter().flat_map(|members| members.keys());
            let mut given: Vec<_> = members
                .flat_map(|user| inner.grants.given_by(user, now))
                .filter_map(|grant| {
                    let of = grant.given.as_ref().filter(|of| of.team == *team)?;
                    let (at, app) = (of.at, Arc::clone(inner.app(&of.app)?));
                    Some((at, grant, app))
                })
                .collect();
            given.sort_by(|(a, first, _), (b, second, _)| {
                let id = |grant: &Grant| grant.given.as_ref().map(|of| of.grant.clone());
                (b, id(second)).cmp(&(a, id(first)))
            });
            given
                .into_iter()
                .map(|(_, grant, app)| (grant, app))
                .collect()
        })
    }
}

impl Inner {
    fn app(&self, id: &AppId) -> Option<&Arc<App>> {
        self.teams.get(self.apps.get(id)?)?.team.app(id)
    }

    fn app_in(
        &self,
        app: &AppId,
        team: &TeamId,
        user: Option<&UserId>,
    ) -> Option<(&Arc<App>, ScopeSet)> {
        let app = self.app(app)?;
        let scopes = match user {
            Some(user) => app.scopes_for(self.teams.get(team)?.team.role_of(user)?),
            // For itself it acts in no other team than its own.
            None => (app.created.team == *team).then(|| app.own_scopes())?,
        };
        Some((app, scopes))
    }

    fn standing_app(&self, grant: &Grant, now: Timestamp) -> Option<AppStanding> {
        let (given, token) = grant.live_token(now)?;
        let (app, most) = self.app_in(&given.app, &given.team, given.user.as_ref())?;
        let entry = self.teams.get(&given.team)?;
        let team = match given.environment {
            Environment::Live => &given.team,
            Environment::Test => &entry.test,
        };
        Some(AppStanding {
            app: Arc::clone(app),
            grant: given.grant.clone(),
            user: given.user.clone(),
            given_at: given.at,
            expires_at: token.expires_at,
            team: team.clone(),
            plan: Arc::clone(&entry.plan),
            scopes: token.scopes.intersection(most),
        })
    }
}
