//! One example of each event with every field filled, from which the golden encodings are made.

mod bulk;
mod limit;
mod listener;
mod oauth;
mod people;
mod queue;
mod schedule;
mod target;
mod vault;
mod view;
mod worker;

use std::collections::BTreeMap;

use crate::access::email::Email;
use crate::access::role::Role;
use crate::access::scope::Scope;
use crate::event::{
    AccessRefused, Answer, AttemptFailed, Blocks, BodyEncoding, CallbackFailed, CallbackSent,
    CancelRequested, ControlEvent, Failure, FailureKind, GatewayStarted, InvitationAccepted,
    InvitationSent, InvitationWithdrawn, KeyCreated, KeyReported, KeyRevoked, KeyRotated,
    KeySessionEnded, KeyTermsSet, LeakPolicy, MemberJoined, MemberRemoved, MemberRoleChanged,
    PriorityChanged, RepeatableRequest, RevocationReason, RunRequested, SealedHeaders,
    SignaturesRequired, Standing, TargetDisabled, TaskCancelled, TaskCreated, TaskDead, TaskEnd,
    TaskEvent, TaskExpired, TaskLimitPaused, TaskProgressed, TaskPurged, TaskReleased,
    TaskRestated, TaskStarted, TaskSucceeded, TaskUnblocked, TeamCreated, TeamDeleted,
    TeamLeakPolicyChanged, TeamOrganizationSet, TeamPayloadPolicyChanged, TeamPlanChanged,
    TeamRenamed, TeamSigningSecretRotated, TeamSlugTaken, TeamTaskDefaultsChanged,
    TeamVaultPolicyChanged,
};
use crate::id::{
    Environment, InvitationId, KeyId, LimitKey, OperationId, QueueName, TaskId, TeamId, UserId,
};
use crate::partition::Partition;
use crate::seq::StreamSeq;
use crate::task::Success;
use crate::task::history::{AnswerSummary, Attempt, Callback, History};
use crate::task::{
    Backoff, ChangedPriority, Claimed, Method, OnFailure, Ordering, OwnPauses, Priority,
    RetryBounds, RetryOn,
};
use crate::time::Timestamp;
use crate::vault::Resolve;

const AT: Timestamp = Timestamp(1_763_712_000_123);
const LATER: Timestamp = Timestamp(1_763_712_001_234);

/// One of each task event.
#[must_use]
pub fn task_events() -> Vec<TaskEvent> {
    let id = TaskId::new(AT, 42, Partition::new(3).unwrap_or_default());
    let failure = || Failure {
        kind: FailureKind::HttpStatus,
        message: "Server error: HTTP 503 - Service Unavailable".into(),
    };
    let answer = || Answer {
        status: 503,
        headers: vec![("retry-after".into(), "1".into())],
        body: "/w==".into(),
        encoding: BodyEncoding::Base64,
        body_bytes: 1,
        duration_ms: 7,
        header_bytes: None,
    };
    vec![
        TaskEvent::Created(Box::new(created(id))),
        TaskEvent::Started(TaskStarted {
            id,
            attempt: 1,
            at: AT,
            lease_until: LATER,
            probe: false,
            claim: Some(Claimed {
                worker: "worker-7".into(),
                lease_ms: 60_000,
                ask: 42,
            }),
            waits: Vec::new(),
        }),
        TaskEvent::AttemptFailed(AttemptFailed {
            id,
            attempt: 1,
            at: AT,
            failure: failure(),
            answer: Some(answer()),
            retry_at: LATER,
            counted: true,
        }),
        TaskEvent::Progressed(TaskProgressed {
            id,
            attempt: 2,
            at: AT,
            lease_ms: 60_000,
            percent: Some(40),
            message: Some("page 4 of 10".into()),
        }),
        TaskEvent::Released(TaskReleased {
            id,
            attempt: 1,
            at: AT,
            returned: true,
        }),
        TaskEvent::Succeeded(TaskSucceeded {
            id,
            attempt: 2,
            at: AT,
            answer: answer(),
            ok: Some(true),
        }),
        TaskEvent::Dead(TaskDead {
            id,
            attempt: 4,
            at: AT,
            failure: failure(),
            answer: Some(answer()),
            cancels_to: Some(StreamSeq(9)),
        }),
        TaskEvent::RunRequested(RunRequested {
            id,
            at: AT,
            attempts: Some(1),
        }),
        TaskEvent::Purged(TaskPurged { id, at: AT }),
        TaskEvent::CancelRequested(CancelRequested {
            id,
            attempt: 2,
            at: AT,
        }),
        TaskEvent::Cancelled(TaskCancelled {
            id,
            at: AT,
            attempt: Some(2),
            failure: Some(failure()),
            after: None,
            instead: None,
            predecessor: None,
            waits: Vec::new(),
        }),
        TaskEvent::Expired(TaskExpired {
            id,
            attempt: Some(2),
            at: AT,
            failure: failure(),
            cancels_to: None,
            waits: Vec::new(),
        }),
        TaskEvent::CallbackSent(CallbackSent {
            id,
            attempt: 1,
            at: AT,
            status: 204,
        }),
        TaskEvent::CallbackFailed(CallbackFailed {
            id,
            attempt: 1,
            at: AT,
            failure: failure(),
            retry_at: Some(LATER),
        }),
        TaskEvent::CallbackRequested(Box::new(restated(created(id), failure(), &answer()))),
        TaskEvent::Restated(Box::new(restated(created(id), failure(), &answer()))),
        TaskEvent::PriorityChanged(PriorityChanged {
            id,
            priority: Priority::MAX,
            from: Priority::DEFAULT,
            attempts: 1,
            operation: Some(OperationId::of_text("sample")),
            at: AT,
        }),
        TaskEvent::Unblocked(TaskUnblocked {
            id,
            by: Some(id),
            place: Some(StreamSeq(5)),
            at: AT,
        }),
        TaskEvent::LimitPaused(TaskLimitPaused {
            id,
            team: TeamId::new(AT, 7),
            key: LimitKey::parse("customer:17").unwrap_or_else(|_| unreachable!("a valid key")),
            until: LATER,
            at: AT,
        }),
        TaskEvent::TargetDisabled(TargetDisabled {
            id,
            since: AT,
            at: LATER,
        }),
    ]
}

