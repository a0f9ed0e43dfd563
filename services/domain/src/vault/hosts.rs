//! Where a credential may be sent: the hosts that a token is bound to, and the channels that keep
//! it secret.
//!
//! Checked when a task is created and again at every hop of a call, always on the parsed URL: what
//! a URL looks like (`https://api.example.com@evil.example/`) and where it leads are different
//! things.

use std::fmt;
use std::net::Ipv6Addr;

use url::{Host, Url};

use crate::task::Invalid;

/// Limit of hosts per token.
pub const MAX_HOSTS: usize = 20;
/// Longest name of a host (RFC 1035, 2.3.4).
const MAX_HOST_CHARS: usize = 253;
/// Longest label of a name.
const MAX_LABEL_CHARS: usize = 63;
/// Characters of an entry that an error shows.
const SHOWN_CHARS: usize = 60;

/// The hosts that a token may be sent to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(Allowed);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
enum Allowed {
    #[default]
    Any,
    Only(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    /// Exactly this host. A name is in lower case, in ASCII and without a trailing dot.
    Exactly(Host),
    /// Every name below this one, at any depth, but not the name itself.
    Under(String),
}

impl AllowedHosts {
    /// Parses `allowedHosts` of a request: hosts (`api.openai.com`, `203.0.113.7`) and suffixes
    /// (`*.example.com`). An empty list allows every host.
    pub fn parse(texts: &[String]) -> Result<Self, Invalid> {
        if texts.len() > MAX_HOSTS {
            return Err(Invalid::new(
                "allowedHosts",
                format!(
                    "allowedHosts must hold at most {MAX_HOSTS} hosts, not {}",
                    texts.len()
                ),
            ));
        }
        let mut entries = Vec::with_capacity(texts.len());
        for text in texts {
            let entry = Entry::parse(text).map_err(|why| {
                let shown: String = text.chars().take(SHOWN_CHARS).collect();
                Invalid::new("allowedHosts", format!("allowedHosts: {shown:?} {why}"))
            })?;
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        Ok(Self(if entries.is_empty() {
            Allowed::Any
        } else {
            Allowed::Only(entries)
        }))
    }

    /// Parses a stored list. An unreadable entry allows nothing, so that a list is never widened by
    /// mistake.
    #[must_use]
    pub fn stored(texts: &[String]) -> Self {
        if texts.is_empty() {
            return Self(Allowed::Any);
        }
        let read = texts.iter().filter_map(|text| Entry::parse(text).ok());
        Self(Allowed::Only(read.collect()))
    }

    /// The entries as text, for events and clients.
    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        match &self.0 {
            Allowed::Any => Vec::new(),
            Allowed::Only(entries) => entries.iter().map(ToString::to_string).collect(),
        }
    }

    /// Whether every host is allowed.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == Allowed::Any
    }

    /// Whether the token may be sent to the host of this URL.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        let Allowed::Only(entries) = &self.0 else {
            return true;
        };
        // For other schemes, the parser does not normalise hosts.
        if !matches!(url.scheme(), "http" | "https") {
            return false;
        }
        url.host()
            .is_some_and(|host| entries.iter().any(|entry| entry.covers(&host)))
    }
}

impl fmt::Display for AllowedHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Allowed::Any => f.write_str("any host"),
            Allowed::Only(entries) => {
                for (at, entry) in entries.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{entry}")?;
                }
                Ok(())
            }
        }
    }
}

impl Entry {
    /// Parses one entry. The error message follows the entry.
    fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Err("would allow every host; leave allowedHosts out instead".into());
        }
        let (under, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let host = parse_host(name)?;
        match host {
            Host::Domain(name) if under => {
                if name.contains('.') {
                    Ok(Self::Under(name))
                } else {
                    Err(
                        "would allow a whole top-level domain; name more of it: *.example.com"
                            .into(),
                    )
                }
            }
            _ if under => Err("is an address behind a wildcard; write the address alone".into()),
            host => Ok(Self::Exactly(host)),
        }
    }

    fn covers(&self, host: &Host<&str>) -> bool {
        match (self, host) {
            (Self::Exactly(Host::Domain(allowed)), Host::Domain(name)) => {
                without_root(name).eq_ignore_ascii_case(allowed)
            }
            (Self::Exactly(Host::Ipv4(allowed)), Host::Ipv4(address)) => allowed == address,
            (Self::Exactly(Host::Ipv6(allowed)), Host::Ipv6(address)) => allowed == address,
            (Self::Under(allowed), Host::Domain(name)) => {
                let name = without_root(name).to_ascii_lowercase();
                name.strip_suffix(allowed.as_str())
                    .and_then(|rest| rest.strip_suffix('.'))
                    .is_some_and(|rest| !rest.is_empty())
            }
            _ => false,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(host) => write!(f, "{host}"),
            Self::Under(name) => write!(f, "*.{name}"),
        }
    }
}

