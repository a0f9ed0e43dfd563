//! The faults: what each is called, and which are drawn where. How each is injected is in [`crate::inject`].

use std::fmt;

use crate::fleet::{WORKERS, worker_name};
use crate::seeded::Seeded;

/// How far a clock jumps.
const JUMP_SECONDS: i64 = 3_600;
/// The worker whose clock jumps, and whose descriptors run out.
const PICKED: usize = 1;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    KillGateway,
    KillProjector,
    KillWorker(usize),
    KillNats,
    CutGateway,
    CutProjector,
    CutWorker(usize),
    FreezeWorker(usize),
    /// Every role in turn is asked to end and started again.
    RestartRoles,
    /// The wall clock of a worker is moved by this many seconds, and back.
    JumpClock(usize, i64),
    /// The same for the gateway.
    JumpGatewayClock(i64),
    /// Records are stored that every reader must ignore.
    PlantPoison,
    /// The limit of the log is lowered to little more than it holds.
    FillLog,
    /// The log keeps only seconds of what has ended, and an owner dies meanwhile.
    BriefHistory,
    /// More calls than a worker can make at once hang until they time out.
    HangTarget,
    /// The descriptor limit of a worker is lowered to less than it has open.
    FewDescriptors(usize),
    // On three servers:
    /// The node that leads TASKS is killed.
    KillLeader,
    /// The same node is restarted in order, leadership first.
    RestartLeader,
    /// A node that follows is frozen.
    FreezeFollower,
    /// The leader of TASKS and one of its followers cannot reach each other; the third node reaches
    /// both.
    PartLeader,
    /// The disk of one node is full.
    FillDisk,
}

/// Prerequisites of faults that this machine lacks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lacking {
    pub(crate) clocks: bool,
    pub(crate) small_disk: bool,
}

impl Fault {
    /// Each once, on one server.
    const ON_ONE: [Self; 12] = [
        Self::KillGateway,
        Self::KillWorker(0),
        Self::KillNats,
        Self::CutWorker(1),
        Self::KillProjector,
        Self::BriefHistory,
        Self::RestartRoles,
        Self::PlantPoison,
        Self::FillLog,
        Self::FreezeWorker(0),
        Self::CutGateway,
        Self::CutProjector,
    ];

    /// Those that take longer than a short run may, and those that do not bite each time: now and then libfaketime does not see that its file
    /// has changed.
    const ONLY_IN_LONG: [Self; 4] = [
        Self::HangTarget,
        Self::FewDescriptors(PICKED),
        Self::JumpClock(PICKED, -JUMP_SECONDS),
        Self::JumpGatewayClock(JUMP_SECONDS),
    ];

    /// Each once, on three servers.
    const ON_THREE: [Self; 5] = [
        Self::RestartLeader,
        Self::KillLeader,
        Self::PartLeader,
        Self::FreezeFollower,
        Self::FillDisk,
    ];

    /// Each that is possible here, once: those of the log itself where there are three servers, since the rest has been seen with one.
    pub(crate) fn each(servers: u16, lacking: Lacking) -> Vec<Self> {
        let mut each = if servers == 1 {
            Self::ON_ONE.to_vec()
        } else {
            [&Self::ON_THREE[..], &[Self::BriefHistory]].concat()
        };
        each.retain(|fault| fault.is_possible(servers, lacking));
        each
    }

    /// Everything that is possible with so many servers.
    pub(crate) fn any(servers: u16, lacking: Lacking) -> Vec<Self> {
        let mut any = [
            &Self::ON_ONE[..],
            &Self::ONLY_IN_LONG[..],
            &Self::ON_THREE[..],
        ]
        .concat();
        any.retain(|fault| fault.is_possible(servers, lacking));
        any
    }

    /// Draws one of the faults, for a random worker, and a random direction if a clock jumps.
    pub(crate) fn draw(among: &[Self], random: &mut Seeded) -> Option<Self> {
        let number = usize::from(random.percent(50)).min(WORKERS - 1);
        let ahead = random.percent(50);
        Some(match *random.pick(among)? {
            Self::KillWorker(_) => Self::KillWorker(number),
            Self::CutWorker(_) => Self::CutWorker(number),
            Self::FreezeWorker(_) => Self::FreezeWorker(number),
            Self::FewDescriptors(_) => Self::FewDescriptors(number),
            Self::JumpGatewayClock(_) if ahead => Self::JumpGatewayClock(JUMP_SECONDS),
            Self::JumpGatewayClock(_) => Self::JumpGatewayClock(-JUMP_SECONDS),
            Self::JumpClock(..) if ahead => Self::JumpClock(number, JUMP_SECONDS),
            Self::JumpClock(..) => Self::JumpClock(number, -JUMP_SECONDS),
            other => other,
        })
    }

