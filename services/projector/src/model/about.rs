//! What an event of CONTROL is about, and in whose activity it is shown.

use serde::{Deserialize, Serialize};
use waybill_domain::actor::Actor;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::{Environment, KeyId, UserId};
use waybill_store::Store;

use super::ModelError;
use super::roster::Roster;
use crate::query::Refusal;

/// The subject of an event of CONTROL, as stored with its activity entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) kind: String,
    pub(super) id: String,
    /// Id of the thing whose name to show, if it differs from `id`.
    pub(super) called: Option<String>,
    pub(super) key: Option<KeyId>,
    pub(super) environment: Option<Environment>,
    pub(super) refused: Option<Refusal>,
}

impl About {
    pub(super) fn of(
        event: &ControlEvent,
        actor: &Actor,
        store: &Store,
        roster: &mut Roster,
    ) -> Result<Self, ModelError> {
        let (kind, id) = match (person(event), event) {
            // The subject has the hash of the address, which means nothing to a reader.
            (Some(user), _) if event.aggregate().0 == "user" => ("user", user.as_str()),
            (_, ControlEvent::AccessRefused(e)) => ("route", &*e.route),
            // A host is no token of a subject.
            (_, ControlEvent::TargetHealthSet(e)) => ("target", e.host.as_str()),
            (_, ControlEvent::TargetOpened(e)) => ("target", e.host.as_str()),
            (_, ControlEvent::TargetClosed(e)) => ("target", e.host.as_str()),
            (_, ControlEvent::WorkerDrained(e)) => ("worker", e.worker.as_str()),
            (_, ControlEvent::WorkerResumed(e)) => ("worker", e.worker.as_str()),
            (_, ControlEvent::TokenUsed(e)) => ("token", e.token.as_str()),
            _ => event.aggregate(),
        };
        let called = match event {
            ControlEvent::GrantAsked(e) => Some(e.app.to_string()),
            ControlEvent::GrantGiven(e) => Some(e.app.to_string()),
            ControlEvent::GrantRedeemed(e) => Some(e.app.to_string()),
            ControlEvent::GrantRefreshed(e) => Some(e.app.to_string()),
            ControlEvent::GrantTokenRevoked(e) => Some(e.app.to_string()),
            ControlEvent::GrantRevoked(e) => Some(e.app.to_string()),
            ControlEvent::SessionStarted(e) => Some(e.user.to_string()),
            ControlEvent::SessionEnded(e) => Some(e.user.to_string()),
            _ => None,
        };
        let key = match event {
            ControlEvent::KeyCreated(e) => Some(e.key.clone()),
            ControlEvent::KeyRotated(e) => Some(e.key.clone()),
            ControlEvent::KeyReported(e) => Some(e.key.clone()),
            ControlEvent::KeyRevoked(e) => Some(e.key.clone()),
            ControlEvent::KeyTermsSet(e) => Some(e.key.clone()),
            ControlEvent::KeySessionEnded(e) => Some(e.key.clone()),
            _ => None,
        };
        let refused = match event {
            ControlEvent::AccessRefused(e) => Some(Refusal {
                code: e.code.clone(),
                count: e.count,
            }),
            _ => None,
        };
        let environment = match kind {
            "queue" | "limit" | "target" | "worker" => of_queue(event),
            "operation" => of_operation(event),
            "listener" => Some(Environment::Test),
            "schedule" => of_schedule(event),
            "key" | "app" | "grant" | "token" => roster.environment(store, id)?,
            _ => None,
        };
        // The actions of a credential are shown in its own environment, whatever they are about.
        let environment = match (environment, actor) {
            (None, Actor::Key(key)) => roster.environment(store, key.as_str())?,
            (None, Actor::App(app)) => roster.environment(store, app.as_str())?,
            (environment, _) => environment,
        };
        Ok(Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
            called,
            key,
            environment,
            refused,
        })
    }
}

/// The environment of the queue, the limit, the host or the worker that the event is about.
fn of_queue(event: &ControlEvent) -> Option<Environment> {
    match event {
        ControlEvent::QueuePaused(e) => Some(e.environment),
        ControlEvent::QueueResumed(e) => Some(e.environment),
        ControlEvent::QueueLimited(e) => Some(e.environment),
        ControlEvent::QueueDefaultsChanged(e) => Some(e.environment),
        ControlEvent::LimitSet(e) => Some(e.environment),
        ControlEvent::LimitPaused(e) => Some(e.environment),
        ControlEvent::LimitResumed(e) => Some(e.environment),
        ControlEvent::TargetHealthSet(e) => Some(e.environment),
        ControlEvent::TargetOpened(e) => Some(e.environment),
        ControlEvent::TargetClosed(e) => Some(e.environment),
        ControlEvent::WorkerDrained(e) => Some(e.environment),
        ControlEvent::WorkerResumed(e) => Some(e.environment),
        _ => None,
    }
}

/// The environment of the tasks of an operation that the event is about.
fn of_operation(event: &ControlEvent) -> Option<Environment> {
    match event {
        ControlEvent::OperationCreated(e) => Some(e.environment),
        ControlEvent::OperationPaused(e) => Some(e.environment),
        ControlEvent::OperationResumed(e) => Some(e.environment),
        ControlEvent::OperationCancelled(e) => Some(e.environment),
        ControlEvent::OperationProgressed(e) => Some(e.environment),
        ControlEvent::OperationEnded(e) => Some(e.environment),
        _ => None,
    }
}

/// The environment of the tasks of a schedule that the event is about.
fn of_schedule(event: &ControlEvent) -> Option<Environment> {
    match event {
        ControlEvent::ScheduleSet(e) => Some(e.environment),
        ControlEvent::SchedulePaused(e) => Some(e.environment),
        ControlEvent::ScheduleResumed(e) => Some(e.environment),
        ControlEvent::ScheduleDeleted(e) => Some(e.environment),
        ControlEvent::ScheduleSettled(e) => Some(e.environment),
        _ => None,
    }
}

/// The actor: for a refusal, the credential that was refused instead of the gateway that reports
/// it.
pub(super) fn actor(event: Option<&ControlEvent>, stored: &str) -> String {
    match event {
        Some(ControlEvent::AccessRefused(e)) => e.credential.as_deref().unwrap_or(stored),
        _ => stored,
    }
    .to_owned()
}

/// The person in whose teams the event is shown. Refreshed tokens are left out, since no person
/// acted.
pub(super) fn person(event: &ControlEvent) -> Option<&UserId> {
    match event {
        ControlEvent::UserSignedUp(e) => Some(&e.user),
        ControlEvent::UserConfirmed(e) => Some(&e.user),
        ControlEvent::UserPasswordChanged(e) => Some(&e.user),
        ControlEvent::UserResetRequested(e) => Some(&e.user),
        ControlEvent::UserLocked(e) => Some(&e.user),
        ControlEvent::UserIdentityLinked(e) => Some(&e.user),
        ControlEvent::UserRenamed(e) => Some(&e.user),
        ControlEvent::UserSignInLinkMade(e) => Some(&e.user),
        ControlEvent::UserSignInLinkUsed(e) => Some(&e.user),
        ControlEvent::SessionStarted(e) => Some(&e.user),
        ControlEvent::SessionEnded(e) => Some(&e.user),
        _ => None,
    }
}
