//! A repository: one store with its id and keys. Knows how objects are sealed
//! and named; what they mean is others' business.

use std::{collections::BTreeMap, sync::Arc};

use bygone_base::{BlockId, Clock, Error, ErrorKind, RepositoryId, Result, Rng};
use bytes::Bytes;

use crate::{
    ObjectKind, Put, Secret, Store, codec,
    crypto::Key,
    envelope::{self, DataKeys},
    keyring::{Argon2Cost, Keyring, MAX_FILE, RepositoryFile},
    names, put_new_checked,
};

/// An opened repository; clones are cheap and the same.
#[derive(Debug, Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    rng: Arc<dyn Rng>,
    id: RepositoryId,
    naming: Key,
    /// Empty when the repository is not encrypted.
    data: BTreeMap<u32, Key>,
}

impl DataKeys for Inner {
    fn newest(&self) -> Option<(u32, &Key)> {
        self.data.last_key_value().map(|(version, key)| (*version, key))
    }

    fn key(&self, version: u32) -> Result<&Key> {
        self.data.get(&version).ok_or_else(|| {
            Error::new(
                ErrorKind::Denied,
                format!("is encrypted with data key {version}, not known"),
            )
            .hint("the keys were rotated after this program started: start it again")
        })
    }
}

impl Repository {
    /// Makes a repository in a store that has none; encrypted when there is a
    /// secret. [`ErrorKind::Conflict`] when there is one.
    pub async fn create(
        store: Arc<dyn Store>,
        secret: Option<&Secret>,
        rng: Arc<dyn Rng>,
        clock: &dyn Clock,
    ) -> Result<Self> {
        create_with(store, secret, rng, clock, Argon2Cost::DEFAULT).await
    }

    /// Opens the repository of a store. [`ErrorKind::NotFound`] when there is
    /// none, [`ErrorKind::Denied`] when a key is needed or does not fit,
    /// [`ErrorKind::Unsupported`] when its format is newer.
    pub async fn open(
        store: Arc<dyn Store>,
        secret: Option<&Secret>,
        rng: Arc<dyn Rng>,
    ) -> Result<Self> {
        let file = read_file(store.as_ref()).await?;
        let id = file.id()?;
        let plain_key = file.plain_key()?;
        let location = store.location();
        match (plain_key, secret) {
            (Some(naming), None) => {
                let inner = Inner { store, rng, id, naming, data: BTreeMap::new() };
                Ok(Repository { inner: Arc::new(inner) })
            }
            (Some(_), Some(_)) => Err(Error::usage(format!(
                "the repository in {location} is not encrypted, but a key was given"
            ))
            .hint("leave the key away, or make a new repository with it")),
            (None, None) => Err(Error::new(
                ErrorKind::Denied,
                format!("the repository in {location} is encrypted and needs its key"),
            )
            .hint("give --key-file or the passphrase")),
            (None, Some(secret)) => open_encrypted(store, rng, id, secret).await,
        }
    }

    /// Opens the repository, or makes one where there is none.
    pub async fn open_or_create(
        store: Arc<dyn Store>,
        secret: Option<&Secret>,
        rng: Arc<dyn Rng>,
        clock: &dyn Clock,
    ) -> Result<Self> {
        match Repository::open(store.clone(), secret, rng.clone()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            // Somebody is at it, or was cut off: both ways of creation end the same.
            Err(error)
                if error.kind() == ErrorKind::Damaged
                    && unfinished(store.as_ref(), secret).await.is_ok() => {}
            opened => return opened,
        }
        match Repository::create(store.clone(), secret, rng.clone(), clock).await {
            // Somebody else was faster.
            Err(error) if error.kind() == ErrorKind::Conflict => {
                Repository::open(store, secret, rng).await
            }
            created => created,
        }
    }

    /// The repository's id.
    pub fn id(&self) -> RepositoryId {
        self.inner.id
    }

