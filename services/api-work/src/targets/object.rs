//! A target as clients see it.

use serde::Serialize;
use utoipa::ToSchema;
use waybill_domain::access::team::Pause;
use waybill_domain::access::team::targets::Target;
use waybill_domain::command::{HostHealth, HostState};
use waybill_domain::event::FailureKind;
use waybill_domain::health::{HealthRule, TargetHost};
use waybill_domain::id::Environment;
use waybill_domain::time::Timestamp;
use waybill_edge::iso::Iso;
use waybill_edge::lengths::Seconds;

/// A host that tasks call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetObject {
    /// In lower case, with its port unless that is 80 or 443.
    #[schema(example = "api.example.com")]
    host: String,
    /// `live` or `test`: each has rules of its own, and tasks of one say nothing about the other.
    #[schema(value_type = Environment)]
    environment: &'static str,
    /// When its tasks are held back; `null`: never.
    rule: Option<TargetRule>,
    /// Why nothing is started there, if somebody has opened it; `null`: nobody has.
    opened: Option<TargetOpening>,
    /// How it does, as far as workers tell now; `null` if none answers.
    health: Option<TargetHealth>,
}

/// That somebody has opened a host.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetOpening {
    #[schema(value_type = String, format = DateTime)]
    since: Iso,
    /// When it ends by itself; `null`: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Iso>,
    /// Why, in their words.
    reason: Option<String>,
    /// Who: `key:` or `user:` and an id.
    #[schema(example = "user:01JX3E4W6T0000000000000000")]
    by: String,
}

impl TargetOpening {
    fn new(opened: &Pause) -> Self {
        Self {
            since: Iso(opened.since),
            until: opened.until.map(Iso),
            reason: opened.reason.clone(),
            by: opened.by.clone(),
        }
    }
}

/// When tasks of a host are held back. Either condition suffices.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetRule {
    /// So many attempts in a row have failed; `null`: no such condition.
    failures_in_a_row: Option<u32>,
    /// Such a share of the latest attempts has failed; `null`: no such condition.
    failure_share: Option<TargetFailureShare>,
    /// Seconds from the last failure to the first probe. Each probe that fails doubles it.
    #[schema(value_type = f64)]
    pause: Seconds,
    /// The longest pause, in seconds.
    #[schema(value_type = f64)]
    max_pause: Seconds,
    /// Seconds for which every attempt must have failed until the host is not probed any more; `null`: it always is.
    #[schema(value_type = Option<f64>)]
    disable_after: Option<Seconds>,
}

/// A share of the latest attempts.
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetFailureShare {
    /// Failed ones in a hundred.
    percent: u8,
    /// The number of latest attempts that are looked at.
    of: u8,
}

/// Whether attempts start at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum TargetState {
    /// Every attempt starts.
    Closed,
    /// One at a time starts, to find out how the host does.
    Probing,
    /// No attempt starts, until a pause has passed.
    Open,
}

/// How a host does: the worst that any partition says, since each judges by the tasks that it has.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetHealth {
    state: TargetState,
    /// When the next probe may start, or what somebody has opened is closed; `null` unless the host is open, and if nothing is to happen by
    /// itself.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Iso>,
    /// When the first of the last failures in a row happened; `null`: no failure is remembered.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Iso>,
    /// Why nothing is started; `null` while the host is closed.
    #[schema(example = "5 attempts in a row have failed, the last one with the status 503")]
    reason: Option<String>,
    /// Failures since the last attempt that did not fail: the most that one partition counts.
    failures_in_a_row: u32,
    /// The last failure that is remembered.
    last_failure: Option<TargetFailure>,
    /// Whether it has failed for as long as `disableAfter` of its rule, so that it is not probed any more until it is closed by hand.
    disabled: bool,
    /// How many tasks are held back that could start otherwise.
    held: u64,
    /// How many partitions there are.
    partitions: usize,
    /// How many of them have answered. What the others know is missing here.
    answered: usize,
}

/// A failure of a host.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct TargetFailure {
    #[schema(value_type = String, format = DateTime)]
    at: Iso,
    kind: FailureKind,
    /// The status, if the host answered.
    status: Option<u16>,
}

impl TargetObject {
    pub(super) fn new(
        host: &TargetHost,
        environment: Environment,
        (target, now): (&Target, Timestamp),
        health: Option<TargetHealth>,
    ) -> Self {
        let opened = target.opened(now);
        Self {
            host: host.to_string(),
            environment: environment.as_str(),
            rule: target.rule.map(TargetRule::from),
            opened: opened.map(TargetOpening::new),
            health: match opened {
                Some(opened) => health.map(|health| health.opened(opened)),
                None => health,
            },
        }
    }
}

impl From<HealthRule> for TargetRule {
    fn from(rule: HealthRule) -> Self {
        Self {
            failures_in_a_row: rule.in_a_row,
            failure_share: rule.share.map(|share| TargetFailureShare {
                percent: share.percent,
                of: share.of,
            }),
            pause: Seconds(rule.pause_ms.into()),
            max_pause: Seconds(rule.max_pause_ms.into()),
            disable_after: rule.disable_after_ms.map(|length| Seconds(length.into())),
        }
    }
}

