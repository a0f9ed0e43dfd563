//! References in tasks, and what targets receive in their place.

use waybill_domain::event::{ControlEvent, FailureKind, TaskEvent, TeamDeleted};
use waybill_domain::id::{Environment, TeamId};
use waybill_domain::time::Timestamp;
use waybill_log::{Counted, KeyName, Tallies, TallyName, VaultKeys, Wanted};
use waybill_testkit::eventually;
use waybill_vault::fresh_rings;
use waybill_worker::{Clock, SystemClock};

use super::rig::{VaultRig, a_token_id, assert_final, key_name, with_key};
use crate::delivery::assert_signed;
use crate::rig::{PATIENCE, team};

/// A value with characters that have a meaning in JSON, URLs and forms.
const AWKWARD: &str = "s3cr\"t\\/+&=% ü-5e1f";
const PLAIN: &str = "sk-live-plain-5e1f9a";

#[tokio::test]
async fn a_target_gets_the_values_in_the_places_of_the_references() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let (plain, awkward) = (vault.keep(PLAIN).await, vault.keep(AWKWARD).await);
    let path = format!("/status/200?a=1&key={{{{{awkward}}}}}&b={{{{{plain}}}}}");
    let task = vault
        .rig
        .create(&path, |task| {
            task.headers = vec![
                ("X-Key".into(), plain.to_string()),
                ("Authorization".into(), format!("Bearer {{{{{plain}}}}}")),
                ("X-Literal".into(), format!("Bearer {plain}")),
                ("Content-Type".into(), "application/json".into()),
            ];
            task.body = Some(format!(
                "{{\"one\":\"<{{{{{awkward}}}}}>\",\"two\":\"{{{{{plain}}}}}\"}}"
            ));
            task.resolve = Some(vec!["query".into(), "body".into()]);
        })
        .await;
    vault.rig.until(task, "succeeded").await;
    let received = &vault.rig.sink.received()[0];
    assert_eq!(received.header("x-key"), Some(PLAIN));
    let bearer = format!("Bearer {PLAIN}");
    assert_eq!(received.header("authorization"), Some(bearer.as_str()));
    let literal = format!("Bearer {plain}");
    assert_eq!(received.header("x-literal"), Some(literal.as_str()));
    let body: serde_json::Value = serde_json::from_slice(&received.body).expect("JSON");
    assert_eq!(body["one"], format!("<{AWKWARD}>"));
    assert_eq!(body["two"], PLAIN);
    let url = url::Url::parse(&vault.rig.sink.url(&received.path)).expect("a URL");
    let query: Vec<_> = url.query_pairs().into_owned().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        query,
        [pair("a", "1"), pair("key", AWKWARD), pair("b", PLAIN)]
    );
    assert_signed(received);
    worker.hand.stop().await;
    vault.assert_nowhere(PLAIN).await;
    vault.assert_nowhere(AWKWARD).await;
}

#[tokio::test]
async fn each_attempt_carries_the_value_that_counts_then() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let token = vault.keep("the-first-value").await;
    let task = vault.using(&token, "/script/503,200").await;
    vault.rig.sink.wait_for(1, PATIENCE).await.expect("called");
    vault.rotate(&token, 2, "the-second-value").await;
    vault.rig.until(task, "succeeded").await;
    let received = vault.rig.sink.received();
    let values: Vec<_> = received.iter().map(|r| r.header("x-key")).collect();
    assert_eq!(values, [Some("the-first-value"), Some("the-second-value")]);
    worker.hand.stop().await;
}

#[tokio::test]
async fn what_is_not_the_teams_in_its_world_is_unknown() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let foreign = vault
        .keep_for(PLAIN, |token| token.team = TeamId::new(Timestamp(5), 5))
        .await;
    let of_tests = vault
        .keep_for(PLAIN, |token| token.environment = Environment::Test)
        .await;
    for token in [foreign, of_tests, a_token_id()] {
        let task = vault.using(&token, "/status/200").await;
        let message = format!("Vault token \"{token}\" is unknown; nothing was sent");
        assert_final(&vault.failure_of(task).await, FailureKind::Vault, &message);
    }
    let expired = vault
        .keep_for(PLAIN, |token| token.expires_at = Some(SystemClock.now()))
        .await;
    let task = vault.using(&expired, "/status/200").await;
    let message = format!("Vault token {expired} has expired; nothing was sent");
    assert_final(&vault.failure_of(task).await, FailureKind::Vault, &message);
    let bound = vault
        .keep_for(PLAIN, |token| {
            token.allowed_hosts = vec!["api.example.com".into()];
        })
        .await;
    let task = vault.using(&bound, "/status/200").await;
    let message = format!(
        "Vault token {bound} may only be sent to api.example.com, not to \"127.0.0.1\"; it was not sent there"
    );
    assert_final(&vault.failure_of(task).await, FailureKind::Vault, &message);
    assert_eq!(vault.rig.sink.count(), 0);
    worker.hand.stop().await;
}

#[tokio::test]
async fn the_tokens_of_a_deleted_team_are_gone() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let token = vault.keep(PLAIN).await;
    let task = vault.using(&token, "/status/200").await;
    vault.rig.until(task, "succeeded").await;
    let deleted = TeamDeleted {
        team: team(),
        at: SystemClock.now(),
    };
    let seq = vault.append(ControlEvent::TeamDeleted(deleted)).await;
    vault.fence.everywhere(seq).await.expect("everybody knows");
    let task = vault.using(&token, "/status/200").await;
    let message = format!("Vault token {token} was revoked before the call; nothing was sent");
    assert_final(&vault.failure_of(task).await, FailureKind::Vault, &message);
    assert_eq!(vault.rig.sink.count(), 1);
    worker.hand.stop().await;
}

