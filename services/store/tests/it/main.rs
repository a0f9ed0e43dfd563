//! What every engine guarantees, what a store survives, and how it handles what it does not
//! survive.

mod conformance;
mod corruption;
mod fixture;
mod kill;
mod model;
mod reopen;
