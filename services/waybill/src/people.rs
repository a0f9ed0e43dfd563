//! The sections of the configuration about people: sessions, mail and outside issuers.
//!
//! They hold no secrets: those are in files or variables that the sections name.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;
use waybill_identity::oidc::{OidcAlgorithm, OidcConfig};
use waybill_identity::passwords::Cost;
use waybill_identity::{PeopleConfig, SignUpPolicy};
use waybill_mail::{Mailer, NoMailer, PrintMailer, SmtpConfig, SmtpMailer, SmtpTls};

use crate::config::{Config, ConfigError, environment};
use crate::roles::Setting;
use crate::secrets;

/// Password of the mail server.
const MAIL_PASSWORD: &str = "WAYBILL_MAIL_PASSWORD";

/// Passwords and sessions of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct AuthSection {
    /// Where clients find the API, such as `https://api.example.com`: the issuer of access tokens, and what callbacks of outside issuers begin with. Without
    /// it there is no OAuth, but under `waybill up` on loopback, which uses its own address. With `https` cookies are for TLS only.
    #[schemars(with = "Option<String>")]
    pub public_url: Option<Url>,
    /// A web application that letters point to, and that outside log-ins come back to.
    #[schemars(with = "Option<String>")]
    pub app_url: Option<Url>,
    /// Who may ask for an account: `open`, `invited` or `off`. Unset: `open` while the API listens on loopback, else `invited`.
    #[schemars(with = "Option<String>")]
    pub signup: Option<SignUpPolicy>,
    /// Minutes that an access token is valid; 1 to 15.
    pub access_token_minutes: u64,
    /// Days that a session lasts at most; 1 to 365.
    pub session_days: u64,
    /// Days after which an unused session ends; 1 to 365.
    pub session_idle_days: u64,
    /// KiB of memory that hashing a password (argon2id) takes; at least 19456. Hashes that took less are replaced at the next log-in.
    pub password_memory_kib: u32,
    /// Passes over that memory, at least 2.
    pub password_passes: u32,
}

impl Default for AuthSection {
    fn default() -> Self {
        Self {
            public_url: None,
            app_url: None,
            signup: None,
            access_token_minutes: 10,
            session_days: 30,
            session_idle_days: 14,
            password_memory_kib: 19_456,
            password_passes: 2,
        }
    }
}

impl AuthSection {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let within = |setting, value: u64, most: u64| {
            if (1..=most).contains(&value) {
                return Ok(());
            }
            let reason = format!("must be between 1 and {most}, not {value}");
            Err(ConfigError::Value { setting, reason })
        };
        within("auth.access_token_minutes", self.access_token_minutes, 15)?;
        within("auth.session_days", self.session_days, 365)?;
        within("auth.session_idle_days", self.session_idle_days, 365)?;
        self.cost()?;
        let urls = [
            ("auth.public_url", &self.public_url),
            ("auth.app_url", &self.app_url),
        ];
        for (setting, url) in urls {
            if let Some(url) = url
                && !matches!(url.scheme(), "http" | "https")
            {
                let reason = format!("must be an http or https URL, not {url}");
                return Err(ConfigError::Value { setting, reason });
            }
        }
        Ok(())
    }

    /// Who may ask for an account, given where the API listens. If others can reach it, only people with an invitation may.
    pub(crate) fn sign_up(&self, listen: SocketAddr) -> SignUpPolicy {
        self.signup.unwrap_or(match listen.ip().is_loopback() {
            true => SignUpPolicy::Open,
            false => SignUpPolicy::Invited,
        })
    }

    fn cost(&self) -> Result<Cost, ConfigError> {
        Cost::new(self.password_memory_kib, self.password_passes, 1).map_err(|error| {
            ConfigError::Value {
                setting: "auth.password_memory_kib",
                reason: error.to_string(),
            }
        })
    }
}

/// Where mail goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// `log` with `waybill up`, else `off`.
    Auto,
    /// Into the log, with the tokens in it: for trying things on one's own machine.
    Log,
    /// To a mail server.
    Smtp,
    Off,
}

/// Where letters go, once it is known how the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MailGoes {
    /// Into the log.
    ToTheLog,
    /// To a mail server.
    ToAServer,
    /// Nowhere: no mail is sent.
    Nowhere,
}

