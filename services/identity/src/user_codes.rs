//! The short codes that people type to decide about what a device asked for (RFC 8628).
//!
//! A code is derived from the id of the grant, so that every gateway knows it and none is stored.

use waybill_domain::access::grant::device::user_code;
use waybill_domain::id::GrantId;
use zeroize::Zeroizing;

use super::SessionSecret;
use super::session_secret::derive;

/// Makes the codes.
pub(super) struct UserCodes(Zeroizing<[u8; 32]>);

impl UserCodes {
    pub(super) fn new(secret: &SessionSecret) -> Self {
        Self(secret.derive("waybill user codes of devices v1", b""))
    }

    pub(super) fn of(&self, grant: &GrantId) -> String {
        let bytes = derive::<16>(&self.0[..], "code", grant.as_str().as_bytes());
        user_code(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waybill_domain::time::Timestamp;

    #[test]
    fn each_grant_has_a_code_of_its_own_which_only_the_secret_tells() {
        let codes = |byte| UserCodes::new(&SessionSecret::new(vec![byte; 32]).expect("long"));
        let grant = |number| GrantId::new(Timestamp(1), number);
        let first = codes(7).of(&grant(1));
        assert_eq!(codes(7).of(&grant(1)), first, "another gateway");
        assert_ne!(codes(7).of(&grant(2)), first);
        assert_ne!(codes(8).of(&grant(1)), first);
    }
}
