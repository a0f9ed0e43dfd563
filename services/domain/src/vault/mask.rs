//! Credentials in the headers of a task: which headers those are, what is shown in place of the
//! values, and how the values are packed for sealing.

use zeroize::Zeroizing;

use super::reference::refers;

/// Headers whose values are always credentials.
const ALWAYS: [&str; 4] = [
    "authorization",
    "cookie",
    "proxy-authorization",
    "x-api-key",
];
/// Never a credential, whatever a team says: it determines how values are escaped in the body, even
/// where only the mask is known.
const NEVER: &str = "content-type";
/// What is shown in place of a credential.
const MASK: &str = "****";
/// Words that precede a credential (IANA's registry of authentication schemes, and what large
/// services use). Any other first word is masked as well, since it might be half of a passphrase.
const SCHEMES: [&str; 16] = [
    "apikey",
    "api-key",
    "basic",
    "bearer",
    "bot",
    "digest",
    "dpop",
    "gnap",
    "hawk",
    "jwt",
    "key",
    "negotiate",
    "oauth",
    "ssws",
    "token",
    "vapid",
];

/// Version of the packed format.
const FORMAT: u8 = 1;

/// The headers of one team whose values are credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialHeaders<'a> {
    more: &'a [String],
}

impl<'a> CredentialHeaders<'a> {
    /// `Authorization`, `Cookie`, `Proxy-Authorization`, `X-Api-Key`, and the headers that the team
    /// adds.
    #[must_use]
    pub fn and(more: &'a [String]) -> Self {
        Self { more }
    }

    /// Whether the value of this header is a credential.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let is = |other: &str| other.eq_ignore_ascii_case(name);
        let listed = ALWAYS.into_iter().any(is) || self.more.iter().any(|other| is(other));
        listed && !is(NEVER)
    }
}

/// The visible part of a credential: at most its scheme (`Bearer ****`).
#[must_use]
pub fn mask(value: &str) -> String {
    match split_scheme(value) {
        Some((scheme, _)) => format!("{scheme} {MASK}"),
        None => MASK.to_owned(),
    }
}

/// Whether a value is what stands in the place of a credential that is not shown. Sent back, it would reach the target as a wrong one.
#[must_use]
pub fn is_mask(value: &str) -> bool {
    let credential = split_scheme(value).map_or(value, |(_, credential)| credential);
    credential == MASK
}

/// Splits `Bearer x` into scheme and credential.
pub(super) fn split_scheme(value: &str) -> Option<(&str, &str)> {
    let (scheme, credential) = value.split_once(' ')?;
    let credential = credential.trim_start_matches(' ');
    let known = SCHEMES
        .iter()
        .any(|known| known.eq_ignore_ascii_case(scheme));
    (known && !credential.is_empty()).then_some((scheme, credential))
}

/// Credentials removed from a task's headers, with their indices. Wiped when dropped, and not shown
/// by `Debug`.
pub struct RawHeaders(Vec<(u16, Zeroizing<String>)>);

/// The decrypted bytes are not a list of headers, or not one of this task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sealed headers of the task are malformed")]
pub struct MalformedSealed;

impl RawHeaders {
    /// Removes credentials from headers, and leaves masks in their place. A value that refers to
    /// the vault is kept. `None` if there is no credential.
    #[must_use]
    pub fn take(headers: &mut [(String, String)], names: &CredentialHeaders<'_>) -> Option<Self> {
        let mut taken = Vec::new();
        for (at, (name, value)) in headers.iter_mut().enumerate() {
            if value.is_empty() || !names.contains(name) || refers(value) {
                continue;
            }
            // A task has at most 100 headers.
            let Ok(at) = u16::try_from(at) else { break };
            let masked = mask(value);
            taken.push((at, Zeroizing::new(std::mem::replace(value, masked))));
        }
        (!taken.is_empty()).then_some(Self(taken))
    }

    /// Indices of the headers they were removed from, ascending.
    #[must_use]
    pub fn places(&self) -> Vec<u16> {
        self.0.iter().map(|(at, _)| *at).collect()
    }

    /// The credentials, with the indices of their headers.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &str)> {
        self.0.iter().map(|(at, value)| (*at, value.as_str()))
    }

    /// The original headers, each with whether its value was removed. Such a value is sent as it
    /// is, even if it looks like a reference.
    pub fn restore<'a>(
        &'a self,
        masked: &'a [(String, String)],
    ) -> Result<Vec<(&'a str, &'a str, bool)>, MalformedSealed> {
        let mut headers: Vec<_> = masked
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str(), false))
            .collect();
        for (at, value) in self.iter() {
            let header = headers.get_mut(usize::from(at)).ok_or(MalformedSealed)?;
            (header.1, header.2) = (value, true);
        }
        Ok(headers)
    }

    /// The bytes to seal: a version, then for each credential its index (2 bytes), its length (4
    /// bytes, both big-endian) and its value.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let length = self
            .0
            .iter()
            .map(|(_, value)| 6 + value.len())
            .sum::<usize>();
        let mut bytes = Zeroizing::new(Vec::with_capacity(1 + length));
        bytes.push(FORMAT);
        for (at, value) in &self.0 {
            bytes.extend_from_slice(&at.to_be_bytes());
            let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(value.as_bytes());
        }
        bytes
    }

    /// Parses exactly what [`RawHeaders::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedSealed> {
        let Some((&FORMAT, mut rest)) = bytes.split_first() else {
            return Err(MalformedSealed);
        };
        let mut headers: Vec<(u16, Zeroizing<String>)> = Vec::new();
        while !rest.is_empty() {
            let (at, behind) = rest.split_first_chunk::<2>().ok_or(MalformedSealed)?;
            let (length, behind) = behind.split_first_chunk::<4>().ok_or(MalformedSealed)?;
            let at = u16::from_be_bytes(*at);
            let length =
                usize::try_from(u32::from_be_bytes(*length)).map_err(|_| MalformedSealed)?;
            let (value, behind) = behind.split_at_checked(length).ok_or(MalformedSealed)?;
            let value = std::str::from_utf8(value).map_err(|_| MalformedSealed)?;
            if headers.last().is_some_and(|(last, _)| *last >= at) {
                return Err(MalformedSealed);
            }
            headers.push((at, Zeroizing::new(value.to_owned())));
            rest = behind;
        }
        if headers.is_empty() {
            return Err(MalformedSealed);
        }
        Ok(Self(headers))
    }
}

