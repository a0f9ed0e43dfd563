//! The accepted forms of a target's URL, checked when a task is created and at every hop of a call.

use url::{Host, Url};

use super::{BlockReason, Blocked, Egress};

/// The ports below 1024 that may be called: services on the others can be harmed by an HTTP request
/// (SSH, SMTP, DNS).
const WEB_PORTS: [u16; 2] = [80, 443];
const FIRST_OPEN_PORT: u16 = 1024;

/// Suffixes that never belong to a public host.
const LOCAL_SUFFIXES: [&str; 5] = ["localhost", "local", "internal", "home.arpa", "localdomain"];

/// The URL may not be called. The message follows the name of a field: `targetUrl` + ` must ...`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetRefused {
    /// The URL cannot be parsed, or only by repairing it.
    #[error("must be a valid URL such as https://example.com/path")]
    Malformed,
    /// Neither http nor https.
    #[error("must begin with http:// or https://")]
    Scheme,
    /// `user:password@`.
    #[error("must not contain a user name or password; use a header")]
    Credentials,
    /// A port that usually belongs to another kind of service.
    #[error("must not use port {0}: allowed are 80, 443 and from 1024 on")]
    Port(u16),
    /// `localhost`, `x.internal`, a name without a dot.
    #[error("must name a public host, not a local name")]
    LocalName,
    /// A literal address that may not be called.
    #[error("must name a public address, not {}", .0.reason)]
    Address(#[from] Blocked),
}

impl Egress {
    /// Parses and checks a target. Refuses what the URL standard would repair (spaces, tabs, line
    /// breaks, backslashes, `http:/host`): a repaired URL is not the one that the client saw, and
    /// two parsers may repair it differently.
    pub fn parse_target(&self, text: &str) -> Result<Url, TargetRefused> {
        let odd = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
        if text.contains(odd) {
            return Err(TargetRefused::Malformed);
        }
        let url = Url::parse(text).map_err(|_| TargetRefused::Malformed)?;
        if matches!(url.scheme(), "http" | "https") {
            let after = text.split_once(':').map_or("", |(_, after)| after);
            if !after.starts_with("//") || after.starts_with("///") {
                return Err(TargetRefused::Malformed);
            }
        }
        self.check_url(&url)?;
        Ok(url)
    }