fn parse_host(text: &str) -> Result<Host, String> {
    const WRONG: &str = "is no host; write a name such as api.example.com or *.example.com, without scheme, port or path";
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Ok(Host::Ipv6(address));
    }
    // The parser would decode these characters, and accepts a `*`.
    let odd = |c: char| c.is_whitespace() || c.is_control() || "%*/\\?#@".contains(c);
    let has_port = text.contains(':') && !text.starts_with('[');
    if text.is_empty() || has_port || text.contains(odd) {
        return Err(WRONG.into());
    }
    match Host::parse(text) {
        Ok(Host::Domain(name)) => {
            let name = without_root(&name);
            if name.len() > MAX_HOST_CHARS {
                return Err(format!(
                    "must be at most {MAX_HOST_CHARS} characters, not {}",
                    name.len()
                ));
            }
            // The parser takes more than names may have.
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
            let fits = |label: &str| {
                (1..=MAX_LABEL_CHARS).contains(&label.len()) && label.bytes().all(is_plain)
            };
            if !name.split('.').all(fits) {
                return Err(WRONG.into());
            }
            Ok(Host::Domain(name.to_ascii_lowercase()))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(WRONG.into()),
    }
}

/// Removes the trailing dot of the root, which makes no difference.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether a credential may be sent there at all: encrypted, or without leaving the machine.
#[must_use]
pub fn may_carry_secrets(url: &Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => match url.host() {
            Some(Host::Domain(name)) => without_root(name).eq_ignore_ascii_case("localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hosts(texts: &[&str]) -> AllowedHosts {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        AllowedHosts::parse(&texts).expect("valid")
    }

    fn allows(allowed: &[&str], url: &str) -> bool {
        hosts(allowed).allows(&Url::parse(url).expect(url))
    }

    fn refused(text: &str) -> String {
        let invalid = AllowedHosts::parse(&[text.to_owned()]).expect_err(text);
        assert_eq!(invalid.field, "allowedHosts");
        invalid.message
    }

    #[test]
    fn entries_are_stored_in_one_spelling() {
        let written = hosts(&[
            "API.OpenAI.com.",
            "*.Bücher.example",
            "127.1",
            "[2001:DB8::1]",
            "2001:db8::2",
            "api.openai.com",
        ]);
        assert_eq!(
            written.to_strings(),
            [
                "api.openai.com",
                "*.xn--bcher-kva.example",
                "127.0.0.1",
                "[2001:db8::1]",
                "[2001:db8::2]",
            ]
        );
        assert_eq!(AllowedHosts::stored(&written.to_strings()), written);
    }

    #[test]
    fn no_list_allows_every_host_and_an_unreadable_one_none() {
        assert!(hosts(&[]).is_any());
        assert!(allows(&[], "https://anywhere.example/"));
        let broken = AllowedHosts::stored(&["https://x".into()]);
        assert!(!broken.is_any());
        assert!(!broken.allows(&Url::parse("https://x/").expect("a URL")));
    }

    #[test]
    fn a_host_is_itself_in_every_spelling() {
        for url in [
            "https://api.example.com",
            "https://API.Example.COM:8443/x?y#z",
            "https://api.example.com./",
            "https://%61pi.example.com/",
            "https://api。example。com/",
        ] {
            assert!(allows(&["api.example.com"], url), "{url}");
        }
    }

    #[test]
    fn what_only_looks_like_the_host_is_another() {
        for url in [
            "https://example.com/",
            "https://x.api.example.com/",
            "https://api.example.com.evil.example/",
            "https://evil-api.example.com/",
            "https://api.example.com@evil.example/",
            "https://api.example.com:443@evil.example/",
            "https://evil.example/?api.example.com",
            "https://evil.example/#@api.example.com",
            "https://evil.example\\@api.example.com/",
            "https://127.0.0.1/",
            "https://аpi.example.com/",
            "ftp://api.example.com/",
            "custom://api.example.com/",
            "https://api.example.com../",
        ] {
            if let Ok(url) = Url::parse(url) {
                assert!(!hosts(&["api.example.com"]).allows(&url), "{url}");
            }
        }
    }

    #[test]
    fn a_suffix_is_every_depth_but_not_the_name_itself() {
        let allowed = ["*.example.com"];
        assert!(allows(&allowed, "https://a.example.com/"));
        assert!(allows(&allowed, "https://a.B.example.com./"));
        for url in [
            "https://example.com/",
            "https://evilexample.com/",
            "https://a.example.com.evil.example/",
            "https://evil.example/a.example.com",
        ] {
            assert!(!allows(&allowed, url), "{url}");
        }
    }

    #[test]
    fn an_address_is_only_allowed_as_itself() {
        assert!(allows(&["203.0.113.7"], "https://203.0.113.7/"));
        assert!(allows(&["203.0.113.7"], "https://0xcb007107/"));
        assert!(allows(&["2001:db8::1"], "https://[2001:db8:0::1]/"));
        assert!(!allows(&["203.0.113.7"], "https://[::ffff:203.0.113.7]/"));
        assert!(!allows(&["*.example.com"], "https://203.0.113.7/"));
    }

    #[test]
    fn what_is_no_host_is_named() {
        for text in [
            "",
            "https://example.com",
            "example.com:443",
            "example.com/path",
            "a@b.example",
            "a b.example",
            "%61.example",
            "a..example",
            ".example.com",
            "*.",
            "*.*.example.com",
            "a*.example.com",
            "[::1",
            "host!",
            "a$b.example",
        ] {
            assert!(refused(text).contains("is no host"), "{text}");
        }
        assert_eq!(
            refused("*"),
            "allowedHosts: \"*\" would allow every host; leave allowedHosts out instead"
        );
        assert!(refused("*.com").contains("top-level"));
        assert!(refused("*.127.0.0.1").contains("address"));
        assert!(refused(&format!("{}.example", "a".repeat(64))).contains("is no host"));
        let long = ["abcdefgh."; 30].concat() + "example";
        assert_eq!(
            refused(&long).split_once("must").map(|(_, why)| why),
            Some(" be at most 253 characters, not 277")
        );
        let many = AllowedHosts::parse(&vec!["a.example".to_owned(); 21]).expect_err("too many");
        assert_eq!(
            many.message,
            "allowedHosts must hold at most 20 hosts, not 21"
        );
    }

    #[test]
    fn secrets_travel_encrypted_or_stay_on_the_machine() {
        let may = |url: &str| may_carry_secrets(&Url::parse(url).expect(url));
        for url in [
            "https://example.com/",
            "http://localhost:3000/",
            "http://LOCALHOST./",
            "http://127.0.0.9/",
            "http://[::1]/",
        ] {
            assert!(may(url), "{url}");
        }
        for url in [
            "http://example.com/",
            "http://10.0.0.1/",
            "http://localhost.example/",
            "http://a.localhost/",
            "http://localhost@example.com/",
            "ftp://localhost/",
        ] {
            assert!(!may(url), "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,40}", url in "https?://\\PC{0,40}") {
            let _ = AllowedHosts::parse(std::slice::from_ref(&text));
            if let Ok(url) = Url::parse(&url) {
                let _ = AllowedHosts::stored(&[text]).allows(&url);
            }
        }

        #[test]
        fn what_is_read_from_its_own_text_is_the_same(text in "(\\*\\.)?[a-z0-9.-]{1,30}") {
            if let Ok(hosts) = AllowedHosts::parse(&[text]) {
                prop_assert_eq!(AllowedHosts::parse(&hosts.to_strings()), Ok(hosts));
            }
        }
    }
}