impl TargetHealth {
    /// What the partitions say together; `None` if none does.
    pub(super) fn of<'a>(
        told: impl Iterator<Item = &'a HostHealth>,
        partitions: usize,
    ) -> Option<Self> {
        let told: Vec<&HostHealth> = told.collect();
        let worst = told.iter().max_by_key(|of| (of.state, of.until, of.last))?;
        let last = told.iter().max_by_key(|of| of.last)?;
        let last_failure = last.last.zip(last.kind).map(|(at, kind)| TargetFailure {
            at: Iso(at),
            kind,
            status: last.status,
        });
        Some(Self {
            state: match worst.state {
                HostState::Closed => TargetState::Closed,
                HostState::Probing => TargetState::Probing,
                HostState::Open => TargetState::Open,
            },
            until: worst.until.map(Iso),
            since: worst.since.map(Iso),
            reason: (worst.state != HostState::Closed).then(|| reason(worst)),
            failures_in_a_row: told.iter().map(|of| of.in_a_row).max().unwrap_or_default(),
            last_failure,
            disabled: told.iter().any(|of| of.disabled),
            held: told.iter().map(|of| of.held).sum(),
            partitions,
            answered: told.len(),
        })
    }
}

impl TargetHealth {
    /// The same of a host that somebody has opened, which goes before what its attempts say.
    fn opened(self, opened: &Pause) -> Self {
        Self {
            state: TargetState::Open,
            until: opened.until.map(Iso),
            reason: Some(format!("{} has opened it", opened.by)),
            ..self
        }
    }
}

fn reason(of: &HostHealth) -> String {
    let last = match (of.status, of.kind) {
        (Some(status), _) => format!("with the status {status}"),
        (None, Some(FailureKind::Timeout)) => "without an answer in time".to_owned(),
        (None, Some(FailureKind::Dns)) => "since its name does not resolve".to_owned(),
        (None, Some(FailureKind::Connect)) => "without a connection".to_owned(),
        (None, Some(FailureKind::Tls)) => "without a trusted TLS session".to_owned(),
        (None, _) => "without a valid answer".to_owned(),
    };
    match of.in_a_row {
        many if of.disabled => {
            format!(
                "It is disabled: all of {many} attempts have failed for too long, the last one {last}"
            )
        }
        0 => format!("Too many of the latest attempts have failed, the last of them {last}"),
        1 => format!("The last attempt has failed, {last}"),
        many => format!("{many} attempts in a row have failed, the last one {last}"),
    }
}

/// `{"target": ...}`
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetEnvelope {
    pub(super) target: TargetObject,
}

/// `{"targets": [...]}`
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetList {
    /// By host: those that have a rule.
    pub(super) targets: Vec<TargetObject>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: HostHealth = HostHealth {
        state: HostState::Closed,
        until: None,
        since: None,
        in_a_row: 0,
        last: None,
        kind: None,
        status: None,
        held: 0,
        disabled: false,
    };

    #[test]
    fn partitions_are_told_as_one_by_the_worst_of_them() {
        let open = HostHealth {
            state: HostState::Open,
            until: Some(Timestamp(9_000)),
            since: Some(Timestamp(1_000)),
            in_a_row: 5,
            last: Some(Timestamp(4_000)),
            kind: Some(FailureKind::HttpStatus),
            status: Some(503),
            held: 3,
            disabled: false,
        };
        let probing = HostHealth {
            state: HostState::Probing,
            until: None,
            last: Some(Timestamp(5_000)),
            kind: Some(FailureKind::Connect),
            status: None,
            in_a_row: 7,
            held: 1,
            ..open
        };
        let told = TargetHealth::of([WELL, open, probing].iter(), 4).expect("three answers");
        assert_eq!((told.state, told.held), (TargetState::Open, 4));
        assert_eq!((told.partitions, told.answered), (4, 3));
        assert_eq!(told.failures_in_a_row, 7);
        assert_eq!(told.until, Some(Iso(Timestamp(9_000))));
        let reason = told.reason.expect("it is open");
        assert_eq!(
            reason,
            "5 attempts in a row have failed, the last one with the status 503"
        );
        let last = told.last_failure.expect("it failed");
        assert_eq!(
            (last.at, last.kind),
            (Iso(Timestamp(5_000)), FailureKind::Connect)
        );
        let well = TargetHealth::of([WELL].iter(), 1).expect("an answer");
        assert_eq!((well.state, &well.reason), (TargetState::Closed, &None));
        assert_eq!(TargetHealth::of([].iter(), 4), None);
        let disabled = HostHealth {
            until: None,
            disabled: true,
            ..open
        };
        let told = TargetHealth::of([disabled, WELL].iter(), 2).expect("an answer");
        assert!(told.disabled && told.until.is_none());
        let reason = told.reason.as_deref().unwrap_or_default();
        assert!(reason.starts_with("It is disabled: all of 5"), "{reason}");
        let by_hand = Pause {
            since: Timestamp(1),
            until: Some(Timestamp(2)),
            reason: None,
            by: "user:u".into(),
            drain: false,
        };
        let told = well.opened(&by_hand);
        assert_eq!(
            (told.state, told.until),
            (TargetState::Open, Some(Iso(Timestamp(2))))
        );
        assert_eq!(told.reason.as_deref(), Some("user:u has opened it"));
    }
}
