//! People: invited, given rights, removed.

use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Grant, Role, User},
};
use bygone_control::By;

use crate::{
    Access,
    access::{hash, not_found, only_project},
    password,
};

/// An invitation is good for this long.
pub const INVITATION_HOURS: i64 = 24;
/// The name of the first user.
const OWNER: &str = "owner";

/// A user, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// Id.
    pub id: Id,
    /// Name.
    pub name: String,
    /// Rights.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created: UnixMillis,
    /// Whether a password was chosen.
    pub has_password: bool,
    /// Until when an invitation is good, where one is open.
    pub invited_until: Option<UnixMillis>,
}

impl Access {
    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<UserView>> {
        let mut users: Vec<User> = self.control.catalog().all(None).await?;
        users.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(users.into_iter().map(|user| self.user_view(user)).collect())
    }

    fn user_view(&self, user: User) -> UserView {
        let now = self.control.now();
        UserView {
            id: user.id,
            name: user.name,
            grants: user.grants,
            created: user.created,
            has_password: user.password.is_some(),
            invited_until: user.invitation.map(|(_, until)| until).filter(|until| *until > now),
        }
    }

    pub(crate) async fn user_by_name(&self, name: &str) -> Result<Option<User>> {
        let users: Vec<User> = self.control.catalog().all(None).await?;
        Ok(users.into_iter().find(|user| user.name == name))
    }

    async fn user(&self, id: &Id) -> Result<User> {
        let found = self.control.catalog().find::<User>(id.as_str()).await?;
        Ok(found.ok_or_else(|| not_found("user"))?.value)
    }

