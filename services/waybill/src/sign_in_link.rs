//! The link that opens the dashboard signed in, once, on this machine.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use url::{Host, Url};
use waybill_commands::SignInLink;

use crate::config::Config;

/// Where `waybill up` says on which address it serves, for commands beside it.
fn file(data: &Path) -> PathBuf {
    data.join("address")
}

/// Says where the gateway of this folder listens.
pub(crate) fn note_address(data: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let path = file(data);
    fs::write(&path, format!("{address}\n")).with_context(|| path.display().to_string())
}

/// Where the gateway of this folder listens; as configured, where no `waybill up` has said so.
pub(crate) fn noted_address(config: &Config) -> SocketAddr {
    let noted = fs::read_to_string(file(&config.data)).ok();
    let noted = noted.and_then(|text| text.trim().parse().ok());
    noted.unwrap_or(config.gateway.listen)
}

/// Where a browser on this machine finds the gateway, or why it cannot be signed in there.
pub(crate) fn base(config: &Config, listens: SocketAddr) -> anyhow::Result<String> {
    let ip = match listens.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => bail!(
            "a sign-in link works over loopback only, and the API listens on {other}: sign in with an e-mail address and its password"
        ),
    };
    if let Some(url) = &config.auth.public_url
        && !is_loopback(url)
    {
        bail!(
            "a sign-in link works over loopback only, and auth.public_url is {url}: sign in there with an e-mail address and its password"
        );
    }
    Ok(format!("http://{}", SocketAddr::new(ip, listens.port())))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// The link. Its token is in the fragment, which browsers send to no server.
pub(crate) fn address(base: &str, link: &SignInLink) -> String {
    format!("{base}/ui/link#token={}", link.token.reveal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_loopback_or_nowhere() {
        let mut config = Config::default();
        let of = |config: &Config, listens: &str| {
            base(config, listens.parse().expect("an address")).map_err(|error| error.to_string())
        };
        for (listens, base) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:81", "http://127.0.0.1:81"),
            ("[::]:81", "http://[::1]:81"),
        ] {
            assert_eq!(of(&config, listens).as_deref(), Ok(base));
        }
        let refused = of(&config, "192.0.2.1:8080").expect_err("no loopback");
        assert!(refused.contains("192.0.2.1"), "{refused}");
        config.auth.public_url = Url::parse("http://localhost:8080").ok();
        of(&config, "127.0.0.1:8080").expect("loopback");
        config.auth.public_url = Url::parse("https://api.example.com").ok();
        let refused = of(&config, "127.0.0.1:8080").expect_err("another origin");
        assert!(refused.contains("auth.public_url"), "{refused}");
    }
}
