//! The running of operations: by one gateway at a time, as a lease says. Two that run the same for a moment do no harm: the tasks that they
//! make have derived keys, and of their checkpoints the log takes those of one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::{Id, JoinSet};
use tokio::time::sleep;
use waybill_commands::{Author, CommandError};
use waybill_domain::access::team::Team;
use waybill_domain::event::{Boundary, OperationCreated};
use waybill_domain::id::{OperationId, TeamId};
use waybill_domain::operation::{
    MAX_RUNNING, Operation, OperationCommand, OperationRefusal, Pace, Progress, State, actor,
};
use waybill_edge::turns::{Turn, take_turns};
use waybill_log::Leases;

use super::aim::Aim;
use super::item::Work;
use crate::state::TasksApi;

/// Name of the lease.
const LEASE: &str = "operations";
/// Tasks of all operations that are under way at a time.
const AT_A_TIME: usize = 16;
/// Shortest and longest pause before a slice that failed is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Runs operations whenever there are some and no other gateway does, until the gateway drains.
pub async fn run(state: TasksApi, leases: Arc<dyn Leases>) {
    let runner = Runner {
        room: Arc::new(Semaphore::new(AT_A_TIME)),
        state,
    };
    let edge = &runner.state;
    let is_work = || !edge.auth.directory().open_operations().is_empty();
    take_turns(edge, &*leases, LEASE, is_work, || runner.clone()).await;
}

#[derive(Clone)]
struct Runner {
    state: TasksApi,
    room: Arc<Semaphore>,
}

impl Turn for Runner {
    /// Runs all operations that are not over; returns when there is none.
    async fn serve(&mut self) {
        let mut applied = self.state.auth.applied_changes();
        let mut runs = JoinSet::new();
        let mut under_way: HashMap<Id, (OperationId, TeamId)> = HashMap::new();
        loop {
            let open = self.state.auth.directory().open_operations();
            if open.is_empty() && under_way.is_empty() {
                return;
            }
            for operation in open {
                let Some(created) = &operation.created else {
                    continue;
                };
                let of_team = under_way.values().filter(|(_, team)| *team == created.team);
                let is_full = of_team.count() >= MAX_RUNNING;
                let is_run = under_way.values().any(|(id, _)| *id == created.operation);
                if operation.state() != State::Running || is_full || is_run {
                    continue;
                }
                let (id, team) = (created.operation.clone(), created.team.clone());
                let (runner, run) = (self.clone(), id.clone());
                let task = runs.spawn(async move { runner.go_on(run).await });
                under_way.insert(task.id(), (id, team));
            }
            tokio::select! {
                changed = applied.changed() => if changed.is_err() {
                    return;
                },
                Some(ended) = runs.join_next_with_id(), if !runs.is_empty() => match ended {
                    Ok((id, ())) => {
                        under_way.remove(&id);
                    }
                    Err(error) => {
                        tracing::error!(%error, "the run of an operation ended by a fault of Waybill; it begins again at its last checkpoint");
                        under_way.remove(&error.id());
                        sleep(PAUSES.1).await;
                    }
                },
            }
        }
    }
}

impl Runner {
    /// Goes on with an operation from its last checkpoint until it is over, paused or run elsewhere.
    async fn go_on(&self, id: OperationId) {
        let boundary = Boundary::Operation(id.clone());
        let loaded = match self.state.control.load::<Operation>(&boundary).await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(%error, operation = %id, "an operation cannot be read; trying again");
                sleep(PAUSES.1).await;
                return;
            }
        };
        let Some(created) = loaded.state.created.as_deref() else {
            return;
        };
        if loaded.state.state() != State::Running {
            // This gateway has not read that yet.
            let _ = self.state.auth.wait_for(loaded.version).await;
            return;
        }
        let aim = match Aim::of(created) {
            Ok(aim) => aim,
            Err(error) => {
                // Written by a version that knows more conditions.
                tracing::error!(%error, operation = %id, "an operation is not understood by this version; it waits for another gateway");
                sleep(PAUSES.1).await;
                return;
            }
        };
        let mut run = Run {
            runner: self,
            created,
            team: created.team.in_environment(created.environment),
            written: (loaded.state.progress.clone(), Instant::now()),
            progress: loaded.state.progress,
            pace: (Pace::new(created.rate), Instant::now()),
        };
        run.until_over(&aim).await;
    }
}

