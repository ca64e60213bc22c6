//! Sessions of people.

use std::sync::Arc;

use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bygone_catalog::record::{Actor, Session, User};
use bygone_control::By;

use crate::{Access, Principal, access::hash};

/// A session lasts this long.
pub const SESSION_HOURS: i64 = 12;
/// The name of the cookie that holds a session's secret.
pub const COOKIE: &str = "bygone_session";
/// The same where the browser came by TLS: other hosts of the domain, and plain HTTP, cannot set one of this name.
pub const SECURE_COOKIE: &str = "__Host-bygone_session";
/// The header that carries a session's token.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// The name of the session's cookie, by whether the browser came by TLS.
pub fn cookie_name(tls: bool) -> &'static str {
    if tls { SECURE_COOKIE } else { COOKIE }
}

/// A session that has just begun.
#[derive(Clone)]
pub struct Login {
    /// What the cookie holds; kept nowhere else.
    pub secret: String,
    /// What forms and the header `X-CSRF-Token` must carry.
    pub csrf: String,
    /// When it ends.
    pub expires: UnixMillis,
    /// Who logged in.
    pub user: User,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login of {} until {:?}", self.user.name, self.expires)
    }
}

impl Access {
    /// Begins a session for somebody who knows his password.
    ///
    /// # Errors
    /// Denied: name or password is wrong, which is not told apart. Unavailable: too many attempts.
    pub async fn login(&self, name: &str, password: &str, address: Option<&str>) -> Result<Login> {
        let name = name.trim().to_lowercase();
        let mut attempt = self.attempts.begin(&name, address)?;
        let judged = async {
            let user = self.user_by_name(&name).await?;
            let kept = user.as_ref().and_then(|user| user.password.as_deref());
            Ok::<_, Error>((self.is_password(password, kept).await?, user))
        };
        let (proved, user) = judged.await.inspect_err(|_| attempt.undo())?;
        let wrong = || Error::new(ErrorKind::Denied, "name or password is wrong");
        let user = user.ok_or_else(wrong)?;
        if !proved {
            self.tell_failure(&user.name, address);
            return Err(wrong());
        }
        attempt.proved();
        self.begin(user, address).await
    }

    /// Says that somebody failed to log in by a name that there is; so often at most as he may fail. (Of other names,
    /// anybody could fill the events with anything.)
    ///
    /// It is written beside the answer, or that would take longer than for a name that nobody has.
    fn tell_failure(&self, name: &str, address: Option<&str>) {
        let control = Arc::clone(&self.control);
        let by = By { address: address.map(str::to_owned), ..By::system() };
        let message = format!("a login of {name} failed: the password was wrong");
        let mut telling = self.telling();
        while telling.try_join_next().is_some() {}
        telling.spawn(async move {
            // Where the catalog cannot be written, nobody can log in either, and that is told.
            let _ = control.event(&by, None, None, "USER_LOGIN_FAILED", message).await;
        });
    }

    /// Begins a session for somebody who has just proved himself, by a password or an invitation.
    pub async fn begin(&self, user: User, address: Option<&str>) -> Result<Login> {
        let now = self.control.now();
        self.forget_ended().await?;
        let (secret, id) = self.secret();
        let (csrf, _) = self.secret();
        let expires = UnixMillis(now.0 + SESSION_HOURS * 3_600_000);
        let session =
            Session { id, user: user.id.clone(), csrf: csrf.clone(), created: now, expires };
        self.control.catalog().insert(&session).await?;
        let by = principal(&user, address).by();
        let message = format!("{} logged in", user.name);
        self.control.event(&by, None, None, "USER_LOGGED_IN", message).await?;
        Ok(Login { secret, csrf, expires, user })
    }

    /// Who the cookie's secret belongs to, with the token that changes must carry; `None`: nobody, or no longer.
    pub async fn session(
        &self,
        secret: &str,
        address: Option<&str>,
    ) -> Result<Option<(Principal, Session)>> {
        let catalog = self.control.catalog();
        let Some(session) = catalog.find::<Session>(&hash(secret)).await? else { return Ok(None) };
        let session = session.value;
        if session.expires <= self.control.now() {
            return Ok(None);
        }
        let user = catalog.find::<User>(session.user.as_str()).await?;
        Ok(user.map(|user| (principal(&user.value, address), session)))
    }

    /// Ends a session of somebody.
    pub async fn logout(&self, secret: &str, by: &By) -> Result<()> {
        self.control.catalog().delete::<Session>(&hash(secret)).await?;
        let message = match &by.actor {
            Actor::User(name) => format!("{name} logged out"),
            _ => "logged out".to_owned(),
        };
        self.control.event(by, None, None, "USER_LOGGED_OUT", message).await
    }

    /// Ends all sessions of a user.
    pub(crate) async fn end_sessions(&self, user: &User) -> Result<()> {
        for session in self.control.catalog().all::<Session>(None).await? {
            if session.user == user.id {
                self.control.catalog().delete::<Session>(&session.id).await?;
            }
        }
        Ok(())
    }

    /// Deletes the sessions that have ended.
    pub async fn forget_ended(&self) -> Result<()> {
        let now = self.control.now();
        for session in self.control.catalog().all::<Session>(None).await? {
            if session.expires <= now {
                self.control.catalog().delete::<Session>(&session.id).await?;
            }
        }
        Ok(())
    }
}

pub(crate) fn principal(user: &User, address: Option<&str>) -> Principal {
    Principal {
        actor: Actor::User(user.name.clone()),
        grants: user.grants.clone(),
        address: address.map(str::to_owned),
    }
}
