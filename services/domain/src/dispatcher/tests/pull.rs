//! Tasks that workers claim: who gets which ([`claims`]), what a lease is worth and what reports mean
//! ([`leases`]), what is told of workers ([`workers`]), and claimants in random histories ([`histories`]).

mod claims;
mod histories;
mod leases;
mod workers;

use super::*;
use crate::command::{Blocker, WorkerReport};
use crate::id::QueueName;
use crate::task::TaskRow;

const LEASE: u32 = 10_000;

/// What a worker reports, by a number.
pub(super) fn report(number: u8) -> WorkerReport {
    match number % 8 {
        0..=2 => WorkerReport::Complete {
            result: Answer {
                status: 200,
                headers: Vec::new(),
                body: "{}".into(),
                encoding: BodyEncoding::Text,
                body_bytes: 2,
                duration_ms: 0,
                header_bytes: None,
            },
        },
        3 => WorkerReport::Fail {
            message: "it broke".into(),
            retry: true,
        },
        4 => WorkerReport::Fail {
            message: "it cannot be done".into(),
            retry: false,
        },
        5 => WorkerReport::Release,
        6 => WorkerReport::Progress {
            lease_ms: None,
            percent: Some(40),
            message: Some("under way".into()),
        },
        _ => WorkerReport::Progress {
            lease_ms: Some(3_000),
            percent: None,
            message: None,
        },
    }
}

fn completes() -> WorkerReport {
    report(0)
}

fn fails() -> WorkerReport {
    report(3)
}

fn lives() -> WorkerReport {
    WorkerReport::Progress {
        lease_ms: None,
        percent: None,
        message: None,
    }
}

impl World {
    fn create_pulled(&mut self, change: impl FnOnce(&mut TaskRequest)) -> TaskId {
        self.create(|task| {
            task.target_url = None;
            change(task);
        })
    }

    /// A claim whose number is its ticket.
    pub(super) fn claim_as(
        &mut self,
        worker: &str,
        queues: &[&str],
        max: usize,
        wait: Duration,
        lease_ms: u32,
    ) -> Ticket {
        self.tickets += 1;
        self.claim_again(worker, queues, max, wait, lease_ms, self.tickets, false)
    }

    #[expect(clippy::too_many_arguments, reason = "all that a claim says")]
    fn claim_again(
        &mut self,
        worker: &str,
        queues: &[&str],
        max: usize,
        wait: Duration,
        lease_ms: u32,
        ask: u64,
        is_repeated: bool,
    ) -> Ticket {
        if is_repeated {
            self.tickets += 1;
        }
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let names = queues.iter();
        let claim = Claim {
            team: Self::team(),
            queues: names
                .map(|name| QueueName::parse(name).expect("a name"))
                .collect(),
            max,
            wait,
            lease_ms,
            worker: worker.into(),
            ask,
            is_repeated,
            actor: Actor::System("test".into()),
            ticket,
        };
        self.dispatcher.claim(claim, self.now, &mut actions);
        self.carry_out(actions);
        ticket
    }

    /// Claims, and lets the log answer.
    fn claim(&mut self, max: usize) -> Vec<LeaseGranted> {
        let ticket = self.claim_as("w", &["default"], max, Duration::ZERO, LEASE);
        self.serve(0);
        self.claimed.get(&ticket).cloned().expect("an answer")
    }

    fn claim_one(&mut self) -> LeaseGranted {
        let leases = self.claim(1);
        assert_eq!(leases.len(), 1);
        leases[0]
    }

    fn waits(&mut self, worker: &str, max: usize) -> Ticket {
        let wait = Duration::from_secs(20);
        self.claim_as(worker, &["default"], max, wait, LEASE)
    }

    /// The tasks that a claim was given; `None`: it waits.
    fn got(&self, ticket: Ticket) -> Option<Vec<TaskId>> {
        let leases = self.claimed.get(&ticket)?;
        Some(leases.iter().map(|lease| lease.task).collect())
    }

    pub(super) fn report_unstored(&mut self, lease: LeaseGranted, what: WorkerReport) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let mut actions = Vec::new();
        let report = Report {
            task: lease.task,
            attempt: lease.attempt,
            team: Self::team(),
            what,
            actor: Actor::System("test".into()),
            only: Vec::new(),
            holder: None,
            ticket,
        };
        self.dispatcher.report(report, self.now, &mut actions);
        self.carry_out(actions);
        ticket
    }

    pub(super) fn report(&mut self, lease: LeaseGranted, what: WorkerReport) -> OwnerReply {
        let ticket = self.report_unstored(lease, what);
        self.append();
        self.replies.get(&ticket).cloned().expect("a reply")
    }

    pub(super) fn withdraw(&mut self, ask: u64) {
        let mut actions = Vec::new();
        let queues = [QueueName::parse("default").expect("a name")];
        self.dispatcher
            .withdraw_claim((&Self::team(), ask), &queues, self.now, &mut actions);
        self.carry_out(actions);
    }

    /// Every report that was taken is in the log, with the same outcome.
    pub(super) fn assert_reports_are_true(&self) {
        for reply in self.replies.values() {
            let (OwnerReply::Reported { seq, .. } | OwnerReply::Extended { seq, .. }) = reply
            else {
                continue;
            };
            assert!(seq.0 <= self.log.len() as u64, "{reply:?}");
        }
    }

    fn blocker(&self, id: TaskId) -> Option<Blocker> {
        let blocker = self
            .dispatcher
            .blocker(id, &Self::team(), self.now, |_| None);
        blocker.expect("open").0
    }

    fn ready_again(&mut self) {
        self.pass(Duration::from_secs(5));
    }
}

fn reported(reply: &OwnerReply) -> Option<bool> {
    match reply {
        OwnerReply::Reported { retries, .. } => Some(*retries),
        _ => None,
    }
}

impl World {
    /// The row of a read model.
    fn row(&self, id: TaskId) -> TaskRow {
        let events = (1..).map(StreamSeq).zip(&self.log);
        let of_task = events.filter(|(_, event)| event.id() == id);
        let row = of_task.fold(None, |row, (seq, event)| TaskRow::evolve(row, seq, event));
        row.expect("a creation")
    }
}