fn created(id: TaskId) -> TaskCreated {
    TaskCreated {
        id,
        team: TeamId::new(AT, 7),
        queue: QueueName::default(),
        url: "https://example.com/hook?x=1".into(),
        method: Method::Put,
        headers: vec![("X-One".into(), "1".into())],
        body: Some("{\"hello\":\"wörld\"}".into()),
        body_encoding: BodyEncoding::Text,
        timeout_ms: 30_000,
        max_wait_ms: 60_000,
        not_before: Some(LATER),
        max_retries: 3,
        backoff: Backoff::Linear,
        retry_pauses: OwnPauses::default(),
        // The golden encodings are older than these two.
        retry_bounds: RetryBounds::default(),
        replay_of: None,
        once: None,
        retry_on: RetryOn::parse(&["5xx".into(), "timeout".into()]).ok(),
        success: Success::parse("2xx,404").ok(),
        deadline: Some(LATER),
        expires_in_ms: Some(86_400_000),
        tags: vec!["invoices".into()],
        metadata: [("order".to_owned(), "1".to_owned())].into(),
        webhook_pauses: vec![5, 60],
        max_answer_bytes: None,
        priority: Priority::default(),
        fairness_key: Some("customer-1".into()),
        fairness_weight: Some(3),
        ordering: Some(Ordering {
            key: "order-1".into(),
            on_failure: OnFailure::CancelRest,
        }),
        limits: Vec::new(),
        schedule: None,
        on_rate_limited: None,
        member: None,
        job: None,
        no_capture: false,
        follow_redirects: true,
        on_complete_url: Some("https://example.com/done".into()),
        idempotency_key: Some("order-1".into()),
        fingerprint: Some("00ff".into()),
        resolve: Resolve {
            query: true,
            body: true,
        },
        sealed: Some(SealedHeaders {
            headers: vec![0],
            envelope: "AQID".into(),
            epoch: None,
        }),
        at: AT,
        created_by: None,
    }
}

fn restated(created: TaskCreated, failure: Failure, answer: &Answer) -> TaskRestated {
    let id = created.id;
    TaskRestated {
        created,
        position: StreamSeq(5),
        at: LATER,
        standing: Standing::Ended {
            deliveries: 1,
            due: LATER,
            from: Some(AT),
            end: Box::new(TaskEnd::Succeeded(TaskSucceeded {
                id,
                attempt: 2,
                at: AT,
                answer: answer.clone(),
                ok: None,
            })),
        },
        attempts: 2,
        failures: 1,
        lost: 0,
        uncounted: 0,
        first_start: Some(AT),
        last_failure: Some(failure.clone()),
        cancel_requested: None,
        span: None,
        history: History {
            started_at: Some(AT),
            updated_at: Some(LATER),
            attempts: vec![Attempt {
                number: 1,
                started_at: AT,
                duration_ms: Some(7),
                status: Some(503),
                error: Some(failure.message.clone()),
                worker: None,
                settled: None,
                retry_at: None,
                waits: Vec::new(),
            }],
            error: Some(failure.message.clone()),
            answer: Some(AnswerSummary::from(answer)),
            callback: Some(Callback {
                attempts: 1,
                at: AT,
                delivered: None,
                error: Some(failure.message),
                retry_at: Some(LATER),
            }),
            purged_at: None,
            progress: None,
        },
        changed_priority: Some(ChangedPriority {
            to: Priority::MAX,
            from: Priority::DEFAULT,
            operation: None,
        }),
        order_place: Some(StreamSeq(4)),
        blocks: Some(Blocks {
            webhook_over: false,
        }),
        member: None,
    }
}

