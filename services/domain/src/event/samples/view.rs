//! Events of saved views.

use super::{AT, LATER};
use crate::event::{ControlEvent, ViewDeleted, ViewSaved};
use crate::id::{TeamId, UserId, ViewId};
use crate::view::ViewPage;

pub(super) fn events(team: &TeamId) -> Vec<ControlEvent> {
    let (view, user) = (ViewId::new(AT, 14), UserId::new(AT, 8));
    vec![
        ControlEvent::ViewSaved(ViewSaved {
            view: view.clone(),
            team: team.clone(),
            page: ViewPage::DeadLetters,
            name: "Billing is down".into(),
            query: "host=billing.example&httpStatus=5xx".into(),
            owner: Some(user.clone()),
            saved_by: format!("user:{user}"),
            at: AT,
        }),
        ControlEvent::ViewDeleted(ViewDeleted {
            view,
            team: team.clone(),
            at: LATER,
        }),
    ]
}
