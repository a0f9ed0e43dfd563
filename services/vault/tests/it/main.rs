//! The vault as its users see it.

mod parsers;
mod records;
mod rotation;
mod silence;
