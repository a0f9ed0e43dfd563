//! NATS: its version and clock, its storage, and its streams.

use std::time::Duration;

use waybill_domain::time::Timestamp;
use waybill_log::jetstream::NatsConfig;
use waybill_log::jetstream::inspect::{InspectedStream, Inspection, StreamState, inspect};
use waybill_worker::{Clock, SystemClock};

use super::{LITTLE_ROOM, Line, Verdict};

/// Largest difference between two clocks: beyond it, the order of events misleads, and access tokens of one machine are not yet valid on the other.
const CLOCK_SKEW: Duration = Duration::from_secs(5);
/// The release line of nats-server that the tests use.
const TESTED_NATS: &str = "2.15";

/// Asks the server and looks at its streams.
pub(super) async fn look(nats: &NatsConfig) -> Vec<Line> {
    let found = match inspect(nats).await {
        Ok(found) => found,
        Err(error) => {
            return vec![Line::bad(
                Verdict::Wrong,
                "nats",
                error.to_string(),
                "is the server up, and are nats.servers, user and password right? Every request answers 503 until it is reached",
            )];
        }
    };
    let mut lines = vec![
        nats_version(&found.version),
        clock(&found, SystemClock.now()),
        storage(&found),
    ];
    lines.extend(found.streams.iter().map(stream));
    lines
}

/// Whether a server is of the line that is tested.
pub(super) fn nats_version(found: &str) -> Line {
    let of_line = |rest: &str| rest.is_empty() || rest.starts_with('.');
    match found.strip_prefix(TESTED_NATS).is_some_and(of_line) {
        true => Line::good("nats-server", format!("version {found}")),
        false => Line::bad(
            Verdict::Doubtful,
            "nats-server",
            format!("version {found}; {TESTED_NATS} is what is tested"),
            "ops/install-nats installs the pinned one",
        ),
    }
}

fn clock(found: &Inspection, here: Timestamp) -> Line {
    let Some(there) = found.clock else {
        return Line::good("clock", "the server does not tell its own");
    };
    let apart = here.since(there).max(there.since(here));
    match apart > CLOCK_SKEW {
        true => Line::bad(
            Verdict::Wrong,
            "clock",
            format!("this machine's clock is {apart:?} apart from the server's"),
            "run an NTP client on both",
        ),
        false => Line::good(
            "clock",
            format!("{} ms apart from the server's", apart.as_millis()),
        ),
    }
}

fn storage(found: &Inspection) -> Line {
    let mib = |bytes: u64| bytes >> 20;
    let used = found.storage.used;
    match found.storage.limit {
        None => Line::good(
            "storage",
            format!("{} MiB in files; JetStream names no limit", mib(used)),
        ),
        Some(limit) => {
            #[expect(clippy::cast_precision_loss, reason = "a share, for people")]
            let free = 1.0 - used as f64 / limit as f64;
            let found = format!("{} of {} MiB in files", mib(used), mib(limit));
            match free < LITTLE_ROOM {
                true => Line::bad(
                    Verdict::Wrong,
                    "storage",
                    found,
                    "raise max_file_store of nats-server, or keep tasks for less time",
                ),
                false => Line::good("storage", found),
            }
        }
    }
}

fn stream(stream: &InspectedStream) -> Line {
    let name = &stream.name;
    match &stream.state {
        StreamState::Good { bytes, max_bytes } => {
            let share = max_bytes.map(|most| format!(" of {} MiB", most >> 20));
            Line::good(
                "stream",
                format!("{name}: {} MiB{}", bytes >> 20, share.unwrap_or_default()),
            )
        }
        StreamState::Missing => Line::bad(
            Verdict::Doubtful,
            "stream",
            format!("{name} is missing"),
            "the next start of a role whose NATS user may make streams makes it",
        ),
        StreamState::Differs(differences) => Line::bad(
            Verdict::Wrong,
            "stream",
            differences
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
            "no role starts like this; nats/README.md says how a stream is changed",
        ),
        StreamState::Unknown(reason) => Line::bad(
            Verdict::Wrong,
            "stream",
            format!("{name}: {reason}"),
            "is its leader up? `waybill doctor` as the user admin sees all",
        ),
    }
}

#[cfg(test)]
mod tests {
    use waybill_log::jetstream::Storage;

    use super::*;

    const HERE: Timestamp = Timestamp(1_700_000_000_000);

    fn inspected(clock: Option<Timestamp>, used: u64, limit: Option<u64>) -> Inspection {
        Inspection {
            version: "2.15.0".into(),
            clock,
            storage: Storage { used, limit },
            streams: Vec::new(),
        }
    }

    fn is_bad(line: &Line) -> bool {
        let is_bad = line.verdict != Verdict::Good;
        assert_eq!(is_bad, line.remedy.is_some(), "{line:?}");
        is_bad
    }

    #[test]
    fn clocks_that_are_apart_are_told_in_either_direction() {
        let apart = |ms| {
            is_bad(&clock(
                &inspected(Some(Timestamp(HERE.0 + ms)), 0, None),
                HERE,
            ))
        };
        assert!(!apart(0) && !apart(4_000) && !apart(-4_000));
        assert!(apart(6_000) && apart(-6_000));
        assert!(!is_bad(&clock(&inspected(None, 0, None), HERE)));
    }

    #[test]
    fn storage_that_is_nearly_used_up_is_told() {
        let of = |used, limit| is_bad(&storage(&inspected(None, used, limit)));
        assert!(!of(50, Some(100)) && !of(u64::MAX, None));
        assert!(of(95, Some(100)) && of(101, Some(100)));
    }

    #[test]
    fn another_line_of_nats_server_is_told() {
        assert!(!is_bad(&nats_version("2.15.7")));
        assert!(is_bad(&nats_version("2.14.0")));
        assert!(is_bad(&nats_version("2.150.0")));
    }

    #[test]
    fn each_state_of_a_stream_that_is_not_good_has_a_remedy() {
        let of = |state| {
            let name = "CONTROL".to_owned();
            is_bad(&stream(&InspectedStream { name, state }))
        };
        assert!(!of(StreamState::Good {
            bytes: 1,
            max_bytes: None
        }));
        assert!(of(StreamState::Missing));
        assert!(of(StreamState::Differs(Vec::new())));
        assert!(of(StreamState::Unknown("timeout".into())));
    }
}
