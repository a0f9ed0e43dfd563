//! The letters that people get: one for each occasion.

use std::time::Duration;

use url::Url;
use waybill_domain::access::email::Email;
use waybill_domain::access::user::{CONFIRMATION_LIFETIME, RESET_LIFETIME};

use super::Letter;
use waybill_commands::entropy;

/// A letter that could not be sent for so long would surprise whoever gets it.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);
/// Longest name that somebody chose and that stands in a letter to somebody else, in characters.
const MAX_NAME_CHARS: usize = 60;

/// The occasion of a letter.
#[derive(Clone, PartialEq, Eq)]
pub enum Occasion {
    /// Somebody gave the address at sign-up. Whoever sends `token` back can read mail to it.
    ConfirmSignUp {
        /// To be sent back with a password.
        token: String,
    },
    /// Somebody gave the address at sign-up, and it has an account already.
    AlreadySignedUp {
        /// Sets a new password, if they forgot theirs.
        token: String,
    },
    /// Somebody asked for a new password.
    ResetPassword {
        /// To be sent back with the new password.
        token: String,
    },
    /// The password was changed.
    PasswordChanged {
        /// When, as text for people.
        at: String,
    },
    /// Too many wrong passwords: whoever tried them has to wait.
    LockedOut {
        /// Until when, as text for people.
        until: String,
    },
    /// A refresh token was used twice, so somebody has a copy: that session is over.
    SessionReused {
        /// When, as text for people.
        at: String,
    },
    /// An invitation to a team.
    Invitation {
        /// The team's name, which its people chose.
        team: String,
        /// The role that they are offered.
        role: String,
        /// To be sent back to accept.
        token: String,
    },
    /// An API key of their team was found in the open.
    LeakedKey {
        /// The team's name.
        team: String,
        /// The key's name.
        key: String,
        /// Whether it was revoked at once.
        revoked: bool,
    },
}

impl Occasion {
    /// For how long sending is worth a try: a token that has expired is not sent.
    fn lifetime(&self) -> Duration {
        match self {
            Self::ConfirmSignUp { .. } => CONFIRMATION_LIFETIME.min(LONGEST_WAIT),
            Self::AlreadySignedUp { .. } | Self::ResetPassword { .. } => RESET_LIFETIME,
            Self::PasswordChanged { .. }
            | Self::LockedOut { .. }
            | Self::SessionReused { .. }
            | Self::Invitation { .. }
            | Self::LeakedKey { .. } => LONGEST_WAIT,
        }
    }
}

/// Pages of a web application that letters point to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// Its address. Without one, letters say which request to make.
    pub app: Option<Url>,
}

impl Links {
    /// How to confirm an address.
    #[must_use]
    pub fn confirm(&self, token: &str) -> String {
        let request = "/v1/auth/confirm, together with a password,";
        self.use_token("confirm", request, token)
    }

    /// How to join a team.
    #[must_use]
    pub fn join(&self, token: &str) -> String {
        self.use_token("join", "/v1/invitations/accept", token)
    }

    /// How to use a token. It goes behind `#`, which browsers keep to themselves: no server logs it, no `Referer` carries it.
    fn use_token(&self, page: &str, request: &str, token: &str) -> String {
        let by_request = format!("POST {request} with the token\n\n    {token}\n");
        match self.app.as_ref().and_then(|app| app.join(page).ok()) {
            Some(mut url) => {
                url.set_fragment(Some(&format!("token={token}")));
                format!("Open\n\n    {url}\n\nor {by_request}")
            }
            None => by_request,
        }
    }
}

impl Letter {
    /// The letter to `to` about an occasion.
    #[must_use]
    pub fn about(occasion: &Occasion, to: &Email, links: &Links) -> Self {
        let (subject, body) = write(occasion, links);
        Self {
            id: hex::encode(entropy::random::<16>()),
            to: to.clone(),
            subject,
            body: format!("{body}\n-- \nWaybill\n"),
            until: entropy::now().plus(occasion.lifetime()),
        }
    }
}

