//! Events of OAuth applications and of what they are given.

use super::{AT, LATER};
use crate::access::scope::Scope;
use crate::event::{
    AppChanged, AppCreated, AppRemoved, AppSecretRotated, ControlEvent, GrantAsked, GrantEnd,
    GrantGiven, GrantRedeemed, GrantRefreshed, GrantRevoked, GrantTokenRevoked,
};
use crate::id::{AppId, Environment, GrantId, TeamId, UserId};

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let mut events = apps(team);
    events.extend(grants(team));
    events
}

fn apps(team: &TeamId) -> Vec<ControlEvent> {
    let (app, team) = (AppId::new(AT, 11), team.clone());
    vec![
        ControlEvent::AppCreated(AppCreated {
            app: app.clone(),
            team: team.clone(),
            name: "Dashboard".into(),
            environment: Environment::Live,
            redirect_uris: vec!["https://app.example.com/callback".into()],
            scopes: vec![Scope::TasksRead, Scope::TasksWrite],
            secret_mac: Some("ab".repeat(32)),
            pepper_version: 1,
            created_by: UserId::new(AT, 8).to_string(),
            at: AT,
        }),
        ControlEvent::AppChanged(AppChanged {
            app: app.clone(),
            team: team.clone(),
            name: "Our dashboard".into(),
            redirect_uris: vec!["https://app.example.com/back".into()],
            scopes: vec![Scope::TasksRead],
            at: AT,
        }),
        ControlEvent::AppSecretRotated(AppSecretRotated {
            app: app.clone(),
            team: team.clone(),
            secret_mac: "ab".repeat(32),
            pepper_version: 1,
            at: AT,
        }),
        ControlEvent::AppRemoved(AppRemoved {
            app,
            team,
            at: LATER,
        }),
    ]
}

fn grants(team: &TeamId) -> Vec<ControlEvent> {
    let (grant, app, team) = (GrantId::new(AT, 12), AppId::new(AT, 11), team.clone());
    vec![
        ControlEvent::GrantGiven(Box::new(GrantGiven {
            grant: grant.clone(),
            app: app.clone(),
            team: team.clone(),
            environment: Environment::Test,
            user: Some(UserId::new(AT, 8)),
            scopes: vec![Scope::TasksRead, Scope::TasksWrite],
            code_mac: Some("ab".repeat(32)),
            challenge: Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".into()),
            redirect_uri: Some("https://app.example.com/callback".into()),
            code_expires_at: Some(LATER),
            token_mac: Some("ab".repeat(32)),
            token_expires_at: Some(LATER),
            pepper_version: 1,
            expires_at: LATER,
            at: AT,
        })),
        ControlEvent::GrantRedeemed(GrantRedeemed {
            grant: grant.clone(),
            app: app.clone(),
            team: team.clone(),
            token_mac: "ab".repeat(32),
            token_expires_at: LATER,
            refresh_mac: "ab".repeat(32),
            pepper_version: 1,
            idle_until: LATER,
            at: AT,
        }),
        ControlEvent::GrantRefreshed(GrantRefreshed {
            grant: grant.clone(),
            app: app.clone(),
            team: team.clone(),
            scopes: vec![Scope::TasksRead],
            token_mac: "ab".repeat(32),
            token_expires_at: LATER,
            refresh_mac: "ab".repeat(32),
            pepper_version: 1,
            idle_until: LATER,
            at: AT,
        }),
        ControlEvent::GrantTokenRevoked(GrantTokenRevoked {
            grant: grant.clone(),
            app: app.clone(),
            team: team.clone(),
            at: LATER,
        }),
        ControlEvent::GrantAsked(Box::new(GrantAsked {
            grant: grant.clone(),
            app: app.clone(),
            team: team.clone(),
            environment: Environment::Test,
            scopes: vec![Scope::TasksRead],
            code_mac: "ab".repeat(32),
            pepper_version: 1,
            expires_at: LATER,
            at: AT,
        })),
        ControlEvent::GrantRevoked(GrantRevoked {
            grant,
            app,
            team,
            reason: GrantEnd::RefreshReused,
            at: LATER,
        }),
    ]
}
