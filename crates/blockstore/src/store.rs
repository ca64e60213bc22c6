//! The one interface to stores. Objects are immutable: put if absent, get,
//! list, delete. Every implementation and wrapper passes [`crate::conformance`].

mod fault;
mod file;
mod memory;
mod meter;
mod open;
mod remote;
mod retry;
mod throttle;

use std::{fmt::Debug, ops::Range};

use async_trait::async_trait;
use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use bytes::Bytes;

pub use fault::{FaultPlan, Faulty};
pub use file::FileStore;
pub use memory::MemoryStore;
pub use meter::{Metered, Usage};
pub use open::{create_store, open_store, open_store_with};
pub use remote::RemoteStore;
pub use retry::{RetryOptions, Retrying};
pub use throttle::Throttled;

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object is there now.
    Created,
    /// An object of that name was there; it was left as it is.
    Exists,
}

/// An object in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStat {
    /// Name within the store.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, by the store's own clock.
    pub modified: UnixMillis,
}

/// A place for immutable objects. Names satisfy [`crate::names::check`].
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// Puts an object if there is none of that name. Durable when it returns
    /// (also when it returns [`Put::Exists`]), and never half visible. After
    /// an error the object may or may not be there, whole.
    ///
    /// A reply that got lost on the way and was retried comes out as
    /// [`Put::Exists`]: see [`put_new_checked`].
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put>;

    /// The whole object; [`ErrorKind::NotFound`] when there is none.
    async fn get(&self, name: &str) -> Result<Bytes>;

    /// Exactly these bytes; [`ErrorKind::Damaged`] when the object is shorter.
    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes>;

    /// The last bytes, at most `max`, and the size of the whole object.
    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)>;

    /// Size and time of an object.
    async fn stat(&self, name: &str) -> Result<ObjectStat>;

    /// All objects whose names start with `prefix` (empty, or ending in `/`)
    /// and come after `after`, in ascending order of their names' bytes.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>>;

    /// The folders directly below `prefix` (empty, or ending in `/`) that hold an object, without `/`, in
    /// ascending order. Costs what there are folders, not objects, where the store can do that.
    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>> {
        let mut folders: Vec<String> = Vec::new();
        for object in self.list(prefix, None).await? {
            let rest = object.name.get(prefix.len()..).unwrap_or_default();
            let Some((folder, _)) = rest.split_once('/') else { continue };
            // `a+b/` and `a/` may alternate with what lies between them.
            folders.push(folder.to_owned());
        }
        folders.sort_unstable();
        folders.dedup();
        Ok(folders)
    }

    /// Removes what killed writers left behind that is no object. Harmless at any time.
    async fn sweep_leftovers(&self) -> Result<()> {
        Ok(())
    }

    /// Deletes an object; that there is none is fine.
    async fn delete(&self, name: &str) -> Result<()>;

    /// Where this is, for people; never with credentials.
    fn location(&self) -> String;
}

/// Like [`Store::put_new`], but an object that is there already must have the
/// same content: another one is [`ErrorKind::Conflict`].
pub async fn put_new_checked(store: &dyn Store, name: &str, body: Bytes) -> Result<Put> {
    if store.put_new(name, body.clone()).await? == Put::Created {
        return Ok(Put::Created);
    }
    if store.get(name).await? == body {
        return Ok(Put::Exists);
    }
    Err(Error::new(
        ErrorKind::Conflict,
        format!("{name} exists with other content in {}", store.location()),
    ))
}

/// The error for an object that is not there.
pub(crate) fn not_found(name: &str, location: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{name} does not exist in {location}"))
}

/// The error for an object that ends before the bytes asked for.
pub(crate) fn too_short(name: &str, size: u64, end: u64) -> Error {
    Error::damaged(format!("{name} has {size} bytes where at least {end} are expected"))
}