/// One of each event of CONTROL.
#[must_use]
pub fn control_events() -> Vec<ControlEvent> {
    let (Ok(key), Ok(successor)) = (
        KeyId::from_public("4fG7aB2x"),
        KeyId::from_public("9kL3mN8q"),
    ) else {
        return Vec::new();
    };
    let team = TeamId::new(AT, 7);
    let mut events = team_events(&team);
    events.extend(key_events(&team, &key, &successor));
    events.extend(people::events());
    events.extend(oauth::events(&team));
    events.extend(vault::events(&team));
    events.extend(queue::events(&team));
    events.extend(target::events(&team));
    events.extend(bulk::events(&team));
    events.extend(limit::events(&team));
    events.extend(worker::events(&team));
    events.extend(schedule::events(&team));
    events.extend(view::events(&team));
    events.extend(listener::events(&team));
    events.extend([
        ControlEvent::AccessRefused(AccessRefused {
            gateway: "gw-1a2b".into(),
            team: Some(team),
            code: "insufficient_scope".into(),
            route: "POST /v1/tasks".into(),
            credential: Some("key:key_4fG7aB2x".into()),
            source: "192.0.2.7".into(),
            count: 3,
            at: AT,
        }),
        ControlEvent::GatewayStarted(GatewayStarted {
            gateway: "gw-1a2b".into(),
            version: "0.1.0".into(),
            at: AT,
        }),
        ControlEvent::SignaturesRequired(SignaturesRequired {
            key: "1a2b3c4d".into(),
            at: AT,
        }),
    ]);
    events
}

