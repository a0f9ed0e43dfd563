//! Events of people and their sessions.

use super::{AT, LATER};
use crate::access::email::Email;
use crate::event::{
    ControlEvent, MailedEarlier, OutsideAccount, PasswordChange, SessionEnd, SessionEnded,
    SessionRefreshed, SessionStarted, UserConfirmed, UserIdentityLinked, UserLocked,
    UserPasswordChanged, UserPasswordRehashed, UserRenamed, UserResetRequested, UserSignInLinkMade,
    UserSignInLinkUsed, UserSignedUp,
};
use crate::id::{SessionId, UserId};

pub(super) fn events() -> Vec<ControlEvent> {
    let Ok(email) = Email::parse("ann@example.com") else {
        return Vec::new();
    };
    let (user, email_hash) = (UserId::new(AT, 8), email.hash(b"sample"));
    let session = SessionId::new(AT, 10);
    let password = "$argon2id$v=19$m=19456,t=2,p=1,keyid=AAAAAQ$c2FsdHNhbHRzYWx0c2FsdA$aGFzaA";
    vec![
        ControlEvent::UserSignedUp(UserSignedUp {
            user: user.clone(),
            email: email.to_string(),
            email_hash: email_hash.clone(),
            mac: "ab".repeat(32),
            pepper_version: 1,
            expires_at: LATER,
            earlier: vec![earlier()],
            at: AT,
        }),
        ControlEvent::UserConfirmed(UserConfirmed {
            user: user.clone(),
            email: email.to_string(),
            email_hash: email_hash.clone(),
            password: Some(password.into()),
            name: "Ann".into(),
            generation: 1_763_712_000_123,
            at: AT,
        }),
        ControlEvent::UserPasswordChanged(UserPasswordChanged {
            user: user.clone(),
            email_hash: email_hash.clone(),
            password: password.into(),
            how: PasswordChange::Reset,
            generation: 1_763_712_000_124,
            at: AT,
        }),
        ControlEvent::UserPasswordRehashed(UserPasswordRehashed {
            user: user.clone(),
            email_hash: email_hash.clone(),
            password: password.into(),
            at: AT,
        }),
        ControlEvent::UserResetRequested(UserResetRequested {
            user: user.clone(),
            email_hash: email_hash.clone(),
            mac: "ab".repeat(32),
            pepper_version: 1,
            expires_at: LATER,
            earlier: vec![earlier()],
            at: AT,
        }),
        ControlEvent::UserLocked(UserLocked {
            user: user.clone(),
            email_hash: email_hash.clone(),
            until: LATER,
            at: AT,
        }),
        ControlEvent::UserIdentityLinked(UserIdentityLinked {
            user: user.clone(),
            email_hash: email_hash.clone(),
            accounts: vec![OutsideAccount {
                issuer: "https://id.example.com".into(),
                subject: "4711".into(),
            }],
            at: AT,
        }),
        ControlEvent::UserRenamed(UserRenamed {
            user: user.clone(),
            email_hash: email_hash.clone(),
            name: "Ann B.".into(),
            at: AT,
        }),
        ControlEvent::UserSignInLinkMade(UserSignInLinkMade {
            user: user.clone(),
            email_hash: email_hash.clone(),
            mac: "ab".repeat(32),
            pepper_version: 1,
            expires_at: LATER,
            at: AT,
        }),
        ControlEvent::UserSignInLinkUsed(UserSignInLinkUsed {
            user: user.clone(),
            email_hash,
            mac: "ab".repeat(32),
            at: LATER,
        }),
        ControlEvent::SessionStarted(SessionStarted {
            session: session.clone(),
            user: user.clone(),
            generation: 1_763_712_000_123,
            method: "password".into(),
            refresh_mac: "ab".repeat(32),
            pepper_version: 1,
            idle_until: LATER,
            expires_at: LATER,
            source: "192.0.2.7".into(),
            agent: Some("curl/8.17".into()),
            at: AT,
        }),
        ControlEvent::SessionRefreshed(SessionRefreshed {
            session: session.clone(),
            user: user.clone(),
            refresh_mac: "ab".repeat(32),
            pepper_version: 1,
            idle_until: LATER,
            at: LATER,
        }),
        ControlEvent::SessionEnded(SessionEnded {
            session,
            user,
            reason: SessionEnd::Reused,
            at: LATER,
        }),
    ]
}

fn earlier() -> MailedEarlier {
    MailedEarlier {
        mac: "5b".repeat(32),
        pepper_version: 1,
        expires_at: LATER,
    }
}
