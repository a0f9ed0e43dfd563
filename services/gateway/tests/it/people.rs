//! People at a real gateway: what they send, and what is mailed to them.

mod browser;
mod hostile;
mod lockout;
mod mailbox;
mod outbox;
mod outside;
mod passwords;
mod sessions;
mod sign_up;
mod stage;
