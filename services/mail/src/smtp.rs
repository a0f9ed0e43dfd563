//! Mail by SMTP.

use std::time::Duration;

use async_trait::async_trait;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use zeroize::Zeroizing;

use super::{Letter, Mailer, SendError};

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SmtpTls {
    /// TLS from the first byte (RFC 8314), port 465.
    Implicit,
    /// `STARTTLS`, without which nothing is sent; port 587.
    Starttls,
    /// In the clear: for a relay on the same machine only.
    None,
}

/// How to reach the mail server.
#[derive(Clone)]
pub struct SmtpConfig {
    /// Its name, which its certificate must be for.
    pub host: String,
    /// Its port; the usual one when unset.
    pub port: Option<u16>,
    pub tls: SmtpTls,
    /// Certificate authorities trusted beside the system's, as PEM.
    pub extra_ca_pem: Vec<u8>,
    /// User and password.
    pub login: Option<(String, Zeroizing<String>)>,
    /// The sender, such as `Waybill <waybill@example.com>`.
    pub from: String,
    /// Limit for each step of the SMTP conversation; the whole of it may take twice as long.
    pub timeout: Duration,
}

impl std::fmt::Debug for SmtpConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SmtpConfig({}, {:?})", self.host, self.tls)
    }
}

/// Why the configuration of SMTP is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpRefused {
    /// The sender is not an address.
    #[error("mail.from: {0:?} is not an address such as Waybill <waybill@example.com>")]
    From(String),
    /// Letters hold secrets, which must not cross a network in the clear.
    #[error("mail.tls: without TLS the mail server must be on this machine, which {0:?} is not")]
    Clear(String),
    /// The certificate authorities are missing or cannot be read.
    #[error("mail.tls: {0}")]
    Tls(String),
}

/// Sends letters through a mail server, one connection each.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    deadline: Duration,
}

impl std::fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SmtpMailer(from {})", self.from)
    }
}

impl SmtpMailer {
    /// Does not connect yet.
    pub fn new(config: SmtpConfig) -> Result<Self, SmtpRefused> {
        let from = config
            .from
            .parse()
            .map_err(|_| SmtpRefused::From(config.from.clone()))?;
        let (tls, usual_port) = match config.tls {
            SmtpTls::Implicit => (Tls::Wrapper(certificates(&config)?), 465),
            SmtpTls::Starttls => (Tls::Required(certificates(&config)?), 587),
            SmtpTls::None if is_loopback(&config.host) => (Tls::None, 25),
            SmtpTls::None => return Err(SmtpRefused::Clear(config.host)),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host)
            .port(config.port.unwrap_or(usual_port))
            .timeout(Some(config.timeout))
            .tls(tls);
        if let Some((user, password)) = config.login {
            builder = builder.credentials(Credentials::new(user, password.to_string()));
        }
        Ok(Self {
            transport: builder.build(),
            from,
            deadline: config.timeout * 2,
        })
    }

    fn message(&self, letter: &Letter) -> Result<Message, SendError> {
        let never = |reason: &dyn std::fmt::Display| SendError::Permanent(reason.to_string());
        let to: Address = letter.to.as_str().parse().map_err(|error| never(&error))?;
        // The library encodes what a header cannot hold; a line break is not even handed to it.
        let subject: String = letter.subject.chars().filter(|c| !c.is_control()).collect();
        let id = format!("<{}@{}>", letter.id, self.from.email.domain());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(id))
            .header(ContentType::TEXT_PLAIN)
            .raw_header(lettre::message::header::HeaderValue::new(
                lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".into(),
            ))
            .body(letter.body.clone())
            .map_err(|error| never(&error))
    }
}

fn certificates(config: &SmtpConfig) -> Result<TlsParameters, SmtpRefused> {
    let wrong = |error: lettre::transport::smtp::Error| SmtpRefused::Tls(error.to_string());
    let mut builder = TlsParameters::builder(config.host.clone());
    if !config.extra_ca_pem.is_empty() {
        builder = builder
            .add_root_certificate(Certificate::from_pem(&config.extra_ca_pem).map_err(wrong)?);
    }
    builder.build().map_err(wrong)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, letter: &Letter) -> Result<(), SendError> {
        let message = self.message(letter)?;
        let sent = tokio::time::timeout(self.deadline, self.transport.send(message)).await;
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() || error.is_client() => {
                Err(SendError::Permanent(error.to_string()))
            }
            Ok(Err(error)) => Err(SendError::Temporary(error.to_string())),
            Err(_) => Err(SendError::Temporary(
                "the mail server takes too long".into(),
            )),
        }
    }
}