    /// Its store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The same repository, reached by another way to its store.
    #[must_use]
    pub fn over(&self, way: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Repository {
        let Inner { store, rng, id, naming, data } = &*self.inner;
        let (store, rng, data) = (way(Arc::clone(store)), Arc::clone(rng), data.clone());
        Repository { inner: Arc::new(Inner { store, rng, id: *id, naming: naming.clone(), data }) }
    }

    /// The source of randomness for what is written.
    pub fn rng(&self) -> &Arc<dyn Rng> {
        &self.inner.rng
    }

    /// Whether what is written is encrypted.
    pub fn is_encrypted(&self) -> bool {
        !self.inner.data.is_empty()
    }

    /// Looks whether it is still where it was opened.
    ///
    /// # Errors
    /// What reading it gives; Usage: another one is in its place.
    pub async fn check_there(&self) -> Result<()> {
        let found = read_file(self.store().as_ref()).await?.id()?;
        if found == self.id() {
            return Ok(());
        }
        Err(Error::usage(format!("{} holds another repository now", self.store().location())))
    }

    /// Refuses a repository that is not the one named in a manifest.
    pub fn expect_id(&self, id: RepositoryId) -> Result<()> {
        if id == self.id() {
            return Ok(());
        }
        let (location, own) = (self.store().location(), self.id());
        Err(Error::usage(format!("{location} holds repository {own}, not {id}"))
            .hint("give the store that the backup was written to"))
    }

    /// Puts an object's bytes into its envelope.
    pub fn seal(&self, kind: ObjectKind, name: &str, plain: &[u8]) -> Result<Bytes> {
        envelope::seal(self.inner.as_ref(), self.inner.rng.as_ref(), kind, name, plain)
    }

    /// Takes an object's bytes out of its envelope, checked.
    pub fn unseal(&self, kind: ObjectKind, name: &str, sealed: Bytes) -> Result<Bytes> {
        envelope::open(self.inner.as_ref(), kind, name, sealed)
    }

    /// Seals and puts an object if there is none of that name. On
    /// [`Put::Exists`] the caller decides: it may be our own, its reply lost.
    pub async fn put_object(&self, kind: ObjectKind, name: &str, plain: &[u8]) -> Result<Put> {
        let sealed = self.seal(kind, name, plain)?;
        self.store().put_new(name, sealed).await
    }

    /// Like [`Repository::put_object`], but an object that is there must have
    /// the same plain content: another one is [`ErrorKind::Conflict`].
    pub async fn put_object_checked(
        &self,
        kind: ObjectKind,
        name: &str,
        plain: &[u8],
    ) -> Result<Put> {
        if self.put_object(kind, name, plain).await? == Put::Created {
            return Ok(Put::Created);
        }
        if self.get_object(kind, name).await? == plain {
            return Ok(Put::Exists);
        }
        Err(Error::new(
            ErrorKind::Conflict,
            format!("{name} exists with other content in {}", self.store().location()),
        ))
    }

    /// An object's plain bytes, checked.
    pub async fn get_object(&self, kind: ObjectKind, name: &str) -> Result<Bytes> {
        let sealed = self.store().get(name).await?;
        let (repo, name, bytes) = (self.clone(), name.to_owned(), sealed.len());
        codec::run(bytes, move || repo.unseal(kind, &name, sealed)).await
    }

    /// The name of a block of this content.
    pub fn block_id(&self, raw: &[u8]) -> BlockId {
        BlockId(*blake3::keyed_hash(self.inner.naming.bytes(), raw).as_bytes())
    }

    /// The newest data key, for new packs.
    pub(crate) fn newest_key(&self) -> Option<(u32, &Key)> {
        self.inner.newest()
    }

    pub(crate) fn data_key(&self, version: u32) -> Result<&Key> {
        self.inner.key(version)
    }
}

pub(crate) async fn create_with(
    store: Arc<dyn Store>,
    secret: Option<&Secret>,
    rng: Arc<dyn Rng>,
    clock: &dyn Clock,
    cost: Argon2Cost,
) -> Result<Repository> {
    let mut naming = [0; 32];
    rng.fill(&mut naming);
    let naming = Key::new(naming);
    let id = RepositoryId::random(rng.as_ref());
    let created = clock.now().to_rfc3339_seconds();
    let file = RepositoryFile::new(id, created, secret.is_none().then_some(&naming));
    let put = put_new_checked(store.as_ref(), names::REPOSITORY, file.to_line()?.into()).await;
    let id = match put {
        Ok(_) => id,
        Err(error) if error.kind() == ErrorKind::Conflict => {
            unfinished(store.as_ref(), secret).await?
        }
        Err(error) => return Err(not_writable(store.as_ref(), error)),
    };
    if let Some(secret) = secret {
        let mut data = [0; 32];
        rng.fill(&mut data);
        let keyring = Keyring { naming, data: BTreeMap::from([(1, Key::new(data))]) };
        put_keyring(store.as_ref(), rng.clone(), &keyring, 1, id, secret, cost).await?;
    }
    Repository::open(store, secret, rng).await
}

fn not_writable(store: &dyn Store, error: Error) -> Error {
    error.within(format!("cannot make a repository in {}", store.location()))
}

/// The id of an encrypted repository whose creation was cut off before it got
/// its first keyring, so that nothing can have been written with it.
async fn unfinished(store: &dyn Store, secret: Option<&Secret>) -> Result<RepositoryId> {
    let file = read_file(store).await?;
    let exists = || {
        Error::new(
            ErrorKind::Conflict,
            format!("there is a repository in {} already", store.location()),
        )
    };
    if secret.is_none() || !file.encrypted {
        return Err(exists());
    }
    for prefix in [names::KEYS, names::PACKS, names::JOBS] {
        if !store.list(prefix, None).await?.is_empty() {
            return Err(exists());
        }
    }
    file.id()
}

async fn read_file(store: &dyn Store) -> Result<RepositoryFile> {
    let location = store.location();
    let (bytes, size) = match store.get_tail(names::REPOSITORY, MAX_FILE).await {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("there is no repository in {location}");
            let hint =
                error.hint_text().unwrap_or("check the store's URL; a first backup makes one");
            return Err(Error::new(ErrorKind::NotFound, message).hint(hint));
        }
        Err(error) => return Err(error),
    };
    let what = || format!("{} in {location}", names::REPOSITORY);
    if size > MAX_FILE {
        return Err(Error::damaged(format!("{}: is too long", what())));
    }
    RepositoryFile::parse(&bytes).map_err(|e| e.within(what()))
}

