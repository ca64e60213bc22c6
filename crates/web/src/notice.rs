//! What the next page says once: that something was done, or a secret that is not kept.

use bygone_base::Result;
use serde_json::{Value, json};

use crate::site::Site;

/// Seconds until it is forgotten unseen.
pub(crate) const SECS: i64 = 120;

/// A line, and a secret where there is one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notice {
    /// For people.
    pub(crate) line: String,
    /// What each secret is, and the secret.
    pub(crate) secrets: Vec<(String, String)>,
}

impl Notice {
    /// A line alone.
    pub(crate) fn of(line: impl Into<String>) -> Notice {
        Notice { line: line.into(), secrets: Vec::new() }
    }

    /// With a secret.
    #[must_use]
    pub(crate) fn secret(mut self, what: &str, secret: impl Into<String>) -> Notice {
        self.secrets.push((what.to_owned(), secret.into()));
        self
    }

    /// Sealed for one session.
    pub(crate) fn seal(&self, site: &Site, session: &str) -> Result<String> {
        site.seal(&json!([self.line, self.secrets]).to_string(), &place(session))
    }

    /// As sealed for the session; `None`: it is another's, or nobody's.
    pub(crate) fn open(site: &Site, word: &str, session: &str) -> Option<Notice> {
        let text = site.unseal(word, &place(session))?;
        let value: Value = serde_json::from_str(&text).ok()?;
        let (line, secrets) = serde_json::from_value(value).ok()?;
        Some(Notice { line, secrets })
    }
}

fn place(session: &str) -> String {
    format!("notice/{session}")
}
