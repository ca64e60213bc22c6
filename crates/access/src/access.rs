//! The door.

use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};

use bygone_base::{Error, ErrorKind, Result};
use bygone_catalog::{
    Id, Page,
    record::{ApiKey, Grant, Role, User},
};
use bygone_control::Control;
use tokio::{
    sync::{Mutex, Semaphore},
    task::JoinSet,
};

use crate::attempts::Attempts;

/// So many passwords are worked on at once: each takes 19 MiB ...
const PASSWORDS: usize = 4;
/// ... and so many wait for that, about a second.
const WAITING: usize = 60;

/// Users, sessions and keys of a control plane.
#[derive(Debug)]
pub struct Access {
    pub(crate) control: Arc<Control>,
    /// Changes of users go one after another: names are unique and one owner stays, over several records.
    pub(crate) changing: Mutex<()>,
    pub(crate) passwords: Semaphore,
    /// Those who work on one or wait for that.
    pub(crate) queue: Semaphore,
    /// Proofs that failed.
    pub(crate) attempts: Attempts,
    /// Events of logins that failed, being written.
    telling: Lock<JoinSet<()>>,
}

impl Access {
    /// Over this control plane's catalog.
    pub fn new(control: Arc<Control>) -> Access {
        Access {
            attempts: Attempts::new(control.clock()),
            telling: Lock::default(),
            changing: Mutex::default(),
            passwords: Semaphore::new(PASSWORDS),
            queue: Semaphore::new(PASSWORDS + WAITING),
            control,
        }
    }

    /// Proofs that failed, of whatever kind.
    pub fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    pub(crate) fn telling(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody has been let in: a user with a password, or an API key.
    pub async fn has_anybody(&self) -> Result<bool> {
        let catalog = self.control.catalog();
        let users: Vec<User> = catalog.all(None).await?;
        if users.iter().any(|user| user.password.is_some()) {
            return Ok(true);
        }
        let one = Page { limit: Some(1), ..Page::default() };
        Ok(!catalog.page::<ApiKey>(&one).await?.is_empty())
    }

    /// A secret of 192 random bits, hex, and its BLAKE3, hex.
    pub(crate) fn secret(&self) -> (String, String) {
        let mut bytes = [0; 24];
        self.control.rng().fill(&mut bytes);
        let secret = hex::encode(bytes);
        let hash = hash(&secret);
        (secret, hash)
    }

    /// Whether rights are well formed: global ones without a project, others with one that there is.
    pub(crate) async fn check_grants(&self, grants: &[Grant]) -> Result<()> {
        if grants.len() > 100 {
            return Err(Error::usage("more than 100 roles"));
        }
        for Grant { role, project } in grants {
            let global = matches!(role, Role::GlobalOwner | Role::GlobalBackupAdmin);
            match project {
                None if global => {}
                Some(project) if !global => {
                    self.control.project(project).await?;
                }
                None => return Err(Error::usage(format!("role {role:?} is for one project"))),
                Some(_) => return Err(Error::usage(format!("role {role:?} is for no project"))),
            }
        }
        Ok(())
    }
}

/// The only project of some rights, if they are about one: an event about them belongs there.
pub(crate) fn only_project(grants: &[Grant]) -> Option<&Id> {
    let first = grants.first()?.project.as_ref()?;
    grants.iter().all(|grant| grant.project.as_ref() == Some(first)).then_some(first)
}

/// What is kept of a secret.
pub(crate) fn hash(secret: &str) -> String {
    blake3::hash(secret.as_bytes()).to_hex().to_string()
}

pub(crate) fn not_found(what: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no such {what}"))
}

/// A text of one line that says something, trimmed.
pub(crate) fn line(text: &str, what: &str) -> Result<String> {
    let text = text.trim();
    if text.is_empty() || text.chars().any(char::is_control) || text.chars().count() > 200 {
        return Err(Error::usage(format!("the {what} must be one line of 1 to 200 characters")));
    }
    Ok(text.to_owned())
}
