//! API keys: a public half, which is the name, and a private one, for HTTP digest.

use bygone_base::{Error, Result, UnixMillis};
use bygone_catalog::record::{Actor, ApiKey, Grant};
use bygone_control::By;
use zeroize::Zeroizing;

use crate::{
    Access, Principal,
    access::{line, not_found, only_project},
};

/// Letters of a public half, as in Ops Manager.
const PUBLIC: usize = 8;

/// A key, without its private half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    /// Public half.
    pub public: String,
    /// For people.
    pub description: String,
    /// Rights.
    pub grants: Vec<Grant>,
    /// When it was made.
    pub created: UnixMillis,
}

/// A key as it is shown once.
#[derive(Clone)]
pub struct NewKey {
    /// What stays to be seen.
    pub key: KeyView,
    /// Private half.
    pub private: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewKey {}", self.key.public)
    }
}

impl Access {
    /// All API keys.
    pub async fn keys(&self) -> Result<Vec<KeyView>> {
        let keys: Vec<ApiKey> = self.control.catalog().all(None).await?;
        Ok(keys.into_iter().map(view).collect())
    }

    /// Makes a key.
    ///
    /// # Errors
    /// Usage: it says nothing of itself, or a role does not fit.
    pub async fn create_key(
        &self,
        description: &str,
        grants: Vec<Grant>,
        by: &By,
    ) -> Result<NewKey> {
        let description = line(description, "description of a key")?;
        if grants.is_empty() {
            return Err(Error::usage("a key without a role can do nothing"));
        }
        self.check_grants(&grants).await?;
        let public = self.letters();
        let private = self.uuid();
        let key = ApiKey {
            private: self.control.seal().seal(&private, &place(&public), &**self.control.rng())?,
            public,
            description,
            grants,
            created: self.control.now(),
        };
        self.control.catalog().insert(&key).await?;
        let message = format!("API key {} made: {}", key.public, key.description);
        let project = only_project(&key.grants).cloned();
        self.control.event(by, project.as_ref(), None, "API_KEY_CREATED", message).await?;
        Ok(NewKey { key: view(key), private })
    }

    /// Removes a key.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remove_key(&self, public: &str, by: &By) -> Result<()> {
        let found = self.control.catalog().find::<ApiKey>(public).await?;
        let key = found.ok_or_else(|| not_found("API key"))?.value;
        self.control.catalog().delete::<ApiKey>(public).await?;
        let message = format!("API key {public} removed");
        let project = only_project(&key.grants);
        self.control.event(by, project, None, "API_KEY_DELETED", message).await
    }

    /// Who has the public half, and the private half that he is to prove; `None`: nobody.
    pub async fn key(
        &self,
        public: &str,
        address: Option<&str>,
    ) -> Result<Option<(Principal, Zeroizing<String>)>> {
        let Some(row) = self.control.catalog().find::<ApiKey>(public).await? else {
            return Ok(None);
        };
        let key = row.value;
        let private = self.control.seal().open(&key.private, &place(&key.public))?;
        let actor = Actor::ApiKey(key.public);
        let address = address.map(str::to_owned);
        Ok(Some((Principal { actor, grants: key.grants, address }, private)))
    }

    fn letters(&self) -> String {
        // 26 goes into 2^64 so often that what is left over does not matter.
        let letter = |_| char::from(b'a' + (self.control.rng().next_u64() % 26) as u8);
        (0..PUBLIC).map(letter).collect()
    }

    /// A random UUID (RFC 9562, version 4).
    fn uuid(&self) -> String {
        let mut bytes = [0; 16];
        self.control.rng().fill(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = hex::encode(bytes);
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
    }
}

fn place(public: &str) -> String {
    format!("api key/{public}")
}

fn view(key: ApiKey) -> KeyView {
    let ApiKey { public, description, grants, created, .. } = key;
    KeyView { public, description, grants, created }
}
