use super::configure::Configure;
use super::*;
use crate::access::Aggregate;
use crate::access::key::{ApiKey, ENTROPY_BYTES};
use crate::access::plan::Catalogue;
use crate::access::role::Role;
use crate::access::scope::ScopeSet;
use crate::access::team::pause::MAX_REASON_CHARS;
use crate::access::team::{KeyDraft, TeamCommand};
use crate::actor::Actor;
use crate::dispatcher::QueueRulesBook;
use crate::event::{MemberJoined, TeamCreated};
use crate::id::{TeamId, UserId};

const NOW: Timestamp = Timestamp(1_000);
const LATER: Timestamp = Timestamp(2_000);

fn user(number: u128) -> Actor {
    Actor::User(UserId::new(NOW, number))
}

fn queue(name: &str) -> QueueName {
    QueueName::parse(name).expect("a name")
}

fn pause(reason: Option<&str>, until: Option<Timestamp>) -> QueueCommand {
    QueueCommand::Pause {
        environment: Environment::Live,
        queue: queue("mail"),
        reason: reason.map(str::to_owned),
        until,
        drain: false,
    }
}

fn resume() -> QueueCommand {
    QueueCommand::Resume {
        environment: Environment::Live,
        queue: queue("mail"),
    }
}

fn limit(concurrency: Option<u32>, rate: Option<StartRate>) -> QueueCommand {
    QueueCommand::Limit {
        environment: Environment::Live,
        queue: queue("mail"),
        concurrency,
        rate,
        weight: None,
        defaults: Box::default(),
        only_if: None,
        retention_s: None,
    }
}

/// A team with an owner (1), a member (2) and a viewer (3), beside the rules that workers derive.
#[derive(Default)]
struct Stage {
    team: Team,
    book: QueueRulesBook,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self::default();
        let team = TeamId::new(NOW, 1);
        stage.apply(&ControlEvent::TeamCreated(TeamCreated {
            team: team.clone(),
            name: "Ours".into(),
            plan: "pro".into(),
            at: NOW,
        }));
        for (number, role) in [(1, Role::Owner), (2, Role::Member), (3, Role::Viewer)] {
            stage.apply(&ControlEvent::MemberJoined(MemberJoined {
                team: team.clone(),
                user: UserId::new(NOW, number),
                role,
                at: NOW,
            }));
        }
        stage
    }

    fn apply(&mut self, event: &ControlEvent) {
        self.team.evolve(event);
        // Applied twice, an event changes nothing.
        self.book.apply(event);
        self.book.apply(event);
    }

    fn run(
        &mut self,
        command: TeamCommand,
        by: &Actor,
        now: Timestamp,
    ) -> Result<usize, TeamRefusal> {
        let events = self.team.decide(command, by, Catalogue::builtin(), now)?;
        for event in &events {
            self.apply(event);
        }
        Ok(events.len())
    }

    fn by(&mut self, command: QueueCommand, by: &Actor) -> Result<usize, TeamRefusal> {
        self.run(TeamCommand::Queue(command), by, NOW)
    }

    fn on(&mut self, command: QueueCommand) -> Result<usize, TeamRefusal> {
        self.by(command, &user(2))
    }

    fn mail(&self) -> Option<&Queue> {
        self.team.queue(Environment::Live, &queue("mail"))
    }

    fn key(&mut self, environment: Environment, scopes: &[Scope]) -> Actor {
        let entropy = [environment as u8 + 3; ENTROPY_BYTES];
        let key = ApiKey::generate("wb", environment, &entropy).expect("a key");
        let id = key.id().clone();
        let create = TeamCommand::CreateKey {
            draft: KeyDraft {
                mac: key.mac(&[7; 32], &TeamId::new(NOW, 1)),
                key,
                pepper_version: 1,
            },
            name: "ci".into(),
            scopes: scopes.iter().copied().collect::<ScopeSet>(),
            expires_at: None,
            sources: Vec::new(),
            queues: Vec::new(),
            request: None,
        };
        self.run(create, &user(1), NOW).expect("made");
        Actor::Key(id)
    }
}

