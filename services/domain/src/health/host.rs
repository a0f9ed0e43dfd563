//! Hosts as teams name them.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A host as [`crate::task::cause::host`] takes it from a URL: in lower case, with its port unless
/// that is the scheme's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[schemars(with = "String")]
pub struct TargetHost(Arc<str>);

/// The text names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a host such as api.example.com, with its port unless that is 80 or 443: 1 to {} characters",
    TargetHost::MAX_CHARS
)]
pub struct InvalidHost;

impl TargetHost {
    /// The longest name of a host with its port, in characters.
    pub const MAX_CHARS: usize = 260;

    /// Reads a host; upper case counts as lower case, and the usual port of a scheme as none.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        let host = text.to_ascii_lowercase();
        let usual = host.strip_suffix(":443").or(host.strip_suffix(":80"));
        let host = usual.unwrap_or(&host);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
        let is_short = (1..=Self::MAX_CHARS).contains(&host.len());
        if !is_short || !host.bytes().all(is_plain) {
            return Err(InvalidHost);
        }
        let url = url::Url::parse(&format!("ws://{host}/")).map_err(|_| InvalidHost)?;
        let port = url.port().map_or(String::new(), |port| format!(":{port}"));
        let read = format!("{}{port}", url.host_str().unwrap_or_default());
        let name = url.domain().unwrap_or("-");
        let is_complete = name
            .trim_end_matches('.')
            .split('.')
            .all(|label| !label.is_empty());
        if read != host || !is_complete {
            return Err(InvalidHost);
        }
        Ok(Self(host.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TargetHost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::cause;

    #[test]
    fn a_host_is_named_as_urls_name_it() {
        for (text, url) in [
            ("API.Example.com", "https://api.example.com/hook"),
            ("api.example.com:443", "https://API.example.com:443/"),
            ("api.example.com:80", "http://api.example.com/"),
            ("api.example.com:8443", "https://api.example.com:8443/x?y"),
            ("127.0.0.1:9000", "http://127.0.0.1:9000/"),
            ("[::1]:9000", "http://[::1]:9000/"),
            ("a.example.", "http://a.example./"),
        ] {
            let host = TargetHost::parse(text).expect(text);
            assert_eq!(host.as_str(), cause::host(url));
        }
        for text in [
            "",
            "a b",
            "a/b",
            "user@host",
            "host:",
            "host:99999",
            "https://host",
            "*",
            "a..example",
            ".example",
            "..",
            "bücher.example",
            &"a".repeat(300),
        ] {
            assert_eq!(TargetHost::parse(text), Err(InvalidHost), "{text}");
        }
    }
}
