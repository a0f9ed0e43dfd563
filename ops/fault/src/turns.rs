//! Two teams with different plans crowd for few slots: each gets its share of them, by the weight of its plan.
//!
//! It comes last, after all that the checks compare: the second team's tasks are in no list and no stream of the first one.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;
use waybill_domain::event::TaskEvent;
use waybill_domain::id::TaskId;
use waybill_log::{JetStreamLog, Log, Stream, StreamSeq, TaskRecord, task_record};

use crate::client::Client;
use crate::fleet::Fleet;
use crate::inject::restart;
use crate::probe::Probe;
use crate::workload::{RETRY_PAUSE, Target};

/// The plan of the second team, and what both plans weigh: the first team has the one of new installations.
const PLAN: &str = "pro";
const WEIGHTS: [usize; 2] = [4, 2];
/// How many tasks each creates.
const CROWD: [usize; 2] = [160, 80];
/// The slots of a worker meanwhile: far fewer than the tasks, so that all but the first wait for their turn.
const SLOTS: &str = "24";
/// How long a task takes.
const PATH: &str = "/delay/100ms";
/// How many queues are tried until one is in the partition of the first team's.
const TRIES: usize = 200;
/// How many starts there must be while both teams have tasks that wait.
const LEAST: usize = 60;
/// By how many starts a share may differ: a turn of each team, and a tenth for what was decided before both had come.
const TURNS: usize = WEIGHTS[0] + WEIGHTS[1];
const MORE: usize = 10;
/// Time limit for all of it.
const DEADLINE: Duration = Duration::from_secs(60);
/// Pause between two looks at the log.
const POLL: Duration = Duration::from_millis(100);
/// Records read at a time.
const PAGE: usize = 1_000;

/// Lets both teams crowd, and checks their shares.
pub(crate) async fn check(
    fleet: &mut Fleet,
    first: &Client,
    target: &Target,
    log: &JetStreamLog,
    probe: &Probe,
) -> Result<()> {
    let begin = Instant::now();
    for worker in &mut fleet.workers {
        for name in ["SLOTS", "SLOTS_PER_HOST", "SLOTS_PER_TEAM"] {
            let name = format!("WAYBILL__WORKER__{name}");
            worker.role.set(&name, Some(SLOTS));
        }
        restart(&mut worker.role).await?;
    }
    let team = fleet
        .tell(&["keys", "create-team", "--name", "turns", "--plan", PLAN])
        .await?;
    let key = fleet
        .tell(&["keys", "create", "--team", &team, "--name", "turns"])
        .await?;
    let second = Client::new(&fleet.address, &key);
    probe.until_through(DEADLINE).await?;
    let from = log.bounds(Stream::Tasks).await?.last;
    let (queue, other) = one_partition(first, &second, target, begin).await?;
    let places = [(first, queue), (&second, other)];
    for (client, queue) in &places {
        done(client, &format!("/v1/queues/{queue}/pause"), begin).await?;
    }
    let mut who = HashMap::new();
    for (number, (client, queue)) in places.iter().enumerate() {
        let task = json!({ "targetUrl": target.url(PATH), "queue": queue });
        let mut left = CROWD[number];
        while left > 0 {
            let some = left.min(80);
            let body = json!({ "tasks": vec![&task; some] });
            let reply = client
                .send(Method::POST, "/v1/tasks/batch", None, Some(&body))
                .await?;
            ensure!(reply.accepted() == some, "no crowd: {reply:?}");
            who.extend(reply.created().into_iter().map(|id| (id, number)));
            left -= some;
        }
    }
    for (client, queue) in &places {
        done(client, &format!("/v1/queues/{queue}/resume"), begin).await?;
    }
    loop {
        let starts = starts(log, from, &who).await?;
        if starts.len() >= who.len() {
            return judge(&starts).map_err(anyhow::Error::msg);
        }
        ensure!(
            begin.elapsed() < DEADLINE,
            "{} of {} have started within {DEADLINE:?}",
            starts.len(),
            who.len()
        );
        sleep(POLL).await;
    }
}

