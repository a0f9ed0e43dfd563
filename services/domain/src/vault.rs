//! The vault's rules about texts: what a credential may look like, where a task may refer to one, what is put in its place, and how it
//! is kept out of what comes back.
//!
//! A task says `Bearer {{tok_...}}` and never holds the credential. [`reference`] finds such words when the task is created and again
//! when it runs, [`hosts`] says where the credential may go, [`replace`] puts it in without letting it change the structure around it,
//! and [`scrub`] takes it out of the answer. Credentials that a task brings along are found and [`mask`]ed. Sealing and opening are the
//! business of the crate `waybill-vault`; nothing here knows a key.

pub mod check;
pub mod hosts;
pub mod mask;
pub mod reference;
pub mod replace;
pub mod scrub;

pub use hosts::AllowedHosts;
pub use mask::{CredentialHeaders, RawHeaders};
pub use reference::{Place, Reference, Resolve};
pub use scrub::{Label, Scrubber};

/// Whether a header asks for a part of an answer: with it, an echo of a credential could be had in pieces that nobody would find.
#[must_use]
pub fn selects_a_part(header: &str) -> bool {
    header.eq_ignore_ascii_case("range") || header.eq_ignore_ascii_case("if-range")
}
