//! Everything that the vault parses, fed with the fuzzer's bytes.

#![no_main]

#[path = "../parsers.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::parse_all(data));
