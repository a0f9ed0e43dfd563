//! The activity of a team: only its own entries, with names and environment as they were at the
//! time, and the same whether listed or streamed.

use std::sync::Arc;

use tempfile::TempDir;
use waybill_domain::access::email::{Email, EmailHash};
use waybill_domain::access::role::Role;
use waybill_domain::actor::{Actor, Origin};
use waybill_domain::event::{
    AccessRefused, ControlEvent, KeyCreated, KeyRevoked, MemberJoined, MemberRemoved,
    RevocationReason, SessionStarted, TaskEvent, TeamCreated, UserConfirmed, UserRenamed,
};
use waybill_domain::id::{Environment, KeyId, SessionId, TeamId, UserId};
use waybill_domain::time::Timestamp;
use waybill_log::subject::ControlSubject;
use waybill_log::{Log, NewRecord, Stream, StreamSeq};
use waybill_projector::model::Reader;
use waybill_projector::query::{
    Activity, ActivityFilter, FollowActivity, ListActivity, Outcome, Position,
};

use crate::history::{self, History, append, key, queue, task_record, team};
use crate::models::{catch_up, open};

fn hash() -> EmailHash {
    Email::parse("ada@example.com")
        .expect("an address")
        .hash(b"key")
}

fn user() -> UserId {
    UserId::new(Timestamp(1), 7)
}

fn key_created(key: KeyId, prefix: &str, name: &str) -> ControlEvent {
    ControlEvent::KeyCreated(KeyCreated {
        key,
        team: team(0),
        name: name.into(),
        prefix: prefix.into(),
        last4: "abcd".into(),
        scopes: vec![],
        mac: "00".into(),
        pepper_version: 1,
        expires_at: None,
        sources: Vec::new(),
        queues: Vec::new(),
        rotated_from: None,
        created_by: None,
        request: None,
        at: Timestamp(1),
    })
}

fn signed_in(number: u128) -> ControlEvent {
    ControlEvent::SessionStarted(SessionStarted {
        session: SessionId::new(Timestamp(1), number),
        user: user(),
        generation: 1,
        method: "password".into(),
        refresh_mac: "00".into(),
        pepper_version: 1,
        idle_until: Timestamp(2),
        expires_at: Timestamp(2),
        source: "192.0.2.1".into(),
        agent: None,
        at: Timestamp(1),
    })
}

struct World {
    log: Arc<dyn Log>,
    history: History,
}

impl World {
    fn new() -> Self {
        let history = History::new(1);
        Self {
            log: history.log(),
            history,
        }
    }

    async fn tell(&self, event: &ControlEvent, actor: &Actor) -> StreamSeq {
        let (aggregate, id) = event.aggregate();
        let subject = match (event, event.team()) {
            (ControlEvent::AccessRefused(_), _) | (_, None) => {
                ControlSubject::global(aggregate, id)
            }
            (_, Some(team)) => ControlSubject::of_team(team, aggregate, id),
        };
        let record = NewRecord {
            subject: subject.expect("tokens").to_string(),
            event: event.name(),
            actor: actor.to_string(),
            traceparent: None,
            origin: Some(Origin {
                request_id: "req_1".into(),
                source: "192.0.2.1".into(),
                agent: Some("curl/8".into()),
            }),
            payload: event.encode().into(),
        };
        let done = self.log.append(append(Stream::Control, vec![record])).await;
        done.expect("stored");
        let bounds = self.log.bounds(Stream::Control).await.expect("bounds");
        bounds.last
    }

    async fn make_task(&self, team: &TeamId, number: u64) {
        let (id, at) = (history::task_id(number), 5);
        let made = history::created(id, team.clone(), queue(0), at);
        let record = task_record(team, &queue(0), &TaskEvent::Created(Box::new(made)));
        let done = self.log.append(append(Stream::Tasks, vec![record])).await;
        done.expect("stored");
    }

    async fn reader(&self) -> (Reader, TempDir) {
        let folder = TempDir::new().expect("a folder");
        let mut projection = open(&self.log, &folder.path().join("model")).await;
        catch_up(&self.log, &mut projection).await;
        (Reader::new(projection.store().clone()), folder)
    }
}

fn listed(reader: &Reader, team: &TeamId, filter: ActivityFilter) -> Vec<Activity> {
    let query = ListActivity {
        team: Some(team.clone()),
        filter,
        limit: 100,
        cursor: None,
    };
    let mut entries = reader.activity(&query).expect("a page").entries;
    entries.reverse();
    entries
}

fn kinds(entries: &[Activity]) -> Vec<&str> {
    entries.iter().map(|entry| &*entry.event).collect()
}

