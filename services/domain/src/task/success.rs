//! Rules for which answers count as a success, set by a task, its queue or its team.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limit of parts in one rule.
pub const MAX_PARTS: usize = 20;

/// The answers that count as a success: `2xx`, or `2xx,404`. Every other answer is a failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Success(Vec<Part>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Part {
    Class(u16),
    Status(u16),
}

impl Part {
    fn parse(text: &str) -> Option<Self> {
        match text.as_bytes() {
            [class @ b'2'..=b'5', b'x' | b'X', b'x' | b'X'] => {
                Some(Self::Class(u16::from(class - b'0')))
            }
            [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9'] => text.parse().ok().map(Self::Status),
            _ => None,
        }
    }

    fn holds(self, status: u16) -> bool {
        match self {
            Self::Class(class) => status / 100 == class,
            Self::Status(own) => status == own,
        }
    }
}

/// The text is not a valid rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "success must be statuses and classes with commas between them, such as 2xx or 2xx,404, and at most {MAX_PARTS} of them, not {0:?}"
)]
pub struct BadSuccess(pub String);

impl Success {
    /// Parses a rule such as `2xx,404`; spaces around the parts are allowed.
    pub fn parse(text: &str) -> Result<Self, BadSuccess> {
        let bad = || BadSuccess(text.chars().take(40).collect());
        let parts: Option<Vec<_>> = text
            .split(',')
            .map(|part| Part::parse(part.trim()))
            .collect();
        let parts = parts.ok_or_else(bad)?;
        if parts.len() > MAX_PARTS {
            return Err(bad());
        }
        Ok(Self(parts))
    }

    /// Whether an answer with that status is a success.
    #[must_use]
    pub fn holds(&self, status: u16) -> bool {
        self.0.iter().any(|part| part.holds(status))
    }
}

/// Whether an answer is a success: according to the rule or, without one, if its status is 2xx.
#[must_use]
pub fn is_success(status: u16, rule: Option<&Success>) -> bool {
    rule.map_or((200..300).contains(&status), |rule| rule.holds(status))
}

impl fmt::Display for Success {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match part {
                Part::Class(class) => write!(f, "{class}xx")?,
                Part::Status(status) => write!(f, "{status}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Success {
    type Error = BadSuccess;
    fn try_from(text: String) -> Result<Self, BadSuccess> {
        Self::parse(&text)
    }
}

impl From<Success> for String {
    fn from(success: Success) -> Self {
        success.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_classes_and_statuses() {
        let rule = Success::parse(" 2xx, 404 ,302").expect("a rule");
        assert_eq!(rule.to_string(), "2xx,404,302");
        for (status, holds) in [
            (200, true),
            (299, true),
            (404, true),
            (302, true),
            (301, false),
            (500, false),
        ] {
            assert_eq!(rule.holds(status), holds, "{status}");
            assert_eq!(is_success(status, Some(&rule)), holds, "{status}");
        }
        assert!(is_success(204, None) && !is_success(404, None) && !is_success(302, None));
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "2xx,", "1xx", "6xx", "99", "2000", "two", "2x", "-200"] {
            assert_eq!(Success::parse(text), Err(BadSuccess(text.into())), "{text}");
        }
        let many = vec!["200"; MAX_PARTS + 1].join(",");
        assert!(Success::parse(&many).is_err());
    }
}
