//! Records open in their own place and nowhere else, and not after a bit of them has changed.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};

use proptest::prelude::*;
use waybill_vault::{
    Context, Envelope, KekSecret, LiveRing, MAX_PLAINTEXT_BYTES, NotAuthentic, OpenError, OpenRing,
    Purpose, Ring, RingSource, SealError, SealRing, SecretBytes, SenderSecret, UnwrapError,
    Unwrapper, WRAPPED_KEY_BYTES, WrapError, WrappedKey, Wrapper, fresh_rings, open, rewrap, seal,
};

const HERE: Context<'static> = Context {
    purpose: Purpose::TokenValue,
    team: "team_7_test",
    id: "tok_0123456789abcdefghjkmnpqrs",
    version: 3,
};

/// Rings never wait, so their futures are ready at the first poll.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a ring does not wait"),
    }
}

fn rings() -> (SealRing, OpenRing) {
    fresh_rings().expect("random")
}

fn sealed(ring: &SealRing, value: &[u8]) -> (Envelope, WrappedKey) {
    let value = SecretBytes::new(value.to_vec());
    at_once(seal(ring, None, &HERE, &value)).expect("sealed")
}

fn opened(
    ring: &OpenRing,
    context: &Context<'_>,
    record: &(Envelope, WrappedKey),
) -> Result<Vec<u8>, OpenError> {
    at_once(open(ring, context, &record.0, &record.1)).map(|value| value.expose().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_sealed_is_opened(
        value in prop::collection::vec(any::<u8>(), 1..3000),
        (team, id, version) in (".{0,40}", ".{0,40}", any::<u32>()),
        is_token in any::<bool>(),
    ) {
        let purpose = if is_token { Purpose::TokenValue } else { Purpose::TaskHeaders };
        let context = Context { purpose, team: &team, id: &id, version };
        let (sealing, opening) = rings();
        let secret = SecretBytes::new(value.clone());
        let (envelope, wrapped) = at_once(seal(&sealing, None, &context, &secret)).expect("sealed");
        let envelope = Envelope::parse_text(&envelope.to_text()).expect("what was written");
        let wrapped = WrappedKey::parse(&wrapped.to_bytes()).expect("what was written");
        prop_assert_eq!(opened(&opening, &context, &(envelope, wrapped)), Ok(value));
    }
}

#[test]
fn the_longest_value_fits_and_no_longer_one() {
    let (sealing, opening) = rings();
    let longest = vec![b'x'; MAX_PLAINTEXT_BYTES];
    let record = sealed(&sealing, &longest);
    assert_eq!(opened(&opening, &HERE, &record), Ok(longest));
    for size in [0, MAX_PLAINTEXT_BYTES + 1] {
        let value = SecretBytes::new(vec![b'x'; size]);
        let refused = at_once(seal(&sealing, None, &HERE, &value)).expect_err("no such value");
        assert_eq!(refused, SealError::Size(size));
    }
}

#[test]
fn nothing_repeats_between_two_records_of_one_value() {
    let (sealing, _) = rings();
    let (one, two) = (sealed(&sealing, b"same"), sealed(&sealing, b"same"));
    // Format and KEK id are the same; every random part differs.
    assert_ne!(one.0.to_bytes()[1..13], two.0.to_bytes()[1..13]);
    assert_ne!(one.0.to_bytes()[13..17], two.0.to_bytes()[13..17]);
    assert_ne!(one.1.to_bytes()[9..41], two.1.to_bytes()[9..41]);
    assert_ne!(one.1.to_bytes()[41..], two.1.to_bytes()[41..]);
}

#[test]
fn every_bit_of_an_envelope_counts() {
    let (sealing, opening) = rings();
    let (envelope, wrapped) = sealed(&sealing, b"Bearer sk-live-0123456789");
    let mut bytes = envelope.to_bytes();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        if bit < 8 {
            assert!(Envelope::parse(&bytes).is_err(), "format, bit {bit}");
        } else {
            let changed = Envelope::parse(&bytes).expect("of the same form");
            let refused = opened(&opening, &HERE, &(changed, wrapped.clone()));
            assert_eq!(
                refused,
                Err(OpenError::NotAuthentic(NotAuthentic)),
                "bit {bit}"
            );
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    // Cut at every position, and with something appended.
    for size in 30..bytes.len() {
        let cut = Envelope::parse(&bytes[..size]).expect("of the same form");
        assert!(
            opened(&opening, &HERE, &(cut, wrapped.clone())).is_err(),
            "{size} bytes"
        );
    }
    bytes.push(0);
    let longer = Envelope::parse(&bytes).expect("of the same form");
    assert!(opened(&opening, &HERE, &(longer, wrapped)).is_err());
}

#[test]
fn every_bit_of_a_wrapped_key_counts() {
    let (sealing, opening) = rings();
    let (envelope, wrapped) = sealed(&sealing, b"Bearer sk-live-0123456789");
    let kek = wrapped.kek();
    let mut bytes = wrapped.to_bytes();
    for bit in 0..WRAPPED_KEY_BYTES * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        if bit < 8 {
            assert!(WrappedKey::parse(&bytes).is_err(), "format, bit {bit}");
        } else {
            let changed = WrappedKey::parse(&bytes).expect("of the same form");
            let named = changed.kek();
            let expected = if bit < 9 * 8 {
                assert_ne!(named, kek);
                UnwrapError::UnknownKek(named)
            } else {
                UnwrapError::NotAuthentic(kek)
            };
            let refused = opened(&opening, &HERE, &(envelope.clone(), changed));
            assert_eq!(refused, Err(OpenError::Unwrap(expected)), "bit {bit}");
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_record_opens_in_its_own_place_alone() {
    let (sealing, opening) = rings();
    let record = sealed(&sealing, b"value");
    let key = at_once(opening.unwrap_key(&HERE, &record.1)).expect("authentic");
    key.open(&HERE, &record.0).expect("the control");
    let elsewhere = [
        Context {
            team: "team_7",
            ..HERE
        },
        Context {
            team: "team_8_test",
            ..HERE
        },
        Context {
            id: "tok_0123456789abcdefghjkmnpqrt",
            ..HERE
        },
        Context { version: 2, ..HERE },
        Context { version: 4, ..HERE },
        Context {
            purpose: Purpose::TaskHeaders,
            ..HERE
        },
        Context {
            team: "",
            id: "team_7_testtok_0123456789abcdefghjkmnpqrs",
            ..HERE
        },
        Context {
            team: HERE.id,
            id: HERE.team,
            ..HERE
        },
    ];
    for context in elsewhere {
        let refused = opened(&opening, &context, &record);
        let expected = UnwrapError::NotAuthentic(record.1.kek());
        assert_eq!(refused, Err(OpenError::Unwrap(expected)), "{context:?}");
        // Not even for a worker that has the data key already, as a cache has.
        let refused = key.open(&context, &record.0).expect_err("moved");
        assert_eq!(refused, NotAuthentic, "{context:?}");
    }
}

#[test]
fn the_parts_of_two_records_do_not_mix() {
    let (sealing, opening) = rings();
    let (one, two) = (sealed(&sealing, b"one"), sealed(&sealing, b"two"));
    let mixed = (one.0, two.1);
    let refused = opened(&opening, &HERE, &mixed);
    assert_eq!(refused, Err(OpenError::NotAuthentic(NotAuthentic)));
}

#[test]
fn a_strangers_record_is_refused() {
    let (sealing, opening) = rings();
    // A stranger that has the KEK's public half, knows the place, and has a sender key of its own.
    let stranger = sealing.with_sender(SenderSecret::generate().expect("random"));
    assert_eq!(stranger.keks(), opening.keks());
    let forged = sealed(&stranger, b"forged");
    let refused = OpenError::Unwrap(UnwrapError::NotAuthentic(forged.1.kek()));
    assert_eq!(opened(&opening, &HERE, &forged), Err(refused));
    let trusting = opening
        .with_sender(stranger.sender().clone())
        .expect("a second");
    assert_eq!(opened(&trusting, &HERE, &forged), Ok(b"forged".to_vec()));
}

#[test]
fn a_kek_that_is_not_there_is_an_error_of_its_own() {
    let (sealing, _) = rings();
    let (_, other) = rings();
    let record = sealed(&sealing, b"value");
    let unknown = OpenError::Unwrap(UnwrapError::UnknownKek(sealing.keks()[0]));
    assert_eq!(opened(&other, &HERE, &record), Err(unknown));
    let value = SecretBytes::new(b"value".to_vec());
    let named = Some(other.keks()[0]);
    let refused = at_once(seal(&sealing, named, &HERE, &value)).expect_err("not in the ring");
    let unknown = WrapError::UnknownKek(other.keks()[0]);
    assert_eq!(refused, SealError::Wrap(unknown));
}

#[test]
fn a_record_is_sealed_under_the_named_kek_or_the_newest() {
    let (sealing, opening) = rings();
    let old = sealing.keks()[0];
    let new = KekSecret::generate().expect("random");
    let sealing = sealing.with_kek(new.public().clone()).expect("two");
    let opening = opening.with_kek(new).expect("two");
    let value = SecretBytes::new(b"value".to_vec());
    for (named, expected) in [(None, sealing.keks()[0]), (Some(old), old)] {
        let record = at_once(seal(&sealing, named, &HERE, &value)).expect("sealed");
        assert_eq!(record.1.kek(), expected);
        assert_eq!(opened(&opening, &HERE, &record), Ok(b"value".to_vec()));
    }
}

#[test]
fn rewrapping_moves_a_record_to_another_kek_and_leaves_its_envelope() {
    let (sealing, opening) = rings();
    let (envelope, before) = sealed(&sealing, b"value");
    let new = KekSecret::generate().expect("random");
    let id = new.id();
    let sealing = sealing.with_kek(new.public().clone()).expect("two");
    let opening = opening.with_kek(new).expect("two");
    let after = at_once(rewrap(&opening, &sealing, Some(id), &HERE, &before)).expect("rewrapped");
    assert_eq!(after.kek(), id);
    let alone = opening.without_kek(before.kek()).expect("one left");
    assert_eq!(
        opened(&alone, &HERE, &(envelope.clone(), after)),
        Ok(b"value".to_vec())
    );
    let gone = OpenError::Unwrap(UnwrapError::UnknownKek(before.kek()));
    assert_eq!(opened(&alone, &HERE, &(envelope, before)), Err(gone));
}

#[test]
fn rewrapping_cannot_move_a_record_to_another_place() {
    let (sealing, opening) = rings();
    let (_, wrapped) = sealed(&sealing, b"value");
    let elsewhere = Context {
        team: "team_8",
        ..HERE
    };
    assert!(at_once(rewrap(&opening, &sealing, None, &elsewhere, &wrapped)).is_err());
}

#[test]
fn shared_and_live_rings_are_wrappers_too() {
    let (sealing, opening) = rings();
    let live = LiveRing::<SealRing>::load(RingSource::Text(sealing.render())).expect("a ring");
    let wrapper: Arc<dyn Wrapper> = Arc::new(live);
    let live = LiveRing::<OpenRing>::load(RingSource::Text(opening.render())).expect("a ring");
    let unwrapper: Arc<dyn Unwrapper> = Arc::new(live);
    assert_eq!(wrapper.keks(), unwrapper.keks());
    let value = SecretBytes::new(b"value".to_vec());
    let (envelope, wrapped) = at_once(seal(&wrapper, None, &HERE, &value)).expect("sealed");
    let opened = at_once(open(&*unwrapper, &HERE, &envelope, &wrapped)).expect("authentic");
    assert_eq!(opened.expose(), b"value");
    assert!(SealRing::parse(&opening.render()).is_err());
}