#[tokio::test]
async fn what_a_person_does_is_told_in_the_teams_that_they_are_in_then() {
    let world = World::new();
    let ada = Actor::User(user());
    let [ours, theirs] = [team(0), team(1)];
    for team in [&ours, &theirs] {
        let event = ControlEvent::TeamCreated(TeamCreated {
            team: team.clone(),
            name: "Crew".into(),
            plan: "free".into(),
            at: Timestamp(1),
        });
        world.tell(&event, &ada).await;
    }
    let confirmed = ControlEvent::UserConfirmed(UserConfirmed {
        user: user(),
        email: "ada@example.com".into(),
        email_hash: hash(),
        password: None,
        name: "Ada".into(),
        generation: 1,
        at: Timestamp(1),
    });
    world.tell(&confirmed, &ada).await;
    world.tell(&signed_in(1), &ada).await;
    let joined = ControlEvent::MemberJoined(MemberJoined {
        team: ours.clone(),
        user: user(),
        role: Role::Owner,
        at: Timestamp(1),
    });
    world.tell(&joined, &ada).await;
    let during = world.tell(&signed_in(2), &ada).await;
    let renamed = ControlEvent::UserRenamed(UserRenamed {
        user: user(),
        email_hash: hash(),
        name: "Countess".into(),
        at: Timestamp(1),
    });
    world.tell(&renamed, &ada).await;
    let left = ControlEvent::MemberRemoved(MemberRemoved {
        team: ours.clone(),
        user: user(),
        at: Timestamp(1),
    });
    world.tell(&left, &ada).await;
    world.tell(&signed_in(3), &ada).await;
    let (reader, _folder) = world.reader().await;
    let entries = listed(&reader, &ours, ActivityFilter::default());
    assert_eq!(
        kinds(&entries),
        [
            "team.created.v1",
            "member.joined.v1",
            "session.started.v1",
            "user.renamed.v1",
            "member.removed.v1"
        ]
    );
    let sign_in = &entries[2];
    assert_eq!(sign_in.seq, during);
    assert_eq!(sign_in.actor, ada);
    assert_eq!(sign_in.actor_email.as_deref(), Some("ada@example.com"));
    assert!(sign_in.actor_name.is_some());
    assert_eq!(sign_in.request_id.as_deref(), Some("req_1"));
    assert_eq!(sign_in.source.as_deref(), Some("192.0.2.1"));
    assert_eq!(sign_in.agent.as_deref(), Some("curl/8"));
    let target = entries[3].target.as_ref().expect("a target");
    assert_eq!((&*target.kind, &*target.id), ("user", user().as_str()));
    assert_eq!(
        kinds(&listed(&reader, &theirs, ActivityFilter::default())),
        ["team.created.v1"]
    );
}

#[tokio::test]
async fn environments_see_what_is_theirs_and_the_same_listed_or_followed() {
    let world = World::new();
    let operator = Actor::Operator("cli".into());
    let (live_key, test_key) = (key(1), key(2));
    let (live, test) = (team(0), team(0).in_environment(Environment::Test));
    world
        .tell(
            &key_created(live_key.clone(), "wb_live_", "deploy"),
            &operator,
        )
        .await;
    world
        .tell(
            &key_created(test_key.clone(), "wb_test_", "trial"),
            &operator,
        )
        .await;
    world.make_task(&live, 1).await;
    world.make_task(&test, 2).await;
    let refused = ControlEvent::AccessRefused(AccessRefused {
        gateway: "g1".into(),
        team: Some(live.clone()),
        code: "insufficient_scope".into(),
        route: "POST /v1/tasks".into(),
        credential: Some(Actor::Key(test_key.clone()).to_string()),
        source: "192.0.2.1".into(),
        count: 12,
        at: Timestamp(1),
    });
    world.tell(&refused, &Actor::System("gateway".into())).await;
    for key in [&test_key, &live_key] {
        let revoked = ControlEvent::KeyRevoked(KeyRevoked {
            key: key.clone(),
            team: live.clone(),
            reason: RevocationReason::Requested,
            at: Timestamp(1),
        });
        world.tell(&revoked, &Actor::Key(live_key.clone())).await;
    }
    let (reader, _folder) = world.reader().await;
    let of = |team: &TeamId, filter| listed(&reader, team, filter);
    let mut told = kinds(&of(&test, ActivityFilter::default()))
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    told.sort();
    assert_eq!(
        told,
        [
            "access.refused.v1",
            "key.created.v1",
            "key.revoked.v1",
            "task.created.v1"
        ]
    );
    let all = of(&live, ActivityFilter::default());
    assert_eq!(all.len(), 6);
    let tasks = all.iter().filter_map(|entry| entry.task);
    assert_eq!(tasks.collect::<Vec<_>>(), [history::task_id(1)]);

    let refused = of(
        &live,
        ActivityFilter {
            outcome: Some(Outcome::Refused),
            ..ActivityFilter::default()
        },
    );
    let [entry] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert_eq!(entry.actor, Actor::Key(test_key.clone()));
    assert_eq!(entry.actor_name.as_deref(), Some("trial"));
    assert_eq!(
        entry.refusal.as_ref().map(|refusal| refusal.count),
        Some(12)
    );
    let of_key = of(
        &live,
        ActivityFilter {
            target: Some(test_key.to_string()),
            ..ActivityFilter::default()
        },
    );
    assert_eq!(kinds(&of_key), ["key.created.v1", "key.revoked.v1"]);
    let name = of_key[1].target.as_ref().and_then(|t| t.name.as_deref());
    assert_eq!(name, Some("trial"));
    assert_eq!(of_key[1].actor_name.as_deref(), Some("deploy"));

    for team in [&live, &test] {
        for limit in [1, 2, 100] {
            let mut after = Position::default();
            let mut followed = Vec::new();
            loop {
                let query = FollowActivity {
                    team: team.clone(),
                    filter: ActivityFilter::default(),
                    after,
                    limit,
                };
                let news = reader.follow_activity(&query).expect("news");
                followed.extend(news.entries);
                if news.reached == after {
                    break;
                }
                after = news.reached;
            }
            let mut listed = of(team, ActivityFilter::default());
            let place = |entry: &Activity| (entry.stream, entry.seq);
            listed.sort_by_key(place);
            followed.sort_by_key(place);
            assert_eq!(followed, listed, "limit {limit}");
            let ends = [Stream::Control, Stream::Tasks].map(|stream| after.of(stream));
            let control = world.log.bounds(Stream::Control).await.expect("bounds");
            let tasks = world.log.bounds(Stream::Tasks).await.expect("bounds");
            assert_eq!(ends, [control.last, tasks.last]);
        }
    }
    drop(world.history);
}