/// One operation that is being run.
struct Run<'a> {
    runner: &'a Runner,
    created: &'a OperationCreated,
    /// The team in the environment of the tasks.
    team: TeamId,
    progress: Progress,
    /// The last checkpoint, and when it was stored.
    written: (Progress, Instant),
    pace: (Pace, Instant),
}

impl Run<'_> {
    async fn until_over(&mut self, aim: &Aim) {
        let state = &self.runner.state;
        let id = &self.created.operation;
        let mut pause = PAUSES.0;
        loop {
            // Without a lease, this gateway may not know of a pause.
            if state.fence.may_decide_soon().await.is_err() {
                sleep(PAUSES.0).await;
                continue;
            }
            let known = state.auth.directory().operation(id);
            if known.is_some_and(|known| known.state() != State::Running) {
                self.write(false).await;
                return;
            }
            // The plan may have changed.
            let plan = state.auth.directory().plan_of(&self.created.team);
            let exists = state
                .auth
                .directory()
                .with_team(&self.created.team, Team::is_there);
            let Some(plan) = plan.filter(|_| exists == Some(true)) else {
                self.cancel_without_team().await;
                return;
            };
            let work = Work {
                state,
                operation: self.created,
                team: &self.team,
                plan: &plan,
            };
            let room = &self.runner.room;
            let slice = work.slice(aim, &self.progress, &mut self.pace, room).await;
            match slice {
                Ok(slice) => {
                    pause = PAUSES.0;
                    let is_last = slice.next.is_none();
                    self.progress.take_in(slice.verdicts, slice.next);
                    if is_last {
                        while self.write(true).await == Written::NotYet {
                            sleep(PAUSES.0).await;
                        }
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, operation = %id, "an operation does not get on; trying again");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
            let (last, at) = &self.written;
            if self
                .progress
                .is_due(last, self.created.matched, at.elapsed())
                && self.write(false).await == Written::Elsewhere
            {
                return;
            }
        }
    }

    /// Nobody is left for whom it could be done.
    async fn cancel_without_team(&self) {
        let state = &self.runner.state;
        let boundary = Boundary::Operation(self.created.operation.clone());
        let by = self.author();
        let command = OperationCommand::Cancel;
        let run = state.control.run::<Operation>(&boundary, command, &(), &by);
        match run.await {
            Ok(after) => {
                let _ = state.auth.wait_for(after.version).await;
            }
            Err(_) => sleep(PAUSES.1).await,
        }
    }

    fn author(&self) -> Author {
        actor(&self.created.operation).into()
    }

    /// Writes down how far it has come.
    async fn write(&mut self, ends: bool) -> Written {
        let state = &self.runner.state;
        let id = &self.created.operation;
        let boundary = Boundary::Operation(id.clone());
        let command = OperationCommand::Progress {
            from: self.written.0.clone(),
            to: self.progress.clone(),
            ends,
        };
        let by = self.author();
        let run = state.control.run::<Operation>(&boundary, command, &(), &by);
        match run.await {
            Ok(after) => {
                self.written = (self.progress.clone(), Instant::now());
                // So that it is not begun again here before its end is read.
                let _ = state.auth.wait_for(after.version).await;
                Written::Yes
            }
            Err(CommandError::Refused(OperationRefusal::Overtaken | OperationRefusal::Over)) => {
                Written::Elsewhere
            }
            Err(error) => {
                tracing::warn!(%error, operation = %id, "the progress of an operation cannot be stored; trying again");
                Written::NotYet
            }
        }
    }
}

/// Whether a checkpoint was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    Yes,
    /// The log did not take it.
    NotYet,
    /// Somebody else has gone on with the operation.
    Elsewhere,
}
