//! The jobs API as its clients use it: enqueue, claim and complete through REST, one by one and in batches of 50, and through gRPC.
//!
//! Each way is measured twice: at 1,000 jobs a second, where latency counts, and as fast as a number of clients goes, where the rate does.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::LocalSet;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};
use waybill_api_jobs_grpc::pb;
use waybill_api_jobs_grpc::pb::queue_service_client::QueueServiceClient;

use super::stage::Stage;
use crate::http1::{Answer, Connection};
use crate::latency::Latencies;
use crate::report::Report;
use crate::system::Target;

/// Jobs a second of the runs in which latency counts.
const OFFERED: u32 = 1_000;
/// Clients that are under way at a time at most, where latency counts: a system that cannot keep up shows it in its latencies, not in the
/// memory of the generator.
const CLIENTS: u16 = 64;
/// Jobs of one request of the way in batches.
const BATCH: usize = 50;
/// Clients of gRPC that share a connection.
const ON_A_CHANNEL: u16 = 8;

/// How jobs are spoken about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Rest,
    Batches,
    Grpc,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Rest => "REST",
            Self::Batches => "REST, 50 at a time",
            Self::Grpc => "gRPC",
        }
    }

    /// Jobs of one round.
    fn batch(self) -> usize {
        match self {
            Self::Batches => BATCH,
            Self::Rest | Self::Grpc => 1,
        }
    }
}

pub(super) async fn run(stage: &mut Stage) -> Result<Report> {
    // One thread, as all of the generator.
    LocalSet::new().run_until(measure(stage)).await
}

async fn measure(stage: &mut Stage) -> Result<Report> {
    let mark = stage.mark().await?;
    let mut jobs = 0;
    for way in [Way::Rest, Way::Batches, Way::Grpc] {
        let length = stage.arguments.measured();
        let offered = offer(&stage.system.target, way, length).await?;
        let name = format!("{}, {OFFERED}/s", way.name());
        jobs += offered.add_to(&mut stage.report, &name)?;
        let clients = stage.arguments.connections.min(CLIENTS);
        let driven = drive(&stage.system.target, way, clients, length).await?;
        let name = format!("{}, {clients} clients", way.name());
        jobs += driven.add_to(&mut stage.report, &name)?;
    }
    stage.account(&mark, jobs).await?;
    Ok(stage.report.clone())
}

/// What was measured of one way.
struct Measured {
    enqueue: Latencies,
    claim: Latencies,
    complete: Latencies,
    jobs: u64,
    took: Duration,
}

impl Measured {
    fn new() -> Result<Self> {
        Ok(Self {
            enqueue: Latencies::new()?,
            claim: Latencies::new()?,
            complete: Latencies::new()?,
            jobs: 0,
            took: Duration::ZERO,
        })
    }

    fn add_to(self, report: &mut Report, name: &str) -> Result<u64> {
        let rate = self.jobs as f64 / self.took.as_secs_f64();
        report.figure(format!("{name}: enqueued, claimed, completed"), rate, "/s");
        for (step, latencies) in [
            ("enqueue", self.enqueue),
            ("claim", self.claim),
            ("complete", self.complete),
        ] {
            report.latency(format!("{name}: {step}"), latencies.sum_up());
        }
        Ok(self.jobs)
    }
}