#[test]
fn a_queue_is_paused_until_it_is_resumed() {
    let mut stage = Stage::new();
    assert_eq!(stage.on(pause(Some(" moving "), None)), Ok(1));
    let paused = stage.mail().and_then(|known| known.paused(LATER)).cloned();
    let paused = paused.expect("paused");
    assert_eq!((paused.since, paused.until), (NOW, None));
    assert_eq!(paused.reason.as_deref(), Some("moving"));
    assert_eq!(paused.by, user(2).to_string());
    assert_eq!(stage.on(pause(Some("moving"), None)), Ok(0), "it is so");
    // A pause states all of it anew, and began when the first one did.
    let anew = TeamCommand::Queue(pause(None, Some(Timestamp(3_000))));
    assert_eq!(stage.run(anew, &user(1), LATER), Ok(1));
    let paused = stage.mail().and_then(|known| known.paused(LATER)).cloned();
    let paused = paused.expect("paused");
    assert_eq!((paused.since, paused.until), (NOW, Some(Timestamp(3_000))));
    assert_eq!((paused.reason, paused.by), (None, user(1).to_string()));
    assert_eq!(stage.on(resume()), Ok(1));
    assert_eq!(stage.on(resume()), Ok(0));
    assert_eq!(stage.mail(), None);
    assert_eq!(stage.book, QueueRulesBook::default());
}

#[test]
fn a_pause_ends_by_itself_and_the_next_one_begins_anew() {
    let mut stage = Stage::new();
    assert_eq!(stage.on(pause(None, Some(LATER))), Ok(1));
    let known = stage.mail().cloned().expect("known");
    assert!(known.paused(Timestamp(1_999)).is_some() && known.paused(LATER).is_none());
    let again = TeamCommand::Queue(pause(None, None));
    assert_eq!(stage.run(again, &user(2), LATER), Ok(1));
    let paused = stage.mail().and_then(|known| known.pause.clone());
    assert_eq!(paused.map(|pause| pause.since), Some(LATER));
}

#[test]
fn only_those_with_the_scope_pause_and_resume_in_their_environment() {
    let mut stage = Stage::new();
    let reads = stage.key(Environment::Live, &[Scope::QueuesRead, Scope::TasksWrite]);
    let elsewhere = stage.key(Environment::Test, &[Scope::QueuesWrite]);
    for command in [pause(None, None), resume(), limit(Some(1), None)] {
        for stranger in [&user(3), &user(9), &reads] {
            let refused = stage.by(command.clone(), stranger);
            assert_eq!(refused, Err(TeamRefusal::NotEntitled));
        }
        let refused = stage.by(command, &elsewhere);
        let beyond = matches!(refused, Err(TeamRefusal::BeyondCaller { .. }));
        assert!(beyond, "{refused:?}");
    }
}

#[test]
fn a_restart_of_the_state_keeps_what_was_decided() {
    let mut stage = Stage::new();
    let rate = StartRate {
        limit: 10,
        per_ms: 60_000,
        burst: 1,
    };
    assert_eq!(stage.on(limit(Some(3), Some(rate))), Ok(1));
    assert_eq!(stage.on(limit(Some(3), Some(rate))), Ok(0));
    assert_eq!(stage.on(pause(None, None)), Ok(1));
    assert_eq!(stage.on(limit(None, Some(rate))), Ok(1), "replaced");
    assert_eq!(stage.on(resume()), Ok(1));
    let known = stage.mail().cloned().expect("limited");
    assert_eq!((known.concurrency, known.rate), (None, Some(rate)));
    assert_eq!(stage.on(limit(None, None)), Ok(1));
    assert_eq!(stage.mail(), None);
    assert_eq!(stage.book, QueueRulesBook::default());
}

#[test]
fn what_is_out_of_bounds_is_refused_with_its_field() {
    let mut stage = Stage::new();
    let rate = |limit, per_ms, burst| {
        Some(StartRate {
            limit,
            per_ms,
            burst,
        })
    };
    let long = "x".repeat(MAX_REASON_CHARS + 1);
    for (command, wanted) in [
        (pause(Some(&long), None), "reason"),
        (pause(Some("a\u{202e}b"), None), "reason"),
        (pause(None, Some(NOW)), "until"),
        (limit(Some(0), None), "concurrency"),
        (limit(Some(MAX_CONCURRENCY + 1), None), "concurrency"),
        (limit(None, rate(0, 1_000, 1)), "rate.limit"),
        (limit(None, rate(1, 999, 1)), "rate.per"),
        (limit(None, rate(1, MAX_RATE_MS + 1, 1)), "rate.per"),
        (limit(None, rate(1, 1_000, 0)), "rate.burst"),
    ] {
        match stage.on(command) {
            Err(TeamRefusal::Invalid { field, message }) => {
                assert_eq!(field, wanted);
                assert!(message.starts_with(wanted), "{message}");
            }
            other => panic!("{wanted}: {other:?}"),
        }
    }
    assert_eq!(stage.on(pause(Some("  "), None)), Ok(1), "no reason");
}

