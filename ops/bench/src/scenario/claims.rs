//! Workers that pull: how fast a backlog is claimed and completed, and how soon a task reaches a claim that waits.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::LocalSet;

use super::stage::{PATIENCE, Stage};
use crate::args::Kind;
use crate::http1::{Answer, Connection};
use crate::latency::Latencies;
use crate::report::Report;
use crate::system::Target;

const TASKS: u32 = 100_000;
/// Most connections that claim, and workers: more would only wait for each other.
const MOST_WORKERS: u16 = 64;
/// Tasks of one request that creates the backlog.
const CREATED_AT_A_TIME: u64 = 100;
/// Tasks of one claim, and reports of one request.
const BATCH: usize = 50;
/// Claims that wait, and tasks a second that wake them.
const WAITING: u16 = 32;
const WOKEN: u32 = 100;
/// Digits of a task's number, with which its body begins.
const DIGITS: usize = 10;

pub(super) async fn run(stage: &mut Stage, kind: Kind) -> Result<Report> {
    // One thread, as all of the generator.
    let local = LocalSet::new();
    match kind {
        Kind::Claim => local.run_until(work_off(stage, BATCH)).await,
        Kind::ClaimOne => local.run_until(work_off(stage, 1)).await,
        _ => local.run_until(wake(stage)).await,
    }
}

/// A backlog that workers claim and complete, so many tasks in a request.
async fn work_off(stage: &mut Stage, batch: usize) -> Result<Report> {
    let tasks = u64::from(stage.arguments.tasks.unwrap_or(TASKS));
    let target = stage.system.target.clone();
    let before = stage.system.count("completed").await?;
    let queues = u16::from(stage.arguments.queues);
    create(&target, tasks, queues, stage.arguments.body).await?;
    stage.counted("pending", tasks).await?;
    let workers = stage.arguments.connections.min(MOST_WORKERS);
    let mark = stage.mark().await?;
    let begin = Instant::now();
    let mut working = Vec::new();
    for number in 0..workers {
        // Each worker has queues of its own where there are enough of them.
        let own = (number % queues..queues).step_by(usize::from(workers));
        let names: Vec<String> = own.map(queue).collect();
        let worker = Worker {
            name: format!("bench-{number}"),
            queues: names,
            batch,
        };
        working.push(tokio::task::spawn_local(worker.work(target.clone())));
    }
    let (mut claims, mut reports) = (Latencies::new()?, Latencies::new()?);
    let mut done = HashSet::new();
    let (mut count, mut requests, mut last) = (0_u64, 0_u64, begin);
    for worker in working {
        let worked = worker.await??;
        requests += worked.requests;
        last = last.max(worked.last);
        worked
            .claims
            .into_iter()
            .for_each(|took| claims.record(took));
        worked
            .reports
            .into_iter()
            .for_each(|took| reports.record(took));
        count += worked.completed.len() as u64;
        done.extend(worked.completed);
    }
    ensure!(
        count == tasks && done.len() as u64 == tasks,
        "{count} completions of {} tasks were taken, and there were {tasks}",
        done.len()
    );
    stage.completed(before + tasks).await?;
    stage.account(&mark, tasks).await?;
    let rate = tasks as f64 / (last - begin).as_secs_f64();
    stage.report.figure("backlog", tasks as f64, "tasks");
    stage.report.figure("workers", f64::from(workers), "");
    stage.report.figure("tasks in a request", batch as f64, "");
    stage.report.figure("claimed and completed", rate, "/s");
    stage.report.figure("requests", requests as f64, "");
    stage.report.latency("claim", claims.sum_up());
    stage.report.latency("report", reports.sum_up());
    Ok(stage.report.clone())
}

fn queue(number: u16) -> String {
    format!("claims-{number:02}")
}

