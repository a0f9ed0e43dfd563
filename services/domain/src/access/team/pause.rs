//! Pauses: somebody has stopped what a queue, a limit key or a host starts, or what a worker is given,
//! until it is lifted or its time is over.

use crate::access::name::is_plain;
use crate::time::Timestamp;

use super::TeamRefusal;

/// Longest reason of a pause, in characters.
pub(super) const MAX_REASON_CHARS: usize = 500;

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Since when nothing is started.
    pub since: Timestamp,
    /// When it ends by itself; `None`: never.
    pub until: Option<Timestamp>,
    /// Why, for people.
    pub reason: Option<String>,
    /// Who stated it last, in the text form of actors.
    pub by: String,
    /// Whether somebody waits for the attempts that run to end.
    pub drain: bool,
}

impl Pause {
    /// Whether the time of the pause is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// This pause, which states anew the one that is in force: it began when that one did.
    pub(super) fn anew(mut self, in_force: Option<&Self>) -> Self {
        if let Some(in_force) = in_force {
            self.since = in_force.since;
        }
        self
    }
}

/// What a command says of a pause.
pub(super) struct Stated {
    pub(super) reason: Option<String>,
    pub(super) until: Option<Timestamp>,
}

impl Stated {
    /// Checks what is said. The reason is trimmed; an empty one counts as absent.
    pub(super) fn checked(
        reason: Option<&str>,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Self, TeamRefusal> {
        let reason = reason.map(valid_reason).transpose()?.flatten();
        if until.is_some_and(|until| until <= now) {
            let message = "until must be in the future";
            return Err(TeamRefusal::invalid("until", message));
        }
        Ok(Self { reason, until })
    }

    /// Whether the pause is the same already.
    pub(super) fn repeats(&self, pause: &Pause) -> bool {
        self.reason == pause.reason && self.until == pause.until
    }
}

/// Trims and checks a reason; an empty one counts as absent.
pub(crate) fn valid_reason(given: &str) -> Result<Option<String>, TeamRefusal> {
    let reason = given.trim();
    let invalid = |message: String| Err(TeamRefusal::invalid("reason", message));
    let chars = reason.chars().count();
    if chars > MAX_REASON_CHARS {
        return invalid(format!(
            "reason must be at most {MAX_REASON_CHARS} characters, not {chars}"
        ));
    }
    if reason.is_empty() {
        return Ok(None);
    }
    if !is_plain(reason) {
        let message = "reason must not contain control, invisible or direction-changing characters";
        return invalid(message.into());
    }
    Ok(Some(reason.to_owned()))
}