#[tokio::test]
async fn what_does_not_open_although_nobody_took_it_away_is_told_for_good() {
    let vault = VaultRig::new().await;
    let worker = vault.worker("only").await;
    let broken = async |token| {
        let task = vault.using(&token, "/status/200").await;
        let message =
            format!("The value of vault token {token} cannot be opened; nothing was sent");
        let failure = vault.failure_of(task).await;
        assert_final(&failure, FailureKind::VaultIntegrity, &message);
        assert_eq!(vault.rig.kinds(task).await, ["created", "started", "dead"]);
    };
    let erased = vault.keep(PLAIN).await;
    vault.erase(&erased, 1).await;
    broken(erased).await;

    // The envelope of another token, together with that token's key.
    let other = vault.keep(PLAIN).await;
    let stored = vault.rig.log.get(&key_name(&other, 1)).await;
    let stored = stored.expect("an answer").expect("a key");
    let swapped = vault.keep_for(PLAIN, |_| {}).await;
    vault.erase(&swapped, 1).await;
    let name: KeyName = key_name(&swapped, 1);
    let put = vault
        .rig
        .log
        .put(&name, stored.value, waybill_log::StreamSeq(0), None);
    put.await.expect("stored");
    broken(swapped).await;
    assert_eq!(vault.rig.sink.count(), 0);
    worker.hand.stop().await;
}

#[tokio::test]
async fn a_worker_without_the_keys_sends_nothing_and_another_one_does() {
    let vault = VaultRig::new().await;
    let url = vault.rig.nats.url();
    let token = vault.keep(PLAIN).await;
    let (_, strange) = fresh_rings().expect("randomness");
    let strange: std::sync::Arc<dyn waybill_vault::Unwrapper> = std::sync::Arc::new(strange);
    let mut tasks = Vec::new();
    for (name, ring, message) in [
        (
            "without",
            None,
            "This worker holds no key of the vault; nothing was sent",
        ),
        (
            "strange",
            Some(strange),
            "The keys of the vault cannot be reached at the moment; nothing was sent",
        ),
    ] {
        let worker = vault.worker_with(name, &url, ring).await;
        let task = vault.using(&token, "/status/200").await;
        let failed = |events: &[TaskEvent]| {
            events.iter().find_map(|event| match event {
                TaskEvent::AttemptFailed(failed) => Some(failed.clone()),
                _ => None,
            })
        };
        eventually(PATIENCE, async || {
            failed(&vault.rig.events(task).await).is_some()
        })
        .await
        .expect("an attempt fails");
        let failed = failed(&vault.rig.events(task).await).expect("it failed");
        assert_final(&failed.failure, FailureKind::VaultAway, message);
        assert!(!failed.counted, "it is not the target's fault");
        worker.hand.stop().await;
        tasks.push(task);
    }
    assert_eq!(vault.rig.sink.count(), 0);
    let worker = vault.worker("able").await;
    for task in tasks {
        vault.rig.until(task, "succeeded").await;
    }
    assert_eq!(vault.rig.sink.count(), 2);
    worker.hand.stop().await;
}

/// Connects with only the permissions of a worker.
#[tokio::test]
async fn the_first_use_is_told_once_and_every_use_is_counted() {
    let vault = VaultRig::guarded().await;
    let (one, two) = (vault.worker("one").await, vault.worker("two").await);
    vault
        .rig
        .until_shares(&[&one.hand, &two.hand], &[2, 2])
        .await;
    let token = vault.keep(PLAIN).await;
    // A key that someone else stored there before is useless.
    let planted = vault.rig.log.client();
    let planted = planted.request(format!("control._.use.{token}"), "forged".into());
    planted.await.expect("stored");
    let mut tasks = Vec::new();
    for queue in crate::rig::queue_in_each_partition() {
        for _ in 0..3 {
            let id = vault
                .rig
                .create("/status/200", |task| {
                    with_key(&token)(task);
                    task.queue = Some(queue.clone());
                })
                .await;
            tasks.push(id);
        }
    }
    for task in &tasks {
        vault.rig.until(*task, "succeeded").await;
    }
    one.hand.stop().await;
    two.hand.stop().await;
    let log = &vault.rig.log;
    let filters = ["control._.use.*".to_owned()];
    let uses = waybill_log::Log::range(
        log,
        waybill_log::Stream::Control,
        &filters,
        waybill_log::StreamSeq(1),
        waybill_log::StreamSeq(u64::MAX),
        10,
    );
    let uses = uses.await.expect("the log can be read");
    assert_eq!(uses.len(), 2);
    assert!(waybill_log::control_event(&uses[0]).is_err());
    match waybill_log::control_event(&uses[1]) {
        Ok(ControlEvent::TokenUsed(used)) => {
            assert_eq!((&used.token, used.version), (&token, 1));
            assert!(tasks.contains(&used.task));
            assert_eq!(used.host, "127.0.0.1");
        }
        other => panic!("{other:?}"),
    }
    let name = TallyName::new(team(), Counted::Credential(token.to_string())).expect("a name");
    let counted = log.tallies(Wanted::Named(vec![name])).await;
    assert_eq!(counted.expect("an answer")[0].count, 12);
}
