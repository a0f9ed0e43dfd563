//! Signatures on CONTROL and in the barrier: what nobody has signed who may say it does not count, however it came into the log.

use std::time::Duration;

use async_nats::HeaderMap;
use waybill_domain::access::fence::{FenceRecord, GatewayId, LeaseKind, LeaseRecord};
use waybill_domain::event::{ControlEvent, samples};
use waybill_domain::trust::{Signer, Speaker, Void};
use waybill_log::fence::{NoFenceRecord, fence_record};
use waybill_log::jetstream::SignaturesConfig;
use waybill_log::{
    Append, AppendError, ConnectError, Fences, JetStreamLog, Log, NatsConfig, NewRecord, Record,
    Stream, StreamSeq, connect, control_event,
};
use waybill_testkit::NatsServer;

use crate::fixture::{Shape, all, an_append, config_at, read_until};
use crate::permissions::{a_guarded_server, config};

const TEAM: &str = "control.team_01kajptr3v0000000000000007.>";
const KEY: &str = "control.team_01kajptr3v0000000000000007.key.key_4fG7aB2x";
const WITHIN: Duration = Duration::from_secs(2);

fn signer(speaker: Speaker, seed: u8) -> Signer {
    Signer::new(speaker, &[seed; 32]).unwrap()
}

fn public(speaker: Speaker, seed: u8) -> String {
    signer(speaker, seed).public().to_string()
}

/// Both keys are known, signatures are required from the first record on.
fn required(own: Option<Signer>) -> SignaturesConfig {
    SignaturesConfig {
        keys: vec![public(Speaker::Control, 1), public(Speaker::Worker, 2)],
        required_from: Some(1),
        signer: own,
        introduce: false,
    }
}

fn as_gateway() -> SignaturesConfig {
    required(Some(signer(Speaker::Control, 1)))
}

async fn at(server: &NatsServer, signatures: SignaturesConfig) -> JetStreamLog {
    let config = NatsConfig {
        signatures,
        ..config_at(&server.url())
    };
    connect(&config).await.unwrap()
}

fn a_key_event() -> ControlEvent {
    let mut events = samples::control_events().into_iter();
    events
        .find(|event| event.name().starts_with("key.created"))
        .unwrap()
}

fn on(subject: &str, event: &ControlEvent) -> NewRecord {
    NewRecord {
        subject: subject.to_owned(),
        event: event.name(),
        actor: "operator:cli".to_owned(),
        traceparent: None,
        origin: None,
        payload: event.encode().into(),
    }
}

fn decided(subjects: &[&str], after: u64) -> Append {
    let event = a_key_event();
    let records = subjects.iter().map(|subject| on(subject, &event)).collect();
    an_append(records)
        .to(Stream::Control)
        .atomic()
        .fenced_by(TEAM, StreamSeq(after))
}

/// Why each record of CONTROL does not count, as `how` reads it.
fn voids(records: &[Record]) -> Vec<(u64, Option<Void>)> {
    let each = |record: &Record| (record.seq.0, record.void().cloned());
    records.iter().map(each).collect()
}

/// Every way to read CONTROL, which must all say the same.
async fn judged(log: &JetStreamLog) -> Vec<(u64, Option<Void>)> {
    let last = log.bounds(Stream::Control).await.unwrap().last;
    let range = voids(&all(log, Stream::Control).await);
    let mut tail = log.tail(Stream::Control, Vec::new(), StreamSeq(1));
    let followed = read_until(&mut *tail, usize::try_from(last.0).unwrap()).await;
    assert_eq!(voids(&followed), range, "the tail");
    for (seq, void) in &range {
        let alone = log.read(Stream::Control, StreamSeq(*seq)).await.unwrap();
        assert_eq!(alone.unwrap().void(), void.as_ref(), "read {seq} alone");
        let mut later = log.tail(Stream::Control, Vec::new(), StreamSeq(*seq));
        let first = later.next_batch(1).await.unwrap();
        assert_eq!(first[0].void(), void.as_ref(), "a tail from {seq} on");
    }
    let by_filter = log
        .range(Stream::Control, &[TEAM.to_owned()], StreamSeq(1), last, 100)
        .await
        .unwrap();
    let of_team: Vec<_> = range
        .iter()
        .filter(|(seq, _)| by_filter.iter().any(|record| record.seq.0 == *seq))
        .cloned()
        .collect();
    assert_eq!(voids(&by_filter), of_team, "by the filter of the team");
    range
}

