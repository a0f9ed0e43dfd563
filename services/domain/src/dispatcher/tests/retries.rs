//! Retries as tasks set them: bounds of pauses, the age of a task, and answers that decline them.

use proptest::prelude::*;

use super::*;
use crate::task::retry_plan::RetryTerms;
use crate::task::{BackoffRequest, JitterRequest};

fn last_failure(world: &World, id: TaskId) -> String {
    match world.events(id).pop() {
        Some(TaskEvent::Dead(end)) => end.failure.message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_target_that_declines_a_retry_gets_none() {
    for (name, value) in [
        ("Waybill-Retry", "no"),
        ("webhook-delivery", "Abort-Message"),
    ] {
        let mut world = World::new();
        let id = world.create(|r| r.retry_on = Some(vec!["503".into()]));
        world.serve(1);
        world.end_call(answered_with(503, &[(name, value), ("Retry-After", "1")]));
        assert_eq!(world.kinds(id).last(), Some(&"dead"));
        let told = format!("The target wants no retry ({name}: {value})");
        let said = last_failure(&world, id);
        assert!(said.ends_with(&told), "{said}");
    }
}

#[test]
fn a_receiver_of_webhooks_may_decline_too() {
    let mut world = World::new();
    world.create(|r| r.on_complete_url = Some("http://hook/".into()));
    world.serve(1);
    world.end_call(answered(200));
    world.serve(1);
    world.end_delivery(&answered_with(
        500,
        &[("Webhook-Delivery", "abort-message")],
    ));
    assert_eq!(world.given_up, 1);
}

#[test]
fn a_task_is_not_retried_beyond_its_age_and_its_running_attempt_is_not_cut() {
    let mut world = World::new();
    let id = world.create(|r| {
        r.max_age = Some(Length::Seconds(5.0));
        r.retry_backoff = Some(BackoffRequest::Word("fixed".into()));
        r.max_attempts = Some(50);
    });
    world.serve(1);
    world.pass(Duration::from_secs(2));
    world.end_call(answered(500));
    world.pass(Duration::from_secs(2));
    world.serve(1);
    let limit = world.calls[0].limit;
    assert_eq!(limit, Duration::from_secs(30), "maxAge cuts no attempt");
    world.pass(Duration::from_secs(20));
    world.end_call(answered(503));
    let said = last_failure(&world, id);
    assert!(said.contains("HTTP 503"), "{said}");
    assert!(said.ends_with("later than its maxAge of 5 s"), "{said}");
}

#[test]
fn a_retry_that_waits_for_a_slot_does_not_begin_beyond_the_age_either() {
    let mut world = World::new();
    let id = world.create(|r| r.max_age = Some(Length::Seconds(5.0)));
    world.serve(1);
    world.end_call(answered(500));
    world.pass(Duration::from_millis(4_999));
    assert_eq!(world.kinds(id).last(), Some(&"attempt_failed"));
    world.pass(Duration::from_millis(1));
    world.serve(1);
    assert_eq!(world.calls, []);
    let said = last_failure(&world, id);
    assert!(said.ends_with("later than its maxAge of 5 s"), "{said}");
    let row = world.log.iter().zip(1..).fold(None, |row, (event, seq)| {
        crate::task::TaskRow::evolve(row, StreamSeq(seq), event)
    });
    let row = row.expect("a row");
    assert_eq!(row.answer.map(|answer| answer.status), Some(500));
    assert_eq!(row.attempts[0].duration_ms, Some(1), "as the attempt ended");
    assert_eq!(row.error.as_deref(), Some(&*said));
}

#[test]
fn a_first_attempt_has_no_age() {
    let mut world = World::new();
    world.create(|r| {
        r.delay = Some(Length::Seconds(60.0));
        r.max_age = Some(Length::Seconds(5.0));
    });
    world.pass(Duration::from_secs(61));
    world.serve(1);
    assert_eq!(world.calls.len(), 1);
}

#[test]
fn an_age_that_passed_without_an_owner_allows_one_more_retry() {
    let mut world = World::new();
    let id = world.create(|r| {
        r.max_age = Some(Length::Seconds(5.0));
        r.max_attempts = Some(9);
    });
    world.serve(1);
    world.end_call(answered(500));
    world.go_on(Duration::from_secs(60));
    world.crash(None);
    world.serve(1);
    assert_eq!(world.calls.len(), 1);
    world.end_call(answered(500));
    assert_eq!(world.kinds(id).last(), Some(&"dead"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What the dispatcher decides lies within what the plan told the client beforehand.
    #[test]
    fn each_retry_begins_within_its_plan(
        word in proptest::sample::select(vec!["exponential", "linear", "fixed", "overnight"]),
        min in proptest::option::of(1.0..20_000.0_f64),
        max in proptest::option::of(1.0..90_000.0_f64),
        share in proptest::option::of(0.0..=1.0_f64),
        age in proptest::option::of(1.0..100_000.0_f64),
        attempts in 1..30_i64,
        asked in proptest::option::of((0..100_000_u32, 0..10_u32)),
    ) {
        let mut request = TaskRequest {
            target_url: Some("http://sink/".into()),
            retry_backoff: Some(BackoffRequest::Word(word.into())),
            min_delay: min.map(Length::Seconds),
            max_delay: max.map(Length::Seconds),
            jitter: share.map(JitterRequest::Share),
            max_age: age.map(Length::Seconds),
            max_attempts: Some(attempts),
            ..TaskRequest::default()
        };
        let limits = Limits { max_wait: Duration::from_secs(3_600), max_delay: Duration::from_secs(366 * 86_400) };
        if TaskSpec::check(request.clone(), &limits, START).is_err() {
            (request.min_delay, request.max_delay) = (None, None);
        }
        let mut world = World::new();
        let id = world.create(|r| *r = request);
        let Some(TaskEvent::Created(created)) = world.log.first().cloned() else {
            panic!("a creation");
        };
        let plan = RetryTerms::from(&*created).plan();
        prop_assert_eq!(i64::try_from(plan.len()), Ok(attempts));
        let bounds = created.retry_bounds;
        for planned in plan.iter().skip(1) {
            world.serve(1);
            if world.calls.is_empty() {
                break;
            }
            let retry_after = asked.map(|(whole, tenth)| format!("{whole}.{tenth}"));
            let header = retry_after.as_deref().map(|text| ("Retry-After", text));
            world.end_call(answered_with(503, header.as_slice()));
            match world.events(id).pop() {
                Some(TaskEvent::AttemptFailed(failed)) => {
                    let pause = failed.retry_at.since(failed.at);
                    if asked.is_none() {
                        prop_assert!((planned.pause..=planned.longest_pause).contains(&pause), "{pause:?} of {planned:?}");
                    }
                    prop_assert!(pause >= bounds.shortest(), "{pause:?} in {bounds:?}");
                    if let Some(max) = bounds.max_ms {
                        prop_assert!(pause <= Duration::from_millis(max.into()), "{pause:?} in {bounds:?}");
                    }
                    if let Some(age) = bounds.max_age() {
                        prop_assert!(failed.retry_at.since(created.at) < age, "no retry beyond its age");
                    }
                    world.pass(pause);
                }
                Some(TaskEvent::Dead(_)) => prop_assert!(age.is_some(), "retries were left"),
                other => prop_assert!(false, "{other:?}"),
            }
        }
        // The last one finds no retry left.
        world.serve(1);
        if !world.calls.is_empty() {
            world.end_call(answered(503));
        }
        let kinds = world.kinds(id);
        prop_assert_eq!(kinds.last(), Some(&"dead"));
    }
}
