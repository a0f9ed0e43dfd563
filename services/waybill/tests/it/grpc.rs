//! The jobs API over gRPC, as a client of another language sees it.

mod streams;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use prost_types::value::Kind;
use prost_types::{Struct, Value as ProtoValue};
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use waybill_api_jobs_grpc::pb;
use waybill_api_jobs_grpc::pb::queue_service_client::QueueServiceClient;
use waybill_api_jobs_grpc::pb::worker_service_client::WorkerServiceClient;
use waybill_testkit::http::Http;

use crate::installation::{Installation, Up};

/// Deadline of a condition.
const SOON: Duration = Duration::from_secs(20);

/// A client with a key.
#[derive(Clone)]
struct Client {
    channel: Channel,
    key: String,
}

impl Client {
    async fn of(up: &Up, key: &str) -> Result<Self> {
        let endpoint = Endpoint::from_shared(up.url.clone())?.timeout(SOON);
        Ok(Self {
            channel: endpoint.connect().await?,
            key: key.to_owned(),
        })
    }

    fn with_key(&self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    fn queue(&self) -> QueueServiceClient<Channel> {
        QueueServiceClient::new(self.channel.clone())
    }

    fn worker(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel.clone())
    }

    fn ask<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if !self.key.is_empty() {
            let key = self.key.parse().expect("plain");
            request.metadata_mut().insert("x-api-key", key);
        }
        request
    }

    async fn enqueue(&self, request: pb::EnqueueRequest) -> Result<pb::EnqueueResponse, Status> {
        let made = self.queue().enqueue(self.ask(request)).await?;
        Ok(made.into_inner())
    }

    async fn dequeue(&self, queue: &str, worker: &str) -> Result<Vec<pb::Job>, Status> {
        let request = pb::DequeueRequest {
            queue_name: queue.to_owned(),
            worker_id: worker.to_owned(),
            ..pb::DequeueRequest::default()
        };
        let claimed = self.queue().dequeue(self.ask(request)).await?;
        Ok(claimed.into_inner().jobs)
    }

    /// Claims until there is something.
    async fn claim(&self, queue: &str, worker: &str) -> Result<pb::Job> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(job) = self.dequeue(queue, worker).await?.pop() {
                return Ok(job);
            }
            ensure!(Instant::now() < deadline, "nothing to claim in {queue}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn complete(&self, request: pb::CompleteRequest) -> Result<(), Status> {
        let done = self.queue().complete(self.ask(request)).await?;
        assert!(done.into_inner().success);
        Ok(())
    }

    async fn fail(&self, job: &pb::Job, retry: Option<bool>) -> Result<pb::FailResponse, Status> {
        let request = pb::FailRequest {
            job_id: job.id.clone(),
            worker_id: job.assigned_worker_id.clone(),
            lease_id: job.lease_id.clone(),
            error: "ä".repeat(3_000),
            retry,
        };
        Ok(self.queue().fail(self.ask(request)).await?.into_inner())
    }

    async fn job(&self, id: &str) -> Result<pb::Job, Status> {
        let request = pb::GetJobRequest {
            job_id: id.to_owned(),
        };
        let found = self.queue().get_job(self.ask(request)).await?;
        found
            .into_inner()
            .job
            .ok_or_else(|| Status::internal("no job"))
    }
}

fn object(members: &[(&str, Kind)]) -> Struct {
    let value = |kind: &Kind| ProtoValue {
        kind: Some(kind.clone()),
    };
    Struct {
        fields: members
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), value(kind)))
            .collect(),
    }
}

fn job(queue: &str) -> pb::EnqueueRequest {
    pb::EnqueueRequest {
        queue_name: queue.to_owned(),
        payload: Some(object(&[("n", Kind::NumberValue(1.0))])),
        ..pb::EnqueueRequest::default()
    }
}

