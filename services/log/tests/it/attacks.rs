//! What a role could do around its rights: have the server's own answers land where it may not publish.
//!
//! The server checks the subject of a publish, but not where it publishes itself: the reply of a request, and what a consumer delivers to. With
//! `nats/permissions.conf` these ways are open, which is the control of the test; with `nats/accounts.conf` none of them is.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Client, HeaderMap, Subscriber};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use waybill_log::{JetStreamLog, connect};
use waybill_testkit::eventually;

use crate::fixture::SOON;
use crate::permissions::{Guarded, a_guarded_server, a_server_with_accounts, config};

/// What is refused is not answered.
const REFUSED_AFTER: Duration = Duration::from_millis(300);
const FORGED: &[u8] = b"forged";

/// A role: where it may write, and a subject of its own, in a stream that it reads.
struct Role {
    user: &'static str,
    may_write: &'static [&'static str],
    own: &'static str,
    reads: &'static str,
}

const ROLES: [Role; 3] = [
    Role {
        user: "gateway",
        may_write: &[
            "control.",
            "tasks.1.t.q.created",
            "fence.",
            "limits.",
            "usage.",
            "vkeys.",
            "mail.letter",
            "$KV.owners.operations",
            "wb.cmd.",
            "wb.query.",
            "wb.notary.sign",
            "wb.roles",
        ],
        own: "tasks.1.t.q.created",
        reads: "TASKS",
    },
    Role {
        user: "worker",
        may_write: &[
            "tasks.",
            "control._.worker.",
            "control._.use.",
            "fence.worker.",
            "usage.",
            "$KV.owners.",
            "$O.snapshots.",
            "wb.fence.ack.worker.",
            "wb.room.owed",
        ],
        own: "tasks.1.t.q.started",
        reads: "TASKS",
    },
    Role {
        user: "projector",
        may_write: &["auditcp.", "$KV.owners.notary"],
        own: "auditcp.t",
        reads: "AUDITCP",
    },
];

/// Where somebody would like to write.
const TARGETS: [&str; 19] = [
    "control.t.member.x",
    "control._.worker.x",
    "tasks.1.t.q.created",
    "tasks.1.t.q.started",
    "fence.gateway.x",
    "fence.worker.x",
    "vkeys.token.t.k.1",
    "mail.letter",
    "auditcp.t",
    "$KV.owners.partition.1",
    "$KV.owners.notary",
    "live.tasks.1.t.q.started",
    "wb.fence.settle",
    "wb.fence.ack.x",
    "wb.cmd.1",
    "wb.query.x",
    "wb.notary.sign",
    "$JS.API.STREAM.PURGE.TASKS",
    "$SYS.REQ.SERVER.PING",
];

const STREAMS: [&str; 10] = [
    "CONTROL",
    "TASKS",
    "KV_owners",
    "OBJ_snapshots",
    "FENCE",
    "LIMITS",
    "USAGE",
    "AUDITCP",
    "VKEYS",
    "MAIL",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_role_gets_around_its_account() {
    let server = a_server_with_accounts().await;
    let admin = connect(&config(&server, "admin")).await.unwrap();
    for role in &ROLES {
        let mut watch = Watch::begin(&server, &admin, role).await;
        let attacker = connect(&config(&server, role.user)).await.unwrap();
        attack(&attacker.client(), role, "wb.read").await;
        assert_eq!(watch.violations(&admin).await, [""; 0], "{}", role.user);
    }
}

/// The control: the same requests, where the roles are users of one account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permissions_alone_do_not_hold_a_role() {
    let server = a_guarded_server().await;
    let admin = connect(&config(&server, "admin")).await.unwrap();
    for role in &ROLES[1..] {
        let mut watch = Watch::begin(&server, &admin, role).await;
        let attacker = connect(&config(&server, role.user)).await.unwrap();
        attack(&attacker.client(), role, "$JS.API.DIRECT.GET").await;
        let mut violations = Vec::new();
        eventually(SOON, async || {
            violations.extend(watch.violations(&admin).await);
            violations.iter().any(|at| at.contains("CONTROL has"))
        })
        .await
        .unwrap_or_else(|late| panic!("{}: {late}: {violations:?}", role.user));
    }
}