#[test]
fn the_number_of_queues_with_rules_is_bounded_and_what_is_over_does_not_count() {
    let mut stage = Stage::new();
    let numbered = |number: usize, until| QueueCommand::Pause {
        environment: Environment::Test,
        queue: queue(&format!("q{number}")),
        reason: None,
        until,
        drain: false,
    };
    for number in 0..MAX_RULED_QUEUES {
        let until = (number == 0).then_some(LATER);
        assert_eq!(stage.on(numbered(number, until)), Ok(1));
    }
    let refused = stage.on(numbered(MAX_RULED_QUEUES, None));
    let one_too_many = matches!(refused, Err(TeamRefusal::Invalid { field: "name", .. }));
    assert!(one_too_many, "{refused:?}");
    assert_eq!(stage.on(numbered(1, Some(LATER))), Ok(1), "a known one");
    let later = TeamCommand::Queue(numbered(MAX_RULED_QUEUES, None));
    assert_eq!(stage.run(later, &user(2), LATER), Ok(1));
}

fn settings(max_retries: Option<u16>, only_if: Option<String>) -> QueueCommand {
    QueueCommand::Limit {
        environment: Environment::Live,
        queue: queue("mail"),
        concurrency: Some(5),
        rate: None,
        weight: None,
        defaults: Box::new(QueueDefaults {
            max_retries,
            ..QueueDefaults::default()
        }),
        only_if: only_if.map(|tag| vec![tag]),
        retention_s: None,
    }
}

#[test]
fn settings_are_replaced_as_a_whole_and_an_event_says_what_has_changed() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.on(settings(Some(7), None)),
        Ok(2),
        "limits and defaults"
    );
    assert_eq!(stage.on(settings(Some(7), None)), Ok(0), "the same again");
    assert_eq!(stage.on(settings(Some(8), None)), Ok(1), "other defaults");
    let defaults = |stage: &Stage| stage.mail().map(|mail| mail.defaults.max_retries);
    assert_eq!(defaults(&stage), Some(Some(8)));
    assert_eq!(stage.on(pause(None, None)), Ok(1));
    assert_eq!(defaults(&stage), Some(Some(8)), "a pause is no setting");
    assert_eq!(stage.on(resume()), Ok(1));
    assert_eq!(
        stage.on(limit(None, None)),
        Ok(2),
        "what is left out is none"
    );
    assert_eq!(stage.mail(), None);
}

#[test]
fn a_change_of_other_settings_than_those_that_were_read_is_refused() {
    let mut stage = Stage::new();
    let none = Queue::tag(stage.mail());
    assert_eq!(none, Queue::tag(Some(&Queue::default())));
    assert_eq!(stage.on(settings(Some(7), Some(none.clone()))), Ok(2));
    let seven = Queue::tag(stage.mail());
    assert_ne!(seven, none);
    let refused = stage.on(settings(Some(8), Some(none)));
    assert_eq!(refused, Err(TeamRefusal::SettingsChanged));
    assert_eq!(stage.on(pause(None, None)), Ok(1));
    assert_eq!(Queue::tag(stage.mail()), seven, "a pause is no setting");
    assert_eq!(stage.on(settings(Some(8), Some(seven))), Ok(1));
}

