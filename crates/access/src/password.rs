//! Passwords: argon2id with the library's defaults, which are OWASP's first choice (19 MiB, 2 passes, 1 lane).

use argon2::{
    Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash::phc::PasswordHash,
};
use bygone_base::{Error, ErrorKind, Result, work};
use tokio::sync::SemaphorePermit;
use zeroize::Zeroizing;

use crate::Access;

/// Characters at least.
const SHORTEST: usize = 10;
/// Bytes at most: nobody makes us hash a book.
const LONGEST: usize = 1024;
/// What a password is compared with where there is none, so that it takes as long.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGlzIGhlcmU$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Whether it will do.
pub(crate) fn check(password: &str) -> Result<()> {
    if password.chars().count() < SHORTEST {
        return Err(Error::usage(format!("the password has less than {SHORTEST} characters")));
    }
    if password.len() > LONGEST {
        return Err(Error::usage(format!("the password has more than {LONGEST} bytes")));
    }
    Ok(())
}

impl Access {
    /// What is kept of a password.
    pub(crate) async fn hash_password(&self, password: &str) -> Result<String> {
        check(password)?;
        let mut salt = [0; 16];
        self.control.rng().fill(&mut salt);
        let password = Zeroizing::new(password.to_owned());
        let _turn = self.turn().await?;
        let hash = work::run("hashing a password", move || {
            let hash: Result<PasswordHash, _> =
                Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string())
        });
        hash.await?.map_err(|_| Error::internal("a password could not be hashed"))
    }

    /// Whether it is the password that was kept as `kept`; takes as long where nothing was.
    pub(crate) async fn is_password(&self, password: &str, kept: Option<&str>) -> Result<bool> {
        if password.len() > LONGEST {
            return Ok(false);
        }
        let known = kept.is_some();
        let kept = kept.unwrap_or(NOBODY).to_owned();
        let password = Zeroizing::new(password.to_owned());
        let _turn = self.turn().await?;
        let same = work::run("checking a password", move || {
            let hash = PasswordHash::new(&kept).ok()?;
            Argon2::default().verify_password(password.as_bytes(), &hash).ok()
        });
        Ok(same.await?.is_some() && known)
    }

    /// A turn at working on a password. Who would have to wait for long is told so at once.
    async fn turn(&self) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        let place = self.queue.try_acquire().map_err(|_| {
            Error::new(ErrorKind::Unavailable, "too many passwords are being looked at")
                .hint("try again in a moment")
        })?;
        let turn = self.passwords.acquire().await;
        let turn = turn.map_err(|_| Error::internal("passwords are not looked at any more"))?;
        Ok((place, turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobodys_hash_can_be_worked_on_and_costs_as_much_as_a_real_one() {
        let nobody = PasswordHash::new(NOBODY).unwrap();
        let real: PasswordHash =
            Argon2::default().hash_password_with_salt(b"long enough", &[7; 16]).unwrap();
        assert_eq!(nobody.params, real.params);
        assert_eq!((nobody.algorithm, nobody.version), (real.algorithm, real.version));
        let refused = Argon2::default().verify_password(b"x", &nobody).unwrap_err();
        assert_eq!(refused, argon2::password_hash::Error::PasswordInvalid);
    }
}