/// No request of JetStream's API is answered but those that a role needs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_role_is_answered_by_the_rest_of_the_api() {
    let server = a_server_with_accounts().await;
    connect(&config(&server, "admin")).await.unwrap();
    let push =
        json!({ "stream_name": "AUDITCP", "config": { "deliver_subject": "control.t.member.x" } });
    let pull = json!({ "stream_name": "TASKS", "config": { "name": "c", "ack_policy": "none" } });
    for role in &ROLES {
        let attacker = connect(&config(&server, role.user)).await.unwrap();
        for (verb, body) in [
            ("CONSUMER.CREATE.AUDITCP", push.clone()),
            ("CONSUMER.CREATE.TASKS.c", pull.clone()),
            ("CONSUMER.CREATE.TASKS.c.tasks.>", pull.clone()),
            ("CONSUMER.DURABLE.CREATE.TASKS.c", pull.clone()),
            ("CONSUMER.DELETE.MAIL.gateways", json!({})),
            ("CONSUMER.INFO.MAIL.gateways", json!({})),
            ("STREAM.DELETE.CONTROL", json!({})),
            ("STREAM.PURGE.CONTROL", json!({})),
            ("STREAM.UPDATE.CONTROL", json!({ "name": "CONTROL" })),
            ("STREAM.CREATE.X", json!({ "name": "X", "subjects": ["x"] })),
            (
                "STREAM.SNAPSHOT.VKEYS",
                json!({ "deliver_subject": "wb.x" }),
            ),
            ("STREAM.MSG.DELETE.CONTROL", json!({ "seq": 1 })),
            ("STREAM.MSG.GET.MAIL", json!({ "seq": 1 })),
            ("DIRECT.GET.VKEYS", json!({ "seq": 1 })),
            ("ACCOUNT.PURGE.LOG", json!({})),
        ] {
            let request = async_nats::Request::new()
                .payload(body.to_string().into())
                .timeout(Some(REFUSED_AFTER));
            let client = attacker.client();
            let answer = client.send_request(format!("$JS.API.{verb}"), request);
            assert!(answer.await.is_err(), "{}: {verb}", role.user);
        }
    }
}

/// Stores records of its own and has them, and everything else that the server answers, sent to every target.
async fn attack(client: &Client, role: &Role, batches: &str) {
    let mut headers = HeaderMap::new();
    headers.insert("Wb-Event", "member.joined.v1");
    headers.insert("Wb-Actor", "user:usr_1");
    let reads = role.reads;
    for (headers, payload) in [(headers, FORGED), (HeaderMap::new(), &b""[..])] {
        let stored = client
            .request_with_headers(role.own, headers, payload.into())
            .await
            .unwrap();
        let ack: Value = serde_json::from_slice(&stored.payload).unwrap();
        let one = json!({ "seq": ack["seq"] }).to_string();
        let many = json!({ "seq": 1, "batch": 10, "next_by_subj": ">" }).to_string();
        for target in TARGETS {
            let requests = [
                (format!("$JS.API.DIRECT.GET.{reads}"), one.clone()),
                (format!("{batches}.{reads}"), many.clone()),
                (format!("$JS.API.STREAM.MSG.GET.{reads}"), one.clone()),
                (format!("$JS.API.STREAM.INFO.{reads}"), String::new()),
                ("$JS.API.INFO".to_owned(), String::new()),
            ];
            for (subject, body) in requests {
                let sent = client.publish_with_reply(subject, target, body.into());
                sent.await.unwrap();
            }
            // The acknowledgement of a publish, a trace of one, and a publish.
            let sent = client.publish_with_reply(role.own, target, payload.into());
            sent.await.unwrap();
            let mut traced = HeaderMap::new();
            traced.insert("Nats-Trace-Dest", target);
            let sent = client.publish_with_headers(role.own, traced, payload.into());
            sent.await.unwrap();
            client.publish(target, payload.into()).await.unwrap();
        }
        // Each of these is answered after all of its kind.
        for subject in [
            format!("$JS.API.DIRECT.GET.{reads}"),
            format!("$JS.API.STREAM.MSG.GET.{reads}"),
        ] {
            client.request(subject, one.clone().into()).await.unwrap();
        }
    }
    client.flush().await.unwrap();
}

