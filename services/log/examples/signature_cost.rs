//! What signatures cost: making one, checking one, and reading a CONTROL of many events with and without.
//!
//! `cargo run --release -p waybill-log --example signature_cost [EVENTS]`; a nats-server of its own, on this machine.

#![expect(clippy::print_stdout, reason = "what it measured is its result")]

use std::time::{Duration, Instant};

use waybill_domain::audit::Stored;
use waybill_domain::event::samples;
use waybill_domain::trust::event::{Expected, sign};
use waybill_domain::trust::{Accepted, Keys, Signer, Speaker, Trust, verify};
use waybill_log::jetstream::SignaturesConfig;
use waybill_log::{
    Append, Atomicity, Expectation, JetStreamLog, Log, MAX_BATCH, NatsConfig, NewRecord, Stream,
    StreamSeq, connect,
};
use waybill_testkit::NatsServer;

const ROUNDS: u32 = 2_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let events: u64 = std::env::args().nth(1).map_or(Ok(100_000), |n| n.parse())?;
    let signer = Signer::new(Speaker::Control, &[1; 32])?;
    one(&signer)?;

    let server = NatsServer::start().await?;
    let signed = SignaturesConfig {
        required_from: Some(1),
        signer: Some(signer.clone()),
        ..SignaturesConfig::default()
    };
    let writer = at(&server, signed).await?;
    fill(&writer, events).await?;
    let reader = SignaturesConfig {
        keys: vec![signer.public().to_string()],
        required_from: Some(1),
        ..SignaturesConfig::default()
    };
    for _ in 0..3 {
        let plain = follow(&at(&server, SignaturesConfig::default()).await?, events).await?;
        let checked = follow(&at(&server, reader.clone()).await?, events).await?;
        println!("read {events} events: {plain:?} unchecked, {checked:?} checked");
    }
    let log = at(&server, reader).await?;
    for what in ["first", "again"] {
        let filter = ["control.t0.>".to_owned()];
        let start = Instant::now();
        let last = StreamSeq(events);
        let found = log.range(Stream::Control, &filter, StreamSeq(1), last, MAX_BATCH);
        let count = found.await?.len();
        println!("one team's {count} events, {what}: {:?}", start.elapsed());
    }
    Ok(())
}

/// One signature and one check, on one thread.
fn one(signer: &Signer) -> Result<(), Box<dyn std::error::Error>> {
    let subject = "control.team_1.key.key_1";
    let payload = samples::control_events()
        .first()
        .ok_or("a sample")?
        .encode();
    let expected = Some(Expected {
        boundary: "control.team_1.>",
        after: StreamSeq(4),
    });
    let mut headers = vec![("Wb-Event".to_owned(), "key.created.v1".to_owned())];
    let start = Instant::now();
    let mut added = Vec::new();
    for _ in 0..ROUNDS {
        added = sign(signer, 7, subject, &headers, &payload, expected, 0);
    }
    println!("sign one: {:?}", start.elapsed() / ROUNDS);
    headers.extend(added);
    headers.sort();
    let event = Stored {
        seq: StreamSeq(5),
        time_ns: 1,
        subject: subject.to_owned(),
        headers,
        payload: payload.into(),
    };
    let trust = Trust {
        stream: 7,
        signer: None,
        keys: Keys::new(vec![Accepted::new(signer.public())?])?,
        required_from: Some(StreamSeq(1)),
    };
    let start = Instant::now();
    for _ in 0..ROUNDS {
        verify(&trust, &event)?;
    }
    println!("check one: {:?}", start.elapsed() / ROUNDS);
    Ok(())
}

async fn at(
    server: &NatsServer,
    signatures: SignaturesConfig,
) -> Result<JetStreamLog, Box<dyn std::error::Error>> {
    let config = NatsConfig {
        signatures,
        ..NatsConfig::at(server.url())
    };
    Ok(connect(&config).await?)
}

/// Teams of 500 events each, in appends of 100 that expect each other.
async fn fill(log: &JetStreamLog, events: u64) -> Result<(), Box<dyn std::error::Error>> {
    let sample = samples::control_events();
    let sample = sample.first().ok_or("a sample")?;
    let mut last_of_team = StreamSeq(0);
    for at in (0..events).step_by(100) {
        let team = at / 500;
        if at % 500 == 0 {
            last_of_team = StreamSeq(0);
        }
        let record = |n: u64| NewRecord {
            subject: format!("control.t{team}.key.k{n}"),
            event: sample.name(),
            actor: "operator:cli".to_owned(),
            traceparent: None,
            origin: None,
            payload: sample.encode().into(),
        };
        let append = Append {
            stream: Stream::Control,
            records: (0..100).map(record).collect(),
            expect: Expectation::LastOn {
                filter: format!("control.t{team}.>"),
                seq: last_of_team,
            },
            atomicity: Atomicity::Atomic,
            msg_id: None,
        };
        let appended = log.append(append).await?;
        last_of_team = appended.seqs.last().copied().ok_or("sequences")?;
    }
    Ok(())
}

/// Everything through a tail, as a gateway starts. All of it must count.
async fn follow(log: &JetStreamLog, events: u64) -> Result<Duration, Box<dyn std::error::Error>> {
    let mut tail = log.tail(Stream::Control, Vec::new(), StreamSeq(1));
    let start = Instant::now();
    let mut read = 0;
    while read < events {
        let batch = tail.next_batch(500).await?;
        if let Some(record) = batch.iter().find(|record| record.void().is_some()) {
            return Err(format!("record {} does not count", record.seq).into());
        }
        read += batch.len() as u64;
    }
    Ok(start.elapsed())
}
