//! The vault's rules about texts: which values a credential may have, where a task may refer to
//! one, how the value is inserted, and how it is kept out of what comes back.
//!
//! A task says `Bearer {{tok_...}}` and never contains the credential. [`reference`] finds
//! references when the task is created and again when it runs, [`hosts`] decides where the
//! credential may be sent, [`replace`] inserts it without letting it change the structure around
//! it, and [`scrub`] removes it from the answer. Credentials that a task contains itself are found
//! and [`mask`]ed, and share keys for as long as an [`epoch`]. The crate `waybill-vault` seals and opens values; no key is known here.

pub mod check;
pub mod epoch;
pub mod hosts;
pub mod mask;
pub mod reference;
pub mod replace;
pub mod scrub;

pub use hosts::AllowedHosts;
pub use mask::{CredentialHeaders, RawHeaders, is_mask};
pub use reference::{Place, Reference, Resolve};
pub use scrub::{Label, Scrubber};

/// Whether a header requests part of an answer: with it, a target could echo a credential in pieces
/// that nothing would find.
#[must_use]
pub fn selects_a_part(header: &str) -> bool {
    header.eq_ignore_ascii_case("range") || header.eq_ignore_ascii_case("if-range")
}