/// Creates pulled tasks, over all queues alike.
async fn create(target: &Target, tasks: u64, queues: u16, bytes: u32) -> Result<()> {
    let padding = "x".repeat((bytes as usize).saturating_sub(DIGITS));
    let next = Rc::new(RefCell::new(0_u64));
    let mut creating = Vec::new();
    for _ in 0..8 {
        let (target, next, padding) = (target.clone(), next.clone(), padding.clone());
        creating.push(tokio::task::spawn_local(async move {
            let mut connection = Connection::open(target.address).await?;
            loop {
                let first = next.replace_with(|next| *next + CREATED_AT_A_TIME);
                if first >= tasks {
                    return anyhow::Ok(());
                }
                let numbers = first..tasks.min(first + CREATED_AT_A_TIME);
                let of = |number: u64| {
                    let queue = queue(u16::try_from(number % u64::from(queues)).unwrap_or(0));
                    json!({"queue": queue, "body": format!("{number:0DIGITS$}{padding}")})
                };
                let tasks: Vec<Value> = numbers.map(of).collect();
                let body = json!({ "tasks": tasks }).to_string();
                let request = target.request("POST", "/v1/tasks/batch", &body);
                let answer = connection.exchange(request.as_bytes()).await?;
                ensure!(
                    answer.status == 200,
                    "a batch is answered {}",
                    answer.status
                );
            }
        }));
    }
    for one in creating {
        one.await??;
    }
    Ok(())
}

struct Worker {
    name: String,
    queues: Vec<String>,
    batch: usize,
}

/// What a worker has done.
struct Worked {
    /// The tasks whose completion was taken.
    completed: Vec<String>,
    claims: Vec<Duration>,
    reports: Vec<Duration>,
    requests: u64,
    /// When the last completion was taken.
    last: Instant,
}

impl Worker {
    /// Claims and completes until its queues are empty.
    async fn work(self, target: Target) -> Result<Worked> {
        let mut connection = Connection::open(target.address).await?;
        let wanted = json!({
            "queues": self.queues, "worker": self.name, "max": self.batch, "leaseSeconds": 300
        });
        let claim = target.request("POST", "/v1/claims", &wanted.to_string());
        let mut worked = Worked {
            completed: Vec::new(),
            claims: Vec::new(),
            reports: Vec::new(),
            requests: 0,
            last: Instant::now(),
        };
        loop {
            let began = Instant::now();
            let answer = connection.exchange(claim.as_bytes()).await?;
            worked.requests += 1;
            let given = read(&connection, answer)?;
            let given = given["claims"].as_array().context("claims")?;
            if given.is_empty() {
                return Ok(worked);
            }
            worked.claims.push(began.elapsed());
            let (path, body) = self.completes(given)?;
            let report = target.request("POST", &path, &body);
            let began = Instant::now();
            let answer = connection.exchange(report.as_bytes()).await?;
            worked.requests += 1;
            worked.last = Instant::now();
            worked.reports.push(worked.last - began);
            let taken = read(&connection, answer)?;
            let results = taken["results"].as_array().map(Vec::as_slice);
            for result in results.unwrap_or(std::slice::from_ref(&taken)) {
                let task = result["claim"]["taskId"].as_str();
                let task = task.with_context(|| format!("a completion is answered {result}"))?;
                worked.completed.push(task.to_owned());
            }
        }
    }

