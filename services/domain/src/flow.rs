//! Workflows: tasks of one queue that are made together, of which some run after others.
//!
//! All members are stored in one append, so that there are all of them or none, and in an order in
//! which those that others run after come first. Since they are in one queue they are in one
//! partition: its owner alone decides when a member runs, and that it never will. A workflow has no
//! record of its own: what it is follows from the creations of its members, and how it does from
//! their ends. This is what events say of it; [`crate::workflow`] has the rules.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::id::{TaskId, WorkflowId};

/// When a member runs that runs after several.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema, ToSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum RunAfterMode {
    /// When all of them have completed.
    #[default]
    All,
    /// When the first of them has completed.
    Any,
}

impl RunAfterMode {
    /// Reads the name in a request.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::All),
            "any" => Some(Self::Any),
            _ => None,
        }
    }
}

/// The member of a workflow that a task is. Rows of read models have it without the names of its
/// fields, so none of them is ever left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberOf {
    pub workflow: WorkflowId,
    /// Its name within the workflow.
    pub name: String,
    /// Its place among those that were stored with it, from 0. Those that it runs after come before
    /// it.
    pub at: u16,
    /// How many were stored together.
    pub of: u16,
    /// 0 of what was made with the workflow; else the number of the retry that made it.
    pub retry: u16,
    /// The tasks that it runs after, as far as they were stored with it.
    pub after: Vec<TaskId>,
    /// Those of earlier tries that it runs after, all of which have completed.
    pub done: Vec<TaskId>,
    pub mode: RunAfterMode,
    /// What is filled in of the results of those that it runs after.
    pub places: Vec<Place>,
    /// What is filled in of the results of `done`.
    pub given: Vec<Given>,
    /// What the workflow is, in its first member.
    pub about: Option<Box<About>>,
}

/// What its client says of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct About {
    pub name: String,
    pub description: Option<String>,
    /// Texts chosen by the client.
    pub metadata: BTreeMap<String, String>,
    /// What a client of the jobs API chose instead: any JSON.
    #[serde(default)]
    pub json: Option<String>,
}

impl MemberOf {
    /// Bytes that it takes in a creation, at most.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        /// Bytes of ids, numbers and the names of fields.
        const FIXED: usize = 200;
        /// Bytes of the id of a task.
        const ID: usize = 40;
        let places = self.places.iter().map(Place::stored_bytes);
        let given = self.given.iter().map(Given::stored_bytes);
        let about = self.about.as_ref().map_or(0, |about| {
            let metadata = about.metadata.iter();
            let metadata = metadata.map(|(name, value)| name.len() + value.len() + 6);
            about.name.len()
                + about.description.as_ref().map_or(0, String::len)
                + metadata.sum::<usize>()
                + about.json.as_ref().map_or(0, String::len)
                + 48
        });
        let ids = (self.after.len() + self.done.len()) * ID;
        FIXED + self.name.len() + ids + places.sum::<usize>() + given.sum::<usize>() + about
    }
}

/// A place in the request of a member, and whose result it is filled in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Place {
    pub task: TaskId,
    /// What stands in the braces, such as `tasks.fetch.result.body.id`.
    pub text: String,
}

impl Place {
    fn stored_bytes(&self) -> usize {
        self.text.len() + 64
    }
}

/// What a place is filled in with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// What stands in the braces.
    pub text: String,
    /// The value as JSON, or a sentence that says why there is no value.
    pub value: Result<String, String>,
}

impl Given {
    /// Of a predecessor that has not completed, because another one was enough.
    #[must_use]
    pub fn nothing(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            value: Ok("null".to_owned()),
        }
    }

    fn stored_bytes(&self) -> usize {
        let (Ok(value) | Err(value)) = &self.value;
        self.text.len() + value.len() + 32
    }

    /// Bytes of the value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let (Ok(value) | Err(value)) = &self.value;
        value.len()
    }
}
