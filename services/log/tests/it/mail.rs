//! Letters that wait: each is given to one taker at a time, comes back when it was postponed or its taker is gone, and goes when it is finished.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};
use waybill_log::mail::{HOLD, MAX_LETTER};
use waybill_log::memory::MemoryMail;
use waybill_log::{AppendError, JetStreamLog, MailQueue, QueuedLetter, connect};
use waybill_testkit::{NatsServer, Proxy, eventually};

use crate::cluster::a_replicated_log;
use crate::fixture::{SOON, a_jetstream_log, config_at, over_both};
use crate::permissions::{Guarded, config, over_both_files};

/// In which a letter that is due comes.
const AT_ONCE: Duration = Duration::from_secs(5);
/// In which one that is not due does not.
const A_MOMENT: Duration = Duration::from_millis(200);

fn letter(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn taken(queue: &dyn MailQueue) -> QueuedLetter {
    let taken = queue.take(AT_ONCE).await.unwrap();
    taken.expect("a letter is due")
}

/// Takes a letter, passing errors over as a sender does.
async fn taken_at_last(queue: &dyn MailQueue) -> QueuedLetter {
    let mut taken = None;
    eventually(SOON * 2, async || {
        taken = queue.take(AT_ONCE).await.unwrap_or_default();
        taken.is_some()
    })
    .await
    .unwrap();
    taken.unwrap()
}

async fn nothing_is_due(queue: &dyn MailQueue) {
    assert_eq!(queue.take(A_MOMENT).await.unwrap(), None);
}

over_both!(
    MemoryMail;
    a_letter_is_taken_once_and_gone_when_it_is_finished,
    a_postponed_letter_comes_back_after_its_pause,
    a_letter_given_back_without_a_pause_comes_at_once,
    each_letter_goes_to_one_taker,
    a_taker_waits_for_the_next_letter,
    what_is_too_long_is_refused,
);

async fn a_letter_is_taken_once_and_gone_when_it_is_finished(queue: &dyn MailQueue) {
    nothing_is_due(queue).await;
    queue.post(letter("a")).await.unwrap();
    assert_eq!(queue.waiting().await.unwrap(), 1);
    let held = taken(queue).await;
    assert_eq!((held.attempt, held.value.clone()), (1, letter("a")));
    let age = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64 - held.at.0;
    assert!(age.abs() < 60_000, "{age}");
    nothing_is_due(queue).await;
    queue.extend(&held).await.unwrap();
    assert_eq!(queue.waiting().await.unwrap(), 1, "while it is held");
    queue.finish(&held).await.unwrap();
    queue.finish(&held).await.expect("harmless to repeat");
    assert_eq!(queue.waiting().await.unwrap(), 0);
    nothing_is_due(queue).await;
}

async fn a_postponed_letter_comes_back_after_its_pause(queue: &dyn MailQueue) {
    queue.post(letter("a")).await.unwrap();
    for attempt in 1..=3 {
        let held = taken(queue).await;
        assert_eq!((held.attempt, &held.value), (attempt, &letter("a")));
        let since = Instant::now();
        queue.postpone(&held, A_MOMENT * 2).await.unwrap();
        // It holds up no other.
        queue.post(letter("other")).await.unwrap();
        let other = taken(queue).await;
        assert_eq!(other.value, letter("other"));
        queue.finish(&other).await.unwrap();
        nothing_is_due(queue).await;
        assert!(since.elapsed() >= A_MOMENT);
    }
    let held = taken(queue).await;
    assert_eq!(held.attempt, 4);
    queue.finish(&held).await.unwrap();
    assert_eq!(queue.waiting().await.unwrap(), 0);
}

async fn a_letter_given_back_without_a_pause_comes_at_once(queue: &dyn MailQueue) {
    queue.post(letter("a")).await.unwrap();
    let held = taken(queue).await;
    queue.postpone(&held, Duration::ZERO).await.unwrap();
    assert_eq!(taken(queue).await.attempt, 2);
}

async fn each_letter_goes_to_one_taker(queue: &dyn MailQueue) {
    let all: Vec<String> = (0..20).map(|number| format!("letter {number}")).collect();
    let posts = all.iter().map(|text| queue.post(letter(text)));
    for posted in join_all(posts).await {
        posted.unwrap();
    }
    let take_five = async || {
        let mut held = Vec::new();
        for _ in 0..5 {
            held.push(taken(queue).await);
        }
        held
    };
    let held = join_all((0..4).map(|_| take_five())).await.concat();
    let values: BTreeSet<Bytes> = held.iter().map(|held| held.value.clone()).collect();
    assert_eq!(values, all.iter().map(|text| letter(text)).collect());
    nothing_is_due(queue).await;
    for held in &held {
        queue.finish(held).await.unwrap();
    }
    assert_eq!(queue.waiting().await.unwrap(), 0);
}

async fn a_taker_waits_for_the_next_letter(queue: &dyn MailQueue) {
    let post = async {
        tokio::time::sleep(A_MOMENT).await;
        queue.post(letter("a")).await.unwrap();
    };
    let (held, ()) = tokio::join!(taken(queue), post);
    assert_eq!(held.value, letter("a"));
}

async fn what_is_too_long_is_refused(queue: &dyn MailQueue) {
    let long = Bytes::from(vec![7; MAX_LETTER + 1]);
    let refused = queue.post(long).await;
    assert!(
        matches!(refused, Err(AppendError::Rejected { .. })),
        "{refused:?}"
    );
    let longest = Bytes::from(vec![7; MAX_LETTER]);
    queue.post(longest.clone()).await.unwrap();
    assert_eq!(taken(queue).await.value, longest);
}

#[tokio::test(start_paused = true)]
async fn in_memory_a_letter_comes_back_when_its_hold_has_ended() {
    let queue = MemoryMail::default();
    queue.post(letter("a")).await.unwrap();
    let held = taken(&queue).await;
    tokio::time::sleep(HOLD - A_MOMENT).await;
    queue.extend(&held).await.unwrap();
    tokio::time::sleep(HOLD - A_MOMENT).await;
    assert_eq!(queue.take(Duration::ZERO).await.unwrap(), None);
    tokio::time::sleep(A_MOMENT * 2).await;
    assert_eq!(taken(&queue).await.attempt, 2);
}

#[tokio::test]
async fn in_memory_letters_are_away_and_find_no_room_when_told_to() {
    let queue = MemoryMail::default();
    queue.set_room(1);
    queue.post(letter("a")).await.unwrap();
    let full = queue.post(letter("b")).await;
    assert!(matches!(full, Err(AppendError::Full { .. })), "{full:?}");
    queue.set_away(true);
    let away = queue.post(letter("b")).await;
    assert!(
        matches!(away, Err(AppendError::Unavailable { .. })),
        "{away:?}"
    );
    assert!(queue.take(A_MOMENT).await.is_err() && queue.waiting().await.is_err());
    queue.set_away(false);
    assert_eq!(queue.stored(), [letter("a")]);
}

/// What the server answers to a change of the consumer.
async fn with_shorter_holds(log: &JetStreamLog) -> Value {
    let client = log.client();
    let ask = async |verb: &str, body: String| {
        let request = client.request(format!("$JS.API.{verb}"), body.into());
        let answer = request.await.unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()
    };
    let mut config = ask("CONSUMER.INFO.MAIL.gateways", String::new()).await["config"].take();
    assert_eq!(config["ack_wait"], json!(HOLD.as_nanos() as u64));
    config["ack_wait"] = json!(1_000_000_000_u64);
    let body = json!({ "stream_name": "MAIL", "config": config });
    ask("CONSUMER.CREATE.MAIL.gateways", body.to_string()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_whose_gateway_died_is_given_to_another() {
    let (_server, log) = a_jetstream_log().await;
    nothing_is_due(&log).await;
    let changed = with_shorter_holds(&log).await;
    assert!(changed["error"].is_null(), "{changed}");
    log.post(letter("a")).await.unwrap();
    // Nothing is ever said about this one.
    let held = taken(&log).await;
    let since = Instant::now();
    let again = taken(&log).await;
    assert_eq!((again.seq, again.attempt), (held.seq, 2));
    assert!(since.elapsed() >= Duration::from_millis(500));
    // A hold that is extended does not end.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(600)).await;
        log.extend(&again).await.unwrap();
        nothing_is_due(&log).await;
    }
    // Whoever finishes it late still removes it.
    log.finish(&held).await.unwrap();
    assert_eq!(log.waiting().await.unwrap(), 0);
}

#[tokio::test]
async fn a_full_stream_takes_no_letter_and_drops_none() {
    let (_server, log) = a_jetstream_log().await;
    let context = async_nats::jetstream::new(log.client());
    let mut stream = context.get_stream("MAIL").await.unwrap();
    let before = stream.info().await.unwrap().config.clone();
    let small = async_nats::jetstream::stream::Config {
        max_messages: 1,
        ..before.clone()
    };
    context.update_stream(small).await.unwrap();
    log.post(letter("first")).await.unwrap();
    let full = log.post(letter("second")).await;
    assert!(matches!(full, Err(AppendError::Full { .. })), "{full:?}");
    let held = taken(&log).await;
    assert_eq!(held.value, letter("first"));
    log.finish(&held).await.unwrap();
    log.post(letter("third")).await.unwrap();
    // The same for bytes, which `waybill up` limits.
    let small = async_nats::jetstream::stream::Config {
        max_bytes: 10_000,
        ..before
    };
    context.update_stream(small).await.unwrap();
    let large = || Bytes::from(vec![7; 4096]);
    log.post(large()).await.unwrap();
    log.post(large()).await.unwrap();
    let full = log.post(large()).await;
    assert!(matches!(full, Err(AppendError::Full { .. })), "{full:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_outlive_their_server_and_nothing_is_promised_meanwhile() {
    let (mut server, log) = a_jetstream_log().await;
    log.post(letter("kept")).await.unwrap();
    log.post(letter("held")).await.unwrap();
    let first = taken(&log).await;
    log.finish(&first).await.unwrap();
    server.kill9();
    eventually(SOON, async || !log.is_connected())
        .await
        .unwrap();
    let refused = log.post(letter("lost")).await;
    assert!(
        matches!(refused, Err(AppendError::Unavailable { .. })),
        "{refused:?}"
    );
    assert!(log.waiting().await.is_err());
    server.restart().await.unwrap();
    let second = taken_at_last(&log).await;
    let values: BTreeSet<Bytes> = [first.value, second.value].into();
    assert_eq!(values, [letter("kept"), letter("held")].into());
    nothing_is_due(&log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_answer_is_lost_is_not_promised() {
    let server = NatsServer::start().await.unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{}", server.port()))
        .await
        .unwrap();
    let log = connect(&config_at(&proxy.url())).await.unwrap();
    proxy.deafen();
    let posted = log.post(letter("a")).await;
    assert!(
        matches!(posted, Err(AppendError::Unknown { .. })),
        "{posted:?}"
    );
    proxy.heal();
    // Though it may be sent: it is stored, once.
    let held = taken_at_last(&log).await;
    assert_eq!(held.value, letter("a"));
    nothing_is_due(&log).await;
}

/// One cluster for all of it: starting one is what takes time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_three_servers_letters_outlive_a_leader() {
    let (mut cluster, log) = a_replicated_log().await;
    for number in 0..10 {
        log.post(letter(&format!("letter {number}"))).await.unwrap();
    }
    let held = taken(&log).await;
    log.finish(&held).await.unwrap();
    let leader = cluster.leader_of("MAIL").await.unwrap();
    cluster.nodes[leader].kill9();
    // A connection that was lost is refused at once.
    eventually(SOON * 2, async || {
        log.post(letter("during the election")).await.is_ok()
    })
    .await
    .unwrap();
    let mut values = BTreeSet::from([held.value]);
    eventually(SOON * 2, async || {
        if let Ok(Some(held)) = log.take(Duration::from_secs(1)).await {
            log.finish(&held).await.ok();
            values.insert(held.value);
        }
        values.len() == 11
    })
    .await
    .unwrap();
}

over_both_files!(only_gateways_come_near_letters);

/// Gateways post and take; the others have nothing to do with letters.
async fn only_gateways_come_near_letters(server: Guarded) {
    connect(&config(&server, "admin")).await.unwrap();
    let gateway = connect(&config(&server, "gateway")).await.unwrap();
    gateway.post(letter("a")).await.unwrap();
    let held = taken(&gateway).await;
    gateway
        .postpone(&held, Duration::from_millis(10))
        .await
        .unwrap();
    let held = taken(&gateway).await;
    gateway.extend(&held).await.unwrap();
    for user in ["worker", "projector"] {
        let log = connect(&config(&server, user)).await.unwrap();
        assert!(log.post(letter("x")).await.is_err(), "{user}");
        assert!(log.take(A_MOMENT).await.is_err(), "{user}");
        assert!(log.finish(&held).await.is_err(), "{user}");
        let consumer = json!({
            "stream_name": "MAIL",
            "config": { "name": "c", "ack_policy": "explicit", "filter_subject": "mail.other" },
        });
        for (verb, body) in [
            ("STREAM.MSG.GET.MAIL", json!({ "seq": 1 })),
            ("DIRECT.GET.MAIL", json!({ "seq": 1 })),
            ("DIRECT.GET.MAIL.mail.letter", json!({})),
            ("CONSUMER.CREATE.MAIL", consumer.clone()),
            ("CONSUMER.CREATE.MAIL.c", consumer.clone()),
            ("CONSUMER.CREATE.MAIL.c.mail.other", consumer.clone()),
            ("CONSUMER.DURABLE.CREATE.MAIL.c", consumer),
            ("CONSUMER.INFO.MAIL.gateways", json!({})),
            ("CONSUMER.MSG.NEXT.MAIL.gateways", json!({ "batch": 1 })),
            ("CONSUMER.DELETE.MAIL.gateways", json!({})),
            ("STREAM.MSG.DELETE.MAIL", json!({ "seq": 1 })),
            ("STREAM.PURGE.MAIL", json!({})),
        ] {
            let request = async_nats::Request::new()
                .payload(body.to_string().into())
                .timeout(Some(A_MOMENT));
            let client = log.client();
            let asked = client.send_request(format!("$JS.API.{verb}"), request);
            assert!(asked.await.is_err(), "{user}: {verb}");
        }
    }
    gateway.finish(&held).await.unwrap();
    assert_eq!(gateway.waiting().await.unwrap(), 0);
}