/// How mail is sent. The password is in `WAYBILL_MAIL_PASSWORD` or in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct MailSection {
    /// `smtp`, `log` (into the log, with the tokens in it), or `off`. `auto` is `log` with `waybill up`, else `off`.
    #[schemars(with = "String")]
    pub transport: Transport,
    /// Name of the mail server.
    pub host: String,
    /// Port of the mail server. Unset: 465, 587 or 25, as `mail.tls` says.
    pub port: Option<u16>,
    /// `implicit`, `starttls`, or `none` for a relay on this machine.
    #[schemars(with = "String")]
    pub tls: SmtpTls,
    /// PEM file with certificate authorities that are trusted at the mail server, besides those of the system.
    pub extra_ca_file: Option<PathBuf>,
    /// User at the mail server. Unset: mail is sent without a log-in.
    pub username: Option<String>,
    /// File with the password of that user.
    pub password_file: Option<PathBuf>,
    /// The sender, such as `Waybill <waybill@example.com>`.
    pub from: String,
    /// Seconds that each step of the conversation may take; 1 to 300.
    pub timeout_seconds: u64,
}

impl Default for MailSection {
    fn default() -> Self {
        Self {
            transport: Transport::Auto,
            host: String::new(),
            port: None,
            tls: SmtpTls::Implicit,
            extra_ca_file: None,
            username: None,
            password_file: None,
            from: String::new(),
            timeout_seconds: 15,
        }
    }
}

impl MailSection {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |setting, reason: &str| {
            Err(ConfigError::Value {
                setting,
                reason: reason.into(),
            })
        };
        if self.transport == Transport::Smtp && self.host.is_empty() {
            return wrong("mail.host", "must name the mail server");
        }
        if self.transport == Transport::Smtp && self.from.is_empty() {
            return wrong(
                "mail.from",
                "must be a sender such as Waybill <waybill@example.com>",
            );
        }
        if !(1..=300).contains(&self.timeout_seconds) {
            return wrong("mail.timeout_seconds", "must be between 1 and 300");
        }
        Ok(())
    }

    /// Where letters go.
    pub(crate) fn goes_to(&self, setting: Setting) -> MailGoes {
        match (self.transport, setting) {
            (Transport::Log, _) | (Transport::Auto, Setting::Embedded) => MailGoes::ToTheLog,
            (Transport::Off, _) | (Transport::Auto, Setting::Apart) => MailGoes::Nowhere,
            (Transport::Smtp, _) => MailGoes::ToAServer,
        }
    }

    fn mailer(&self, setting: Setting) -> anyhow::Result<Arc<dyn Mailer>> {
        Ok(match self.goes_to(setting) {
            MailGoes::ToTheLog => Arc::new(PrintMailer),
            MailGoes::Nowhere => Arc::new(NoMailer),
            MailGoes::ToAServer => Arc::new(self.smtp().context("mail")?),
        })
    }

    /// The mail server, when letters go to one.
    pub(crate) fn server(&self) -> anyhow::Result<Option<SmtpMailer>> {
        match self.transport {
            Transport::Smtp => self.smtp().context("mail").map(Some),
            Transport::Auto | Transport::Log | Transport::Off => Ok(None),
        }
    }

    fn smtp(&self) -> anyhow::Result<SmtpMailer> {
        let login = match &self.username {
            None => None,
            Some(user) => {
                let password = given(MAIL_PASSWORD, self.password_file.as_deref())?;
                let password = password.with_context(|| {
                    format!("mail.username needs {MAIL_PASSWORD} or mail.password_file")
                })?;
                Some((user.clone(), password.into()))
            }
        };
        let extra_ca_pem = match &self.extra_ca_file {
            Some(file) => fs::read(file).with_context(|| file.display().to_string())?,
            None => Vec::new(),
        };
        Ok(SmtpMailer::new(SmtpConfig {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls,
            extra_ca_pem,
            login,
            from: self.from.clone(),
            timeout: Duration::from_secs(self.timeout_seconds),
        })?)
    }
}

/// An OpenID Connect issuer that people can sign in with. It is trusted with who has which address: whoever it vouches for is signed in to the account
/// of that address. Its secret is in `WAYBILL_OIDC_<NAME>_SECRET` (upper case, dashes as underscores) or in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table of settings")]
pub(crate) struct OidcSection {
    /// Its name in paths: lower-case letters, digits and dashes.
    pub name: String,
    /// Its identifier, exactly as in its tokens.
    pub issuer: String,
    /// The client id that Waybill has there. The issuer must allow `<auth.public_url>/v1/auth/oidc/<name>/callback` as its redirect.
    pub client_id: String,
    /// File with the client secret. Without a secret PKCE alone protects the code.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// Scopes that are asked for besides `openid`.
    #[serde(default = "usual_scopes")]
    pub scopes: Vec<String>,
    /// Signature algorithms that its tokens may have.
    #[serde(default = "usual_algorithms")]
    #[schemars(with = "Vec<String>")]
    pub algorithms: Vec<OidcAlgorithm>,
}

fn usual_scopes() -> Vec<String> {
    vec!["email".into(), "profile".into()]
}

