//! How much of an answer is stored.

use super::*;
use crate::event::task::{MAX_ANSWER_BYTES, USUAL_ANSWER_BYTES};

fn large(status: u16) -> Outcome {
    Outcome::Answered(Answer {
        status,
        headers: vec![],
        body: "x".repeat(300_000),
        encoding: BodyEncoding::Text,
        body_bytes: 300_000,
        duration_ms: 1,
        header_bytes: None,
    })
}

#[test]
fn an_answer_that_is_repeated_is_kept_in_part_and_the_one_that_ends_a_task_as_it_came() {
    for (last, kind) in [(200, "succeeded"), (500, "dead")] {
        let mut world = World::new();
        let id = world.create(|r| r.max_retries = Some(1));
        world.serve(1);
        world.end_call(large(500));
        world.pass(Duration::from_secs(2));
        world.serve(1);
        world.end_call(large(last));
        assert_eq!(world.kinds(id).last(), Some(&kind));
        let kept: Vec<_> = world
            .events(id)
            .into_iter()
            .filter_map(|event| match event {
                TaskEvent::AttemptFailed(e) => e.answer,
                TaskEvent::Succeeded(e) => Some(e.answer),
                TaskEvent::Dead(e) => e.answer,
                _ => None,
            })
            .map(|answer| (answer.body.len(), answer.body_bytes, answer.is_whole()))
            .collect();
        assert_eq!(kept, [(65_536, 300_000, false), (300_000, 300_000, true)]);
    }
}

#[test]
fn a_cut_answer_is_the_beginning_of_what_it_was() {
    let answer = |body: &str, encoding| Answer {
        status: 200,
        headers: vec![],
        body: body.into(),
        encoding,
        body_bytes: 1_000,
        duration_ms: 1,
        header_bytes: None,
    };
    let cut = |body: &str, encoding, bytes| {
        let mut answer = answer(body, encoding);
        answer.cut(bytes);
        answer.body
    };
    assert_eq!(cut("aüb", BodyEncoding::Text, 2), "a", "a whole character");
    assert_eq!(cut("aüb", BodyEncoding::Text, 3), "aü");
    assert_eq!(cut("aüb", BodyEncoding::Text, 99), "aüb");
    assert_eq!(cut("AAECAwQF", BodyEncoding::Base64, 5), "AAEC");
    assert_eq!(cut("AAECAwQF", BodyEncoding::Base64, 6), "AAECAwQF");
}

#[test]
fn a_task_keeps_as_much_as_its_plan_said_within_what_the_log_takes() {
    let mut world = World::new();
    let id = world.create(|_| {});
    let TaskEvent::Created(mut created) = world.events(id).remove(0) else {
        panic!("a creation");
    };
    for (said, kept) in [
        (None, USUAL_ANSWER_BYTES),
        (Some(1), USUAL_ANSWER_BYTES),
        (Some(300_000), 300_000),
        (Some(u32::MAX), MAX_ANSWER_BYTES),
    ] {
        created.max_answer_bytes = said;
        assert_eq!(created.answer_bytes(), kept as usize, "{said:?}");
    }
}
