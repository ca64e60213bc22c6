//! Stores: registered, chosen for jobs, opened.

use std::{path::PathBuf, sync::Arc};

use bygone_base::{Clock, Error, ErrorKind, JobName, PartName, Result, SystemRng, UnixMillis};
use bygone_blockstore::{Repository, Secret, create_store, open_store, store::Throttled};
use bygone_catalog::{
    Page,
    record::{Job, JobStores, Purpose, Store, UsageSample},
};
use bygone_snapshot::{Parts, Stores};

use crate::{By, Control, views::StoreView};

/// A store to register, or what is to hold of one from now on.
#[derive(Debug, Clone)]
pub struct NewStore {
    /// Name.
    pub id: String,
    /// URL, without secrets.
    pub url: String,
    /// What it may hold.
    pub purposes: Vec<Purpose>,
    /// File with the key.
    pub key_file: Option<PathBuf>,
    /// Passphrase.
    pub passphrase: Option<String>,
    /// Whether new jobs are given it.
    pub assignment_enabled: bool,
    /// Labels.
    pub labels: Vec<String>,
    /// Share of new jobs.
    pub load_factor: u32,
    /// Above so many bytes it counts as full.
    pub max_bytes: Option<u64>,
}

/// Opens a repository; with `create`, makes one where there is none.
pub async fn repository(
    url: &str,
    secret: Option<&Secret>,
    clock: Arc<dyn Clock>,
    create: bool,
) -> Result<Repository> {
    let rng = Arc::new(SystemRng);
    if create {
        let store = create_store(url, clock.clone()).await?;
        return Repository::open_or_create(store, secret, rng, clock.as_ref()).await;
    }
    let store = open_store(url, clock).await?;
    Repository::open(store, secret, rng).await
}

impl NewStore {
    /// One for everything, which new jobs are given.
    pub fn new(id: impl Into<String>, url: impl Into<String>) -> NewStore {
        NewStore {
            id: id.into(),
            url: url.into(),
            purposes: vec![Purpose::Snapshot, Purpose::Oplog, Purpose::Sync],
            key_file: None,
            passphrase: None,
            assignment_enabled: true,
            labels: Vec::new(),
            load_factor: 1,
            max_bytes: None,
        }
    }
}

impl Control {
    /// All stores, with the newest sample of their use.
    pub async fn stores(&self) -> Result<Vec<StoreView>> {
        let jobs: Vec<Job> = self.catalog().all(None).await?;
        let settings = self.settings().await?;
        let mut views = Vec::new();
        for store in self.catalog().all::<Store>(None).await? {
            let newest = Page {
                scope: Some(store.id.clone()),
                newest_first: true,
                limit: Some(1),
                ..Page::default()
            };
            let usage = self.catalog().page::<UsageSample>(&newest).await?.pop();
            let uses = |job: &&Job| job.stores.holds(&store.id);
            let jobs = jobs.iter().filter(uses).map(|job| job.id.clone()).collect();
            let groomed = settings.marks.get(&groom_mark(&store.id)).copied().map(UnixMillis);
            views.push(StoreView { store, usage, jobs, groomed });
        }
        Ok(views)
    }

    /// Registers a store after opening it, which makes the repository where there is none yet.
    ///
    /// # Errors
    /// What opening gives; Conflict: the name is taken.
    pub async fn add_store(&self, new: NewStore, by: &By) -> Result<Store> {
        let id = new.id.parse::<JobName>().map_err(|_| {
            Error::usage(format!(
                "{:?} is not a name for a store: use letters, digits, '.', '_' or '-'",
                new.id
            ))
        })?;
        let id = id.as_str().to_owned();
        if self.catalog().find::<Store>(&id).await?.is_some() {
            return Err(Error::new(ErrorKind::Conflict, format!("there is a store {id} already")));
        }
        let store = self.store(new)?;
        let opened = self.open(&store, true).await?;
        let store = Store { repository: Some(opened.id().to_string()), ..store };
        self.catalog().insert(&store).await?;
        self.opened.put(&id, opened);
        let message = format!("store {id} at {} added", store.url);
        self.event(by, None, None, "STORE_ADDED_AUDIT", message).await?;
        Ok(store)
    }