#[test]
fn a_queue_that_is_drained_is_paused_and_says_so_until_it_is_resumed() {
    let mut stage = Stage::new();
    let drain = |drain| {
        let QueueCommand::Pause {
            environment,
            queue,
            reason,
            until,
            ..
        } = pause(None, None)
        else {
            unreachable!("a pause");
        };
        QueueCommand::Pause {
            environment,
            queue,
            reason,
            until,
            drain,
        }
    };
    let drains = |stage: &Stage| {
        stage
            .mail()
            .and_then(|mail| Some(mail.pause.as_ref()?.drain))
    };
    assert_eq!(stage.on(drain(true)), Ok(1));
    assert_eq!(stage.on(drain(true)), Ok(0), "the same again");
    assert_eq!(drains(&stage), Some(true));
    let place = (TeamId::new(NOW, 1), queue("mail"));
    assert!(stage.book.rules(&place).paused.is_some(), "nothing starts");
    assert_eq!(stage.on(drain(false)), Ok(1), "a plain pause replaces it");
    assert_eq!(drains(&stage), Some(false));
    assert_eq!(stage.on(drain(true)), Ok(1));
    assert_eq!(stage.on(resume()), Ok(1));
    assert_eq!(drains(&stage), None);
}

#[test]
fn a_retention_is_a_setting_of_its_queue_and_nothing_to_workers() {
    let mut stage = Stage::new();
    let with = |length| {
        let QueueCommand::Limit {
            only_if, defaults, ..
        } = limit(None, None)
        else {
            panic!("limits are set");
        };
        QueueCommand::Limit {
            environment: Environment::Live,
            queue: queue("mail"),
            concurrency: None,
            rate: None,
            weight: None,
            defaults,
            only_if,
            retention_s: length,
        }
    };
    let none = Queue::tag(None);
    assert_eq!(stage.on(with(Some(7_200))), Ok(1));
    assert_eq!(stage.on(with(Some(7_200))), Ok(0));
    let known = stage.team.queue(Environment::Live, &queue("mail"));
    assert_ne!(Queue::tag(known), none);
    let later = Timestamp(10_000_000);
    let shown = stage.team.shows_from(Environment::Live, later);
    assert_eq!(shown.get(&queue("mail")), Some(&Timestamp(2_800_000)));
    assert!(stage.team.shows_from(Environment::Test, later).is_empty());
    assert_eq!(stage.book, QueueRulesBook::default());
    for length in [3_599, 31_622_401] {
        let refused = stage.on(with(Some(length))).expect_err("out of bounds");
        assert!(
            refused.to_string().contains("retention must be"),
            "{refused}"
        );
    }
    assert_eq!(stage.on(with(None)), Ok(1));
    assert!(stage.team.queues.is_empty());
}

#[test]
fn the_jobs_api_changes_only_what_it_names_and_forgets_all() {
    let mut stage = Stage::new();
    assert_eq!(stage.on(settings(Some(7), None)), Ok(2));
    let wanted = || Configure {
        environment: Environment::Live,
        queue: queue("mail"),
        max_retries: None,
        timeout_s: Some(60),
        rate: None,
        enabled: Some(false),
        settings: serde_json::from_str(r#"{"a": 1, "backoff_base_seconds": 5}"#).ok(),
    };
    let configure = |wanted: Configure| QueueCommand::Configure(Box::new(wanted));
    assert_eq!(stage.on(configure(wanted())), Ok(2), "defaults and a pause");
    assert_eq!(stage.on(configure(wanted())), Ok(0), "the same again");
    let mail = stage.mail().expect("known").clone();
    assert_eq!(mail.concurrency, Some(5));
    assert_eq!(mail.defaults.max_retries, Some(7));
    assert_eq!(mail.defaults.job_timeout_s, Some(60));
    assert!(mail.defaults.pauses.is_some() && mail.pause.is_some());
    // Settings of the native API leave what only this one knows.
    assert_eq!(stage.on(settings(Some(8), None)), Ok(1));
    let mail = stage.mail().expect("known").clone();
    assert_eq!(mail.defaults.job_timeout_s, Some(60));
    assert_eq!(mail.job_settings().len(), 2);
    let less = Configure {
        settings: serde_json::from_str(r#"{"backoff_base_seconds": null}"#).ok(),
        enabled: None,
        ..wanted()
    };
    assert_eq!(stage.on(configure(less)), Ok(1));
    let mail = stage.mail().expect("known").clone();
    assert_eq!(mail.job_settings().keys().collect::<Vec<_>>(), ["a"]);
    assert!(mail.defaults.pauses.is_none() && mail.pause.is_some());
    let forget = QueueCommand::Forget {
        environment: Environment::Live,
        queue: queue("mail"),
    };
    assert_eq!(stage.on(forget.clone()), Ok(3));
    assert_eq!(stage.mail(), None);
    assert_eq!(stage.on(forget), Ok(0));
}