    /// Makes a user; gives the secret of the link by which he chooses his password, which is not shown again.
    ///
    /// # Errors
    /// Usage: the name is none, or a role does not fit. Conflict: the name is taken.
    pub async fn invite(
        &self,
        name: &str,
        grants: Vec<Grant>,
        by: &By,
    ) -> Result<(UserView, String)> {
        let name = user_name(name)?;
        self.check_grants(&grants).await?;
        let _turn = self.changing.lock().await;
        if self.user_by_name(&name).await?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, format!("there is a user {name:?}")));
        }
        let (secret, invitation) = self.invitation();
        let user = User {
            id: self.control.new_id(),
            name,
            password: None,
            grants,
            created: self.control.now(),
            invitation: Some(invitation),
        };
        self.control.catalog().insert(&user).await?;
        self.user_event(&user, "USER_CREATED_AUDIT", "invited", by).await?;
        Ok((self.user_view(user), secret))
    }

    /// A new link for a user who lost his, or his password. The old password stays good until another is chosen.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn invite_again(&self, id: &Id, by: &By) -> Result<(UserView, String)> {
        let user = self.user(id).await?;
        let (secret, invitation) = self.invitation();
        let changed = self.control.catalog().change::<User>(user.id.as_str(), |user| {
            user.invitation = Some(invitation.clone());
            Ok(())
        });
        let changed = changed.await?;
        self.user_event(&changed, "USER_INVITED_AUDIT", "invited again", by).await?;
        Ok((self.user_view(changed), secret))
    }

    fn invitation(&self) -> (String, (String, UnixMillis)) {
        let (secret, hash) = self.secret();
        let until = UnixMillis(self.control.now().0 + INVITATION_HOURS * 3_600_000);
        (secret, (hash, until))
    }

    /// Whom the secret of a link invites; `None`: nobody, or no longer.
    pub async fn invited(&self, secret: &str) -> Result<Option<UserView>> {
        let (now, hash) = (self.control.now(), hash(secret));
        let users: Vec<User> = self.control.catalog().all(None).await?;
        let meant = |user: &User| {
            user.invitation.as_ref().is_some_and(|(kept, until)| *kept == hash && *until > now)
        };
        Ok(users.into_iter().find(meant).map(|user| self.user_view(user)))
    }

    /// Chooses a password by the link, which then is good for nothing. All sessions of the user end.
    ///
    /// # Errors
    /// Denied: the link is not good (any more). Usage: the password will not do.
    pub async fn accept(&self, secret: &str, password: &str) -> Result<User> {
        let gone = || {
            Error::new(ErrorKind::Denied, "this link is not good any more")
                .hint("ask for another one")
        };
        password::check(password)?;
        let invited = self.invited(secret).await?.ok_or_else(gone)?;
        let kept = self.hash_password(password).await?;
        let hash = hash(secret);
        // Twice at the same time: the second finds the link used.
        let changed = self.control.catalog().change::<User>(invited.id.as_str(), |user| {
            if user.invitation.take().is_none_or(|(open, _)| open != hash) {
                return Err(gone());
            }
            user.password = Some(kept.clone());
            Ok(())
        });
        let changed = changed.await?;
        self.end_sessions(&changed).await?;
        let by = crate::sessions::principal(&changed, None).by();
        self.user_event(&changed, "PASSWORD_CHANGED_AUDIT", "chose a password", &by).await?;
        Ok(changed)
    }

    /// Changes one's own password. All one's sessions end.
    ///
    /// # Errors
    /// Denied: the old one is wrong. Usage: the new one will not do.
    pub async fn change_password(&self, name: &str, old: &str, new: &str, by: &By) -> Result<()> {
        let user = self.user_by_name(name).await?.ok_or_else(|| not_found("user"))?;
        let mut attempt = self.attempts.begin(name, by.address.as_deref())?;
        let same = self.is_password(old, user.password.as_deref()).await;
        if !same.inspect_err(|_| attempt.undo())? {
            return Err(Error::new(ErrorKind::Denied, "the old password is wrong"));
        }
        attempt.proved();
        let kept = self.hash_password(new).await?;
        let changed = self.control.catalog().change::<User>(user.id.as_str(), |user| {
            user.password = Some(kept.clone());
            Ok(())
        });
        let changed = changed.await?;
        self.end_sessions(&changed).await?;
        self.user_event(&changed, "PASSWORD_CHANGED_AUDIT", "changed the password", by).await
    }

    /// Changes what a user may do.
    ///
    /// # Errors
    /// `NotFound`; Usage: a role does not fit. Conflict: no Global Owner would be left.
    pub async fn set_grants(&self, id: &Id, grants: Vec<Grant>, by: &By) -> Result<UserView> {
        self.check_grants(&grants).await?;
        let _turn = self.changing.lock().await;
        let user = self.user(id).await?;
        if !owns(&grants) {
            self.another_owner(&user).await?;
        }
        let changed = self.control.catalog().change::<User>(id.as_str(), |user| {
            user.grants.clone_from(&grants);
            Ok(())
        });
        let changed = changed.await?;
        let what =
            format!("given other roles: {} → {}", words(&user.grants), words(&changed.grants));
        self.user_event(&changed, "USER_ROLES_CHANGED_AUDIT", &what, by).await?;
        Ok(self.user_view(changed))
    }

    /// Removes a user and ends his sessions.
    ///
    /// # Errors
    /// `NotFound`; Conflict: no Global Owner would be left.
    pub async fn remove_user(&self, id: &Id, by: &By) -> Result<()> {
        let _turn = self.changing.lock().await;
        let user = self.user(id).await?;
        self.another_owner(&user).await?;
        self.control.catalog().delete::<User>(id.as_str()).await?;
        self.end_sessions(&user).await?;
        self.user_event(&user, "USER_DELETED_AUDIT", "removed", by).await
    }

    /// Whether a Global Owner who can log in is left without this user. (One who never chose a password is no help.)
    async fn another_owner(&self, user: &User) -> Result<()> {
        if !owns(&user.grants) {
            return Ok(());
        }
        let users: Vec<User> = self.control.catalog().all(None).await?;
        let other =
            |other: &User| other.id != user.id && owns(&other.grants) && other.password.is_some();
        if users.iter().any(other) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Conflict, "the last Global Owner stays")
            .hint("make another user Global Owner first"))
    }

    /// The secret of a link by which a Global Owner chooses his password, while nobody has one: for the first start.
    /// Each call makes a new link, and the one before is good for nothing.
    pub async fn owner_link(&self) -> Result<Option<String>> {
        let users: Vec<User> = self.control.catalog().all(None).await?;
        if users.iter().any(|user| user.password.is_some()) {
            return Ok(None);
        }
        let system = By::system();
        let (_, secret) = match users.iter().find(|user| owns(&user.grants)) {
            Some(owner) => self.invite_again(&owner.id, &system).await?,
            None => {
                let grant = Grant { role: Role::GlobalOwner, project: None };
                self.invite(OWNER, vec![grant], &system).await?
            }
        };
        Ok(Some(secret))
    }

    async fn user_event(&self, user: &User, kind: &str, what: &str, by: &By) -> Result<()> {
        let message = format!("user {} {what}", user.name);
        self.control.event(by, only_project(&user.grants), None, kind, message).await
    }
}

/// Roles as an event tells them.
fn words(grants: &[Grant]) -> String {
    let word = |Grant { role, project }: &Grant| match project {
        Some(project) => format!("{role:?} of {project}"),
        None => format!("{role:?}"),
    };
    let words: Vec<String> = grants.iter().map(word).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn owns(grants: &[Grant]) -> bool {
    grants.iter().any(|grant| grant.role == Role::GlobalOwner)
}

/// A name to log in with: lower case, no spaces; an e-mail address will do.
fn user_name(name: &str) -> Result<String> {
    let name = name.trim().to_lowercase();
    let good = |c: char| c.is_alphanumeric() || "._-+@".contains(c);
    if name.is_empty() || name.chars().count() > 100 || !name.chars().all(good) {
        return Err(Error::usage(
            "a user's name has 1 to 100 letters, digits, '.', '_', '-', '+' or '@'",
        ));
    }
    Ok(name)
}
