// The body of the fuzz target, and of the test that runs the same checks: no input makes a parser
// panic, and what a parser accepts is written back byte by byte.

use waybill_vault::{Envelope, KekId, OpenRing, Ring, SealRing, WrappedKey};

/// Feeds these bytes to everything that the vault parses.
pub(crate) fn parse_all(data: &[u8]) {
    if let Ok(envelope) = Envelope::parse(data) {
        assert_eq!(envelope.to_bytes(), data);
        assert_eq!(Envelope::parse_text(&envelope.to_text()), Ok(envelope));
    }
    if let Ok(wrapped) = WrappedKey::parse(data) {
        assert_eq!(wrapped.to_bytes(), data);
        assert_eq!(wrapped.kek().to_bytes(), data[1..9]);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(envelope) = Envelope::parse_text(text) {
        assert_eq!(envelope.to_text(), text);
    }
    if let Ok(id) = text.parse::<KekId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(ring) = SealRing::parse(text) {
        let rendered = ring.render();
        let again = SealRing::parse(&rendered).expect("a ring reads what it wrote");
        assert_eq!(*again.render(), *rendered);
        assert!(
            OpenRing::parse(&rendered).is_err(),
            "a gateway's ring opens"
        );
    }
    if let Ok(ring) = OpenRing::parse(text) {
        let rendered = ring.render();
        let again = OpenRing::parse(&rendered).expect("a ring reads what it wrote");
        assert_eq!(*again.render(), *rendered);
    }
}