    /// Changes a store; where it is and how it opens is for new jobs and the next start of the others.
    pub async fn edit_store(&self, new: NewStore, by: &By) -> Result<Store> {
        let id = new.id.clone();
        let old = self.catalog().get::<Store>(&id).await?.value;
        let mut store = self.store(new)?;
        store.created = old.created;
        if store.passphrase.is_none() {
            store.passphrase = old.passphrase;
        }
        let jobs: Vec<Job> = self.catalog().all(None).await?;
        let used = jobs.iter().any(|job| job.stores.holds(&id));
        let moved = old.url != store.url;
        // Jobs would find nothing at another place, and begin anew there.
        if used || !moved {
            store.repository.clone_from(&old.repository);
        }
        // A place that is new may be empty; the old one must not be.
        let opened = self.open(&store, moved && !used).await.map_err(|error| {
            match moved && used {
                true => error.hint("jobs use this store: its repository must have been moved to the new place before"),
                false => error,
            }
        })?;
        store.repository = Some(opened.id().to_string());
        let changed = self.catalog().change::<Store>(&id, |kept| {
            kept.clone_from(&store);
            Ok(())
        });
        let changed = changed.await?;
        self.opened.put(&id, opened);
        self.event(by, None, None, "STORE_CHANGED_AUDIT", format!("store {id} changed")).await?;
        Ok(changed)
    }

    /// Forgets a store that no job uses. What it holds stays.
    ///
    /// # Errors
    /// Conflict: a job uses it.
    pub async fn remove_store(&self, id: &str, by: &By) -> Result<()> {
        // First it is said, then looked: a job that is made at the same time sees it, or is seen.
        self.set_leaving(id, true).await?;
        let jobs: Vec<Job> = self.catalog().all(None).await?;
        if jobs.iter().any(|job| job.stores.holds(id)) {
            self.set_leaving(id, false).await?;
            return Err(Error::new(ErrorKind::Conflict, format!("jobs use the store {id}")));
        }
        self.catalog().delete::<Store>(id).await?;
        self.opened.forget(id);
        self.event(by, None, None, "STORE_REMOVED_AUDIT", format!("store {id} removed")).await
    }

    async fn set_leaving(&self, id: &str, leaving: bool) -> Result<()> {
        let changed = self.catalog().change::<Store>(id, |store| {
            store.leaving = leaving;
            Ok(())
        });
        changed.await.map(|_| ())
    }

    fn store(&self, new: NewStore) -> Result<Store> {
        if new.purposes.is_empty() {
            return Err(Error::usage("a store must be for snapshots, oplog or sync, or all"));
        }
        if new.max_bytes == Some(0) {
            return Err(Error::usage("a store that is full above 0 bytes is always full")
                .hint("leave it out to have no limit but the disk's"));
        }
        let place = format!("store/{}", new.id);
        let seal = |secret: &String| self.seal().seal(secret, &place, &**self.rng());
        Ok(Store {
            passphrase: new.passphrase.as_ref().map(seal).transpose()?,
            id: new.id,
            url: new.url,
            purposes: new.purposes,
            key_file: new.key_file,
            assignment_enabled: new.assignment_enabled,
            labels: new.labels,
            load_factor: new.load_factor.max(1),
            max_bytes: new.max_bytes,
            repository: None,
            leaving: false,
            created: self.now(),
        })
    }

    /// Opens a store; `create` makes the repository where there is none, which for a store that is known would hide that
    /// its disk is not mounted.
    async fn open(&self, store: &Store, create: bool) -> Result<Repository> {
        self.opening(store, create)?.await
    }

