//! The users of `nats/permissions.conf` and the accounts of `nats/accounts.conf`: each can do its work and no other's.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use waybill_domain::access::fence::{FenceRecord, GatewayId, LeaseKind, LeaseRecord, MarkRecord};
use waybill_log::fence::{NoFenceRecord, fence_record};
use waybill_log::jetstream::Reads;
use waybill_log::{
    Append, AppendError, Fences, JetStreamLog, Leases, Log, NatsConfig, Snapshots, Stream,
    StreamSeq, connect, connect_alone,
};
use waybill_testkit::{NatsOptions, NatsServer};

use crate::fixture::{EVENT, Shape, a_record, an_append, config_at, read_until};

/// A server with a user for each role, and how their processes read from it.
pub(crate) struct Guarded {
    pub(crate) server: NatsServer,
    reads: Reads,
}

impl Guarded {
    async fn by(file: &str, users: &[&str], reads: Reads) -> Self {
        let nats = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../nats");
        let mut extra = std::fs::read_to_string(nats.join(file)).unwrap();
        for user in users {
            let variable = format!("$NATS_{}_PASSWORD", user.to_uppercase());
            assert!(extra.contains(&variable), "{variable}");
            extra = extra.replace(&variable, &format!("\"{user}-secret\""));
        }
        let options = NatsOptions {
            extra,
            ..NatsOptions::default()
        };
        let server = NatsServer::start_with(options).await.unwrap();
        Self { server, reads }
    }
}

/// With `nats/permissions.conf`: users of one account.
pub(crate) async fn a_guarded_server() -> Guarded {
    let users = ["admin", "gateway", "worker", "projector"];
    Guarded::by("permissions.conf", &users, Reads::Consumers).await
}

/// With `nats/accounts.conf`: an account for each.
pub(crate) async fn a_server_with_accounts() -> Guarded {
    let users = ["admin", "gateway", "worker", "projector", "system"];
    Guarded::by("accounts.conf", &users, Reads::Accounts).await
}

pub(crate) fn config(guarded: &Guarded, user: &str) -> NatsConfig {
    NatsConfig {
        user: Some(user.to_owned()),
        password: Some(format!("{user}-secret").into()),
        request_timeout_ms: 700,
        reads: guarded.reads,
        ..config_at(&guarded.server.url())
    }
}

/// Runs each test over both files.
macro_rules! over_both_files {
    ($($name:ident),* $(,)?) => {
        mod permissions_conf {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::permissions::a_guarded_server().await).await;
            })*
        }
        mod accounts_conf {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::permissions::a_server_with_accounts().await).await;
            })*
        }
    };
}
pub(crate) use over_both_files;

over_both_files!(
    nobody_speaks_for_a_gateway,
    a_worker_speaks_for_itself_only,
    only_gateways_are_asked_whether_a_change_holds,
    each_role_can_do_its_work_and_no_others,
    each_role_can_do_its_work_in_frames_and_no_others,
);

async fn may(log: &JetStreamLog, append: Append) -> bool {
    match log.append(append).await {
        Ok(_) => true,
        // With permissions the server says no to the connection, not to the message; with accounts, that nobody is there.
        Err(AppendError::Unknown { .. } | AppendError::Unavailable { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

/// Only gateways raise marks, and only they take their leases and say what they have applied: who could do it for them could undo a
/// revocation.
async fn nobody_speaks_for_a_gateway(server: Guarded) {
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
async fn a_worker_speaks_for_itself_only(server: Guarded) {
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
async fn only_gateways_are_asked_whether_a_change_holds(server: Guarded) {
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

async fn each_role_can_do_its_work_and_no_others(server: Guarded) {
    connect(&config(&server, "admin")).await.unwrap();
    roles_do_their_work(&server).await;
}

/// The last token of a frame says who may write it.
async fn each_role_can_do_its_work_in_frames_and_no_others(server: Guarded) {
    connect_alone(&config(&server, "admin")).await.unwrap();
    roles_do_their_work(&server).await;
}

async fn roles_do_their_work(server: &Guarded) {
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
    let projector = connect(&config(server, "projector")).await.unwrap();
    projector.acquire("notary", "a").await.unwrap();
    let gateway = connect(&config(server, "gateway")).await.unwrap();
    gateway.acquire("schedules", "a").await.unwrap();
    for log in [&projector, &gateway] {
        assert!(log.acquire("partition.1", "a").await.is_err());
    }
    let worker = connect(&config(server, "worker")).await.unwrap();
    let lease = worker.acquire("partition.1", "a").await.unwrap();
    let lease = worker.renew(&lease).await.unwrap();
    let held = ("partition.1".to_owned(), "a".to_owned());
    assert!(worker.holders().await.unwrap().contains(&held));
    worker.release(&lease).await.unwrap();
    // Of several parts.
    let state = bytes::Bytes::from(vec![7; 500_000]);
    for _ in 0..2 {
        worker.put("partition-1", state.clone()).await.unwrap();
        assert_eq!(
            worker.get("partition-1").await.unwrap().as_ref(),
            Some(&state)
        );
    }
    let last = worker.bounds(Stream::Tasks).await.unwrap().last;
    assert!(gateway.purge_tasks(last).await.is_err());
    assert!(projector.purge_tasks(last).await.is_err());
    worker.purge_tasks(last).await.unwrap();
}
