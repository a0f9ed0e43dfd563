//! The users of `nats/permissions.conf`: each can do its work and no other's.

use std::time::Duration;

use futures::StreamExt;
use waybill_domain::access::fence::{FenceRecord, GatewayId, LeaseKind, LeaseRecord, MarkRecord};
use waybill_log::fence::{NoFenceRecord, fence_record};
use waybill_log::{
    Append, AppendError, Fences, JetStreamLog, Leases, Log, NatsConfig, Snapshots, Stream,
    StreamSeq, connect, connect_alone,
};
use waybill_testkit::{NatsOptions, NatsServer};

use crate::fixture::{EVENT, Shape, a_record, an_append, config_at, read_until};

const USERS: [&str; 4] = ["admin", "gateway", "worker", "projector"];

pub(crate) async fn a_guarded_server() -> NatsServer {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../nats/permissions.conf");
    let mut extra = std::fs::read_to_string(file).unwrap();
    for user in USERS {
        let variable = format!("$NATS_{}_PASSWORD", user.to_uppercase());
        assert!(extra.contains(&variable), "{variable}");
        extra = extra.replace(&variable, &format!("\"{user}-secret\""));
    }
    let options = NatsOptions {
        extra,
        ..NatsOptions::default()
    };
    NatsServer::start_with(options).await.unwrap()
}

pub(crate) fn config(server: &NatsServer, user: &str) -> NatsConfig {
    NatsConfig {
        user: Some(user.to_owned()),
        password: Some(format!("{user}-secret").into()),
        request_timeout_ms: 700,
        ..config_at(&server.url())
    }
}