/// Rounds at a fixed rate. Each begins when it is due, or once a client is free.
async fn offer(target: &Target, way: Way, length: Duration) -> Result<Measured> {
    let measured = Rc::new(RefCell::new(Measured::new()?));
    let free = Rc::new(RefCell::new(Client::several(target, way, CLIENTS).await?));
    let pause = Duration::from_secs(1) * u32::try_from(way.batch())? / OFFERED;
    let rounds = u32::try_from(length.as_nanos() / pause.as_nanos())?;
    let begin = Instant::now();
    let mut under_way = Vec::new();
    for round in 0..rounds {
        tokio::time::sleep_until((begin + pause * round).into()).await;
        let client = loop {
            if let Some(client) = free.borrow_mut().pop() {
                break client;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        };
        let (measured, free) = (measured.clone(), free.clone());
        under_way.push(tokio::task::spawn_local(async move {
            let mut client = client;
            client.round(&measured).await?;
            free.borrow_mut().push(client);
            anyhow::Ok(())
        }));
    }
    finish(measured, under_way, begin).await
}

/// Rounds one after the other, by so many clients, for so long.
async fn drive(target: &Target, way: Way, clients: u16, length: Duration) -> Result<Measured> {
    let measured = Rc::new(RefCell::new(Measured::new()?));
    let begin = Instant::now();
    let mut under_way = Vec::new();
    for mut client in Client::several(target, way, clients).await? {
        let measured = measured.clone();
        under_way.push(tokio::task::spawn_local(async move {
            while begin.elapsed() < length {
                client.round(&measured).await?;
            }
            anyhow::Ok(())
        }));
    }
    finish(measured, under_way, begin).await
}

async fn finish(
    measured: Rc<RefCell<Measured>>,
    under_way: Vec<tokio::task::JoinHandle<Result<()>>>,
    begin: Instant,
) -> Result<Measured> {
    for one in under_way {
        one.await??;
    }
    let measured = Rc::into_inner(measured).context("nobody measures any more")?;
    let mut measured = measured.into_inner();
    measured.took = begin.elapsed();
    Ok(measured)
}

/// A client with a queue of its own: what it enqueues it claims.
struct Client {
    queue: String,
    speaks: Speaks,
}

enum Speaks {
    Rest {
        target: Target,
        connection: Connection,
        batch: usize,
    },
    Grpc {
        service: QueueServiceClient<Channel>,
        key: String,
    },
}

impl Client {
    async fn several(target: &Target, way: Way, count: u16) -> Result<Vec<Self>> {
        let mut channels = Vec::new();
        let mut clients = Vec::new();
        for number in 0..count {
            let speaks = match way {
                Way::Grpc => {
                    if number % ON_A_CHANNEL == 0 {
                        let url = format!("http://{}", target.address);
                        channels.push(Endpoint::from_shared(url)?.connect().await?);
                    }
                    let channel = channels.last().context("a channel")?.clone();
                    Speaks::Grpc {
                        service: QueueServiceClient::new(channel),
                        key: target.key.clone(),
                    }
                }
                Way::Rest | Way::Batches => Speaks::Rest {
                    target: target.clone(),
                    connection: Connection::open(target.address).await?,
                    batch: way.batch(),
                },
            };
            clients.push(Self {
                queue: format!("jobs-{number:02}"),
                speaks,
            });
        }
        Ok(clients)
    }

    /// Enqueues, claims and completes one job, or one batch.
    async fn round(&mut self, measured: &RefCell<Measured>) -> Result<()> {
        let jobs = match &mut self.speaks {
            Speaks::Rest {
                target,
                connection,
                batch,
            } => rest(target, connection, (&self.queue, *batch), measured).await?,
            Speaks::Grpc { service, key } => grpc(service, key, &self.queue, measured).await?,
        };
        measured.borrow_mut().jobs += jobs;
        Ok(())
    }
}

async fn rest(
    target: &Target,
    connection: &mut Connection,
    (queue, batch): (&str, usize),
    measured: &RefCell<Measured>,
) -> Result<u64> {
    let payload = json!({"to": "ann@example.com", "n": 1});
    let (path, body) = if batch == 1 {
        let body = json!({"queue_name": queue, "payload": payload});
        ("/api/v1/jobs", body)
    } else {
        let jobs = vec![json!({ "payload": payload }); batch];
        (
            "/api/v1/jobs/bulk",
            json!({"queue_name": queue, "jobs": jobs}),
        )
    };
    let began = Instant::now();
    post(target, connection, path, &body).await?;
    measured.borrow_mut().enqueue.record(began.elapsed());

    let wanted = json!({"queue_name": queue, "worker_id": queue, "limit": batch});
    let mut left = batch;
    while left > 0 {
        let began = Instant::now();
        let claimed = post(target, connection, "/api/v1/jobs/claim", &wanted).await?;
        let jobs = claimed["jobs"].as_array().context("jobs")?;
        if jobs.is_empty() {
            continue;
        }
        measured.borrow_mut().claim.record(began.elapsed());
        left = left.saturating_sub(jobs.len());
        for job in jobs {
            let path = format!(
                "/api/v1/jobs/{}/complete",
                job["id"].as_str().context("an id")?
            );
            let body = json!({"worker_id": queue, "lease_id": job["lease_id"]});
            let began = Instant::now();
            post(target, connection, &path, &body).await?;
            measured.borrow_mut().complete.record(began.elapsed());
        }
    }
    Ok(batch as u64)
}

async fn post(
    target: &Target,
    connection: &mut Connection,
    path: &str,
    body: &Value,
) -> Result<Value> {
    let request = target.request("POST", path, &body.to_string());
    let answer: Answer = connection.exchange(request.as_bytes()).await?;
    let body = connection.body(answer);
    if !(200..300).contains(&answer.status) {
        bail!(
            "{path}: {}: {}",
            answer.status,
            String::from_utf8_lossy(body)
        );
    }
    Ok(serde_json::from_slice(body)?)
}

async fn grpc(
    service: &mut QueueServiceClient<Channel>,
    key: &str,
    queue: &str,
    measured: &RefCell<Measured>,
) -> Result<u64> {
    let with_key = |request: &mut tonic::metadata::MetadataMap| -> Result<()> {
        request.insert("x-api-key", key.parse()?);
        Ok(())
    };
    let mut request = Request::new(pb::EnqueueRequest {
        queue_name: queue.to_owned(),
        ..pb::EnqueueRequest::default()
    });
    with_key(request.metadata_mut())?;
    let began = Instant::now();
    service.enqueue(request).await?;
    measured.borrow_mut().enqueue.record(began.elapsed());
    let job = loop {
        let mut request = Request::new(pb::DequeueRequest {
            queue_name: queue.to_owned(),
            worker_id: queue.to_owned(),
            ..pb::DequeueRequest::default()
        });
        with_key(request.metadata_mut())?;
        let began = Instant::now();
        let claimed = service.dequeue(request).await?.into_inner();
        if let Some(job) = claimed.jobs.into_iter().next() {
            measured.borrow_mut().claim.record(began.elapsed());
            break job;
        }
    };
    let mut request = Request::new(pb::CompleteRequest {
        job_id: job.id,
        worker_id: queue.to_owned(),
        lease_id: job.lease_id,
        result: None,
    });
    with_key(request.metadata_mut())?;
    let began = Instant::now();
    let done = service.complete(request).await?.into_inner();
    ensure!(done.success, "a completion was not taken");
    measured.borrow_mut().complete.record(began.elapsed());
    Ok(1)
}