fn write(occasion: &Occasion, links: &Links) -> (String, String) {
    match occasion {
        Occasion::ConfirmSignUp { token } => (
            "Confirm your address".into(),
            format!(
                "Somebody, hopefully you, wants to sign up to Waybill with this address.\n\n{}\n\
                 This is good for 24 hours. If it was not you, do nothing: nothing happens without this token.\n",
                links.confirm(token)
            ),
        ),
        Occasion::AlreadySignedUp { token } => (
            "You have an account already".into(),
            format!(
                "Somebody, hopefully you, wanted to sign up to Waybill with this address, which has an account already. Sign in; if you \
                 forgot your password, set a new one.\n\n{}\n\
                 This is good for one hour and one use. If it was not you, do nothing: your password stays as it is.\n",
                links.use_token(
                    "reset",
                    "/v1/auth/password/reset, together with the new password,",
                    token
                )
            ),
        ),
        Occasion::ResetPassword { token } => (
            "Set a new password".into(),
            format!(
                "Somebody, hopefully you, asked for a new password for your Waybill account.\n\n{}\n\
                 This is good for one hour and one use. If it was not you, do nothing: your password stays as it is.\n",
                links.use_token(
                    "reset",
                    "/v1/auth/password/reset, together with the new password,",
                    token
                )
            ),
        ),
        Occasion::PasswordChanged { at } => (
            "Your password was changed".into(),
            format!(
                "The password of your Waybill account was changed at {at}, and everybody else who was signed in to it was signed \
                 out. If it was not you, ask for a new password at once.\n"
            ),
        ),
        Occasion::LockedOut { until } => (
            "Sign-in to your account is paused".into(),
            format!(
                "There were too many attempts to sign in to your Waybill account with a wrong password. Whoever made them has to wait \
                 until {until}. Devices on which you have signed in before are not kept waiting, and those who are signed in stay \
                 so; if you have to wait too, set another password by mail, and you can sign in at once. If it was not you, your \
                 password was not guessed; a longer one does not hurt.\n"
            ),
        ),
        Occasion::SessionReused { at } => (
            "You were signed out for your safety".into(),
            format!(
                "At {at} a part of one of your Waybill sessions was used for a second time, which means that somebody may have a copy \
                 of it. That session was ended. If you did not restore a backup or copy a browser profile, change your password.\n"
            ),
        ),
        Occasion::Invitation { team, role, token } => (
            "You are invited to a team".into(),
            format!(
                "You are invited to join the Waybill team \"{}\" as {}.\n\n{}\n\
                 If you do not know that team, do nothing.\n",
                sanitized(team),
                sanitized(role),
                links.join(token)
            ),
        ),
        Occasion::LeakedKey { team, key, revoked } => (
            "An API key of your team was found in the open".into(),
            format!(
                "The API key \"{}\" of your Waybill team \"{}\" was found where others can read it. {}\n",
                sanitized(key),
                sanitized(team),
                if *revoked {
                    "It was revoked and is no longer accepted. Make another one where it was in use."
                } else {
                    "It is still accepted. Make another one and revoke it."
                }
            ),
        ),
    }
}

/// Text that somebody else chose, made safe for a letter: one short line without control characters, in which no mail program finds a link.
fn sanitized(text: &str) -> String {
    let bidi = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut line: String = text
        .chars()
        .filter(|&c| !c.is_control() && !bidi(c) && c != '\u{2028}' && c != '\u{2029}')
        .take(MAX_NAME_CHARS)
        .collect();
    for (link, broken) in [("://", ": //"), ("www.", "www ."), ("@", " at ")] {
        line = line.replace(link, broken);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Email {
        Email::parse("ann@example.com").expect("an address")
    }

    #[test]
    fn a_letter_says_how_its_token_is_used() {
        let occasion = Occasion::ConfirmSignUp {
            token: "wb_confirm_x".into(),
        };
        let plain = Letter::about(&occasion, &ann(), &Links::default());
        assert!(
            plain.body.contains("POST /v1/auth/confirm")
                && plain.body.contains("    wb_confirm_x\n")
        );
        let app = Url::parse("https://app.example/ui/").ok();
        let linked = Letter::about(&occasion, &ann(), &Links { app });
        assert!(
            linked
                .body
                .contains("    https://app.example/ui/confirm#token=wb_confirm_x\n")
        );
        assert!(!format!("{linked:?}").contains("wb_confirm_x"));
    }

    #[test]
    fn a_name_cannot_write_the_letter() {
        let team = format!(
            "x\r\nBcc: a@b.c\r\n\r\nhttps://evil.example {}\u{202e}",
            "y".repeat(200)
        );
        let occasion = Occasion::Invitation {
            team,
            role: "member".into(),
            token: "t".into(),
        };
        let letter = Letter::about(&occasion, &ann(), &Links::default());
        let line = letter.body.lines().next().expect("a line");
        assert!(
            line.starts_with(
                "You are invited to join the Waybill team \"xBcc: a at b.chttps: //evil.example yy"
            ),
            "{line}"
        );
        assert!(line.ends_with("yy\" as member.") && line.len() < 140);
        assert!(!letter.subject.contains('x') || !letter.subject.contains("Bcc"));
    }
}