/// Two queues, one of each team, of which one worker serves all tasks in turn.
async fn one_partition(
    first: &Client,
    second: &Client,
    target: &Target,
    begin: Instant,
) -> Result<(String, String)> {
    let queue = "turns".to_owned();
    let wanted = created(first, target, &queue, begin).await?.partition();
    for number in 0..TRIES {
        let other = format!("turns-{number}");
        if created(second, target, &other, begin).await?.partition() == wanted {
            return Ok((queue, other));
        }
    }
    bail!("no queue of the second team is in partition {wanted}")
}

async fn created(client: &Client, target: &Target, queue: &str, begin: Instant) -> Result<TaskId> {
    let task = json!({ "targetUrl": target.url("/"), "queue": queue });
    loop {
        let reply = client
            .send(Method::POST, "/v1/tasks", None, Some(&task))
            .await?;
        if let Some(id) = reply.task("id") {
            return TaskId::parse(&id).context("the id of a task");
        }
        // A gateway learns of a new team a moment after it was made.
        ensure!(begin.elapsed() < DEADLINE, "no task of {queue}: {reply:?}");
        sleep(RETRY_PAUSE).await;
    }
}

async fn done(client: &Client, path: &str, begin: Instant) -> Result<()> {
    loop {
        let body: Option<&Value> = None;
        let reply = client.send(Method::POST, path, None, body).await?;
        if reply.status() == Some(200) {
            return Ok(());
        }
        ensure!(begin.elapsed() < DEADLINE, "{path}: {reply:?}");
        sleep(RETRY_PAUSE).await;
    }
}

/// Whose tasks have started since a position, in the order of their first starts.
async fn starts(
    log: &JetStreamLog,
    after: StreamSeq,
    who: &HashMap<String, usize>,
) -> Result<Vec<usize>> {
    let last = log.bounds(Stream::Tasks).await?.last;
    let (mut starts, mut next) = (Vec::new(), StreamSeq(after.0 + 1));
    while next <= last {
        let page = log.range(Stream::Tasks, &[], next, last, PAGE).await?;
        let Some(end) = page.last() else { break };
        next = StreamSeq(end.seq.0 + 1);
        for record in &page {
            if let Ok(TaskRecord::Event(TaskEvent::Started(started))) = task_record(record)
                && started.attempt == 1
            {
                starts.extend(who.get(&started.id.to_string()));
            }
        }
    }
    Ok(starts)
}

/// Whether each team got its share while both had tasks that waited.
fn judge(starts: &[usize]) -> Result<(), String> {
    let first = [0, 1].map(|who| starts.iter().position(|start| *start == who));
    let last = [0, 1].map(|who| starts.iter().rposition(|start| *start == who));
    let ([Some(a), Some(b)], [Some(y), Some(z)]) = (first, last) else {
        return Err("one of the teams never starts".into());
    };
    let both = starts.get(a.max(b)..y.min(z)).unwrap_or_default();
    if both.len() < LEAST {
        return Err(format!("both teams wait for {} starts only", both.len()));
    }
    let of_second = both.iter().filter(|who| **who == 1).count();
    let share = both.len() * WEIGHTS[1] / TURNS;
    let most = TURNS + both.len() / MORE;
    if of_second.abs_diff(share) > most {
        return Err(format!(
            "of {} starts the second team has {of_second}, not {share} (give or take {most})",
            both.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of so many tasks of each team, until one has none left.
    fn turns(each: [usize; 2]) -> Vec<usize> {
        let mut left = CROWD;
        let mut starts = Vec::new();
        while left.iter().any(|left| *left > 0) {
            for who in [0, 1] {
                let some = each[who].min(left[who]);
                starts.extend(vec![who; some]);
                left[who] -= some;
            }
        }
        starts
    }

    #[test]
    fn turns_by_weight_are_found_well() {
        assert_eq!(judge(&turns(WEIGHTS)), Ok(()));
        // What came first may have taken all slots.
        let mut late = vec![0; 24];
        late.extend(turns(WEIGHTS));
        assert_eq!(judge(&late), Ok(()));
    }

    #[test]
    fn other_turns_are_reported() {
        for each in [[1, 1], [2, 4], [8, 1]] {
            assert!(judge(&turns(each)).is_err(), "{each:?}");
        }
    }

    #[test]
    fn teams_that_do_not_wait_beside_each_other_prove_nothing() {
        assert!(judge(&turns([CROWD[0], CROWD[1]])).is_err());
        assert!(judge(&[0; 200]).is_err());
    }
}
