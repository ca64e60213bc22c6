//! Typed records over a backend.

use std::sync::Arc;

use bygone_base::{Error, ErrorKind, Result, UnixMillis};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Backend, Kind, Page, Stored};

/// A change that loses against others is tried again so often.
const TRIES: u32 = 16;

/// Something the catalog keeps.
pub trait Record: Serialize + DeserializeOwned + Send {
    /// What it is.
    const KIND: Kind;

    /// Its id, which never changes.
    fn id(&self) -> &str;

    /// What it belongs to, which never changes: a project's id, or empty.
    fn scope(&self) -> &str {
        ""
    }
}

/// A record as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<T> {
    /// The record.
    pub value: T,
    /// Which change of it this is.
    pub version: u64,
}

/// The catalog.
#[derive(Debug, Clone)]
pub struct Catalog {
    backend: Arc<dyn Backend>,
}

/// Who may do something for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// What is leased.
    pub name: String,
    /// By whom.
    pub owner: String,
    /// Grows with every change of owner.
    pub epoch: u64,
    /// Until when.
    pub until: UnixMillis,
}

impl Lease {
    /// Whether more than two thirds of the time asked for are left, and no more than all of it: nothing need be asked or
    /// written before.
    pub fn lasts(&self, now: UnixMillis, until: UnixMillis) -> bool {
        self.until <= until
            && self.until.since(now).saturating_mul(3) > until.since(now).saturating_mul(2)
    }
}

impl Record for Lease {
    const KIND: Kind = Kind("lease");

    fn id(&self) -> &str {
        &self.name
    }
}

impl Catalog {
    /// A catalog in this backend.
    pub fn new(backend: Arc<dyn Backend>) -> Catalog {
        Catalog { backend }
    }

    /// The backend.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The record of this id.
    pub async fn find<T: Record>(&self, id: &str) -> Result<Option<Row<T>>> {
        self.backend.get(T::KIND, id).await?.map(read).transpose()
    }

    /// As [`Catalog::find`].
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get<T: Record>(&self, id: &str) -> Result<Row<T>> {
        self.find(id).await?.ok_or_else(|| not_found(T::KIND, id))
    }

    /// All records of a kind, or those of one scope, in the order of their ids.
    pub async fn all<T: Record>(&self, scope: Option<&str>) -> Result<Vec<T>> {
        let page = Page { scope: scope.map(str::to_owned), ..Page::default() };
        self.page(&page).await
    }

    /// Some records of a kind.
    pub async fn page<T: Record>(&self, page: &Page) -> Result<Vec<T>> {
        let rows = self.backend.list(T::KIND, page).await?;
        rows.into_iter().map(|stored| Ok(read(stored)?.value)).collect()
    }