fn usual_algorithms() -> Vec<OidcAlgorithm> {
    vec![
        OidcAlgorithm::RS256,
        OidcAlgorithm::ES256,
        OidcAlgorithm::EdDSA,
    ]
}

impl OidcSection {
    fn issuer(&self) -> anyhow::Result<OidcConfig> {
        let name = self.name.to_uppercase().replace('-', "_");
        let variable = format!("WAYBILL_OIDC_{name}_SECRET");
        let secret = given(&variable, self.client_secret_file.as_deref())?;
        Ok(OidcConfig {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            client_secret: secret.map(Into::into),
            scopes: self.scopes.clone(),
            algorithms: self.algorithms.clone(),
        })
    }
}

/// A secret from a variable, else from a file.
fn given(variable: &str, file: Option<&Path>) -> anyhow::Result<Option<String>> {
    if let Some(text) = environment(variable) {
        return Ok(Some(text));
    }
    let Some(file) = file else {
        return Ok(None);
    };
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        bail!("{} is empty", file.display());
    }
    Ok(Some(text.to_owned()))
}

/// The gateway's configuration about people.
pub(crate) fn config(config: &Config, setting: Setting) -> anyhow::Result<PeopleConfig> {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let auth = &config.auth;
    let oidc = config.oidc.iter().map(OidcSection::issuer);
    Ok(PeopleConfig {
        secret: secrets::session(&config.data, setting.missing())?,
        public_url: auth.public_url.clone(),
        app_url: auth.app_url.clone(),
        sign_up: auth.sign_up(config.gateway.listen),
        password_cost: auth.cost()?,
        access_lifetime: Duration::from_secs(auth.access_token_minutes * 60),
        session_lifetime: days(auth.session_days),
        session_idle: days(auth.session_idle_days),
        mailer: config.mail.mailer(setting)?,
        oidc: oidc.collect::<Result<_, _>>()?,
        ..PeopleConfig::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(text: &str) -> MailSection {
        toml::from_str(text).expect("a section")
    }

    #[test]
    fn what_is_wrong_is_named() {
        let refused = |section: AuthSection| section.check().expect_err("refused").to_string();
        let auth = AuthSection::default;
        auth().check().expect("the defaults are fine");
        assert!(
            refused(AuthSection {
                access_token_minutes: 16,
                ..auth()
            })
            .contains("auth.access_token_minutes: must be between 1 and 15, not 16")
        );
        assert!(
            refused(AuthSection {
                password_memory_kib: 1024,
                ..auth()
            })
            .contains("auth.password_memory_kib")
        );
        let url = Url::parse("ftp://x").ok();
        assert!(
            refused(AuthSection {
                public_url: url,
                ..auth()
            })
            .contains("auth.public_url")
        );
        let smtp = mail("transport = 'smtp'").check().expect_err("no host");
        assert!(smtp.to_string().contains("mail.host"));
    }

    #[test]
    fn only_what_this_machine_alone_reaches_is_open_to_everybody_unasked() {
        let here = "127.0.0.1:8080".parse().expect("an address");
        let there = "0.0.0.0:8080".parse().expect("an address");
        let auth = |text: &str| toml::from_str::<AuthSection>(text).expect("a section");
        assert_eq!(auth("").sign_up(here), SignUpPolicy::Open);
        assert_eq!(auth("").sign_up(there), SignUpPolicy::Invited);
        assert_eq!(auth("signup = 'open'").sign_up(there), SignUpPolicy::Open);
        assert_eq!(auth("signup = 'off'").sign_up(here), SignUpPolicy::Off);
        let wrong = toml::from_str::<AuthSection>("signup = 'closed'").expect_err("refused");
        assert!(wrong.to_string().contains("invited"), "{wrong}");
    }

    #[test]
    fn tokens_go_into_the_log_only_where_that_is_wanted() {
        let takes = |text: &str, setting| {
            let mailer = mail(text).mailer(setting).expect("made");
            let letter = waybill_mail::Letter {
                until: waybill_domain::time::Timestamp::MAX,
                id: "1".into(),
                to: waybill_domain::access::email::Email::parse("a@b.c").expect("an address"),
                subject: String::new(),
                body: String::new(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            runtime.block_on(mailer.send(&letter)).is_ok()
        };
        assert!(takes("", Setting::Embedded) && !takes("", Setting::Apart));
        assert!(takes("transport = 'log'", Setting::Apart));
        assert!(!takes("transport = 'off'", Setting::Embedded));
    }

    #[test]
    fn a_mail_server_with_a_user_needs_a_password() {
        let section =
            mail("transport = 'smtp'\nhost = 'localhost'\nfrom = 'w@example.com'\nusername = 'u'");
        let error = section.mailer(Setting::Apart).err().expect("refused");
        assert!(format!("{error:#}").contains(MAIL_PASSWORD), "{error:#}");
    }
}