fn team_events(team: &TeamId) -> Vec<ControlEvent> {
    let (team, user, invitation) = (team.clone(), UserId::new(AT, 8), InvitationId::new(AT, 9));
    let email_hash = Email::parse("ann@example.com").map(|email| email.hash(b"sample"));
    let Ok(email_hash) = email_hash else {
        return Vec::new();
    };
    vec![
        ControlEvent::TeamCreated(TeamCreated {
            team: team.clone(),
            name: "Ours".into(),
            plan: "free".into(),
            at: AT,
        }),
        ControlEvent::TeamRenamed(TeamRenamed {
            team: team.clone(),
            name: "All of ours".into(),
            at: AT,
        }),
        ControlEvent::TeamPlanChanged(TeamPlanChanged {
            team: team.clone(),
            plan: "pro".into(),
            at: AT,
        }),
        ControlEvent::TeamLeakPolicyChanged(TeamLeakPolicyChanged {
            team: team.clone(),
            leaked_keys: LeakPolicy::Warn,
            at: AT,
        }),
        ControlEvent::TeamTaskDefaultsChanged(TeamTaskDefaultsChanged {
            team: team.clone(),
            success: Success::parse("2xx").ok(),
            webhook_pauses: vec![5, 60, 3_600],
            retry_on: None,
            queues: BTreeMap::new(),
            at: AT,
        }),
        ControlEvent::TeamVaultPolicyChanged(TeamVaultPolicyChanged {
            team: team.clone(),
            sealed_headers: vec!["x-vendor-key".into()],
            require_allowed_hosts: true,
            at: AT,
        }),
        ControlEvent::TeamPayloadPolicyChanged(TeamPayloadPolicyChanged {
            team: team.clone(),
            viewers_see_payloads: true,
            at: AT,
        }),
        ControlEvent::TeamSlugTaken(TeamSlugTaken {
            team: team.clone(),
            slug: "acme".into(),
            at: AT,
        }),
        ControlEvent::TeamOrganizationSet(Box::new(TeamOrganizationSet {
            team: team.clone(),
            billing_email: Some("billing@acme.example".into()),
            settings: Some(r#"{"theme":"dark"}"#.into()),
            custom_limits: [("max_active_jobs".to_owned(), 25)].into(),
            stripe_customer_id: Some("cus_1".into()),
            stripe_subscription_id: Some("sub_1".into()),
            webhook_token: 1,
            at: AT,
        })),
        ControlEvent::TeamSigningSecretRotated(TeamSigningSecretRotated {
            team: team.clone(),
            environment: Environment::Live,
            number: 1,
            former_until: LATER,
            at: AT,
        }),
        ControlEvent::TeamDeleted(TeamDeleted {
            team: team.clone(),
            at: LATER,
        }),
        ControlEvent::MemberJoined(MemberJoined {
            team: team.clone(),
            user: user.clone(),
            role: Role::Member,
            at: AT,
        }),
        ControlEvent::MemberRoleChanged(MemberRoleChanged {
            team: team.clone(),
            user: user.clone(),
            role: Role::Admin,
            at: AT,
        }),
        ControlEvent::MemberRemoved(MemberRemoved {
            team: team.clone(),
            user: user.clone(),
            at: AT,
        }),
        ControlEvent::InvitationSent(InvitationSent {
            team: team.clone(),
            invitation: invitation.clone(),
            email: "ann@example.com".into(),
            email_hash,
            role: Role::Viewer,
            mac: "cd".repeat(32),
            pepper_version: 1,
            expires_at: LATER,
            at: AT,
        }),
        ControlEvent::InvitationAccepted(InvitationAccepted {
            team: team.clone(),
            invitation: invitation.clone(),
            user,
            at: AT,
        }),
        ControlEvent::InvitationWithdrawn(InvitationWithdrawn {
            team,
            invitation,
            at: AT,
        }),
    ]
}

fn key_events(team: &TeamId, key: &KeyId, successor: &KeyId) -> Vec<ControlEvent> {
    let (team, key) = (team.clone(), key.clone());
    vec![
        ControlEvent::KeyCreated(KeyCreated {
            key: key.clone(),
            team: team.clone(),
            name: "ci".into(),
            prefix: "wb_live_".into(),
            last4: "xY9z".into(),
            scopes: vec![Scope::TasksRead, Scope::TasksWrite],
            mac: "ab".repeat(32),
            pepper_version: 1,
            expires_at: Some(LATER),
            sources: vec!["192.0.2.0/24".into()],
            queues: Vec::new(),
            rotated_from: Some(successor.clone()),
            created_by: Some("operator:cli".into()),
            request: Some(RepeatableRequest {
                idempotency_key: "ef".repeat(32),
                fingerprint: "0f".repeat(32),
            }),
            at: AT,
        }),
        ControlEvent::KeyRotated(KeyRotated {
            key: key.clone(),
            team: team.clone(),
            successor: successor.clone(),
            accepted_until: LATER,
            at: AT,
        }),
        ControlEvent::KeyReported(KeyReported {
            key: key.clone(),
            team: team.clone(),
            reporter: "scanner".into(),
            source: "commit".into(),
            url: Some("https://example.com/repository/commit/1".into()),
            at: AT,
        }),
        ControlEvent::KeyTermsSet(KeyTermsSet {
            key: key.clone(),
            team: team.clone(),
            name: "worker".into(),
            scopes: vec![Scope::JobsWrite],
            queues: vec![QueueName::default()],
            rate_limit: Some(100),
            is_active: false,
            by_jobs_api: true,
            at: LATER,
        }),
        ControlEvent::KeySessionEnded(KeySessionEnded {
            key: key.clone(),
            team: team.clone(),
            session: "0123456789abcdef".into(),
            expires_at: LATER,
            at: AT,
        }),
        ControlEvent::KeyRevoked(KeyRevoked {
            key,
            team,
            reason: RevocationReason::Leaked,
            at: LATER,
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_is_one_of_each() {
        let tasks: BTreeSet<_> = task_events().iter().map(TaskEvent::name).collect();
        assert_eq!(tasks, TaskEvent::NAMES.iter().copied().collect());
        let control: BTreeSet<_> = control_events().iter().map(ControlEvent::name).collect();
        assert_eq!(control, ControlEvent::NAMES.iter().copied().collect());
    }

    #[test]
    fn what_may_take_rights_away_is_told_by_its_name_too() {
        for event in control_events() {
            let by_name = ControlEvent::may_take_away(event.name());
            assert_eq!(by_name, event.takes_away(), "{}", event.name());
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for event in task_events() {
            assert_eq!(TaskEvent::decode(event.name(), &event.encode()), Ok(event));
        }
        for event in control_events() {
            assert_eq!(
                ControlEvent::decode(event.name(), &event.encode()),
                Ok(event)
            );
        }
    }
}
