//! What a route requires, as a type: a handler that takes a `Caller<TasksWrite>` cannot be reached without that scope, nor one that takes
//! a `Member<Admin>` without that role.

use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;

/// A scope, as a type.
pub trait Need: Send + Sync + 'static {
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

needs!(
    TasksRead,
    TasksWrite,
    KeysRead,
    KeysWrite,
    TokensRead,
    TokensWrite,
    QueuesRead,
    QueuesWrite,
    ActivityRead,
    SigningSecretWrite,
);

/// The least role in the team of the route, as a type.
pub trait NeedRole: Send + Sync + 'static {
    const ROLE: Role;
}

macro_rules! roles {
    ($($name:ident),+ $(,)?) => {$(
        #[doc = concat!("Requires `Role::", stringify!($name), "` or more.")]
        #[derive(Debug, Clone, Copy)]
        pub struct $name;
        impl NeedRole for $name {
            const ROLE: Role = Role::$name;
        }
    )+};
}

roles!(Viewer, Admin, Owner);
