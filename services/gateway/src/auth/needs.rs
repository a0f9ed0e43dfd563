//! What a route requires of a key, as a type: a handler that takes a `Caller<TasksWrite>` cannot be reached without that scope.

use waybill_domain::access::scope::Scope;

/// A scope, as a type.
pub trait Need: Send + Sync + 'static {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! needs {
    ($($name:ident),+ $(,)?) => {$(
        #[doc = concat!("Requires `Scope::", stringify!($name), "`.")]
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl Need for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )+};
}

needs!(TasksRead, TasksWrite, KeysRead, KeysWrite, ActivityRead);