/// The highest keyring's number.
async fn newest_keyring(store: &dyn Store) -> Result<u32> {
    let found = store.list(names::KEYS, None).await?;
    let newest = found.iter().filter_map(|stat| names::parse_keyring(&stat.name)).max();
    newest.ok_or_else(|| {
        Error::damaged(format!("the encrypted repository in {} has no keys", store.location()))
            .hint("if its creation was cut off, make it again; else bring back its keys/ folder")
    })
}

async fn open_encrypted(
    store: Arc<dyn Store>,
    rng: Arc<dyn Rng>,
    id: RepositoryId,
    secret: &Secret,
) -> Result<Repository> {
    let number = newest_keyring(store.as_ref()).await?;
    let keyring = read_keyring(store.as_ref(), number, id, secret).await?;
    let Keyring { naming, data } = keyring;
    let inner = Inner { store, rng, id, naming, data };
    Ok(Repository { inner: Arc::new(inner) })
}

async fn read_keyring(
    store: &dyn Store,
    number: u32,
    id: RepositoryId,
    secret: &Secret,
) -> Result<Keyring> {
    let name = names::keyring(number);
    let (bytes, size) = store.get_tail(&name, MAX_FILE).await?;
    let what = format!("{name} in {}", store.location());
    if size > MAX_FILE {
        return Err(Error::damaged(format!("{what}: is too long")));
    }
    let secret = secret.clone();
    codec::blocking(move || Keyring::unwrap(&bytes, id, &secret)).await.map_err(|e| e.within(what))
}

async fn put_keyring(
    store: &dyn Store,
    rng: Arc<dyn Rng>,
    keyring: &Keyring,
    number: u32,
    id: RepositoryId,
    secret: &Secret,
    cost: Argon2Cost,
) -> Result<()> {
    let (keyring, secret) = (keyring.clone(), secret.clone());
    let line = codec::blocking(move || keyring.wrap(id, &secret, cost, rng.as_ref())).await?;
    put_new_checked(store, &names::keyring(number), line.into()).await.map(drop)
}

pub(crate) async fn rotate(
    repo: &Repository,
    current: &Secret,
    next: &Secret,
) -> Result<Repository> {
    if !repo.is_encrypted() {
        return Err(Error::usage("the repository is not encrypted: there is no key to rotate"));
    }
    let (store, rng) = (repo.store().clone(), repo.rng().clone());
    let number = newest_keyring(store.as_ref()).await?;
    // Read again: another rotation may have been faster than this program's start.
    let mut keyring = read_keyring(store.as_ref(), number, repo.id(), current).await?;
    let newest = keyring.data.keys().max().copied().unwrap_or(0);
    let mut fresh = [0; 32];
    rng.fill(&mut fresh);
    let too_many = || Error::internal("too many rotations");
    keyring.data.insert(newest.checked_add(1).ok_or_else(too_many)?, Key::new(fresh));
    let number = number.checked_add(1).ok_or_else(too_many)?;
    let cost = Argon2Cost::DEFAULT;
    put_keyring(store.as_ref(), rng.clone(), &keyring, number, repo.id(), next, cost).await?;
    Repository::open(store, Some(next), rng).await
}

#[cfg(test)]
mod tests;
