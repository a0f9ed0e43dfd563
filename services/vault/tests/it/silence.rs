//! No secret appears in debug output or in an error.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use waybill_vault::{
    Context, DataKey, Envelope, KekSecret, LiveRing, OpenRing, Ring, RingSource, SealRing,
    SecretBytes, SenderSecret, WrappedKey, fresh_rings,
};

/// Whether any `WINDOW` consecutive bytes of the secret appear: as text, as hex, or as a list of
/// numbers.
fn shows(printed: &str, secret: &[u8]) -> bool {
    const WINDOW: usize = 6;
    secret.windows(WINDOW).any(|part| {
        let numbers: Vec<String> = part.iter().map(u8::to_string).collect();
        let text = std::str::from_utf8(part).is_ok_and(|text| printed.contains(text));
        text || printed.contains(&hex::encode(part))
            || printed.contains(&numbers.join(", "))
            || printed.contains(&URL_SAFE_NO_PAD.encode(part))
    })
}

#[test]
fn debug_shows_no_key_and_no_value() {
    let value = b"Bearer sk-live-9f8e7d6c".to_vec();
    let secret = SecretBytes::new(value.clone());
    for printed in [format!("{secret:?}"), format!("{secret:#?}")] {
        assert!(!shows(&printed, &value), "{printed}");
    }
    let key = DataKey::generate().expect("random");
    for printed in [format!("{key:?}"), format!("{key:#?}")] {
        assert_eq!(printed, "DataKey(..)");
        assert!(!shows(&printed, key.expose()), "{printed}");
    }
    let (kek, sender) = (KekSecret::generate(), SenderSecret::generate());
    let (kek, sender) = (kek.expect("random"), sender.expect("random"));
    let (sealing, opening) = fresh_rings().expect("random");
    let live_seal = LiveRing::<SealRing>::load(RingSource::Text(sealing.render())).expect("a ring");
    let live_open = LiveRing::<OpenRing>::load(RingSource::Text(opening.render())).expect("a ring");
    let words = [
        kek.to_word().to_string(),
        sender.to_word().to_string(),
        kek.public().to_word(),
        sender.public().to_word(),
        sealing.render().to_string(),
        opening.render().to_string(),
    ];
    let printed = format!(
        "{kek:?} {sender:?} {:?} {:?} {sealing:?} {opening:?} {live_seal:?} {live_open:#?} {:?}",
        kek.public(),
        sender.public(),
        RingSource::Text(opening.render()),
    );
    for word in words.iter().flat_map(|text| text.split_whitespace()) {
        let digits = word.split_once('.').expect("typed").1;
        let bytes = hex::decode(digits).expect("hex");
        assert!(!shows(&printed, &bytes), "{printed}");
    }
    assert!(printed.contains(&kek.id().to_string()), "ids may show");
}

#[test]
fn debug_shows_nothing_of_a_record() {
    let mut bytes = vec![1];
    bytes.extend((0..60).map(|n| 160 + n));
    let envelope = Envelope::parse(&bytes).expect("of that form");
    assert!(!shows(&format!("{envelope:?}"), &bytes));
    bytes.extend((0..28).map(|n| 100 + n));
    let wrapped = WrappedKey::parse(&bytes).expect("of that form");
    assert!(!shows(&format!("{wrapped:?}"), &bytes[9..]));
}

#[test]
fn errors_name_places_and_ids() {
    let refused =
        Envelope::parse(b"Bearer sk-live-9f8e7d6c, which is no envelope").expect_err("no");
    assert_eq!(refused.to_string(), "a sealed value has format 1, not 66");
    let refused = Envelope::parse_text("sk-live-9f8e7d6c!").expect_err("no");
    assert_eq!(
        refused.to_string(),
        "a sealed value is written in unpadded base64url"
    );
    let refused = OpenRing::parse("kek-secret1.5e5e5e5e").expect_err("too short");
    assert!(
        !format!("{refused} {refused:?}").contains("5e"),
        "{refused}"
    );
    let context = Context::task("team_7", "task_1");
    assert!(
        format!("{context:?}").contains("task_1"),
        "a context is no secret"
    );
}
