//! Who may send: one bearer token per agent.

use std::fmt;

use bygone_base::{Error, Result};
use secrecy::{ExposeSecret, SecretString};

/// Shorter tokens can be guessed.
const MIN_TOKEN: usize = 16;

/// The tokens that are accepted, as hashes: the secrets themselves are not kept.
#[derive(Clone, Default)]
pub struct Tokens {
    known: Vec<(String, blake3::Hash)>,
}

impl Tokens {
    /// No token: nobody may send.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the token of the agent called `name` (for logs); at least 16 bytes.
    pub fn add(&mut self, name: impl Into<String>, token: &SecretString) -> Result<()> {
        let token = token.expose_secret().trim();
        let name = name.into();
        if token.len() < MIN_TOKEN {
            return Err(Error::usage(format!(
                "the token of agent {name:?} is shorter than {MIN_TOKEN} characters"
            ))
            .hint("use a random one, for example 32 hex digits"));
        }
        self.known.push((name, blake3::hash(token.as_bytes())));
        Ok(())
    }

    /// The agent whose token this is.
    /// Takes the same time for every wrong token: hashes are compared (by a
    /// comparison that does not stop early), and always all of them.
    pub fn check(&self, token: &[u8]) -> Option<&str> {
        let hash = blake3::hash(token.trim_ascii());
        let mut found = None;
        for (name, known) in &self.known {
            if *known == hash {
                found = Some(name.as_str());
            }
        }
        found
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.known.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Tokens").field("agents", &names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_token_opens_and_nothing_prints_it() {
        let mut tokens = Tokens::new();
        assert!(tokens.add("short", &"123".to_owned().into()).is_err());
        tokens.add("a", &"0123456789abcdef-a".to_owned().into()).unwrap();
        tokens.add("b", &"0123456789abcdef-b".to_owned().into()).unwrap();
        assert_eq!(tokens.check(b"0123456789abcdef-b"), Some("b"));
        for bad in [&b"0123456789abcdef-c"[..], b"0123456789abcdef", b""] {
            assert_eq!(tokens.check(bad), None);
        }
        assert!(!format!("{tokens:?}").contains("0123456789"));
    }
}
