use std::future::Future;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use hpke::Kem as _;
use hpke::aead::AesGcm128;

use super::*;
use crate::envelope::Envelope;
use crate::keys::SenderSecret;
use crate::ring::{Ring, fresh_rings};
use crate::secret::SecretBytes;

/// Rings never wait, so their futures are ready at the first poll.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = TaskContext::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a ring does not wait"),
    }
}

fn hex32(digits: &str) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    hex::decode_to_slice(digits, bytes.as_mut_slice()).expect("hex");
    bytes
}

const HERE: Context<'static> = Context {
    purpose: crate::Purpose::TokenValue,
    team: "team_7_test",
    id: "tok_0123456789abcdefghjkmnpqrs",
    version: 3,
};

/// RFC 9180, appendix A.1.3: Auth mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, the message of sequence number 0.
#[test]
fn the_library_agrees_with_the_rfc() {
    let pair = |seed| Kem::derive_keypair(hex32(seed).as_slice());
    let ephemeral = hex32("6e6d8f200ea2fb20c30b003a8b4f433d2f4ed4c2658d5bc8ce2fef718059c9f7");
    let recipient = pair("f1d4a30a4cef8d6d4e3b016e6fd3799ea057db4f345472ed302a67ce1c20cdec");
    let sender = pair("94b020ce91d73fca4649006c7e7329a67b40c55e9e93cc907d282bbbff386f58");
    let (info, aad) = (b"Ode on a Grecian Urn", b"Count-0");
    let plaintext = b"Beauty is truth, truth beauty";

    let mut drawn = Drawn::from_seed(ephemeral);
    let (encapsulated, sealed) = hpke::single_shot_seal_with_rng::<AesGcm128, Kdf, Kem>(
        &OpModeS::Auth(sender.clone()),
        &recipient.1,
        info,
        plaintext,
        aad,
        &mut drawn,
    )
    .expect("sealed");
    assert_eq!(drawn.sufficed(), Ok(()));
    assert_eq!(
        hex::encode(encapsulated.to_bytes()),
        "23fb952571a14a25e3d678140cd0e5eb47a0961bb18afcf85896e5453c312e76"
    );
    assert_eq!(
        hex::encode(&sealed),
        "5fd92cc9d46dbf8943e72a07e42f363ed5f721212cd90bcfd072bfd9f44e06b80fd17824947496e21b680c141b"
    );
    let opened = hpke::single_shot_open::<AesGcm128, Kdf, Kem>(
        &OpModeR::Auth(sender.1),
        &recipient.0,
        &encapsulated,
        info,
        &sealed,
        aad,
    );
    assert_eq!(opened.expect("opened"), plaintext);
}

/// A record made by another implementation, `tests/golden.py`: if the format changed, stored
/// records would be lost.
#[test]
fn a_record_of_another_implementation_is_the_same_to_the_byte() {
    let open = "kek-secret1.91e2dd577c3ed6d08ef5432abb9589d4e81fca0942a4decd4c29458124830733 \
        sender-public1.e3b9708aaa21a7f1e62a95ee28d1e5d60b0fceed6c68599013a54b318e9e0b15";
    let seal = "sender-secret1.e27332361573d4ddbae5f96f3560d118bf433f068b515aabaad164fa128ad25c \
        kek-public1.1a239249ea74403babc01f32df9931a16f71ac8972c461d69fed15640e310639";
    let golden_wrap = "01e2c9d7d1e92e3442b1f1b840de7a3241b02748cf9b05b74dc8c5e8451298738817bd76aa8ebe8c2bb3d84506b486a36ef\
        4296caf806b2bf46a4d6e19f362b29147781e7c35ecd36e3c1db5530a0fcc775b77c23e66d845cb";
    let golden_value = "0144444444444444444444444472f4a5e0af74af18cbafc3fd9af9af1ff8a1f5690f0a792e94cb0378bb8c536b";
    let open = OpenRing::parse(open).expect("a ring");
    let seal = SealRing::parse(seal).expect("a ring");

    let key = DataKey::from_bytes(&[0x33; 32]);
    let seed = Zeroizing::new(std::array::from_fn(|i| i as u8));
    let wrapped = seal
        .wrap_drawn(None, &HERE, &key, Drawn::from_seed(seed))
        .expect("wrapped");
    assert_eq!(hex::encode(wrapped.to_bytes()), golden_wrap);
    let value = SecretBytes::from("Bearer sk-golden".to_owned());
    let envelope = key.seal(&HERE, &[0x44; 12], &value).expect("sealed");
    assert_eq!(hex::encode(envelope.to_bytes()), golden_value);

    let wrapped = WrappedKey::parse(&hex::decode(golden_wrap).expect("hex")).expect("a key");
    let envelope = Envelope::parse(&hex::decode(golden_value).expect("hex")).expect("sealed");
    let opened = at_once(crate::open(&open, &HERE, &envelope, &wrapped)).expect("authentic");
    assert_eq!(opened.expose(), b"Bearer sk-golden");
}

/// HPKE's own open function, with associated data chosen by the test.
fn open_raw(
    mode: &OpModeR<'_, Kem>,
    kek: &<Kem as hpke::Kem>::PrivateKey,
    wrapped: &WrappedKey,
    aad: &[u8],
) -> bool {
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(wrapped.encapsulated());
    let encapsulated = encapsulated.expect("32 bytes");
    hpke::single_shot_open::<Aead, Kdf, Kem>(mode, kek, &encapsulated, INFO, wrapped.sealed(), aad)
        .is_ok()
}