    fn is_possible(self, servers: u16, lacking: Lacking) -> bool {
        match self {
            Self::KillNats => servers == 1,
            Self::JumpClock(..) | Self::JumpGatewayClock(_) => !lacking.clocks,
            Self::FillDisk => servers > 1 && !lacking.small_disk,
            Self::KillLeader | Self::RestartLeader | Self::FreezeFollower | Self::PartLeader => {
                servers > 1
            }
            _ => true,
        }
    }

    /// The name of the check that the fault had an effect, and that Waybill recovered.
    pub(crate) fn check_name(self) -> &'static str {
        match self {
            Self::KillGateway => "recovers when the gateway is killed",
            Self::KillProjector => "recovers when the projector is killed",
            Self::KillWorker(_) => "another worker takes over when one is killed",
            Self::KillNats => "recovers when nats-server is killed",
            Self::CutGateway => "recovers when the gateway is cut off from NATS",
            Self::CutProjector => "recovers when the projector is cut off from NATS",
            Self::CutWorker(_) => "another worker takes over when one is cut off from NATS",
            Self::FreezeWorker(_) => "another worker takes over when one is frozen past its lease",
            Self::RestartRoles => "every role ends in order when it is asked to, and comes back",
            Self::JumpClock(..) => "work goes on while the clock of a worker is an hour off",
            Self::JumpGatewayClock(_) => {
                "work goes on while the clock of the gateway is an hour off"
            }
            Self::PlantPoison => "what nobody may count is listed, and stops nobody",
            Self::FillLog => "a full log refuses creations, drains, and accepts again",
            Self::BriefHistory => {
                "open tasks outlive their history, whoever owns them, when the log keeps seconds"
            }
            Self::HangTarget => "other tasks go on while calls to one target hang",
            Self::FewDescriptors(_) => "recovers when a worker runs out of descriptors",
            Self::KillLeader => "no creation is refused when the leader of the log is killed",
            Self::RestartLeader => {
                "no request fails when the leader of the log is restarted in order"
            }
            Self::FreezeFollower => "no creation is refused when a node of the log is frozen",
            Self::PartLeader => "no creation is refused when two nodes of the log lose each other",
            Self::FillDisk => "no creation is refused when the disk of one node is full",
        }
    }

    /// Whether the clock of a process is wrong for a while.
    pub(crate) fn sets_a_clock(self) -> bool {
        matches!(self, Self::JumpClock(..) | Self::JumpGatewayClock(_))
    }

    /// The worker whose partitions are taken over.
    pub(crate) fn loses_worker(self) -> Option<usize> {
        match self {
            Self::KillWorker(number) | Self::CutWorker(number) | Self::FreezeWorker(number) => {
                Some(number)
            }
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillGateway => f.write_str("kill -9 gateway"),
            Self::KillProjector => f.write_str("kill -9 projector"),
            Self::KillWorker(number) => write!(f, "kill -9 {}", worker_name(*number)),
            Self::KillNats => f.write_str("kill -9 nats-server"),
            Self::CutGateway => f.write_str("cut gateway from NATS"),
            Self::CutProjector => f.write_str("cut projector from NATS"),
            Self::CutWorker(number) => write!(f, "cut {} from NATS", worker_name(*number)),
            Self::FreezeWorker(number) => write!(f, "freeze {}", worker_name(*number)),
            Self::RestartRoles => f.write_str("restart every role in order"),
            Self::JumpClock(number, seconds) => {
                write!(
                    f,
                    "set the clock of {} by {seconds:+} s",
                    worker_name(*number)
                )
            }
            Self::JumpGatewayClock(seconds) => {
                write!(f, "set the clock of the gateway by {seconds:+} s")
            }
            Self::PlantPoison => f.write_str("plant poison"),
            Self::FillLog => f.write_str("fill the log"),
            Self::BriefHistory => f.write_str("keep history for seconds"),
            Self::HangTarget => f.write_str("hang a target"),
            Self::FewDescriptors(number) => {
                write!(f, "leave {} few descriptors", worker_name(*number))
            }
            Self::KillLeader => f.write_str("kill -9 the leader of TASKS"),
            Self::RestartLeader => f.write_str("restart the leader of TASKS in order"),
            Self::FreezeFollower => f.write_str("freeze a follower of TASKS"),
            Self::PartLeader => f.write_str("part the leader of TASKS from a follower"),
            Self::FillDisk => f.write_str("fill the disk of a node"),
        }
    }
}
