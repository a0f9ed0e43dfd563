//! Who may report keys that were found in the open: public keys by their identifiers, and signatures under them.
//!
//! The shape is that of GitHub's secret scanning partner programme: ECDSA on P-256 with SHA-256 over the raw body, as base64 of the DER
//! form. The keys come from the configuration; nothing is fetched, so nobody else can put one there.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The first bytes of a P-256 public key in DER (RFC 5480): algorithm, curve, and the head of a bit string of 65 bytes, which are the key.
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Bytes of a point on the curve, uncompressed.
const POINT_BYTES: usize = 65;
const UNCOMPRESSED: u8 = 4;
const PEM_BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";

/// A reporter that cannot be configured like that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadReporter {
    /// Two keys with one identifier.
    #[error("the identifier {0:?} is used twice")]
    Twice(String),
    /// No public key of the right kind.
    #[error("the public key {0:?} must be a P-256 key as PEM (-----BEGIN PUBLIC KEY-----)")]
    NoKey(String),
}

/// Who may report keys. Empty: nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyReporters(BTreeMap<String, Reporter>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Reporter {
    name: Arc<str>,
    point: [u8; POINT_BYTES],
}

impl KeyReporters {
    /// Trusts one more key: reports that are signed with it are `name`'s.
    pub fn trusting(
        mut self,
        identifier: &str,
        name: &str,
        pem: &str,
    ) -> Result<Self, BadReporter> {
        let point = point(pem).ok_or_else(|| BadReporter::NoKey(identifier.to_owned()))?;
        let reporter = Reporter {
            name: name.into(),
            point,
        };
        match self.0.insert(identifier.to_owned(), reporter) {
            None => Ok(self),
            Some(_) => Err(BadReporter::Twice(identifier.to_owned())),
        }
    }

    /// Whether nobody may report.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key of that identifier is trusted.
    pub fn knows(&self, identifier: &str) -> bool {
        self.0.contains_key(identifier)
    }

    /// Who signed the body. `None`: the signature is not that of a trusted key over this body.
    pub fn signer(&self, identifier: &str, signature: &str, body: &[u8]) -> Option<Arc<str>> {
        let reporter = self.0.get(identifier)?;
        let signature = STANDARD.decode(signature).ok()?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &reporter.point);
        key.verify(body, &signature).ok()?;
        Some(Arc::clone(&reporter.name))
    }
}

fn point(pem: &str) -> Option<[u8; POINT_BYTES]> {
    let text = pem.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let text: String = text.split_ascii_whitespace().collect();
    let der = STANDARD.decode(text).ok()?;
    let point: [u8; POINT_BYTES] = der.strip_prefix(&P256_PREFIX)?.try_into().ok()?;
    (point[0] == UNCOMPRESSED).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};

    fn pair() -> (EcdsaKeyPair, String) {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key");
        let der = [&P256_PREFIX[..], pair.public_key().as_ref()].concat();
        let pem = format!("{PEM_BEGIN}\n{}\n{PEM_END}\n", STANDARD.encode(der));
        (pair, pem)
    }

    fn sign(pair: &EcdsaKeyPair, body: &[u8]) -> String {
        let signature = pair.sign(&SystemRandom::new(), body).expect("signed");
        STANDARD.encode(signature.as_ref())
    }

    #[test]
    fn only_what_a_trusted_key_signed_is_believed() {
        let ((pair, pem), (other, _)) = (pair(), pair());
        let reporters = KeyReporters::default()
            .trusting("k1", "github", &pem)
            .expect("a key");
        let signature = sign(&pair, b"[]");
        let signer = reporters.signer("k1", &signature, b"[]");
        assert_eq!(signer.as_deref(), Some("github"));
        for (identifier, signature, body) in [
            ("k2", signature.clone(), &b"[]"[..]),
            ("k1", signature.clone(), b"[ ]"),
            ("k1", sign(&other, b"[]"), b"[]"),
            ("k1", String::new(), b"[]"),
            ("k1", "%%%".to_owned(), b"[]"),
            ("k1", STANDARD.encode([0x30, 0]), b"[]"),
        ] {
            assert_eq!(reporters.signer(identifier, &signature, body), None);
        }
    }

    #[test]
    fn what_is_no_p256_key_is_refused_by_name() {
        let (_, pem) = pair();
        let twice = KeyReporters::default()
            .trusting("a", "x", &pem)
            .and_then(|reporters| reporters.trusting("a", "y", &pem));
        assert_eq!(twice, Err(BadReporter::Twice("a".into())));
        let ed25519 = format!("{PEM_BEGIN}\n{}\n{PEM_END}", STANDARD.encode([0x30; 44]));
        for text in [
            "",
            "key",
            &pem[..60],
            &ed25519,
            &pem.replace("PUBLIC", "PRIVATE"),
        ] {
            let refused = KeyReporters::default().trusting("a", "x", text);
            assert_eq!(refused, Err(BadReporter::NoKey("a".into())));
        }
    }
}
