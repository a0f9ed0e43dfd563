//! Who of the users of `nats/permissions.conf` comes near the keys of the vault: gateways store, gateways and workers read and erase,
//! projectors have nothing to do with them, by whatever way.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use waybill_log::{
    Addition, Counted, JetStreamLog, KeysOf, StreamSeq, Tallies, TallyName, VaultKeys, Wanted,
    connect,
};

use crate::permissions::{Guarded, a_guarded_server, config, over_both_files};
use crate::vault_keys::{team, token};

const NONE: StreamSeq = StreamSeq(0);
/// What is refused is not answered.
const REFUSED_AFTER: Duration = Duration::from_millis(300);

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// The answer to a request, if the server let it through.
async fn ask(log: &JetStreamLog, verb: &str, body: Value) -> Option<String> {
    let request = async_nats::Request::new()
        .payload(body.to_string().into())
        .timeout(Some(REFUSED_AFTER));
    let subject = format!("$JS.API.{verb}");
    let answer = log.client().send_request(subject, request).await.ok()?;
    Some(String::from_utf8_lossy(&answer.payload).into_owned())
}

over_both_files!(
    gateways_store_workers_erase_and_projectors_stay_away,
    a_worker_counts_uses,
);

async fn gateways_store_workers_erase_and_projectors_stay_away(server: Guarded) {
    connect(&config(&server, "admin")).await.unwrap();
    let gateway = connect(&config(&server, "gateway")).await.unwrap();
    let worker = connect(&config(&server, "worker")).await.unwrap();
    let projector = connect(&config(&server, "projector")).await.unwrap();
    for number in 1..=3 {
        let put = gateway.put(&token(number, 1), bytes("k"), NONE, None).await;
        assert_eq!(put, Ok(StreamSeq(number.try_into().unwrap())));
    }
    for log in [&gateway, &worker] {
        assert!(log.get(&token(3, 1)).await.unwrap().is_some());
        assert!(!log.list(&KeysOf::All, NONE, 9).await.unwrap().is_empty());
    }
    assert_eq!(gateway.erase(&token(1, 1)).await, Ok(1));
    assert_eq!(worker.erase(&token(2, 1)).await, Ok(1));
    for log in [&worker, &projector] {
        assert!(log.put(&token(4, 1), bytes("k"), NONE, None).await.is_err());
    }
    assert!(projector.get(&token(3, 1)).await.is_err());
    assert!(projector.list(&KeysOf::All, NONE, 9).await.is_err());
    assert!(projector.erase(&token(3, 1)).await.is_err());
    let left = gateway.list(&KeysOf::All, NONE, 9).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].name, token(3, 1));
}

/// Every door that JetStream has to a message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_finds_no_side_door_to_the_keys() {
    let server = a_guarded_server().await;
    let admin = connect(&config(&server, "admin")).await.unwrap();
    let projector = connect(&config(&server, "projector")).await.unwrap();
    admin
        .put(&token(1, 1), bytes("the-wrapped-key"), NONE, None)
        .await
        .unwrap();
    let consumer = |config: Value| json!({ "stream_name": "VKEYS", "config": config });
    let pull = json!({ "name": "c", "ack_policy": "none", "mem_storage": true });
    let push = json!({ "deliver_subject": "_INBOX.projector.x", "ack_policy": "none" });
    for (verb, body) in [
        ("STREAM.MSG.GET.VKEYS", json!({ "seq": 1 })),
        ("DIRECT.GET.VKEYS", json!({ "seq": 1 })),
        ("DIRECT.GET.VKEYS.vkeys.>", json!({})),
        ("CONSUMER.CREATE.VKEYS", consumer(push)),
        ("CONSUMER.CREATE.VKEYS.c", consumer(pull.clone())),
        ("CONSUMER.CREATE.VKEYS.c.vkeys.>", consumer(pull.clone())),
        ("CONSUMER.DURABLE.CREATE.VKEYS.c", consumer(pull.clone())),
        ("CONSUMER.INFO.VKEYS.theirs", json!({})),
        ("CONSUMER.MSG.NEXT.VKEYS.theirs", json!({ "batch": 1 })),
        ("CONSUMER.DELETE.VKEYS.theirs", json!({})),
        ("STREAM.MSG.DELETE.VKEYS", json!({ "seq": 1 })),
        ("STREAM.PURGE.VKEYS", json!({})),
        ("STREAM.DELETE.VKEYS", json!({})),
        (
            "STREAM.SNAPSHOT.VKEYS",
            json!({ "deliver_subject": "_INBOX.projector.y" }),
        ),
        (
            "STREAM.CREATE.COPY",
            json!({ "name": "COPY", "mirror": { "name": "VKEYS" } }),
        ),
    ] {
        let answer = ask(&projector, verb, body).await;
        assert_eq!(answer, None, "{verb}");
    }
    // The name in the subject is the one that counts.
    let disguised = ask(&projector, "CONSUMER.CREATE.TASKS.c", consumer(pull)).await;
    assert!(disguised.unwrap().contains("does not match"));
    // Nor does it hear what others publish, or what they are answered.
    let client = projector.client();
    for subject in ["vkeys.>", "_INBOX.>", "_INBOX.gateway.>", ">"] {
        let mut heard = client.subscribe(subject).await.unwrap();
        client.flush().await.unwrap();
        admin.get(&token(1, 1)).await.unwrap();
        let heard = tokio::time::timeout(REFUSED_AFTER, heard.next()).await;
        assert!(heard.is_err(), "{subject}: {heard:?}");
    }
    assert!(admin.get(&token(1, 1)).await.unwrap().is_some());
}

/// A worker counts how often a token was used, where credentials are counted.
async fn a_worker_counts_uses(server: Guarded) {
    connect(&config(&server, "admin")).await.unwrap();
    let worker = connect(&config(&server, "worker")).await.unwrap();
    let name = TallyName::new(team(1), Counted::Credential("tok_1".to_owned())).unwrap();
    let addition = Addition {
        name,
        count: 1,
        seen: None,
    };
    worker
        .tally("a", &[addition.clone(), addition.clone()])
        .await
        .unwrap();
    let counted = worker.tallies(Wanted::Named(vec![addition.name])).await;
    assert_eq!(counted.unwrap()[0].count, 2);
}
