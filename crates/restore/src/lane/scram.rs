//! SCRAM (RFC 5802, 7677) as MongoDB uses it: without channel binding, the password of SCRAM-SHA-1 hashed before
//! (<https://github.com/mongodb/specifications/blob/master/source/auth/auth.md>). Pure.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bygone_base::{Error, ErrorKind, Result};
use md5::{Digest as _, Md5};

/// Fewer rounds than this a server must not ask for; more than this nobody does.
const ROUNDS: std::ops::RangeInclusive<u32> = 4096..=10_000_000;

/// The hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scram {
    Sha1,
    Sha256,
}

/// What the client says last, and what the server must answer.
#[derive(Debug)]
pub(super) struct Final {
    /// To be sent.
    pub(super) message: String,
    verifier: hmac::Key,
    exchanged: String,
}

impl Scram {
    /// The mechanism's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Scram::Sha1 => "SCRAM-SHA-1",
            Scram::Sha256 => "SCRAM-SHA-256",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Scram::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Scram::Sha256 => hmac::HMAC_SHA256,
        }
    }

    fn sign(self, key: &[u8], text: &str) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(self.hmac(), key), text.as_bytes())
    }

    fn salted(self, user: &str, password: &str, salt: &[u8], rounds: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Scram::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, digest::SHA1_OUTPUT_LEN),
            Scram::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
        };
        let mut out = vec![0; length];
        match self {
            Scram::Sha1 => {
                let secret = hex::encode(Md5::digest(format!("{user}:mongo:{password}")));
                pbkdf2::derive(algorithm, rounds, salt, secret.as_bytes(), &mut out);
            }
            Scram::Sha256 => pbkdf2::derive(algorithm, rounds, salt, password.as_bytes(), &mut out),
        }
        out
    }

    /// The answer to what the server says first to `first(user, nonce)`.
    ///
    /// # Errors
    /// Denied: the server does not speak SCRAM, or to somebody else.
    pub(super) fn answer(
        self,
        (user, password): (&str, &str),
        nonce: &str,
        server: &str,
    ) -> Result<Final> {
        let mut fields = server.split(',');
        let mut field = |name| fields.next().and_then(|f| f.strip_prefix(name)).ok_or_else(bad);
        let (both, salt, rounds) = (field("r=")?, field("s=")?, field("i=")?);
        if !both.starts_with(nonce) || both.len() == nonce.len() {
            return Err(bad());
        }
        let salt = STANDARD.decode(salt).map_err(|_| bad())?;
        let rounds = rounds.parse().ok().filter(|n| ROUNDS.contains(n)).and_then(NonZeroU32::new);
        let salted = self.salted(user, password, &salt, rounds.ok_or_else(bad)?);
        let bare = bare(user, nonce);
        let without_proof = format!("c=biws,r={both}");
        let exchanged = format!("{bare},{server},{without_proof}");
        let key = self.sign(&salted, "Client Key");
        let stored = match self {
            Scram::Sha1 => digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key.as_ref()),
            Scram::Sha256 => digest::digest(&digest::SHA256, key.as_ref()),
        };
        let signature = self.sign(stored.as_ref(), &exchanged);
        let proof = key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b);
        let proof = STANDARD.encode(proof.collect::<Vec<_>>());
        let verifier = hmac::Key::new(self.hmac(), self.sign(&salted, "Server Key").as_ref());
        Ok(Final { message: format!("{without_proof},p={proof}"), verifier, exchanged })
    }
}

impl Final {
    /// Whether the server knows the password, too.
    ///
    /// # Errors
    /// Denied: it does not, or it refuses ours.
    pub(super) fn check(&self, server: &str) -> Result<()> {
        let signature = server.split(',').next().and_then(|f| f.strip_prefix("v="));
        let signature = signature.and_then(|s| STANDARD.decode(s).ok()).ok_or_else(bad)?;
        hmac::verify(&self.verifier, self.exchanged.as_bytes(), &signature).map_err(|_| bad())
    }
}

fn bare(user: &str, nonce: &str) -> String {
    format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"))
}

/// What the client says first.
pub(super) fn first(user: &str, nonce: &str) -> String {
    format!("n,,{}", bare(user, nonce))
}

fn bad() -> Error {
    Error::new(ErrorKind::Denied, "connection for inserts: the login by SCRAM failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    #[test]
    fn the_example_of_the_standard() {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        assert_eq!(first("user", nonce), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let last = Scram::Sha256.answer(("user", "pencil"), nonce, server).unwrap();
        assert_eq!(
            last.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        last.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();
        assert!(last.check("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
        assert!(last.check("e=invalid-proof").is_err());
    }

    #[test]
    fn a_server_that_knows_nothing_is_refused() {
        let answer =
            |server: &str| Scram::Sha1.answer(("user", "pencil"), "abc", server).map(|_| ());
        assert!(answer("r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=10000").is_ok());
        for wrong in [
            "",
            "r=abc,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=10000",
            "r=xyzdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=10000",
            "r=abcdef,s=?,i=10000",
            "r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            "r=abcdef,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
        ] {
            assert!(answer(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(first("a=b,c", "x"), "n,,n=a=3Db=2Cc,r=x");
    }
}
