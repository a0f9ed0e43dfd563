//! Feeds the fuzzer's bytes to everything that the vault parses.

#![no_main]

#[path = "../parsers.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::parse_all(data));
