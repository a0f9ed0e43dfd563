//! What every engine promises, what a store survives, and what it does about what it does not survive.

mod conformance;
mod corruption;
mod fixture;
mod kill;
mod model;
mod reopen;
