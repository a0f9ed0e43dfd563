//! File descriptors: every connection is one. The soft limit is raised at start, and how much may be open at once follows from it:
//! a worker that runs out of them fails calls that no target has seen.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything that is no connection of a client or to a target: stores, log files, NATS, listeners, name servers.
const RESERVED: u64 = 256;

/// Raises the soft limit to the hard one.
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, ?current, ?maximum, "the limit of file descriptors cannot be raised");
    }
}

/// Calls at the same time: a quarter of the descriptors, since connections wait in a pool for their next use, and name servers are asked.
pub(crate) fn slots(configured: usize) -> usize {
    bounded("worker.slots", configured, 4)
}

/// Connections of clients: half of the descriptors.
pub(crate) fn connections(configured: usize) -> usize {
    bounded("gateway.max_connections", configured, 2)
}

fn bounded(setting: &'static str, configured: usize, part: u64) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let bounded = fitting(limit, configured, part);
    if bounded < configured {
        tracing::warn!(
            setting,
            configured,
            bounded,
            ?limit,
            "fewer than configured, since the limit of file descriptors (ulimit -n, LimitNOFILE) allows no more"
        );
    }
    bounded
}

/// The part of the descriptors that are not reserved, at least one.
fn fitting(limit: Option<u64>, configured: usize, part: u64) -> usize {
    let Some(limit) = limit else {
        return configured;
    };
    let room = (limit.saturating_sub(RESERVED) / part).max(1);
    configured.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_open_at_once_follows_from_the_limit() {
        assert_eq!(fitting(Some(1_024), 512, 4), 192);
        assert_eq!(fitting(Some(65_536), 512, 4), 512);
        assert_eq!(fitting(Some(1_024), 10_000, 2), 384);
        assert_eq!(fitting(Some(64), 512, 4), 1);
        assert_eq!(fitting(None, 512, 4), 512);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let before = getrlimit(Resource::Nofile);
        let lowered = Rlimit {
            current: Some(200),
            maximum: before.maximum,
        };
        setrlimit(Resource::Nofile, lowered).expect("lowered");
        raise();
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.current, before.maximum);
    }
}
