//! What a route requires, as a type: a handler that takes a `Caller<TasksWrite>` cannot be reached without that scope, nor one that takes
//! a `Member<Admin>` without that role.

use std::marker::PhantomData;

use waybill_domain::access::role::Role;
use waybill_domain::access::scope::Scope;

/// A scope, as a type.
pub trait Need: Send + Sync + 'static {
    const SCOPE: Scope;
    /// Whether the route checks, for a key that is limited to queues, that what it is about lies in them. Such a key is refused by all
    /// others.
    const CHECKS_QUEUES: bool = false;
}

/// Requires what `N` does, of a route that also serves keys that are limited to queues: its handler asks [`Caller::may_use`] or
/// [`Caller::only_queues`].
///
/// [`Caller::may_use`]: super::caller::Caller::may_use
/// [`Caller::only_queues`]: super::caller::Caller::only_queues
#[derive(Debug, Clone, Copy)]
pub struct InQueues<N>(PhantomData<N>);

impl<N: Need> Need for InQueues<N> {
    const SCOPE: Scope = N::SCOPE;
    const CHECKS_QUEUES: bool = true;
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
    JobsWrite,
    JobsRead,
    DlqRead,
    DlqWrite,
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
