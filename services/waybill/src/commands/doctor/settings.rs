//! What a valid configuration and the limits of the user may still get wrong.

use rustix::process::{Resource, getrlimit};
use waybill_identity::SignUpPolicy;

use super::{Line, Verdict};
use crate::config::Config;
use crate::people::MailGoes;
use crate::roles::Setting;

/// Connections of clients and targets need one each, and the stores some hundreds.
const DESCRIPTORS: u64 = 4_096;

/// What a valid configuration may still get wrong. An invalid one ends every command with its sentence.
pub(super) fn configuration(config: &Config, is_up: bool) -> Vec<Line> {
    let mut lines = vec![Line::good(
        "configuration",
        "valid; `waybill config` prints it",
    )];
    let is_open = !config.gateway.listen.ip().is_loopback();
    match &config.auth.public_url {
        None if is_open => lines.push(Line::bad(
            Verdict::Doubtful,
            "public_url",
            format!("the gateway listens on {} and auth.public_url is not set", config.gateway.listen),
            "set auth.public_url to the https address that clients use; put TLS in front of the gateway",
        )),
        Some(url) if url.scheme() == "https" && config.gateway.trusted_proxies.is_empty() => lines.push(Line::bad(
            Verdict::Doubtful,
            "proxies",
            "auth.public_url is https and no proxy is trusted: every client has the proxy's address, and shares its limits",
            "set gateway.trusted_proxies to the networks of the proxy that ends TLS",
        )),
        _ => {}
    }
    lines.extend(mail(config, is_up));
    lines
}

/// Whether letters leave that somebody would wait for.
fn mail(config: &Config, is_up: bool) -> Option<Line> {
    let setting = match is_up {
        true => Setting::Embedded,
        false => Setting::Apart,
    };
    let sends = config.mail.goes_to(setting);
    let is_open = !config.gateway.listen.ip().is_loopback();
    match sends {
        MailGoes::Nowhere if config.auth.sign_up(config.gateway.listen) != SignUpPolicy::Off => {
            Some(Line::bad(
                Verdict::Doubtful,
                "mail",
                "no mail is sent: sign-up, forgotten passwords and invitations through the API answer 503 mail_off",
                "set mail.transport to smtp, or auth.signup to off; `waybill teams invite` prints invitations",
            ))
        }
        MailGoes::ToTheLog if is_open => Some(Line::bad(
            Verdict::Doubtful,
            "mail",
            "letters, with the tokens in them, go to the log of an API that others reach",
            "set mail.transport to smtp or off",
        )),
        _ => None,
    }
}

/// How many files and connections this user may open. The roles raise the soft limit to the hard one by themselves.
pub(super) fn descriptors() -> Line {
    of_descriptors(getrlimit(Resource::Nofile).maximum)
}

fn of_descriptors(most: Option<u64>) -> Line {
    match most {
        Some(most) if most < DESCRIPTORS => Line::bad(
            Verdict::Doubtful,
            "descriptors",
            format!("at most {most} open files and connections"),
            format!(
                "raise the hard limit to {DESCRIPTORS} or more (`ulimit -Hn`, LimitNOFILE= of a unit)"
            ),
        ),
        Some(most) => Line::good("descriptors", format!("up to {most}")),
        None => Line::good("descriptors", "without a limit"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(change: impl FnOnce(&mut Config)) -> Vec<Line> {
        let mut config = Config::default();
        change(&mut config);
        configuration(&config, true)
    }

    /// The lines that are no "ok", by what they are about.
    fn bad(lines: &[Line]) -> Vec<&'static str> {
        let bad = lines.iter().filter(|line| line.verdict != Verdict::Good);
        bad.map(|line| {
            assert!(line.remedy.is_some(), "{line:?}");
            line.what
        })
        .collect()
    }

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(bad(&configured(|_| {})), [""; 0]);
        assert_eq!(of_descriptors(None).verdict, Verdict::Good);
        assert_eq!(of_descriptors(Some(65_536)).verdict, Verdict::Good);
    }

    #[test]
    fn what_a_valid_configuration_gets_wrong_is_named_with_its_remedy() {
        let everywhere = "0.0.0.0:8080".parse().expect("an address");
        let https = url::Url::parse("https://waybill.example").ok();
        let open = configured(|config| config.gateway.listen = everywhere);
        assert_eq!(bad(&open), ["public_url", "mail"]);
        let hidden = configured(|config| config.auth.public_url = https);
        assert_eq!(bad(&hidden), ["proxies"]);
        let silent = configured(|config| config.mail.transport = crate::people::Transport::Off);
        assert_eq!(bad(&silent), ["mail"]);
        let closed = configured(|config| {
            config.mail.transport = crate::people::Transport::Off;
            config.auth.signup = Some(SignUpPolicy::Off);
        });
        assert_eq!(bad(&closed), [""; 0]);
        assert_eq!(bad(&[of_descriptors(Some(1_024))]), ["descriptors"]);
    }
}
