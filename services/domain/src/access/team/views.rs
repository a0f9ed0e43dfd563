//! Saved views of a team and of its members, and the commands that change them.

#[cfg(test)]
mod tests;

use crate::access::scope::Scope;
use crate::actor::Actor;
use crate::event::{ControlEvent, ViewDeleted, ViewSaved};
use crate::id::{Environment, UserId, ViewId};
use crate::view::{MAX_OWN_VIEWS, MAX_QUERY_BYTES, MAX_SHARED_VIEWS, ViewPage};

use super::decide::{Deciding, Decision, valid_name};
use super::{Team, TeamRefusal};

/// Commands about saved views.
#[derive(Debug, Clone)]
pub enum ViewCommand {
    /// Save a view. One of the same page, owner and name is replaced, and keeps its id.
    Save {
        /// Environment of the credential that saves it; views are of both.
        environment: Environment,
        /// Id of the view, unless one is replaced.
        view: ViewId,
        page: ViewPage,
        name: String,
        query: String,
        /// Whose view it is; `None`: the team's.
        owner: Option<UserId>,
    },
    /// Delete a view. Idempotent.
    Delete {
        environment: Environment,
        view: ViewId,
    },
}

impl Team {
    /// The views that a person sees, by name: those of the team and their own. `None`: somebody who is
    /// no person.
    pub fn views_of(&self, user: Option<&UserId>) -> impl Iterator<Item = &ViewSaved> {
        let is_seen = move |view: &&ViewSaved| view.owner.is_none() || view.owner.as_ref() == user;
        self.views.values().filter(is_seen)
    }

    /// The view of that page, owner and name.
    #[must_use]
    pub fn view_named(
        &self,
        page: ViewPage,
        owner: Option<&UserId>,
        name: &str,
    ) -> Option<&ViewSaved> {
        let is_it = |view: &&ViewSaved| {
            view.page == page && view.owner.as_ref() == owner && view.name == name
        };
        self.views.values().find(is_it)
    }

    pub(super) fn evolve_view(&mut self, event: &ControlEvent) {
        match event {
            ControlEvent::ViewSaved(e) => {
                self.views.insert(e.view.clone(), e.clone());
            }
            ControlEvent::ViewDeleted(e) => {
                self.views.remove(&e.view);
            }
            // Nobody else sees them.
            ControlEvent::MemberRemoved(e) => {
                self.views
                    .retain(|_, view| view.owner.as_ref() != Some(&e.user));
            }
            _ => {}
        }
    }
}

pub(super) fn decide(deciding: &Deciding<'_>, command: ViewCommand) -> Decision {
    let (team, at) = (deciding.info.id.clone(), deciding.now);
    match command {
        ViewCommand::Save {
            environment,
            view,
            page,
            name,
            query,
            owner,
        } => {
            deciding.needs_scope_in(Scope::TasksWrite, environment)?;
            let name = valid_name(&name)?;
            check_query(&query)?;
            if let Some(owner) = &owner
                && *deciding.by != Actor::User(owner.clone())
            {
                return Err(TeamRefusal::NotEntitled);
            }
            let known = deciding.team.view_named(page, owner.as_ref(), &name);
            if known.is_some_and(|known| known.query == query) {
                return Ok(Vec::new());
            }
            if known.is_none() {
                has_room(deciding.team, owner.as_ref())?;
            }
            Ok(vec![ControlEvent::ViewSaved(ViewSaved {
                view: known.map_or(view, |known| known.view.clone()),
                team,
                page,
                name,
                query,
                owner,
                saved_by: deciding.by.to_string(),
                at,
            })])
        }
        ViewCommand::Delete { environment, view } => {
            deciding.needs_scope_in(Scope::TasksWrite, environment)?;
            let Some(known) = deciding.team.views.get(&view) else {
                return Ok(Vec::new());
            };
            if let Some(owner) = &known.owner
                && *deciding.by != Actor::User(owner.clone())
            {
                return Err(TeamRefusal::NotEntitled);
            }
            Ok(vec![ControlEvent::ViewDeleted(ViewDeleted {
                view,
                team,
                at,
            })])
        }
    }
}

/// Whether there may be one more view of that owner.
fn has_room(team: &Team, owner: Option<&UserId>) -> Result<(), TeamRefusal> {
    let count = team.views.values();
    let count = count.filter(|view| view.owner.as_ref() == owner).count();
    let message = match owner {
        Some(_) if count >= MAX_OWN_VIEWS => {
            format!("name: a person may have {MAX_OWN_VIEWS} views of their own in a team")
        }
        None if count >= MAX_SHARED_VIEWS => {
            format!("name: a team may share {MAX_SHARED_VIEWS} views")
        }
        _ => return Ok(()),
    };
    Err(TeamRefusal::invalid("name", message))
}

fn check_query(query: &str) -> Result<(), TeamRefusal> {
    if query.len() > MAX_QUERY_BYTES {
        let message = format!(
            "query must be at most {MAX_QUERY_BYTES} bytes, not {}",
            query.len()
        );
        return Err(TeamRefusal::invalid("query", message));
    }
    // What a form encoder writes.
    let is_encoded = |b: u8| b.is_ascii_alphanumeric() || b"*-._+%=&,:~!'()/@$;".contains(&b);
    if !query.bytes().all(is_encoded) {
        let message = "query must be parameters of a URL, encoded, without a question mark";
        return Err(TeamRefusal::invalid("query", message));
    }
    Ok(())
}
