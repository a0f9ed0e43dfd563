//! The grants of OAuth applications, in memory.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use waybill_domain::access::grant::Grant;
use waybill_domain::event::ControlEvent;
use waybill_domain::id::{GrantId, UserId};
use waybill_domain::time::Timestamp;

/// Expired grants are swept whenever this many grants have been given since the last sweep.
const SWEEP_AFTER: usize = 1024;

/// Valid grants, and revoked ones that would still be valid.
#[derive(Debug, Default)]
pub(super) struct Grants {
    by_id: HashMap<GrantId, Arc<Grant>>,
    given_by: HashMap<UserId, BTreeSet<GrantId>>,
    /// Those that a device asked for; some may be decided or expired.
    asked: BTreeSet<GrantId>,
    given_since_sweep: usize,
}

impl Grants {
    pub(super) fn apply(&mut self, id: &GrantId, event: &ControlEvent) {
        if let ControlEvent::GrantAsked(e) = event {
            self.by_id.entry(id.clone()).or_default();
            self.asked.insert(id.clone());
            self.count(e.at);
        }
        if let ControlEvent::GrantGiven(e) = event {
            self.by_id.entry(id.clone()).or_default();
            if let Some(user) = &e.user {
                let given = self.given_by.entry(user.clone()).or_default();
                given.insert(id.clone());
            }
            self.count(e.at);
        }
        // A grant that was forgotten had expired, so no event revives it.
        if let Some(grant) = self.by_id.get_mut(id) {
            Arc::make_mut(grant).evolve(event);
        }
    }

    /// Counts one more, and sweeps when there are many.
    fn count(&mut self, at: Timestamp) {
        self.given_since_sweep += 1;
        if self.given_since_sweep >= SWEEP_AFTER {
            self.sweep(at);
        }
    }

