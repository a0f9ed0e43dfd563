//! A record that does not count is quarantined, its task is marked, and everything else is
//! projected.

use std::sync::Arc;

use tempfile::TempDir;
use waybill_domain::event::{ControlEvent, TaskCancelled, TaskEvent, TeamCreated, TeamDeleted};
use waybill_domain::task::Status;
use waybill_domain::time::Timestamp;
use waybill_log::memory::MemoryLog;
use waybill_log::{Log, NewRecord, Reason, Skipped, Stream};
use waybill_projector::model::Reader;
use waybill_projector::query::{ActivityFilter, ListActivity, ListSkipped};
use waybill_projector::verify;

use crate::history::{self, append, control_record, task_record};
use crate::models::{catch_up, open};

fn created(number: u64) -> TaskEvent {
    let (id, team, queue) = (
        history::task_id(number),
        history::team(0),
        history::queue(0),
    );
    TaskEvent::Created(Box::new(history::created(id, team, queue, 5)))
}

fn cancelled(number: u64) -> TaskEvent {
    TaskEvent::Cancelled(TaskCancelled::idle(history::task_id(number), Timestamp(6)))
}

fn record(event: &TaskEvent) -> NewRecord {
    task_record(&history::team(0), &history::queue(0), event)
}

/// A truncated payload.
fn cut(mut record: NewRecord) -> NewRecord {
    record.payload.truncate(record.payload.len() - 1);
    record
}

async fn log_of(control: Vec<NewRecord>, tasks: Vec<NewRecord>) -> Arc<dyn Log> {
    let log = MemoryLog::default();
    for (stream, records) in [(Stream::Control, control), (Stream::Tasks, tasks)] {
        for record in records {
            log.append(append(stream, vec![record]))
                .await
                .expect("stored");
        }
    }
    Arc::new(log)
}

fn reasons(skipped: &[Skipped]) -> Vec<(u64, Reason)> {
    skipped.iter().map(|it| (it.seq.0, it.reason)).collect()
}

fn all_skipped(reader: &Reader) -> Vec<Skipped> {
    let mut all: Vec<Skipped> = Vec::new();
    loop {
        let after = all.last().map(|it| (it.stream, it.seq));
        let page = reader
            .skipped(&ListSkipped { after, limit: 2 })
            .expect("a page");
        all.extend(page.skipped);
        if !page.has_more {
            return all;
        }
    }
}

#[tokio::test]
async fn poison_in_tasks_is_set_aside_and_its_task_is_marked() {
    let mut foreign = record(&cancelled(1));
    foreign.event = "";
    let mut newer = record(&cancelled(1));
    newer.event = "task.paused.v1";
    let mut strangers = record(&cancelled(2));
    strangers.subject = strangers
        .subject
        .replace(history::team(0).as_str(), history::team(1).as_str());
    let mut elsewhere = record(&cancelled(2));
    elsewhere.subject = elsewhere.subject.replace("tasks.3.", "tasks.4.");
    let tasks = vec![
        record(&created(1)),
        record(&created(2)),
        foreign,
        newer,
        cut(record(&cancelled(1))),
        strangers,
        elsewhere,
        cut(record(&created(3))),
        record(&cancelled(2)),
    ];
    let log = log_of(Vec::new(), tasks).await;
    let folder = TempDir::new().expect("a folder");
    let mut projection = open(&log, &folder.path().join("model")).await;
    catch_up(&log, &mut projection).await;
    assert_eq!(projection.applied().tasks.0, 9);
    assert_eq!(projection.quarantined(), 6);

    let reader = Reader::new(projection.store().clone());
    let wanted = [
        (3, Reason::Foreign),
        (4, Reason::Newer),
        (5, Reason::Malformed),
        (6, Reason::Misplaced),
        (7, Reason::Misplaced),
        (8, Reason::Malformed),
    ];
    assert_eq!(reasons(&all_skipped(&reader)), wanted);

    let row = |number| {
        reader
            .task(history::task_id(number))
            .expect("read")
            .expect("a row")
    };
    assert_eq!(
        row(1).status,
        Status::Pending,
        "what is damaged did not happen"
    );
    assert_eq!(row(1).damage.map(|damage| damage.seq.0), Some(5));
    assert_eq!(row(2).status, Status::Cancelled, "what followed did");
    assert_eq!(
        row(2).damage.map(|damage| damage.reason),
        Some("misplaced".to_owned())
    );
    let lost = row(3);
    assert_eq!((lost.status, lost.created_seq.0), (Status::Failed, 8));
    assert_eq!(
        (lost.team, lost.queue),
        (history::team(0), history::queue(0))
    );
    assert!(lost.error.is_some_and(|error| error.contains("damaged")));

    let store = projection.store().clone();
    let verdict = verify(&store, &log, &folder.path().join("again")).await;
    assert!(
        verdict.expect("compared").is_equal(),
        "made anew it is the same"
    );
}

#[tokio::test]
async fn poison_in_control_is_set_aside_and_told_to_no_team() {
    let team = ControlEvent::TeamCreated(TeamCreated {
        team: history::team(0),
        name: "ours".into(),
        plan: "free".into(),
        at: Timestamp(1),
    });
    let deleted = control_record(&ControlEvent::TeamDeleted(TeamDeleted {
        team: history::team(0),
        at: Timestamp(2),
    }));
    let mut misplaced = deleted.clone();
    misplaced.subject = format!("control.{0}.team.{0}", history::team(1));
    let mut foreign = deleted.clone();
    foreign.event = "hello";
    let mut newer = deleted.clone();
    newer.event = "team.frozen.v1";
    let control = vec![
        control_record(&team),
        cut(deleted),
        misplaced,
        foreign,
        newer,
    ];
    let log = log_of(control, vec![record(&created(1))]).await;
    let folder = TempDir::new().expect("a folder");
    let mut projection = open(&log, &folder.path().join("model")).await;
    catch_up(&log, &mut projection).await;
    let reader = Reader::new(projection.store().clone());
    let wanted = [
        (2, Reason::Malformed),
        (3, Reason::Misplaced),
        (4, Reason::Foreign),
        (5, Reason::Newer),
    ];
    assert_eq!(reasons(&all_skipped(&reader)), wanted);
    for (number, wanted) in [(0, &["team.frozen.v1", "team.created.v1"][..]), (1, &[])] {
        let page = reader.activity(&ListActivity {
            team: Some(history::team(number)),
            filter: ActivityFilter {
                stream: Some(Stream::Control),
                ..ActivityFilter::default()
            },
            cursor: None,
            limit: 10,
        });
        let told: Vec<_> = page
            .expect("a page")
            .entries
            .into_iter()
            .map(|e| e.event)
            .collect();
        assert_eq!(told, wanted);
    }
}
