//! Known devices: each device on which somebody has signed in keeps a token that says so.
//!
//! The token grants no access. Attempts that bring it along are counted separately from all others, so that somebody who guesses passwords
//! of the account from elsewhere does not lock its owner out. A change of the password makes all of them void.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use waybill_domain::access::email::EmailHash;
use zeroize::Zeroizing;

use super::SessionSecret;
use waybill_commands::entropy;

const ID_BYTES: usize = 16;
const MAC_BYTES: usize = 32;

/// Makes tokens of devices and recognises them.
pub(super) struct Devices(Zeroizing<[u8; 32]>);

impl Devices {
    pub(super) fn new(secret: &SessionSecret) -> Self {
        Self(secret.derive("waybill known devices v1", b""))
    }

    /// A token for one more device of somebody.
    pub(super) fn issue(&self, address: &EmailHash, generation: u64) -> String {
        let id = entropy::random::<ID_BYTES>();
        let mac = self.mac(address, generation, &id).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode([&id[..], &mac[..]].concat())
    }

    /// The id by which attempts from the device are counted, when the token belongs to that person.
    pub(super) fn recognise(
        &self,
        address: &EmailHash,
        generation: u64,
        token: &str,
    ) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (id, mac) = bytes.split_at_checked(ID_BYTES)?;
        if mac.len() != MAC_BYTES {
            return None;
        }
        self.mac(address, generation, id).verify_slice(mac).ok()?;
        Some(hex::encode(id))
    }

    fn mac(&self, address: &EmailHash, generation: u64, id: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0[..]).expect("any length");
        mac.update(address.as_str().as_bytes());
        mac.update(&generation.to_be_bytes());
        mac.update(id);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::access::email::Email;

    #[test]
    fn a_device_is_known_for_one_person_until_the_password_changes() {
        let secret = SessionSecret::new(vec![7; 32]).expect("long enough");
        let devices = Devices::new(&secret);
        let hash = |email: &str| Email::parse(email).expect("an address").hash(b"key");
        let (ann, bob) = (hash("ann@example.com"), hash("bob@example.com"));
        let token = devices.issue(&ann, 1);
        let known = devices.recognise(&ann, 1, &token);
        assert!(known.is_some());
        assert_eq!(devices.recognise(&ann, 1, &token), known, "the same device");
        assert_eq!(devices.recognise(&bob, 1, &token), None);
        assert_eq!(devices.recognise(&ann, 2, &token), None);
        for other in ["", "x", &token[1..], &format!("{token}AA")] {
            assert_eq!(devices.recognise(&ann, 1, other), None, "{other}");
        }
        assert_ne!(devices.issue(&ann, 1), token);
    }
}