/// The streams before an attack, and what others hear during it.
struct Watch {
    role: &'static Role,
    /// Last and first sequence of each.
    before: BTreeMap<&'static str, (u64, u64)>,
    heard: Vec<(&'static str, Subscriber)>,
    _others: Vec<JetStreamLog>,
}

impl Watch {
    async fn begin(server: &Guarded, admin: &JetStreamLog, role: &'static Role) -> Self {
        let mut before = BTreeMap::new();
        for stream in STREAMS {
            let state = state(admin, stream).await;
            before.insert(stream, state.expect("it is there"));
        }
        let (mut heard, mut others) = (Vec::new(), Vec::new());
        for other in ["gateway", "worker", "projector"] {
            if other == role.user {
                continue;
            }
            let log = connect(&config(server, other)).await.unwrap();
            heard.push((other, log.client().subscribe("wb.>").await.unwrap()));
            heard.push((other, log.client().subscribe("live.>").await.unwrap()));
            log.client().flush().await.unwrap();
            others.push(log);
        }
        Self {
            role,
            before,
            heard,
            _others: others,
        }
    }

    fn may_write(&self, subject: &str) -> bool {
        let mut all = self.role.may_write.iter();
        all.any(|prefix| subject.starts_with(prefix))
    }

    /// What has come about that the role has no right to.
    async fn violations(&mut self, admin: &JetStreamLog) -> Vec<String> {
        let mut found = Vec::new();
        for stream in STREAMS {
            let (before, began) = self.before[stream];
            let Some((last, first)) = state(admin, stream).await else {
                found.push(format!("{stream} is gone"));
                continue;
            };
            // A worker may purge TASKS, and some streams keep only the last message of a subject.
            let may_drop = match stream {
                "TASKS" => self.role.user == "worker",
                "KV_owners" | "OBJ_snapshots" | "LIMITS" | "USAGE" => true,
                _ => false,
            };
            // An empty stream begins at 0 or 1.
            if first > began.max(1) && !may_drop {
                found.push(format!("{stream} begins at {first}"));
            }
            for seq in before + 1..=last {
                let get = format!("$JS.API.STREAM.MSG.GET.{stream}");
                let body = json!({ "seq": seq }).to_string();
                let answer = admin.client().request(get, body.into()).await.unwrap();
                let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
                let subject = answer["message"]["subject"].as_str().unwrap_or_default();
                if !subject.is_empty() && !self.may_write(subject) {
                    found.push(format!("{stream} has {subject}"));
                }
            }
            self.before.insert(stream, (last, first));
        }
        let role = self.role;
        for (other, heard) in &mut self.heard {
            while let Some(Some(message)) = heard.next().now_or_never() {
                let subject = message.subject.as_str();
                // A genuine hint is of a stored message and has no payload.
                let is_hint = subject.starts_with("live.") && message.payload.is_empty();
                let may = role
                    .may_write
                    .iter()
                    .any(|prefix| subject.starts_with(prefix));
                if !is_hint && !may {
                    found.push(format!("{other} heard {subject}"));
                }
            }
        }
        found
    }
}

/// Last and first sequence of a stream, if it is there.
async fn state(admin: &JetStreamLog, stream: &str) -> Option<(u64, u64)> {
    let subject = format!("$JS.API.STREAM.INFO.{stream}");
    let answer = admin.client().request(subject, "".into()).await.ok()?;
    let info: Value = serde_json::from_slice(&answer.payload).ok()?;
    let state = &info["state"];
    Some((state["last_seq"].as_u64()?, state["first_seq"].as_u64()?))
}