async fn may(log: &JetStreamLog, append: Append) -> bool {
    match log.append(append).await {
        Ok(_) => true,
        // The server says no to the connection, not to the message.
        Err(AppendError::Unknown { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Only gateways raise marks, and only they take their leases and say what they have applied: who could do it for them could undo a
/// revocation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_speaks_for_a_gateway() {
    let server = a_guarded_server().await;
    connect(&config(&server, "admin")).await.unwrap();
    let gateway = connect(&config(&server, "gateway")).await.unwrap();
    let mut acknowledged = gateway.client().subscribe("wb.fence.ack.*").await.unwrap();
    let id = GatewayId::new(1);
    let subject = format!("wb.fence.ack.{id}");
    let mark = || {
        FenceRecord::Mark(MarkRecord {
            gateway: id.clone(),
            control: StreamSeq(1),
        })
    };
    let lease = || {
        FenceRecord::Lease(LeaseRecord {
            gateway: id.clone(),
            kind: LeaseKind::Gateway,
            applied: StreamSeq(9),
            control: StreamSeq(1),
            released: true,
        })
    };
    let within = Duration::from_millis(700);
    for user in ["worker", "projector"] {
        let log = connect(&config(&server, user)).await.unwrap();
        assert!(log.publish(mark(), within).await.is_err(), "{user}");
        assert!(log.publish(lease(), within).await.is_err(), "{user}");
        log.client()
            .publish(subject.clone(), "9".into())
            .await
            .unwrap();
        // It is refused before this, which comes after it on the same connection.
        log.client().publish("wb.other", "".into()).await.unwrap();
        log.client().flush().await.unwrap();
        assert_eq!(
            log.fence_bounds().await.unwrap().last,
            StreamSeq(0),
            "{user}"
        );
    }
    assert_eq!(gateway.publish(mark(), within).await, Ok(StreamSeq(1)));
    gateway.client().publish(subject, "1".into()).await.unwrap();
    let first = acknowledged.next().await.unwrap();
    assert_eq!(&first.payload[..], b"1", "a stranger's word came through");
    let mut tail = gateway.records(StreamSeq(1));
    let records = tail.next_batch(10).await.unwrap();
    assert_eq!(fence_record(&records[0]), Ok(mark()));
}

/// A worker holds a lease and acknowledges, each in a place of its own, where nothing that it says counts as a gateway's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_speaks_for_itself_only() {
    let server = a_guarded_server().await;
    connect(&config(&server, "admin")).await.unwrap();
    let gateway = connect(&config(&server, "gateway")).await.unwrap();
    let mut heard = gateway.client().subscribe("wb.fence.ack.>").await.unwrap();
    gateway.client().flush().await.unwrap();
    let id = GatewayId::new(1);
    let within = Duration::from_millis(700);
    let lease = |kind| {
        FenceRecord::Lease(LeaseRecord {
            gateway: id.clone(),
            kind,
            applied: StreamSeq(9),
            control: StreamSeq(1),
            released: false,
        })
    };
    let own = lease(LeaseKind::Worker);
    let worker = connect(&config(&server, "worker")).await.unwrap();
    assert_eq!(worker.publish(own.clone(), within).await, Ok(StreamSeq(1)));
    let acknowledgement = format!("wb.fence.ack.worker.{id}");
    worker
        .client()
        .publish(acknowledgement.clone(), "9".into())
        .await
        .unwrap();
    assert_eq!(
        heard.next().await.unwrap().subject.as_str(),
        acknowledgement
    );
    // What belongs to a gateway may be written where workers write: there it says nothing.
    let mark = FenceRecord::Mark(MarkRecord {
        gateway: id.clone(),
        control: StreamSeq(u64::MAX),
    });
    for record in [lease(LeaseKind::Gateway), mark] {
        let mut message = async_nats::HeaderMap::new();
        message.insert("Wb-Event", record.name());
        message.insert("Wb-Actor", "system:worker");
        let subject = format!("fence.worker.{id}");
        worker
            .client()
            .publish_with_headers(subject, message, record.encode().into())
            .await
            .unwrap();
    }
    // Nor does what is no record at all leave a hole that readers would stumble over.
    let subject = format!("fence.worker.{id}");
    worker.client().publish(subject, "x".into()).await.unwrap();
    let mut tail = gateway.records(StreamSeq(1));
    let mut records = Vec::new();
    while records.len() < 4 {
        records.extend(tail.next_batch(10).await.unwrap());
    }
    assert_eq!(fence_record(&records[0]), Ok(own));
    assert!(matches!(
        fence_record(&records[3]),
        Err(NoFenceRecord::Unreadable(_))
    ));
    for record in &records[1..3] {
        let read = fence_record(record);
        assert!(
            matches!(read, Err(NoFenceRecord::Misplaced { .. })),
            "{read:?}"
        );
    }
    let control = |subject: &str| an_append(vec![a_record(subject, "x")]).to(Stream::Control);
    for (subject, allowed) in [
        ("control._.worker.0000000000000001", true),
        ("control._.use.tok_1", true),
        ("control._.gateway.0000000000000001", false),
        ("control.t.token.tok_1", false),
    ] {
        assert_eq!(may(&worker, control(subject)).await, allowed, "{subject}");
    }
}

/// Nobody but a gateway answers those who ask whether a change holds everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_gateways_are_asked_whether_a_change_holds() {
    let server = a_guarded_server().await;
    let admin = connect(&config(&server, "admin")).await.unwrap();
    for user in ["worker", "projector"] {
        let log = connect(&config(&server, user)).await.unwrap();
        let mut questions = log
            .client()
            .queue_subscribe("wb.fence.settle", "gateways".to_owned())
            .await
            .unwrap();
        log.client().flush().await.unwrap();
        tokio::spawn(async move { questions.next().await });
        let asked = admin.client().request("wb.fence.settle", "1".into()).await;
        assert!(asked.is_err(), "{user}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_can_do_its_work_and_no_others() {
    let server = a_guarded_server().await;
    connect(&config(&server, "admin")).await.unwrap();
    roles_do_their_work(&server).await;
}

/// The last token of a frame says who may write it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_can_do_its_work_in_frames_and_no_others() {
    let server = a_guarded_server().await;
    connect_alone(&config(&server, "admin")).await.unwrap();
    roles_do_their_work(&server).await;
}

async fn roles_do_their_work(server: &NatsServer) {
    let created = || an_append(vec![a_record("tasks.1.t.q.created", "x")]);
    let started = || an_append(vec![a_record(EVENT, "x")]);
    let control = || an_append(vec![a_record("control.t.key.k", "x")]).to(Stream::Control);
    for (user, may_create, may_start, may_control) in [
        ("gateway", true, false, true),
        ("worker", true, true, false),
        ("projector", false, false, false),
    ] {
        let log = connect(&config(server, user)).await.unwrap();
        let allowed = (
            may(&log, created()).await,
            may(&log, started()).await,
            may(&log, control()).await,
        );
        assert_eq!(allowed, (may_create, may_start, may_control), "{user}");
        let mut tail = log.tail(Stream::Tasks, vec![], StreamSeq(1));
        read_until(&mut *tail, 1).await;
        assert!(log.last(Stream::Tasks, "tasks.>").await.unwrap().is_some());
        assert!(
            log.read(Stream::Control, StreamSeq(1))
                .await
                .unwrap()
                .is_some()
        );
        let range = log
            .range(Stream::Tasks, &[], StreamSeq(1), StreamSeq(u64::MAX), 1)
            .await;
        assert_eq!(range.unwrap().len(), 1);
    }
    let worker = connect(&config(server, "worker")).await.unwrap();
    let lease = worker.acquire("partition.1", "a").await.unwrap();
    let lease = worker.renew(&lease).await.unwrap();
    assert_eq!(worker.holders().await.unwrap().len(), 1);
    worker.release(&lease).await.unwrap();
    for _ in 0..2 {
        worker.put("partition-1", "state".into()).await.unwrap();
        assert!(worker.get("partition-1").await.unwrap().is_some());
    }
}