    /// Forgets grants that cannot be used any more. A revoked one is kept as long as its tokens would have been valid: its first event, read
    /// again, must not revive them.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.given_since_sweep = 0;
        let given_by = &mut self.given_by;
        self.by_id.retain(|id, grant| {
            let ends = match grant.revoked {
                Some(_) => grant.tokens_until(),
                None => grant.lasts_until(),
            };
            // Its first event has not been read yet.
            let keep = ends.is_none_or(|end| now < end);
            if !keep
                && let Some(user) = grant.given.as_ref().and_then(|given| given.user.as_ref())
                && let Some(ids) = given_by.get_mut(user)
            {
                ids.remove(id);
            }
            keep
        });
        given_by.retain(|_, ids| !ids.is_empty());
        let is_open = |id: &GrantId| {
            self.by_id
                .get(id)
                .is_some_and(|it| it.pending(now).is_some())
        };
        self.asked.retain(is_open);
    }

    pub(super) fn get(&self, id: &GrantId) -> Option<&Arc<Grant>> {
        self.by_id.get(id)
    }

    /// What a person gave and what still lasts, newest first.
    pub(super) fn given_by(&self, user: &UserId, now: Timestamp) -> Vec<Arc<Grant>> {
        let ids = self.given_by.get(user).into_iter().flatten().rev();
        ids.filter_map(|id| self.by_id.get(id))
            // A code that was never redeemed granted nothing.
            .filter(|grant| grant.live(now).is_some() && grant.used_at.is_some())
            .cloned()
            .collect()
    }

    /// What devices asked for and nobody has decided yet.
    pub(super) fn asked(&self, now: Timestamp) -> Vec<Arc<Grant>> {
        let asked = self.asked.iter().filter_map(|id| self.by_id.get(id));
        let waiting = asked.filter(|grant| grant.pending(now).is_some());
        waiting.cloned().collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use waybill_domain::access::scope::Scope;
    use waybill_domain::event::{GrantAsked, GrantEnd, GrantGiven, GrantRevoked};
    use waybill_domain::id::{AppId, Environment, TeamId};

    const HOUR: Duration = Duration::from_secs(3600);

    fn given(number: u128, at: Timestamp) -> GrantGiven {
        GrantGiven {
            grant: GrantId::new(at, number),
            app: AppId::new(at, 1),
            team: TeamId::new(at, 1),
            environment: Environment::Live,
            user: Some(UserId::new(at, 1)),
            scopes: vec![Scope::TasksRead],
            code_mac: None,
            challenge: None,
            redirect_uri: None,
            code_expires_at: None,
            token_mac: Some("ab".repeat(32)),
            token_expires_at: Some(at.plus(HOUR)),
            pepper_version: 1,
            expires_at: at.plus(HOUR),
            at,
        }
    }

    #[test]
    fn grants_that_are_over_take_no_memory() {
        let mut grants = Grants::default();
        let start = Timestamp(1_000);
        for number in 0..10_u32 {
            let at = start.plus(HOUR * number);
            for more in 0..1_000_u128 {
                let event = given(u128::from(number) * 10_000 + more, at);
                let id = event.grant.clone();
                grants.apply(&id, &ControlEvent::GrantGiven(Box::new(event)));
            }
        }
        assert!(grants.len() <= 1_000 + SWEEP_AFTER, "{}", grants.len());
        grants.sweep(start.plus(HOUR * 20));
        assert_eq!((grants.len(), grants.given_by.len()), (0, 0));
    }

    #[test]
    fn an_ended_grant_is_not_revived_by_its_beginning() {
        let mut grants = Grants::default();
        let event = given(1, Timestamp(1_000));
        let id = event.grant.clone();
        let begun = ControlEvent::GrantGiven(Box::new(event.clone()));
        grants.apply(&id, &begun);
        assert!(
            grants
                .get(&id)
                .is_some_and(|g| g.live(Timestamp(2_000)).is_some())
        );
        let revoked = ControlEvent::GrantRevoked(GrantRevoked {
            grant: id.clone(),
            app: event.app,
            team: event.team,
            reason: GrantEnd::Withdrawn,
            at: Timestamp(1_500),
        });
        grants.apply(&id, &revoked);
        grants.sweep(Timestamp(2_000));
        grants.apply(&id, &begun);
        assert!(
            grants
                .get(&id)
                .is_some_and(|g| g.live(Timestamp(2_000)).is_none())
        );
        // Of one that was forgotten, what comes later makes nothing.
        let mut fresh = Grants::default();
        fresh.apply(&id, &revoked);
        assert_eq!(fresh.len(), 0);
    }

    #[test]
    fn what_devices_ask_for_waits_until_it_is_decided_or_too_late() {
        let (mut grants, at) = (Grants::default(), Timestamp(1_000));
        let asked = |number: u128| GrantAsked {
            grant: GrantId::new(at, number),
            app: AppId::new(at, 1),
            team: TeamId::new(at, 1),
            environment: Environment::Live,
            scopes: vec![Scope::TasksRead],
            code_mac: "ab".repeat(32),
            pepper_version: 1,
            expires_at: at.plus(HOUR),
            at,
        };
        let asking = |number| ControlEvent::GrantAsked(Box::new(asked(number)));
        for number in 1..=3 {
            grants.apply(&asked(number).grant, &asking(number));
        }
        assert_eq!(grants.asked(at).len(), 3);
        let first = asked(1).grant;
        let yes = ControlEvent::GrantGiven(Box::new(given(1, at)));
        grants.apply(&first, &yes);
        let second = asked(2).grant;
        let no = ControlEvent::GrantRevoked(GrantRevoked {
            grant: second.clone(),
            app: AppId::new(at, 1),
            team: TeamId::new(at, 1),
            reason: GrantEnd::Denied,
            at,
        });
        grants.apply(&second, &no);
        let waiting = |grants: &Grants, now| -> Vec<GrantId> {
            let all = grants.asked(now).into_iter();
            all.filter_map(|grant| Some(grant.asked.as_ref()?.grant.clone()))
                .collect()
        };
        assert_eq!(waiting(&grants, at), [asked(3).grant]);
        // Read again, what was decided stays so.
        grants.sweep(at);
        grants.apply(&second, &asking(2));
        assert_eq!(waiting(&grants, at), [asked(3).grant]);
        let late = at.plus(HOUR);
        assert!(waiting(&grants, late).is_empty());
        grants.sweep(late);
        assert_eq!((grants.len(), grants.asked.len()), (0, 0));
    }
}
