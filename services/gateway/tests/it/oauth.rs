//! OAuth applications over real HTTP: registration, consent, tokens, and those who want what was not given to them.

mod apps;
mod codes;
mod consent;
mod devices;
mod gateways;
mod stage;
mod tokens;