impl std::fmt::Debug for RawHeaders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RawHeaders").field(&self.places()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn of_a_credential_at_most_its_scheme_is_shown() {
        for (value, masked) in [
            ("Bearer abc", "Bearer ****"),
            ("basic  dXNlcjpwdw==", "basic ****"),
            ("Bearer", "****"),
            ("Bearer ", "****"),
            ("correct horse battery", "****"),
            ("sid=1; theme=dark", "****"),
            ("x", "****"),
        ] {
            assert_eq!(mask(value), masked, "{value}");
        }
    }

    #[test]
    fn a_mask_is_told_from_a_credential() {
        for value in ["Bearer abc", "", "x", "sid=1", "Basic dXNlcjpwdw=="] {
            assert!(!is_mask(value), "{value}");
            assert!(is_mask(&mask(value)), "{value}");
        }
    }

    #[test]
    fn credentials_are_taken_out_and_masked_in_place() {
        let more = ["x-secret".to_owned()];
        let names = CredentialHeaders::and(&more);
        let given = headers(&[
            ("X-One", "1"),
            ("AUTHORIZATION", "Bearer abc"),
            ("Cookie", ""),
            ("x-api-key", "{{tok_x}}"),
            ("X-Secret", "s"),
            ("X-Api-Key", "tok_x"),
            ("cookie", "a {{tok_x}} b"),
        ]);
        let mut masked = given.clone();
        let raw = RawHeaders::take(&mut masked, &names).expect("some");
        assert_eq!(raw.places(), [1, 4]);
        assert_eq!(masked[1].1, "Bearer ****");
        assert_eq!(masked[4].1, "****");
        let restored = raw.restore(&masked).expect("of this task");
        let values: Vec<_> = restored.iter().map(|&(_, value, _)| value).collect();
        let expected: Vec<_> = given.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values, expected);
        let taken: Vec<_> = restored.iter().map(|&(_, _, taken)| taken).collect();
        assert_eq!(taken, [false, true, false, false, true, false, false]);
        assert!(RawHeaders::take(&mut headers(&[("X-One", "1")]), &names).is_none());
    }

    #[test]
    fn what_the_form_of_a_body_is_read_from_is_never_masked() {
        let more = ["content-type".to_owned(), "x-own".to_owned()];
        let names = CredentialHeaders::and(&more);
        assert!(names.contains("X-Own") && names.contains("x-api-KEY"));
        assert!(!names.contains("Content-Type") && !names.contains("X-Other"));
    }

    #[test]
    fn they_never_show_themselves() {
        let mut given = headers(&[("Authorization", "Bearer abc")]);
        let raw = RawHeaders::take(&mut given, &CredentialHeaders::default()).expect("one");
        assert_eq!(format!("{raw:?}"), "RawHeaders([0])");
    }

    #[test]
    fn a_list_of_another_task_is_refused() {
        let raw = RawHeaders(vec![(3, Zeroizing::new("x".to_owned()))]);
        assert_eq!(
            raw.restore(&headers(&[("a", "b")])).err(),
            Some(MalformedSealed)
        );
    }

    #[test]
    fn only_the_exact_encoding_is_read() {
        let raw = RawHeaders(vec![
            (0, Zeroizing::new("ab".to_owned())),
            (7, Zeroizing::new("ü".to_owned())),
        ]);
        let bytes = raw.encode();
        let read = RawHeaders::decode(&bytes).expect("read");
        assert_eq!(read.iter().collect::<Vec<_>>(), [(0, "ab"), (7, "ü")]);
        for cut in 0..bytes.len() {
            // Cut after the first entry, it is a valid shorter list; only the seal detects that.
            if cut != 9 {
                assert!(RawHeaders::decode(&bytes[..cut]).is_err(), "{cut}");
            }
        }
        let twice = [&bytes[..9], &bytes[1..9]].concat();
        assert!(RawHeaders::decode(&twice).is_err());
        assert!(RawHeaders::decode(&[2, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(RawHeaders::decode(&[1, 0, 0, 0, 0, 0, 1, 0xff]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(values in prop::collection::vec("\\PC{1,20}", 1..8)) {
            let raw = RawHeaders((0..).zip(values.iter().cloned().map(Zeroizing::new)).collect());
            let read = RawHeaders::decode(&raw.encode()).expect("read");
            prop_assert_eq!(read.iter().map(|(_, value)| value.to_owned()).collect::<Vec<_>>(), values);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = RawHeaders::decode(&bytes);
        }
    }
}