/// A stored record as it is, signature and all, published once more.
async fn copy(log: &JetStreamLog, record: &Record, to: &str) {
    let (headers, payload) = (headers_of(record), record.payload.clone());
    let client = log.client();
    client
        .publish_with_headers(to.to_owned(), headers, payload)
        .await
        .unwrap();
    client.flush().await.unwrap();
}

fn headers_of(record: &Record) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &record.exact.as_ref().unwrap().headers {
        headers.insert(name.as_str(), value.as_str());
    }
    headers
}

async fn until_there_are(log: &JetStreamLog, count: u64) {
    let wait = async {
        while log.bounds(Stream::Control).await.unwrap().last.0 < count {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::fixture::SOON, wait)
        .await
        .expect("the record is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_gateway_signs_counts_for_every_reader() {
    let server = NatsServer::start().await.unwrap();
    let gateway = at(&server, as_gateway()).await;
    gateway.append(decided(&[KEY], 0)).await.unwrap();
    let both = [KEY, "control.team_01kajptr3v0000000000000007.key.key_2"];
    gateway.append(decided(&both, 1)).await.unwrap();
    gateway.append(decided(&[KEY], 3)).await.unwrap();
    let reader = at(&server, required(None)).await;
    for log in [&gateway, &reader] {
        let verdicts = judged(log).await;
        assert_eq!(verdicts.len(), 4);
        assert!(
            verdicts.iter().all(|(_, void)| void.is_none()),
            "{verdicts:?}"
        );
    }
    let records = all(&reader, Stream::Control).await;
    assert_eq!(control_event(&records[0]), Ok(a_key_event()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_signed_who_may_say_it_does_not_count() {
    let server = NatsServer::start().await.unwrap();
    let reader = at(&server, required(None)).await;
    let stranger = Signer::new(Speaker::Control, &[9; 32]).unwrap();
    let id = stranger.id();
    at(&server, required(Some(stranger)))
        .await
        .append(decided(&[KEY], 0))
        .await
        .unwrap();
    let unsigned = at(&server, SignaturesConfig::default()).await;
    unsigned.append(decided(&[KEY], 1)).await.unwrap();
    let refused = reader.append(decided(&[KEY], 2)).await;
    assert!(
        matches!(refused, Err(AppendError::Rejected { .. })),
        "{refused:?}"
    );
    let worker = signer(Speaker::Worker, 2);
    let of_worker = worker.id();
    let worker = at(&server, required(Some(worker))).await;
    worker.append(decided(&[KEY], 2)).await.unwrap();
    let unbounded = an_append(vec![on(KEY, &a_key_event())]).to(Stream::Control);
    at(&server, as_gateway())
        .await
        .append(unbounded)
        .await
        .unwrap();
    assert_eq!(
        judged(&reader).await,
        [
            (1, Some(Void::UnknownKey(id))),
            (2, Some(Void::Unsigned)),
            (3, Some(Void::NotAllowed(of_worker))),
            (4, Some(Void::Unbounded("key.created.v1".into()))),
        ]
    );
    let records = all(&reader, Stream::Control).await;
    assert!(control_event(&records[0]).is_err());
    // Its position counts: the next decision follows it, and counts itself.
    let gateway = at(&server, as_gateway()).await;
    gateway.append(decided(&[KEY], 4)).await.unwrap();
    assert_eq!(judged(&reader).await[4], (5, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_genuine_event_counts_at_its_own_place_only() {
    let server = NatsServer::start().await.unwrap();
    let gateway = at(&server, as_gateway()).await;
    let both = [KEY, "control.team_01kajptr3v0000000000000007.key.key_2"];
    gateway.append(decided(&both, 0)).await.unwrap();
    let stored = all(&gateway, Stream::Control).await;
    copy(&gateway, &stored[0], KEY).await;
    copy(
        &gateway,
        &stored[1],
        "control.team_01kajptr3v0000000000000007.key.key_2",
    )
    .await;
    copy(&gateway, &stored[0], "control.team_2.key.key_4fG7aB2x").await;
    until_there_are(&gateway, 5).await;
    gateway.append(decided(&[KEY], 4)).await.unwrap();
    let reader = at(&server, required(None)).await;
    let verdicts = judged(&reader).await;
    let is_void = |seq: usize| verdicts[seq - 1].1.is_some();
    assert_eq!(
        [1, 2, 3, 4, 5, 6].map(is_void),
        [false, false, true, true, true, false],
        "{verdicts:?}"
    );
    assert!(matches!(verdicts[2].1, Some(Void::Moved { .. })));
    assert!(matches!(verdicts[3].1, Some(Void::Moved { .. })));
    assert!(matches!(verdicts[4].1, Some(Void::Forged(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_older_counts_up_to_the_event_that_requires_signatures() {
    let server = NatsServer::start().await.unwrap();
    let before = at(&server, SignaturesConfig::default()).await;
    before.append(decided(&[KEY], 0)).await.unwrap();
    let introducing = SignaturesConfig {
        required_from: None,
        introduce: true,
        ..as_gateway()
    };
    let gateway = at(&server, introducing.clone()).await;
    assert_eq!(gateway.trust().required_from, Some(StreamSeq(2)));
    let again = at(&server, introducing).await;
    assert_eq!(again.trust().required_from, Some(StreamSeq(2)), "once");
    gateway.append(decided(&[KEY], 1)).await.unwrap();
    before.append(decided(&[KEY], 3)).await.unwrap();
    let pinned = |at: u64| SignaturesConfig {
        required_from: Some(at),
        ..required(None)
    };
    let found = SignaturesConfig {
        required_from: None,
        ..required(None)
    };
    for signatures in [pinned(2), found] {
        let reader = at(&server, signatures).await;
        let verdicts = judged(&reader).await;
        assert_eq!(verdicts[..3], [(1, None), (2, None), (3, None)]);
        assert_eq!(verdicts[3], (4, Some(Void::Unsigned)));
    }
    // A pin that the log does not confirm is no pin.
    for wrong in [0, 3, 9] {
        let config = NatsConfig {
            signatures: pinned(wrong),
            ..config_at(&server.url())
        };
        let error = connect(&config).await.err().expect("refused");
        assert!(matches!(error, ConnectError::Config(_)), "{error}");
        assert!(
            error.to_string().contains("signatures.required_from"),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_key_counts_up_to_its_last_position() {
    let server = NatsServer::start().await.unwrap();
    let old = at(&server, as_gateway()).await;
    old.append(decided(&[KEY], 0)).await.unwrap();
    let rotated = SignaturesConfig {
        keys: vec![
            public(Speaker::Control, 3),
            format!("{} 1", public(Speaker::Control, 1)),
        ],
        ..required(Some(signer(Speaker::Control, 3)))
    };
    let new = at(&server, rotated).await;
    new.append(decided(&[KEY], 1)).await.unwrap();
    old.append(decided(&[KEY], 2)).await.unwrap();
    let id = signer(Speaker::Control, 1).id();
    let expected = [(1, None), (2, None), (3, Some(Void::UnknownKey(id)))];
    assert_eq!(judged(&new).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_counts_once_and_only_from_its_holder() {
    let server = NatsServer::start().await.unwrap();
    let gateway = at(&server, as_gateway()).await;
    let worker = at(&server, required(Some(signer(Speaker::Worker, 2)))).await;
    let nobody = at(&server, required(None)).await;
    let lease = |kind, gateway| {
        FenceRecord::Lease(LeaseRecord {
            gateway: GatewayId::new(gateway),
            kind,
            applied: StreamSeq(1),
            control: StreamSeq(1),
            released: false,
        })
    };
    let (of_gateway, of_worker) = (lease(LeaseKind::Gateway, 1), lease(LeaseKind::Worker, 2));
    for (log, record) in [
        (&gateway, &of_gateway),
        (&worker, &of_worker),
        (&worker, &of_gateway),
        (&nobody, &of_gateway),
        (&nobody, &of_worker),
    ] {
        log.publish(record.clone(), WITHIN).await.unwrap();
    }
    let mut tail = gateway.records(StreamSeq(1));
    let mut records = Vec::new();
    while records.len() < 6 {
        let batch = tokio::time::timeout(crate::fixture::SOON, tail.next_batch(10));
        records.extend(batch.await.expect("in time").unwrap());
        if records.len() == 5 {
            copy(&nobody, &records[0], &records[0].subject).await;
        }
    }
    let read: Vec<_> = records.iter().map(fence_record).collect();
    assert_eq!(read[0], Ok(of_gateway));
    assert_eq!(read[1], Ok(of_worker));
    let id = signer(Speaker::Worker, 2).id();
    assert_eq!(read[2], Err(NoFenceRecord::Void(Void::NotAllowed(id))));
    assert_eq!(read[3], Err(NoFenceRecord::Void(Void::Unsigned)));
    assert_eq!(read[4], Err(NoFenceRecord::Void(Void::Unsigned)));
    assert_eq!(read[5], Err(NoFenceRecord::Void(Void::Repeated)));
}

/// Each role plays the attacker whom its permissions cannot stop: NATS checks where a role publishes, not where its requests are
/// answered. What it stores so is there, which is the control of this test; but nobody believes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_role_gains_anything_by_answers_that_land_in_control() {
    let server = a_guarded_server().await;
    let as_user = async |user: &str, signatures| {
        let config = NatsConfig {
            signatures,
            ..config(&server, user)
        };
        connect(&config).await.unwrap()
    };
    as_user("admin", as_gateway()).await;
    let gateway = as_user("gateway", as_gateway()).await;
    gateway.append(decided(&[KEY], 0)).await.unwrap();
    let mut count = 1;
    for user in ["worker", "projector"] {
        let attacker = as_user(user, required(None)).await;
        // Stored where the role may write, with the headers that it wants: a membership of its own making, a record without a type,
        // and a genuine event.
        let (stream, place) = match user {
            "worker" => ("TASKS", "tasks.1.team_01kajptr3v0000000000000007.q.started"),
            _ => ("AUDITCP", "auditcp.team_01kajptr3v0000000000000007"),
        };
        let mut headers = HeaderMap::new();
        headers.insert("Wb-Event", "member.joined.v1");
        headers.insert("Wb-Actor", "user:usr_1");
        let client = attacker.client();
        let genuine = attacker
            .read(Stream::Control, StreamSeq(1))
            .await
            .unwrap()
            .unwrap();
        let membership = "control.team_01kajptr3v0000000000000007.member.usr_1";
        for (headers, payload, to) in [
            (headers, "made up".into(), membership),
            (HeaderMap::new(), "".into(), membership),
            (headers_of(&genuine), genuine.payload.clone(), KEY),
        ] {
            let stored = client
                .request_with_headers(place.to_owned(), headers, payload)
                .await
                .unwrap();
            let ack: serde_json::Value = serde_json::from_slice(&stored.payload).unwrap();
            let seq = ack["seq"].as_u64().unwrap();
            let body = format!("{{\"seq\":{seq}}}");
            let get = format!("$JS.API.DIRECT.GET.{stream}");
            client
                .publish_with_reply(get, to, body.into())
                .await
                .unwrap();
            // The same by a request that is answered with something else.
            client
                .publish_with_reply("$JS.API.INFO", membership, "".into())
                .await
                .unwrap();
            client.flush().await.unwrap();
            count += 2;
            until_there_are(&gateway, count).await;
        }
    }
    let pulled = pull_into_control(&as_user("projector", required(None)).await).await;
    count += pulled;
    until_there_are(&gateway, count).await;
    for reader in [&gateway, &as_user("projector", required(None)).await] {
        let verdicts = judged(reader).await;
        let believed: Vec<u64> = verdicts
            .iter()
            .filter(|(_, void)| void.is_none())
            .map(|(seq, _)| *seq)
            .collect();
        assert_eq!(believed, [1], "{verdicts:?}");
    }
    // The team goes on: what was forged takes positions, and no command is stopped by it.
    let last = gateway.last(Stream::Control, TEAM).await.unwrap().unwrap();
    let next = gateway.append(decided(&[KEY], last.seq.0)).await.unwrap();
    let read = gateway.read(Stream::Control, next.seqs[0]).await.unwrap();
    assert_eq!(control_event(&read.unwrap()), Ok(a_key_event()));
}

/// The records that a pull of AUDITCP had the server deliver into CONTROL.
async fn pull_into_control(attacker: &JetStreamLog) -> u64 {
    let client = attacker.client();
    let body = serde_json::json!({
        "stream_name": "AUDITCP",
        "action": "create",
        "config": { "name": "x", "deliver_policy": "all", "ack_policy": "none", "mem_storage": true },
    });
    client
        .request("$JS.API.CONSUMER.CREATE.AUDITCP.x", body.to_string().into())
        .await
        .unwrap();
    let to = "control.team_01kajptr3v0000000000000007.member.usr_1".to_owned();
    let next = "$JS.API.CONSUMER.MSG.NEXT.AUDITCP.x".to_owned();
    client
        .publish_with_reply(next, to, "{\"batch\":2,\"no_wait\":true}".into())
        .await
        .unwrap();
    client.flush().await.unwrap();
    2
}
