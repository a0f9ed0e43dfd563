//! Measures what a vault token adds to a call while its key is cached: finding and replacing the
//! reference, and searching a small answer for the value.
//!
//! `cargo run --release -p waybill-worker --example vault_cost`

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a measurement for the terminal"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use waybill_domain::access::fence::FenceTiming;
use waybill_domain::event::{ControlEvent, TaskCreated, TokenCreated};
use waybill_domain::id::{Environment, TaskId, TeamId, TokenId};
use waybill_domain::partition::{Partition, PartitionCount};
use waybill_domain::signature::MasterSecret;
use waybill_domain::task::{Limits, TaskRequest, TaskSpec};
use waybill_domain::time::Timestamp;
use waybill_domain::trace::TraceParent;
use waybill_log::subject::ControlSubject;
use waybill_log::{
    Append, Atomicity, Expectation, JetStreamLog, KeyName, Log, NatsConfig, NewRecord, Stream,
    StreamSeq, VaultKeys,
};
use waybill_testkit::{NatsServer, eventually};
use waybill_vault::{Context, OpenRing, SealRing, SecretBytes, fresh_rings, seal};
use waybill_worker::attempt::{self, Signer};
use waybill_worker::callout::{Answered, Outcome};
use waybill_worker::vault::{OpeningParts, Prepared, SweepPace, Vault, VaultParts};
use waybill_worker::{Clock, SystemClock};

const ROUNDS: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","choices":[{"message":{"role":"assistant","content":"Hello! How can I help you today?"}}],"usage":{"prompt_tokens":9,"completion_tokens":12}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let nats = NatsServer::start().await.expect("nats-server starts");
    let log = waybill_log::connect(&NatsConfig::at(nats.url()))
        .await
        .expect("the log is there");
    let (seal_ring, open_ring) = fresh_rings().expect("randomness");
    let (vault, service) = Vault::new(parts(&log, open_ring));
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(service.run(stop.clone()));
    eventually(PATIENCE, async || vault.is_serving())
        .await
        .expect("a lease");
    let token = keep(&log, &seal_ring, "sk-live-0123456789abcdef0123456789abcdef").await;
    let plain = task(vec![(
        "Authorization".into(),
        "Bearer sk-live-plain".into(),
    )]);
    let value = format!("Bearer {{{{{token}}}}}");
    let referring = task(vec![("Authorization".into(), value)]);
    eventually(PATIENCE, async || vault.prepare(&referring).await.is_ok())
        .await
        .expect("the directory knows the token");

    let signer = Signer::new(MasterSecret::new(vec![7; 32]).expect("long enough"));
    let trace = TraceParent::of_call(None, plain.id, 1);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let request = attempt::request(
            &plain,
            Prepared::plain(&plain),
            1,
            PATIENCE,
            &trace,
            &signer,
            Timestamp(1),
        );
        std::hint::black_box((&request, answered()));
        without.push(start.elapsed());

        let start = Instant::now();
        let prepared = vault.prepare(&referring).await.expect("resolved");
        let carried = prepared.carried.clone().expect("a secret");
        let request = attempt::request(
            &referring,
            prepared,
            1,
            PATIENCE,
            &trace,
            &signer,
            Timestamp(1),
        );
        std::hint::black_box((&request, carried.scrub(answered(), 64 * 1024)));
        with.push(start.elapsed());
    }
    report("without the vault", &mut without);
    report("with a token", &mut with);
    let added = without
        .iter()
        .zip(&with)
        .map(|(without, with)| with.saturating_sub(*without));
    report("added", &mut added.collect::<Vec<_>>());
    stop.cancel();
    running.await.expect("no panic");
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!("{what:>18}: p50 {:?}, p99 {:?}", at(50), at(99));
}

fn answered() -> Outcome {
    Outcome::Answered(Answered {
        status: StatusCode::OK,
        headers: [
            ("content-type", "application/json"),
            ("date", "Sat, 21 Nov 2026 12:00:00 GMT"),
            ("x-request-id", "req_0123456789abcdef"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        body: Bytes::from_static(ANSWER.as_bytes()),
        truncated: false,
        header_bytes: None,
        body_bytes: ANSWER.len() as u64,
        duration: Duration::ZERO,
    })
}

fn parts(log: &JetStreamLog, ring: OpenRing) -> VaultParts {
    VaultParts {
        log: Arc::new(log.clone()),
        keys: Arc::new(log.clone()),
        tallies: Arc::new(log.clone()),
        clock: Arc::new(SystemClock),
        opening: Some(OpeningParts {
            unwrapper: Arc::new(ring),
            fences: Arc::new(log.clone()),
            nats: log.client(),
            timing: FenceTiming::default(),
        }),
        usage_flush: Duration::from_secs(60),
        sweep: SweepPace::default(),
    }
}

fn team() -> TeamId {
    TeamId::new(Timestamp(1_700_000_000_000), 1)
}

fn task(headers: Vec<(String, String)>) -> TaskCreated {
    let request = TaskRequest {
        target_url: Some("https://api.example.com/v1/chat/completions".into()),
        body: Some("{\"model\":\"m\",\"messages\":[]}".into()),
        headers,
        ..TaskRequest::default()
    };
    let limits = Limits {
        max_wait: Duration::from_secs(3_600),
        max_delay: Duration::from_secs(3_600),
    };
    let now = SystemClock.now();
    let spec = TaskSpec::check(request, &limits, now).expect("a valid request");
    let partitions = PartitionCount::new(1).expect("a valid count");
    let partition = Partition::of(&team(), &spec.queue, partitions);
    spec.accept(TaskId::new(now, 1, partition), team(), None, now)
}

async fn keep(log: &JetStreamLog, ring: &SealRing, value: &str) -> TokenId {
    let (token, team) = (TokenId::new(Timestamp(1), 1), team());
    let context = Context::token(team.as_str(), token.as_str(), 1);
    let secret = SecretBytes::from(value.to_owned());
    let (envelope, wrapped) = seal(ring, None, &context, &secret).await.expect("sealed");
    let name = KeyName::Token {
        team: team.clone(),
        token: token.clone(),
        version: 1,
    };
    let bytes = Bytes::copy_from_slice(&wrapped.to_bytes());
    log.put(&name, bytes, StreamSeq(0), None)
        .await
        .expect("stored");
    let event = ControlEvent::TokenCreated(TokenCreated {
        token: token.clone(),
        team: team.clone(),
        environment: Environment::Live,
        name: "a credential".to_owned(),
        version: 1,
        envelope: envelope.to_text(),
        fits_header: true,
        allowed_hosts: vec!["api.example.com".to_owned()],
        expires_at: None,
        created_by: "system:example".to_owned(),
        at: SystemClock.now(),
    });
    let (aggregate, id) = event.aggregate();
    let subject = ControlSubject::of_team(&team, aggregate, id).expect("a subject");
    let append = Append {
        stream: Stream::Control,
        records: vec![NewRecord {
            subject: subject.to_string(),
            event: event.name(),
            actor: "system:example".to_owned(),
            traceparent: None,
            origin: None,
            payload: event.encode().into(),
        }],
        expect: Expectation::None,
        atomicity: Atomicity::Atomic,
        msg_id: None,
    };
    log.append(append).await.expect("appended");
    token
}
