//! The sections of the configuration about people: sessions, mail, and outside issuers.
//!
//! Secrets are in none of them, but in files or variables that they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use url::Url;
use waybill_gateway::people::PeopleConfig;
use waybill_gateway::people::mail::{
    Mailer, NoMailer, PrintMailer, SmtpConfig, SmtpMailer, SmtpTls,
};
use waybill_gateway::people::oidc::{OidcAlgorithm, OidcConfig};
use waybill_gateway::people::passwords::Cost;

use crate::config::{Config, ConfigError, environment};
use crate::roles::Setting;
use crate::secrets;

/// Password of the mail server.
const MAIL_PASSWORD: &str = "WAYBILL_MAIL_PASSWORD";

/// Passwords and sessions of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AuthSection {
    /// Where clients find the API, such as `https://api.example.com`: issuer of access tokens, above the callbacks of outside issuers,
    /// and what decides whether cookies are for TLS only.
    pub public_url: Option<Url>,
    /// A web application that letters point to, and that outside log-ins come back to.
    pub app_url: Option<Url>,
    /// Minutes that an access token is good for; at most 15.
    pub access_token_minutes: u64,
    /// Days that a session lasts at most.
    pub session_days: u64,
    /// Days that a session lasts that is not used.
    pub session_idle_days: u64,
    /// Memory that hashing a password takes, at least 19456. Hashes that took less are replaced at the next log-in.
    pub password_memory_kib: u32,
    /// Passes over that memory, at least 2.
    pub password_passes: u32,
}

impl Default for AuthSection {
    fn default() -> Self {
        Self {
            public_url: None,
            app_url: None,
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
    /// Nowhere.
    Off,
}

/// How mail leaves. The password is in `WAYBILL_MAIL_PASSWORD` or in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MailSection {
    /// `auto`, `log`, `smtp` or `off`.
    pub transport: Transport,
    /// Name of the mail server.
    pub host: String,
    /// Its port. Unset: 465, 587 or 25, as `tls` says.
    pub port: Option<u16>,
    /// `implicit`, `starttls`, or `none` for a relay on this machine.
    pub tls: SmtpTls,
    /// Certificate authorities trusted beside the system's, as PEM.
    pub extra_ca_file: Option<PathBuf>,
    /// User at the mail server. Unset: none is asked for.
    pub username: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// The sender, such as `Waybill <waybill@example.com>`.
    pub from: String,
    /// Seconds that a step of the conversation may take.
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

    fn mailer(&self, setting: Setting) -> anyhow::Result<Arc<dyn Mailer>> {
        Ok(match (self.transport, setting) {
            (Transport::Log, _) | (Transport::Auto, Setting::Embedded) => Arc::new(PrintMailer),
            (Transport::Off, _) | (Transport::Auto, Setting::Apart) => Arc::new(NoMailer),
            (Transport::Smtp, _) => Arc::new(self.smtp().context("mail")?),
        })
    }

    fn smtp(&self) -> anyhow::Result<SmtpMailer> {
        let login = match &self.username {
            None => None,
            Some(user) => {
                let password = given(MAIL_PASSWORD, self.password_file.as_deref())?;
                let password = password
                    .with_context(|| format!("username: needs {MAIL_PASSWORD} or password_file"))?;
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

/// An outside issuer. Its secret is in `WAYBILL_OIDC_<NAME>_SECRET` (upper case, dashes as underscores) or in a file.
///
/// It is trusted with who has which address: whoever it vouches for is signed in to the account of that address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OidcSection {
    /// Names it in paths: lower-case letters, digits and dashes.
    pub name: String,
    /// Its identifier, exactly as in its tokens.
    pub issuer: String,
    /// Who we are to it. It must know `<auth.public_url>/v1/auth/oidc/<name>/callback` as ours.
    pub client_id: String,
    /// File with the secret that it gave us.
    #[serde(default)]
    pub client_secret_file: Option<PathBuf>,
    /// What is asked for beside `openid`.
    #[serde(default = "usual_scopes")]
    pub scopes: Vec<String>,
    /// Signatures accepted.
    #[serde(default = "usual_algorithms")]
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

/// What the gateway is told about people.
pub(crate) fn config(config: &Config, setting: Setting) -> anyhow::Result<PeopleConfig> {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let auth = &config.auth;
    let oidc = config.oidc.iter().map(OidcSection::issuer);
    Ok(PeopleConfig {
        secret: secrets::session(&config.data, setting.missing())?,
        public_url: auth.public_url.clone(),
        app_url: auth.app_url.clone(),
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
    fn tokens_go_into_the_log_only_where_that_is_wanted() {
        let takes = |text: &str, setting| {
            let mailer = mail(text).mailer(setting).expect("made");
            let letter = waybill_gateway::people::mail::Letter {
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
