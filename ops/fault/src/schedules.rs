//! Schedules that are due every second while faults happen, and the moment at which they fire.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use http::Method;
use serde_json::json;
use tokio::time::sleep;

use crate::checker::Scheduled;
use crate::client::{Client, Reply};
use crate::workload::{QUEUES, RETRY_PAUSE, Target, now};

/// How many there are, all due at the same moments.
const SCHEDULES: u64 = 10;
/// The same where producers create many tasks as well.
const MANY: u64 = 100;
/// Time to pause them all, and for what was due before that to fire.
const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// How far into a second the owner of the schedules is about to make their tasks, or making them.
const FIRING: Duration = Duration::from_millis(15);

/// Schedules that run.
pub(crate) struct Schedules(Vec<Scheduled>);

/// Waits until schedules fire.
pub(crate) async fn when_they_fire() {
    let into = u64::try_from(now().0.rem_euclid(1_000)).unwrap_or(0);
    sleep(Duration::from_millis(1_000 - into) + FIRING).await;
}

impl Schedules {
    /// Sets schedules without a limit to what is caught up, so that every instant fires.
    pub(crate) async fn set(client: &Client, target: &Target, rate: u64) -> Result<Self> {
        let count = if rate > 0 { MANY } else { SCHEDULES };
        let mut set = Vec::new();
        for number in 0..count {
            let schedule = json!({
                "name": format!("every second {number}"),
                "when": "every 1s",
                "overlap": "allow",
                "catchUp": {"mode": "all", "max": 1_000, "within": "6h"},
                "task": {
                    "targetUrl": target.url("/"),
                    "queue": format!("fault-{}", number % QUEUES),
                    "maxRetries": 3,
                    "body": "{{run.dueAt}}",
                },
            });
            let reply = client
                .send(Method::POST, "/v1/schedules", None, Some(&schedule))
                .await?;
            let Reply::Answer {
                status: 201, body, ..
            } = &reply
            else {
                anyhow::bail!("a schedule is not set: {reply:?}");
            };
            let id = body["schedule"]["id"].as_str().context("an id")?;
            set.push(Scheduled {
                id: id.to_owned(),
                from_ms: now().0,
                until_ms: 0,
                paused_ms: 0,
            });
        }
        Ok(Self(set))
    }

    /// Pauses them, and waits until what was due before has fired.
    pub(crate) async fn pause(mut self, client: &Client) -> Result<Vec<Scheduled>> {
        let give_up = Instant::now() + DEADLINE;
        for schedule in &mut self.0 {
            let path = format!("/v1/schedules/{}/pause", schedule.id);
            // Repeated, it may have been taken the first time.
            schedule.until_ms = now().0;
            loop {
                let reply = client.send(Method::POST, &path, None, None).await?;
                if reply.status() == Some(200) {
                    schedule.paused_ms = now().0;
                    break;
                }
                ensure!(
                    Instant::now() < give_up,
                    "no pause of a schedule: {reply:?}"
                );
                sleep(RETRY_PAUSE).await;
            }
        }
        for schedule in &self.0 {
            // What has not fired by then is reported by its check.
            while Instant::now() < give_up && !has_fired(client, schedule).await? {
                sleep(POLL).await;
            }
        }
        Ok(self.0)
    }
}

/// Whether the last instant before the pause has fired.
async fn has_fired(client: &Client, schedule: &Scheduled) -> Result<bool> {
    let path = format!("/v1/schedules/{}/runs?limit=1", schedule.id);
    let reply = client.send(Method::GET, &path, None, None).await?;
    let Reply::Answer {
        status: 200, body, ..
    } = &reply
    else {
        return Ok(false);
    };
    let last = schedule.until_ms - schedule.until_ms.rem_euclid(1_000);
    let last = waybill_domain::time::Timestamp(last).to_rfc3339();
    Ok(body["runs"][0]["dueAt"].as_str() >= Some(last.as_str()))
}