#[test]
fn every_bit_of_the_associated_data_counts() {
    let (seal, open) = fresh_rings().expect("random");
    let key = DataKey::generate().expect("random");
    let wrapped = at_once(seal.wrap_key(None, &HERE, &key)).expect("wrapped");
    let kek = open.kek(wrapped.kek()).expect("its KEK");
    let mode = OpModeR::Auth(seal.sender().key().clone());
    let mut aad = HERE.of_wrap(wrapped.kek());
    assert!(open_raw(&mode, kek.key(), &wrapped, &aad), "the control");
    for bit in 0..aad.len() * 8 {
        aad[bit / 8] ^= 1 << (bit % 8);
        assert!(!open_raw(&mode, kek.key(), &wrapped, &aad), "bit {bit}");
        aad[bit / 8] ^= 1 << (bit % 8);
    }

    let value = SecretBytes::from("a value".to_owned());
    let envelope = key.seal(&HERE, &[7; 12], &value).expect("sealed");
    let open_value = |aad: &[u8]| {
        let mut buffer = envelope.ciphertext().to_vec();
        Aes256Gcm::new(key.expose().into())
            .decrypt_inout_detached(
                envelope.nonce().into(),
                aad,
                buffer.as_mut_slice().into(),
                envelope.tag().into(),
            )
            .is_ok()
    };
    let mut aad = HERE.of_value();
    assert!(open_value(&aad), "the control");
    for bit in 0..aad.len() * 8 {
        aad[bit / 8] ^= 1 << (bit % 8);
        assert!(!open_value(&aad), "bit {bit}");
        aad[bit / 8] ^= 1 << (bit % 8);
    }
}

/// A record as made by somebody who has the KEK's public half and knows everything except a
/// sender's secret.
fn wrapped_by(mode: &OpModeS<'_, Kem>, ring: &OpenRing, key: &DataKey) -> WrappedKey {
    let id = ring.keks()[0];
    let kek = ring.kek(id).expect("its own").public();
    let aad = HERE.of_wrap(id);
    let mut drawn = Drawn::new().expect("random");
    let (encapsulated, sealed) = hpke::single_shot_seal_with_rng::<Aead, Kdf, Kem>(
        mode,
        kek.key(),
        INFO,
        key.expose(),
        &aad,
        &mut drawn,
    )
    .expect("sealed");
    let sealed = sealed.as_slice().try_into().expect("48 bytes");
    WrappedKey::assemble(id, &encapsulated.to_bytes().into(), sealed)
}

#[test]
fn a_record_that_no_gateway_made_is_refused() {
    let sender = SenderSecret::generate().expect("random");
    let (_, ring) = fresh_rings().expect("random");
    let ring = ring.with_sender(sender.public().clone()).expect("a second");
    let key = DataKey::generate().expect("random");
    let pair = |secret: &SenderSecret| (secret.key().clone(), secret.public().key().clone());
    let stranger = SenderSecret::generate().expect("random");

    let unwrap = |mode: OpModeS<'_, Kem>| {
        let wrapped = wrapped_by(&mode, &ring, &key);
        at_once(ring.unwrap_key(&HERE, &wrapped))
    };
    let opened = unwrap(OpModeS::Auth(pair(&sender))).expect("the control");
    assert_eq!(opened.expose(), key.expose());
    let refused = UnwrapError::NotAuthentic(ring.keks()[0]);
    let unauthenticated = unwrap(OpModeS::Base).expect_err("nobody's");
    assert_eq!(unauthenticated, refused);
    let of_stranger = unwrap(OpModeS::Auth(pair(&stranger))).expect_err("a stranger's");
    assert_eq!(of_stranger, refused);
    // The stranger claims to be the sender, whose public half anybody may know.
    let claimed = (stranger.key().clone(), sender.public().key().clone());
    assert_eq!(
        unwrap(OpModeS::Auth(claimed)).expect_err("a liar's"),
        refused
    );
}

/// The text of a gateway's ring is all that the gateway has. None of it opens what the gateway
/// itself has sealed.
#[test]
fn a_gateway_cannot_open_what_it_sealed() {
    let (seal, open) = fresh_rings().expect("random");
    let value = SecretBytes::from("Bearer sk-live".to_owned());
    let (envelope, wrapped) = at_once(crate::seal(&seal, None, &HERE, &value)).expect("sealed");
    let text = seal.render();
    assert!(OpenRing::parse(&text).is_err());

    let digits: Vec<&str> = text
        .split_whitespace()
        .map(|word| word.split_once('.').expect("typed").1)
        .collect();
    assert_eq!(digits.len(), 2);
    let sender = seal.sender().to_word();
    let true_aad = HERE.of_wrap(wrapped.kek());
    for digits in digits {
        // Each of its keys, passed off as the secret of a KEK.
        let forged = OpenRing::parse(&format!("kek-secret1.{digits} {sender}")).expect("a ring");
        let id = forged.keks()[0];
        let unknown = at_once(crate::open(&forged, &HERE, &envelope, &wrapped));
        let unknown = unknown.expect_err("not its KEK");
        assert_eq!(unknown, UnwrapError::UnknownKek(wrapped.kek()).into());
        // The record, changed to name that key.
        let renamed = WrappedKey::assemble(id, wrapped.encapsulated(), wrapped.sealed());
        let refused = at_once(crate::open(&forged, &HERE, &envelope, &renamed));
        let refused = refused.expect_err("not its key");
        assert_eq!(refused, UnwrapError::NotAuthentic(id).into());
        // HPKE alone, with the original associated data.
        let kek = forged.kek(id).expect("its own");
        for mode in [OpModeR::Base, OpModeR::Auth(seal.sender().key().clone())] {
            assert!(!open_raw(&mode, kek.key(), &wrapped, &true_aad));
        }
    }
    let opened = at_once(crate::open(&open, &HERE, &envelope, &wrapped)).expect("the control");
    assert_eq!(opened.expose(), value.expose());
}
