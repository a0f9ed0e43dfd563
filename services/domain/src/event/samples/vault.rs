//! Events of the vault.

use super::{AT, LATER};
use crate::event::{
    ControlEvent, TokenCreated, TokenEnd, TokenRevoked, TokenRotated, TokenShredded, TokenUsed,
    VaultKekIntroduced,
};
use crate::id::{Environment, TaskId, TeamId, TokenId};
use crate::partition::Partition;

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let (token, team) = (TokenId::new(AT, 13), team.clone());
    vec![
        ControlEvent::TokenCreated(TokenCreated {
            token: token.clone(),
            team: team.clone(),
            environment: Environment::Test,
            name: "OpenAI".into(),
            version: 1,
            envelope: "AQIDBA".into(),
            fits_header: true,
            allowed_hosts: vec!["api.openai.com".into(), "*.example.com".into()],
            expires_at: Some(LATER),
            created_by: "key:key_4fG7aB2x".into(),
            at: AT,
        }),
        ControlEvent::TokenRotated(TokenRotated {
            token: token.clone(),
            team: team.clone(),
            version: 2,
            envelope: "AQIDBQ".into(),
            fits_header: true,
            at: AT,
        }),
        ControlEvent::TokenRevoked(TokenRevoked {
            token: token.clone(),
            team: team.clone(),
            reason: TokenEnd::Expired,
            at: LATER,
        }),
        ControlEvent::TokenShredded(TokenShredded {
            token: token.clone(),
            team: team.clone(),
            at: LATER,
        }),
        ControlEvent::TokenUsed(TokenUsed {
            token,
            team,
            environment: Environment::Test,
            version: 1,
            task: TaskId::new(AT, 42, Partition::new(3).unwrap_or_default()),
            host: "api.openai.com".into(),
            at: AT,
        }),
        ControlEvent::VaultKekIntroduced(VaultKekIntroduced {
            kek: "0123456789abcdef".into(),
            at: AT,
        }),
    ]
}