fn done(job: &pb::Job) -> pb::CompleteRequest {
    pb::CompleteRequest {
        job_id: job.id.clone(),
        worker_id: job.assigned_worker_id.clone(),
        lease_id: job.lease_id.clone(),
        result: Some(object(&[("sent", Kind::BoolValue(true))])),
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) -> Status {
    let status = answer.expect_err(text);
    assert_eq!((status.code(), status.message()), (code, text));
    status
}

/// A key that may do less.
async fn lesser_key(installation: &mut Installation, http: &Http, wish: Value) -> Result<String> {
    let own = http.get("/v1/key").await?.json()["apiKey"].clone();
    let team = own["teamId"].as_str().context("a team")?;
    let made = http.post(&format!("/teams/{team}/apikeys"), &wish).await?;
    ensure!(made.status == 201, "{}", made.text());
    let made = made.json()["apiKey"].clone();
    let key = made["key"].as_str().context("a key")?.to_owned();
    installation.keep_secret(&key);
    Ok(key)
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_has_the_same_jobs_as_rest() -> Result<()> {
    let (mut installation, key) = Installation::with_key()?;
    let up = installation.up().await?;
    let http = up.http(&key);
    let client = Client::of(&up, &key).await?;

    ends_once(&client, &http).await?;
    failures(&client).await?;
    defaults(&client, &http).await?;
    workers(&client).await?;
    about(&client).await?;
    let limited =
        json!({"name": "limited", "scopes": ["jobs:read", "jobs:write"], "queues": ["a"]});
    let limited = lesser_key(&mut installation, &http, limited).await?;
    refusals(&client, &limited).await?;
    up.interrupt().await?;
    Ok(())
}

async fn ends_once(client: &Client, http: &Http) -> Result<()> {
    let tags = [("zone".to_owned(), "a".to_owned())];
    let wanted = pb::EnqueueRequest {
        priority: 9,
        max_retries: 2,
        timeout_seconds: 60,
        idempotency_key: "one".to_owned(),
        tags: tags.into_iter().collect(),
        ..job("mail")
    };
    let made = client.enqueue(wanted.clone()).await?;
    assert!(made.created);
    let again = client.enqueue(wanted).await?;
    assert_eq!((again.job_id, again.created), (made.job_id.clone(), false));

    let seen = http.get(&format!("/api/v1/jobs/{}", made.job_id)).await?;
    let seen = seen.json();
    assert_eq!(
        (&seen["payload"], &seen["tags"], &seen["priority"]),
        (&json!({"n": 1}), &json!({"zone": "a"}), &json!(9))
    );
    let held = client.claim("mail", "w").await?;
    assert_eq!(
        (&held.id, held.status()),
        (&made.job_id, pb::JobStatus::Processing)
    );
    assert_eq!((held.max_retries, held.timeout_seconds), (2, 60));
    assert_eq!((held.priority, held.retry_count), (9, 0));
    assert_eq!(held.payload, Some(object(&[("n", Kind::NumberValue(1.0))])));
    let until = held.lease_expires_at.context("a lease")?.seconds;
    let since = held.started_at.context("a start")?.seconds;
    assert!((299..=301).contains(&(until - since)), "{since} to {until}");

    let request = client.ask(pb::RenewLeaseRequest {
        job_id: held.id.clone(),
        worker_id: "w".to_owned(),
        lease_id: held.lease_id.clone(),
        extension_secs: 3_600,
    });
    let renewed = client.queue().renew_lease(request).await?.into_inner();
    assert!(renewed.success && renewed.new_expires_at.is_some_and(|at| at.seconds > until));

    client.complete(done(&held)).await?;
    let twice = client.complete(done(&held)).await;
    refused(twice, Code::FailedPrecondition, "Job is already completed");
    let read = client.job(&held.id).await?;
    assert_eq!(read.status(), pb::JobStatus::Completed);
    assert_eq!(read.result, done(&held).result);

    // A payload that is no object has no place in a Struct.
    let other = json!({"queue_name": "mail", "payload": [1, 2]});
    let other = http.post("/api/v1/jobs", &other).await?.json();
    let other = client.job(other["id"].as_str().unwrap_or_default()).await?;
    assert_eq!(other.payload, Some(Struct::default()));

    let request = pb::GetQueueStatsRequest {
        queue_name: "mail".to_owned(),
    };
    let stats = client.queue().get_queue_stats(client.ask(request)).await?;
    let stats = stats.into_inner();
    assert_eq!((stats.pending, stats.completed, stats.total), (1, 1, 2));
    Ok(())
}

async fn failures(client: &Client) -> Result<()> {
    client.enqueue(job("letters")).await?;
    let held = client.claim("letters", "w").await?;
    let failed = client.fail(&held, None).await?;
    assert!(failed.success && failed.will_retry);
    let held = client.claim("letters", "w").await?;
    assert_eq!(held.retry_count, 1);
    let failed = client.fail(&held, Some(true)).await?;
    assert!(failed.will_retry && failed.next_retry_delay_secs > 0);
    client.enqueue(job("final")).await?;
    let held = client.claim("final", "w").await?;
    let failed = client.fail(&held, Some(false)).await?;
    assert_eq!(
        (failed.will_retry, failed.next_retry_delay_secs),
        (false, 0)
    );
    let read = client.job(&held.id).await?;
    assert_eq!(read.status(), pb::JobStatus::Deadletter);
    // What is stored has 2,048 characters, what is shown the first 512 bytes.
    assert!(read.last_error.len() <= 512 && read.last_error.ends_with('…'));
    Ok(())
}

async fn defaults(client: &Client, http: &Http) -> Result<()> {
    let request = pb::EnqueueRequest {
        queue_name: "plain".to_owned(),
        ..pb::EnqueueRequest::default()
    };
    let made = client.enqueue(request).await?;
    let seen = http.get(&format!("/api/v1/jobs/{}", made.job_id)).await?;
    let seen = seen.json();
    assert_eq!(
        (
            &seen["payload"],
            &seen["max_retries"],
            &seen["timeout_seconds"]
        ),
        (&json!({}), &json!(3), &json!(300))
    );
    // Compressed messages are taken.
    let mut queue = client.queue().send_compressed(CompressionEncoding::Gzip);
    let long = object(&[("text", Kind::StringValue("long ".repeat(10_000)))]);
    let request = pb::EnqueueRequest {
        payload: Some(long),
        ..job("plain")
    };
    assert!(
        queue
            .enqueue(client.ask(request))
            .await?
            .into_inner()
            .created
    );
    Ok(())
}

async fn workers(client: &Client) -> Result<()> {
    let mut service = client.worker();
    let request = pb::RegisterWorkerRequest {
        queue_name: "mail".to_owned(),
        hostname: "box".to_owned(),
        worker_type: "go".to_owned(),
        max_concurrency: 500,
        worker_id: Some("w-1".to_owned()),
        ..pb::RegisterWorkerRequest::default()
    };
    let registered = service.register(client.ask(request)).await?.into_inner();
    assert_eq!(registered.worker_id, "w-1");
    assert_eq!(registered.lease_duration_secs, 300);
    assert_eq!(registered.heartbeat_interval_secs, 10);
    let beat = |worker: &str, status: &str| pb::HeartbeatRequest {
        worker_id: worker.to_owned(),
        current_jobs: 1,
        status: status.to_owned(),
        ..pb::HeartbeatRequest::default()
    };
    for (worker, status, heard) in [
        ("w-1", "", (true, false)),
        ("w-1", "draining", (true, true)),
        ("w-1", "", (true, true)),
        ("nobody", "", (false, false)),
    ] {
        let answer = service.heartbeat(client.ask(beat(worker, status))).await?;
        let answer = answer.into_inner();
        assert_eq!(
            (answer.acknowledged, answer.should_drain),
            heard,
            "{worker}"
        );
    }
    for (worker, success) in [("w-1", true), ("nobody", false)] {
        let request = pb::DeregisterRequest {
            worker_id: worker.to_owned(),
        };
        let left = service.deregister(client.ask(request)).await?.into_inner();
        assert_eq!(left.success, success, "{worker}");
    }
    Ok(())
}

/// Health and reflection need no credential.
async fn about(client: &Client) -> Result<()> {
    let mut health = HealthClient::new(client.channel.clone());
    for (service, serving) in [("", true), ("spooled.v1.QueueService", true), ("x", false)] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        match health.check(request).await {
            Ok(answer) => assert!(serving && answer.into_inner().status == 1, "{service}"),
            Err(status) => assert!(!serving && status.code() == Code::NotFound, "{status}"),
        }
    }
    let mut reflection = ServerReflectionClient::new(client.channel.clone());
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = reflection.server_reflection_info(futures::stream::iter([request]));
    let answer = answers.await?.into_inner().message().await?;
    let Some(MessageResponse::ListServicesResponse(list)) =
        answer.and_then(|answer| answer.message_response)
    else {
        anyhow::bail!("no list of services");
    };
    let names: Vec<_> = list.service.iter().map(|one| one.name.as_str()).collect();
    for name in [
        "spooled.v1.QueueService",
        "spooled.v1.WorkerService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    Ok(())
}

async fn refusals(client: &Client, limited: &str) -> Result<()> {
    let nobody = client.with_key("");
    let text = "Missing x-api-key or authorization header";
    refused(nobody.enqueue(job("a")).await, Code::Unauthenticated, text);
    let stranger = client.with_key("sp_live_000000000000000000000000000000");
    refused(
        stranger.enqueue(job("a")).await,
        Code::Unauthenticated,
        "Invalid API key",
    );
    let bearer = |key: &str| {
        let mut request = Request::new(job("a"));
        let value = format!("Bearer {key}").parse().expect("plain");
        request.metadata_mut().insert("authorization", value);
        request
    };
    client.queue().enqueue(bearer(&client.key)).await?;

    let limited = client.with_key(limited);
    limited.enqueue(job("a")).await?;
    let text = "API key does not have permission for queue 'b'";
    refused(
        limited.enqueue(job("b")).await,
        Code::PermissionDenied,
        text,
    );
    refused(
        limited.dequeue("b", "w").await,
        Code::PermissionDenied,
        text,
    );
    let request = pb::GetQueueStatsRequest {
        queue_name: "a".to_owned(),
    };
    let stats = limited.queue().get_queue_stats(limited.ask(request)).await;
    let missing = stats.expect_err("a missing permission");
    assert_eq!(missing.code(), Code::PermissionDenied, "{missing}");
    let foreign = client.enqueue(job("b")).await?;
    refused(
        limited.job(&foreign.job_id).await,
        Code::NotFound,
        "Job not found",
    );

    refused(
        client.dequeue("a", "").await,
        Code::InvalidArgument,
        "Worker ID is required",
    );
    let held = client.claim("a", "w").await?;
    let with = |change: fn(&mut pb::CompleteRequest)| {
        let mut request = done(&held);
        change(&mut request);
        client.complete(request)
    };
    let no_lease = with(|request| request.lease_id.clear()).await;
    let text = "lease_id is required for job settlement";
    refused(no_lease, Code::InvalidArgument, text);
    let no_worker = with(|request| request.worker_id.clear()).await;
    refused(no_worker, Code::InvalidArgument, "Worker ID is required");
    let other = with(|request| request.worker_id = "other".to_owned()).await;
    let text = "Job not found or not authorized";
    refused(other, Code::NotFound, text);
    let unknown = with(|request| request.job_id = "x".to_owned()).await;
    refused(unknown, Code::NotFound, text);
    let stale = with(|request| request.lease_id = "stale".to_owned()).await;
    let stale = stale.expect_err("another lease");
    assert_eq!(stale.code(), Code::FailedPrecondition);
    assert!(
        stale
            .message()
            .contains("does not match the job's current lease")
    );

    let wrong = client.enqueue(pb::EnqueueRequest {
        priority: 101,
        ..job("a")
    });
    let wrong = wrong.await.expect_err("out of bounds");
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().starts_with("priority"), "{wrong}");
    let long = object(&[("text", Kind::StringValue("x".repeat(1_100_000)))]);
    let large = client.enqueue(pb::EnqueueRequest {
        payload: Some(long),
        ..job("a")
    });
    let large = large.await.expect_err("too large");
    assert_eq!(large.code(), Code::InvalidArgument, "{large}");

    let mut raw = tonic::client::Grpc::new(client.channel.clone());
    raw.ready().await?;
    let path = http::uri::PathAndQuery::from_static("/spooled.v1.QueueService/Explode");
    let codec = tonic_prost::ProstCodec::<pb::GetJobRequest, pb::GetJobResponse>::default();
    let request = client.ask(pb::GetJobRequest::default());
    let unknown = raw.unary(request, path, codec).await;
    let unknown = unknown.expect_err("no such method");
    assert_eq!(unknown.code(), Code::Unimplemented, "{unknown}");
    Ok(())
}
