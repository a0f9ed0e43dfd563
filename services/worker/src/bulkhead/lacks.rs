//! Why there is no slot, for those who ask without wanting one.

use tokio::time::Instant;
use waybill_domain::dispatcher::Compartment;

use super::{Bulkhead, Refusal};

impl Bulkhead {
    /// Why an attempt would get no slot now; `None` if it would.
    #[must_use]
    pub fn lacks(&self, compartment: Compartment) -> Option<Refusal> {
        let now = Instant::now();
        let state = self.state();
        if state.resume_at.is_some_and(|resume| resume > now) {
            return Some(Refusal::Paused);
        }
        let (team, host) = state.attempts.of(compartment);
        if team.all >= self.sizes.per_team {
            return Some(Refusal::TeamFull);
        }
        if host.all >= self.sizes.per_host {
            return Some(Refusal::HostFull);
        }
        let none = self.general.available_permits() == 0 && self.reserve.available_permits() == 0;
        none.then_some(Refusal::NoSlot)
    }
}
