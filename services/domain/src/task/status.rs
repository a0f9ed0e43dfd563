//! The status of a task as clients of the native face see it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! statuses {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// Where a task stands.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Status {
            $($(#[$doc])* $variant,)+
        }

        impl Status {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As in requests and answers.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// Reads what [`Status::as_str`] writes.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

statuses! {
    /// Waiting to be started, for the first time or again.
    Pending = "pending",
    /// Not to be started before a time that has yet to come.
    Delayed = "delayed",
    /// An attempt is being made.
    Processing = "processing",
    /// The target answered and the answer ends the task.
    Completed = "completed",
    /// The last attempt failed.
    Failed = "failed",
    /// Its time over all attempts has passed.
    Timeout = "timeout",
    /// Cancelled before an attempt was running.
    Cancelled = "cancelled",
}

impl Status {
    /// Nothing more will happen.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending | Self::Delayed | Self::Processing => false,
            Self::Completed | Self::Failed | Self::Timeout | Self::Cancelled => true,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