    /// The request that completes what was claimed: of one, or of all of it.
    fn completes(&self, given: &[Value]) -> Result<(String, String)> {
        let ids = given
            .iter()
            .map(|claim| claim["id"].as_str().context("an id"));
        let ids: Vec<&str> = ids.collect::<Result<_>>()?;
        if let ([id], 1) = (&ids[..], self.batch) {
            let path = format!("/v1/claims/{id}/complete");
            return Ok((path, r#"{"result":{"ok":true}}"#.to_owned()));
        }
        let report = |id| json!({"id": id, "action": "complete", "result": {"ok": true}});
        let reports: Vec<Value> = ids.into_iter().map(report).collect();
        let body = json!({ "reports": reports }).to_string();
        Ok(("/v1/claims/reports".to_owned(), body))
    }
}

fn read(connection: &Connection, answer: Answer) -> Result<Value> {
    let body = connection.body(answer);
    if answer.status != 200 {
        bail!("{}: {}", answer.status, String::from_utf8_lossy(body));
    }
    Ok(serde_json::from_slice(body)?)
}

/// When tasks were sent and accepted, and what their claimants saw.
#[derive(Default)]
struct Board {
    sent: BTreeMap<u64, Instant>,
    accepted: BTreeMap<u64, Instant>,
    arrived: BTreeMap<u64, Instant>,
}

/// Tasks at a fixed rate, for claims that wait.
async fn wake(stage: &mut Stage) -> Result<Report> {
    let target = stage.system.target.clone();
    let board = Rc::new(RefCell::new(Board::default()));
    let mut waiting = Vec::new();
    for number in 0..WAITING {
        let (target, board) = (target.clone(), board.clone());
        waiting.push(tokio::task::spawn_local(async move {
            wait_for_tasks(&target, number, &board).await
        }));
    }
    let seconds = stage.arguments.measured().as_secs_f64();
    let tasks = (seconds * f64::from(WOKEN)) as u64;
    let padding = "x".repeat((stage.arguments.body as usize).saturating_sub(DIGITS));
    let mark = stage.mark().await?;
    let begin = Instant::now();
    let mut creating = Vec::new();
    for number in 0..tasks {
        let due = begin + Duration::from_secs_f64(number as f64 / f64::from(WOKEN));
        tokio::time::sleep_until(due.into()).await;
        let (target, board) = (target.clone(), board.clone());
        let task = json!({"queue": queue(0), "body": format!("{number:0DIGITS$}{padding}")});
        let request = target.request("POST", "/v1/tasks", &task.to_string());
        creating.push(tokio::task::spawn_local(async move {
            let mut connection = Connection::open(target.address).await?;
            board.borrow_mut().sent.insert(number, Instant::now());
            let answer = connection.exchange(request.as_bytes()).await?;
            board.borrow_mut().accepted.insert(number, Instant::now());
            ensure!(answer.status == 201, "a task is answered {}", answer.status);
            anyhow::Ok(())
        }));
    }
    for one in creating {
        one.await??;
    }
    let give_up = Instant::now() + PATIENCE;
    while (board.borrow().arrived.len() as u64) < tasks {
        ensure!(Instant::now() < give_up, "not every task was claimed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for one in waiting {
        if one.is_finished() {
            one.await??;
        } else {
            one.abort();
        }
    }
    stage.account(&mark, tasks).await?;
    let (mut from_sent, mut from_accepted) = (Latencies::new()?, Latencies::new()?);
    let board = board.borrow();
    for (number, arrived) in &board.arrived {
        from_sent.record(*arrived - board.sent[number]);
        // A claim may be answered before the creation is.
        from_accepted.record(arrived.saturating_duration_since(board.accepted[number]));
    }
    stage
        .report
        .figure("claims that wait", f64::from(WAITING), "");
    stage.report.figure("tasks", tasks as f64, "");
    stage
        .report
        .latency("creation sent to claim answered", from_sent.sum_up());
    stage.report.latency(
        "creation answered to claim answered",
        from_accepted.sum_up(),
    );
    Ok(stage.report.clone())
}

/// Claims one task after the other, and completes it.
async fn wait_for_tasks(target: &Target, number: u16, board: &RefCell<Board>) -> Result<()> {
    let mut connection = Connection::open(target.address).await?;
    let wanted = json!({"queues": [queue(0)], "worker": format!("bench-{number}"), "wait": 25});
    let claim = target.request("POST", "/v1/claims", &wanted.to_string());
    loop {
        let answer = connection.exchange(claim.as_bytes()).await?;
        let now = Instant::now();
        let given = read(&connection, answer)?;
        for claim in given["claims"].as_array().context("claims")? {
            let body = claim["body"].as_str().and_then(|body| body.get(..DIGITS));
            let task = body.context("a number")?.parse().context("a number")?;
            let former = board.borrow_mut().arrived.insert(task, now);
            ensure!(former.is_none(), "task {task} was claimed twice");
            let id = claim["id"].as_str().context("an id")?;
            let path = format!("/v1/claims/{id}/complete");
            let report = target.request("POST", &path, "{}");
            let answer = connection.exchange(report.as_bytes()).await?;
            read(&connection, answer)?;
        }
    }
}
