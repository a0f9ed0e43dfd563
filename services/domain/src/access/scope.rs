//! Scopes: what a credential may do, as `resource:verb`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($variant:ident = $text:literal,)+) => {
        /// What a credential may do.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[expect(missing_docs, reason = "each one is its text")]
        pub enum Scope {
            $(#[serde(rename = $text)] $variant,)+
        }

        impl Scope {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As written in requests and events.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Reads what [`Scope::as_str`] writes.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

scopes! {
    TasksRead = "tasks:read",
    TasksWrite = "tasks:write",
    JobsRead = "jobs:read",
    JobsWrite = "jobs:write",
    QueuesRead = "queues:read",
    QueuesWrite = "queues:write",
    DlqRead = "dlq:read",
    DlqWrite = "dlq:write",
    TokensRead = "tokens:read",
    TokensWrite = "tokens:write",
    KeysRead = "keys:read",
    KeysWrite = "keys:write",
    ActivityRead = "activity:read",
    SubscribersRead = "subscribers:read",
    SubscribersWrite = "subscribers:write",
    BidsRead = "bids:read",
    BidsWrite = "bids:write",
    DeliveriesRead = "deliveries:read",
    DeliveriesWrite = "deliveries:write",
    AgentsRead = "agents:read",
    AgentsWrite = "agents:write",
    WebhooksRead = "webhooks:read",
    WebhooksWrite = "webhooks:write",
}

impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