    /// Checks everything about a URL that does not need its name resolved.
    pub fn check_url(&self, url: &Url) -> Result<(), TargetRefused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TargetRefused::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetRefused::Credentials);
        }
        let trusted = match url.host() {
            // The parser has already converted decimal, octal, hexadecimal and short forms into
            // addresses.
            Some(Host::Ipv4(address)) => {
                self.check(address.into())?;
                self.names(address.into())
            }
            Some(Host::Ipv6(address)) => {
                self.check(address.into())?;
                self.names(address.into())
            }
            Some(Host::Domain(name)) => self.check_name(name)?,
            None => return Err(TargetRefused::Malformed),
        };
        self.check_own_page(url)?;
        let port = url.port_or_known_default().unwrap_or(0);
        if trusted || port >= FIRST_OPEN_PORT || WEB_PORTS.contains(&port) {
            Ok(())
        } else {
            Err(TargetRefused::Port(port))
        }
    }

    /// Checks a name, and returns whether the operator trusts it. If networks are allowed, local
    /// names may resolve to them, so their addresses decide.
    fn check_name(&self, name: &str) -> Result<bool, TargetRefused> {
        if self.denies_host(name) {
            return Err(Blocked {
                reason: BlockReason::Denied,
            }
            .into());
        }
        if self.allows_host(name) {
            return Ok(true);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            return Err(TargetRefused::Malformed);
        }
        let ends_with = |suffix: &&str| {
            name.strip_suffix(*suffix)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let local = !name.contains('.') || LOCAL_SUFFIXES.iter().any(ends_with);
        if local && self.opens_no_network() {
            return Err(TargetRefused::LocalName);
        }
        Ok(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<TargetRefused> {
        Egress::strict().parse_target(text).err()
    }

    fn blocked(reason: BlockReason) -> Option<TargetRefused> {
        Some(TargetRefused::Address(Blocked { reason }))
    }

    #[test]
    fn public_targets_are_accepted() {
        for text in [
            "http://example.com",
            "https://example.com:8443/a?b=c#d",
            "HTTPS://EXAMPLE.com./",
            "http://8.8.8.8:3000/",
            "http://[2606:4700::1111]/",
            "https://bücher.example/",
        ] {
            assert_eq!(refused(text), None, "{text}");
        }
    }

    #[test]
    fn every_spelling_of_an_address_is_judged() {
        use BlockReason as R;
        for text in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0x7f000001/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://127.0.0.1./",
            "http://%31%32%37.0.0.1/",
            "http://127。0。0。1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
        ] {
            assert_eq!(refused(text), blocked(R::Loopback), "{text}");
        }
        for (text, reason) in [
            ("http://169.254.169.254/latest", R::Metadata),
            ("http://[fd00:ec2::254]/", R::Metadata),
            ("http://100.64.0.1/", R::Shared),
            ("http://0.0.0.0/", R::Unspecified),
            ("http://0/", R::Unspecified),
            ("http://[::]/", R::Unspecified),
            ("http://[64:ff9b::7f00:1]/", R::Nat64),
            ("http://[2002:7f00:1::]/", R::SixToFour),
            ("http://[::7f00:1]/", R::EmbeddedV4),
            ("http://192.168.1.1:8080/", R::Private),
        ] {
            assert_eq!(refused(text), blocked(reason), "{text}");
        }
    }

    #[test]
    fn other_schemes_credentials_and_ports_are_refused() {
        use TargetRefused as T;
        for (text, expected) in [
            ("ftp://example.com/", T::Scheme),
            ("file:///etc/passwd", T::Scheme),
            ("gopher://example.com/", T::Scheme),
            ("javascript:alert(1)", T::Scheme),
            ("http://user@example.com/", T::Credentials),
            ("http://user:pw@example.com/", T::Credentials),
            ("http://:pw@example.com/", T::Credentials),
            ("http://example.com:22/", T::Port(22)),
            ("http://example.com:25/", T::Port(25)),
            ("http://example.com:0/", T::Port(0)),
        ] {
            assert_eq!(refused(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_would_have_to_be_repaired_is_refused() {
        for text in [
            "",
            "example.com",
            "//example.com",
            "/path",
            "http://",
            "http:/example.com",
            "http:example.com",
            "http:///example.com",
            "http:\\\\example.com",
            "http://example.com\\@evil.example",
            " http://example.com",
            "http://exa mple.com",
            "http://example.com/\r\nHost: evil",
            "ht\ttp://example.com",
            "http://[fe80::1%25eth0]/",
            "http://[::1",
            "http://1.2.3.4.5/",
            "http://256.1.1.1/",
        ] {
            assert_eq!(refused(text), Some(TargetRefused::Malformed), "{text}");
        }
    }

    #[test]
    fn local_names_are_refused_unless_the_operator_opens_something() {
        let local = [
            "http://localhost:3000/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://metadata.google.internal/",
            "http://printer.local/",
            "http://router.home.arpa/",
            "http://sink/",
        ];
        for text in local {
            assert_eq!(refused(text), Some(TargetRefused::LocalName), "{text}");
        }
        for text in local {
            assert!(Egress::loopback().parse_target(text).is_ok(), "{text}");
        }
        let named = Egress::allowing(["sink"]).expect("valid");
        assert!(named.parse_target("http://sink:81/").is_ok());
        assert!(named.parse_target("http://other/").is_err());
        assert_eq!(refused("http://notlocalhost.example/"), None);
    }

    #[test]
    fn an_opened_address_may_use_any_port() {
        let egress = Egress::loopback();
        assert!(egress.parse_target("http://127.0.0.1:9/").is_ok());
        assert!(egress.parse_target("http://[::1]:9/").is_ok());
        assert!(egress.parse_target("http://10.0.0.1:8080/").is_err());
        assert_eq!(
            egress.parse_target("http://8.8.8.8:9/"),
            Err(TargetRefused::Port(9))
        );
    }
}