    /// How many records of a kind there are.
    pub async fn count<T: Record>(&self, scope: Option<&str>) -> Result<u64> {
        self.backend.count(T::KIND, scope).await
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Conflict: its id is taken.
    pub async fn insert<T: Record>(&self, record: &T) -> Result<()> {
        self.backend.insert(T::KIND, record.id(), record.scope(), write(record)?).await
    }

    /// Replaces a record that nobody else changed since it was read.
    ///
    /// # Errors
    /// Conflict: somebody did.
    pub async fn update<T: Record>(&self, row: &Row<T>) -> Result<()> {
        let Row { value, version } = row;
        self.backend.update(T::KIND, value.id(), *version, write(value)?).await
    }

    /// Changes a record as it is now, again where somebody else was faster; gives it as changed. What `change` gives
    /// an error for is left as it is.
    ///
    /// # Errors
    /// `NotFound`, or what `change` gives.
    pub async fn change<T: Record>(
        &self,
        id: &str,
        mut change: impl FnMut(&mut T) -> Result<()>,
    ) -> Result<T> {
        let mut tries = 0;
        loop {
            let mut row = self.get::<T>(id).await?;
            change(&mut row.value)?;
            match self.update(&row).await {
                Err(e) if e.kind() == ErrorKind::Conflict && tries < TRIES => tries += 1,
                Err(e) => return Err(e),
                Ok(()) => return Ok(row.value),
            }
        }
    }

    /// Deletes a record, whatever it holds by now; it may be gone already.
    pub async fn delete<T: Record>(&self, id: &str) -> Result<()> {
        let mut tries = 0;
        while let Some(stored) = self.backend.get(T::KIND, id).await? {
            match self.backend.delete(T::KIND, id, stored.version).await {
                Err(e) if e.kind() == ErrorKind::Conflict && tries < TRIES => tries += 1,
                Err(e) => return Err(e),
                Ok(()) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Takes a lease that nobody else holds at `now`, or prolongs one's own; `None` while somebody else holds it.
    /// One's own is left as it is while two thirds of its time are left: to ask often costs nothing.
    ///
    /// One that lasts longer than was ever asked for was written before the clock was put back. Whoever asks cuts it to
    /// that length, so that it ends in time where its owner is gone; where he is not, he prolongs it.
    pub async fn lease(
        &self,
        name: &str,
        owner: &str,
        now: UnixMillis,
        until: UnixMillis,
    ) -> Result<Option<Lease>> {
        let taken = match self.find::<Lease>(name).await? {
            None => {
                let lease =
                    Lease { name: name.to_owned(), owner: owner.to_owned(), epoch: 1, until };
                self.insert(&lease).await.map(|()| lease)
            }
            Some(mut row) if row.value.owner != owner && row.value.until > until => {
                row.value.until = until;
                let cut = self.update(&row).await;
                return match cut {
                    Err(e) if e.kind() != ErrorKind::Conflict => Err(e),
                    _ => Ok(None),
                };
            }
            Some(row) if row.value.owner != owner && row.value.until > now => return Ok(None),
            Some(row) if row.value.owner == owner && row.value.lasts(now, until) => {
                return Ok(Some(row.value));
            }
            Some(mut row) => {
                let lease = &mut row.value;
                lease.epoch += u64::from(lease.owner != owner);
                owner.clone_into(&mut lease.owner);
                lease.until = until;
                self.update(&row).await.map(|()| row.value)
            }
        };
        match taken {
            Ok(lease) => Ok(Some(lease)),
            Err(e) if e.kind() == ErrorKind::Conflict => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Gives one's own lease back: it ends at `now`. The epoch stays, to go on growing.
    pub async fn release(&self, lease: &Lease, now: UnixMillis) -> Result<()> {
        let released = self
            .change::<Lease>(&lease.name, |held| {
                if held.owner == lease.owner && held.epoch == lease.epoch {
                    held.until = now;
                }
                Ok(())
            })
            .await;
        released.map(|_| ())
    }
}

fn read<T: Record>(stored: Stored) -> Result<Row<T>> {
    let value = serde_json::from_str(&stored.body).map_err(|e| {
        Error::damaged(format!("catalog: {} {} cannot be read", T::KIND.0, stored.id)).source(e)
    })?;
    Ok(Row { value, version: stored.version })
}

fn write<T: Record>(record: &T) -> Result<String> {
    serde_json::to_string(record).map_err(|e| {
        Error::internal(format!("catalog: {} {} cannot be written", T::KIND.0, record.id()))
            .source(e)
    })
}

fn not_found(kind: Kind, id: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no {} {id}", kind.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sqlite;

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Thing {
        name: String,
        scope: String,
        size: u64,
    }

    impl Record for Thing {
        const KIND: Kind = Kind("thing");

        fn id(&self) -> &str {
            &self.name
        }

        fn scope(&self) -> &str {
            &self.scope
        }
    }

    fn thing(name: &str, scope: &str) -> Thing {
        Thing { name: name.into(), scope: scope.into(), size: 0 }
    }

    fn catalog() -> Catalog {
        Catalog::new(Arc::new(Sqlite::in_memory().unwrap()))
    }

    #[tokio::test]
    async fn a_change_on_an_old_reading_is_refused() {
        let catalog = catalog();
        catalog.insert(&thing("a", "")).await.unwrap();
        let again = catalog.insert(&thing("a", "")).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Conflict);
        let mut mine = catalog.get::<Thing>("a").await.unwrap();
        let theirs = catalog.get::<Thing>("a").await.unwrap();
        mine.value.size = 5;
        catalog.update(&mine).await.unwrap();
        assert_eq!(catalog.update(&theirs).await.unwrap_err().kind(), ErrorKind::Conflict);
        let now = catalog.get::<Thing>("a").await.unwrap();
        assert_eq!((now.value.size, now.version), (5, 2));
    }

    #[tokio::test]
    async fn concurrent_changes_all_count() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("catalog.db");
        let open = || Catalog::new(Arc::new(Sqlite::open(&file).unwrap()));
        let (one, two) = (open(), open());
        one.insert(&thing("a", "")).await.unwrap();
        let grow = async |catalog: &Catalog| {
            for _ in 0..50 {
                let change = |t: &mut Thing| {
                    t.size += 1;
                    Ok(())
                };
                catalog.change("a", change).await.unwrap();
            }
        };
        tokio::join!(grow(&one), grow(&two));
        drop((one, two));
        assert_eq!(open().get::<Thing>("a").await.unwrap().value.size, 100);
    }

    #[tokio::test]
    async fn pages_are_of_one_scope_and_in_order() {
        let catalog = catalog();
        for name in ["b", "a", "d", "c"] {
            catalog.insert(&thing(name, if name == "d" { "other" } else { "p" })).await.unwrap();
        }
        let names = async |page: Page| {
            let things: Vec<Thing> = catalog.page(&page).await.unwrap();
            things.into_iter().map(|t| t.name).collect::<String>()
        };
        assert_eq!(names(Page::default()).await, "abcd");
        let of_p = Page { scope: Some("p".into()), newest_first: true, ..Page::default() };
        assert_eq!(names(of_p.clone()).await, "cba");
        assert_eq!(names(Page { after: Some("c".into()), limit: Some(1), ..of_p }).await, "b");
        assert_eq!(catalog.count::<Thing>(Some("p")).await.unwrap(), 3);
        catalog.delete::<Thing>("a").await.unwrap();
        catalog.delete::<Thing>("a").await.unwrap();
        assert_eq!(catalog.count::<Thing>(None).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_lease_has_one_owner_and_its_epoch_only_grows() {
        let catalog = catalog();
        let at = UnixMillis;
        let take = async |owner: &str, now: i64| {
            catalog.lease("part", owner, at(now), at(now + 10)).await.unwrap()
        };
        let first = take("a", 0).await.unwrap();
        assert_eq!(first.epoch, 1);
        assert_eq!(take("b", 9).await, None);
        assert_eq!(take("a", 2).await.unwrap().until, at(10));
        let prolonged = take("a", 9).await.unwrap();
        assert_eq!((prolonged.epoch, prolonged.until), (1, at(19)));
        assert_eq!(take("b", 19).await.unwrap().epoch, 2);
        // What was lost is not given back in another's name.
        catalog.release(&first, at(20)).await.unwrap();
        assert_eq!(take("a", 21).await, None);
        let held = take("b", 22).await.unwrap();
        catalog.release(&held, at(23)).await.unwrap();
        assert_eq!(take("a", 23).await.unwrap().epoch, 3);
    }

    /// The clock goes back by an hour: who is gone is followed after the lease's length, and who is there stays.
    #[tokio::test]
    async fn a_clock_that_is_put_back_delays_nobody_by_more_than_a_lease() {
        let catalog = catalog();
        let at = UnixMillis;
        let take = async |owner: &str, now: i64| {
            catalog.lease("part", owner, at(now), at(now + 30)).await.unwrap()
        };
        take("a", 3_600).await.unwrap();
        assert_eq!(take("b", 0).await, None);
        assert_eq!(take("b", 29).await, None);
        assert_eq!(take("b", 31).await.unwrap().epoch, 2);
        // The owner writes anew what the clock says now, ...
        assert_eq!(take("b", 1).await.unwrap().until, at(31));
        take("b", 7_200).await.unwrap();
        // ... and prolongs what another one cut.
        assert_eq!(take("c", 5).await, None);
        assert_eq!(take("b", 20).await.unwrap().until, at(50));
        assert_eq!(take("c", 40).await, None);
    }

    #[tokio::test]
    async fn a_newer_layout_and_another_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let newer = dir.path().join("newer.db");
        drop(Sqlite::open(&newer).unwrap());
        let raw = rusqlite::Connection::open(&newer).unwrap();
        raw.pragma_update(None, "user_version", 99).unwrap();
        drop(raw);
        assert_eq!(Sqlite::open(&newer).unwrap_err().kind(), ErrorKind::Unsupported);
        let other = dir.path().join("other.db");
        std::fs::write(&other, [b'x'; 4096]).unwrap();
        assert_eq!(Sqlite::open(&other).unwrap_err().kind(), ErrorKind::Damaged);
    }

    #[tokio::test]
    async fn a_copy_holds_everything() {
        let dir = tempfile::tempdir().unwrap();
        let catalog = catalog();
        catalog.insert(&thing("a", "p")).await.unwrap();
        let file = dir.path().join("copy.db");
        catalog.backend().copy_to(&file).await.unwrap();
        let copy = Catalog::new(Arc::new(Sqlite::open(&file).unwrap()));
        assert_eq!(copy.get::<Thing>("a").await.unwrap().value, thing("a", "p"));
    }
}
