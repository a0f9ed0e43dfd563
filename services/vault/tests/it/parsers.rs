//! The fuzz target's body over bytes that proptest makes, so that every run of the tests feeds the parsers.

use proptest::prelude::*;
use waybill_vault::fresh_rings;

#[path = "../../fuzz/parsers.rs"]
mod body;

use body::parse_all;

/// A word as rings have them, one nearly so, a comment, or white space.
const RING_WORD: &str =
    "(kek|sender)-(secret|public)[12]\\.([0-9a-f]{64}|[0-9a-fA-F]{0,66})|#.{0,9}|[ \n]";

/// Bytes that look like what is parsed, so that more than the first check is reached.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    let formatted = prop::collection::vec(any::<u8>(), 0..120).prop_map(|mut bytes| {
        bytes.insert(0, 1);
        bytes
    });
    let wrapped = prop::collection::vec(any::<u8>(), 88).prop_map(|mut bytes| {
        bytes.insert(0, 1);
        bytes
    });
    let base64 = "AQ[A-Za-z0-9_=-]{30,90}".prop_map(String::into_bytes);
    let ring =
        prop::collection::vec(RING_WORD, 0..5).prop_map(|words| words.join(" ").into_bytes());
    prop_oneof![bytes, formatted, wrapped, base64, ring]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_a_parser_panic(data in likely()) {
        parse_all(&data);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_ring_with_a_wrong_byte_makes_no_parser_panic(at in any::<prop::sample::Index>(), byte in any::<u8>(), seal in any::<bool>()) {
        let (sealing, opening) = fresh_rings().expect("random");
        let text = if seal { sealing.render() } else { opening.render() };
        parse_all(text.as_bytes());
        let mut bytes = text.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        parse_all(&bytes);
    }
}