    fn opening(
        &self,
        store: &Store,
        create: bool,
    ) -> Result<impl Future<Output = Result<Repository>> + Send + 'static> {
        let (secret, clock) = (self.secret(store)?, self.clock().clone());
        let expected = store.repository.as_ref().map(|id| id.parse()).transpose()?;
        let (url, what) = (store.url.clone(), format!("store {}", store.id));
        Ok(async move {
            let opened = repository(&url, secret.as_ref(), clock, create).await;
            let opened = opened.map_err(|e| e.within(&what))?;
            if let Some(id) = expected {
                opened.expect_id(id).map_err(|e| e.within(&what))?;
            }
            Ok(opened)
        })
    }

    fn secret(&self, store: &Store) -> Result<Option<Secret>> {
        match (&store.key_file, &store.passphrase) {
            (Some(file), _) => Secret::from_key_file(file).map(Some),
            (None, Some(sealed)) => {
                let text = self.seal().open(sealed, &format!("store/{}", store.id))?;
                Secret::passphrase(text.as_str().to_owned()).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    /// The repository of a store, opened once.
    pub async fn repository(&self, id: &str) -> Result<Repository> {
        if let Some(opened) = self.opened.known(id) {
            return Ok(opened);
        }
        let store = self.catalog().get::<Store>(id).await?.value;
        self.opened.get(id, &**self.clock(), self.opening(&store, false)?).await
    }

    /// The repository of a store, of which this holder moves at most so many megabytes per second; 0: as fast as it goes.
    pub(crate) async fn throttled(&self, id: &str, mb_per_second: u32) -> Result<Repository> {
        let opened = self.repository(id).await?;
        if mb_per_second == 0 {
            return Ok(opened);
        }
        let (clock, bytes) = (self.clock().clone(), u64::from(mb_per_second) * 1_000_000);
        Ok(opened.over(|store| Arc::new(Throttled::new(store, clock, bytes))))
    }

    /// The repositories of a job.
    pub(crate) async fn stores_of(&self, job: &Job) -> Result<Stores> {
        Ok(Stores {
            blocks: self.repository(&job.stores.snapshot).await?,
            oplog: self.repository(&job.stores.oplog).await?,
            sync: self.repository(&job.stores.sync).await?,
        })
    }

    /// The part of a job in its stores; `None` until an agent has told the set's name.
    pub async fn parts(&self, job: &Job) -> Result<Option<Parts>> {
        let Some(set) = &job.set else { return Ok(None) };
        let (name, part): (JobName, PartName) = (job.name.parse()?, set.parse()?);
        Ok(Some(self.stores_of(job).await?.part(name, part)))
    }

    pub(crate) async fn check_stores(&self, stores: JobStores) -> Result<JobStores> {
        let wanted = [
            (&stores.snapshot, Purpose::Snapshot),
            (&stores.oplog, Purpose::Oplog),
            (&stores.sync, Purpose::Sync),
        ];
        for (id, purpose) in wanted {
            let store = self.catalog().get::<Store>(id).await?.value;
            if store.leaving {
                let text = format!("store {id} is being removed");
                return Err(Error::new(ErrorKind::Conflict, text));
            }
            if !store.purposes.contains(&purpose) {
                return Err(Error::usage(format!("store {id} is not for {purpose:?} data")));
            }
        }
        Ok(stores)
    }

    /// The least loaded store for each purpose among those that take new jobs.
    pub(crate) async fn assign_stores(&self) -> Result<JobStores> {
        let stores = self.stores().await?;
        let pick = |purpose: Purpose| {
            let fits = |view: &&StoreView| {
                let store = &view.store;
                // One with labels is for those who name it.
                let open = store.assignment_enabled && !store.leaving && store.labels.is_empty();
                open && store.purposes.contains(&purpose)
            };
            let load = |view: &&StoreView| {
                (view.jobs.len() as u64).saturating_mul(1000) / u64::from(view.store.load_factor)
            };
            let picked = stores.iter().filter(fits).min_by_key(load);
            picked.map(|view| view.store.id.clone()).ok_or_else(|| {
                Error::usage(format!("no store takes {purpose:?} data of new jobs"))
                    .hint("add a store, or enable assignment of one")
            })
        };
        let snapshot = pick(Purpose::Snapshot)?;
        // Beside the snapshots where that may be: one place to look after.
        let beside = |purpose| {
            let same = stores
                .iter()
                .any(|view| view.store.id == snapshot && view.store.purposes.contains(&purpose));
            if same { Ok(snapshot.clone()) } else { pick(purpose) }
        };
        Ok(JobStores { oplog: beside(Purpose::Oplog)?, sync: beside(Purpose::Sync)?, snapshot })
    }

    /// Samples of a store's use, newest first.
    pub async fn usage(&self, store: &str, most: u32) -> Result<Vec<UsageSample>> {
        let page = Page {
            scope: Some(store.to_owned()),
            newest_first: true,
            limit: Some(most),
            ..Page::default()
        };
        self.catalog().page(&page).await
    }
}

/// The name of the mark of a store's last groom.
pub(crate) fn groom_mark(store: &str) -> String {
    format!("groomed/{store}")
}
