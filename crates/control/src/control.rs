//! What people and programs may ask for.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bygone_base::{Clock, Error, ErrorKind, Result, Rng, UnixMillis};
use bygone_catalog::{
    Catalog, Id, Page, Record, Seal,
    record::{Alert, Event, Job, Project, Settings},
};

use bygone_daemon::JobStatus;
use bygone_head::Scratch;
use tokio::sync::watch;

use crate::{
    By, attended::Attended, disk::Disks, expiry::Done, opened::Opened, restoring::Ledger,
    running::Running,
};

/// How many events one page shows at most.
const EVENTS: u32 = 500;

/// The control plane's one door: everything that a page, a program or an agent may ask for.
#[derive(Debug)]
pub struct Control {
    catalog: Catalog,
    seal: Seal,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// Stores that are open.
    pub(crate) opened: Opened,
    /// How full disks are.
    pub(crate) disks: Disks,
    /// When what is old of each job was deleted.
    pub(crate) tidied: Done,
    /// Stores and jobs that are being groomed or checked.
    pub(crate) attended: Attended,
    /// Where files to be fetched lie.
    downloads: Option<PathBuf>,
    /// A restore, a groom or a check was asked for.
    nudged: AtomicBool,
    /// When this process began to look.
    began: UnixMillis,
    /// What is being sent of files to be fetched.
    pub(crate) ledger: Ledger,
    /// Jobs that run in this process.
    running: Mutex<HashMap<Id, Arc<Running>>>,
}

impl Control {
    /// Over a catalog; runs nothing by itself.
    pub fn new(catalog: Catalog, seal: Seal, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Control {
        let began = clock.now();
        Control {
            catalog,
            seal,
            clock,
            rng,
            opened: Opened::default(),
            disks: Disks::default(),
            tidied: Done::default(),
            attended: Attended::default(),
            downloads: None,
            nudged: AtomicBool::new(true),
            began,
            ledger: Ledger::default(),
            running: Mutex::default(),
        }
    }

    /// With a folder for files to be fetched.
    #[must_use]
    pub fn with_downloads(self, folder: PathBuf) -> Control {
        Control { downloads: Some(folder), ..self }
    }

    pub(crate) fn downloads(&self) -> Result<&Path> {
        self.downloads.as_deref().ok_or_else(|| {
            Error::unsupported("this server has no folder for files to be fetched")
                .hint("give it a data folder")
        })
    }

    /// Where operations that are too many for the memory go while something is read: a folder that is gone behind it.
    /// Without a data folder they stay in memory.
    pub(crate) fn scratch(&self) -> Result<Option<Scratch>> {
        self.downloads.as_deref().map(Scratch::within).transpose()
    }

    /// The catalog.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What seals secrets.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Randomness.
    pub fn rng(&self) -> &Arc<dyn Rng> {
        &self.rng
    }

    /// The moment.
    pub fn now(&self) -> UnixMillis {
        self.clock.now()
    }

    /// When this process began to look: what was silent before is not held against anybody.
    pub(crate) fn began(&self) -> UnixMillis {
        self.began
    }

    /// A new id.
    pub fn new_id(&self) -> Id {
        Id::new(self.now(), &*self.rng)
    }

    /// What was asked for is to be looked at soon.
    pub(crate) fn nudge(&self) {
        self.nudged.store(true, Ordering::Relaxed);
    }

    /// Whether somebody nudged since this was asked last.
    pub(crate) fn nudged(&self) -> bool {
        self.nudged.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn running(&self, job: &Id) -> Option<Arc<Running>> {
        self.all_running().get(job).cloned()
    }

    pub(crate) fn all_running(&self) -> std::sync::MutexGuard<'_, HashMap<Id, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the daemon's part of a job can be followed while it runs in this process.
    pub fn follow(&self, job: &Id) -> Option<watch::Receiver<JobStatus>> {
        self.running(job).map(|running| running.status.clone())
    }

    /// All projects.
    pub async fn projects(&self) -> Result<Vec<Project>> {
        self.catalog.all(None).await
    }

    /// One project.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, project: &Id) -> Result<Project> {
        Ok(self.catalog.get::<Project>(project.as_str()).await?.value)
    }

    /// Makes a project.
    ///
    /// # Errors
    /// Usage: the name is taken, or none.
    pub async fn create_project(&self, name: &str, by: &By) -> Result<Project> {
        let name = line(name, "name of a project", 100)?;
        let project = Project { id: self.new_id(), name, created: self.now() };
        let name = &project.name;
        // Those of older catalogs have reserved no names.
        let taken = self.projects().await?.iter().any(|p| p.name == *name);
        if taken || !self.reserve::<Project>(&format!("project/{name}"), &project.id).await? {
            return Err(Error::new(ErrorKind::Conflict, format!("there is a project {name:?}")));
        }
        self.catalog.insert(&project).await?;
        self.event(by, Some(&project.id), None, "GROUP_CREATED", "project created").await?;
        Ok(project)
    }

    /// Something that belongs to a project; what belongs to another is not found.
    pub(crate) async fn within<T: Record>(&self, project: &Id, id: &str) -> Result<T> {
        let found = self.catalog.find::<T>(id).await?.map(|row| row.value);
        found.filter(|record| record.scope() == project.as_str()).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("there is no {} {id}", T::KIND.0))
        })
    }

    /// Writes an event.
    pub async fn event(
        &self,
        by: &By,
        project: Option<&Id>,
        job: Option<&Job>,
        kind: &str,
        message: impl Into<String>,
    ) -> Result<()> {
        let event = Event {
            id: self.new_id(),
            project: project.cloned(),
            job: job.map(|job| job.id.clone()),
            kind: kind.to_owned(),
            actor: by.actor.clone(),
            address: by.address.clone(),
            created: self.now(),
            message: message.into(),
        };
        self.catalog.insert(&event).await
    }

    /// Events of a project (or of all), newest first, those before `before`.
    pub async fn events(&self, project: Option<&Id>, before: Option<&Id>) -> Result<Vec<Event>> {
        let page = Page {
            scope: project.map(|id| id.as_str().to_owned()),
            newest_first: true,
            after: before.map(|id| id.as_str().to_owned()),
            limit: Some(EVENTS),
        };
        self.catalog.page(&page).await
    }

    /// Alerts of a project (or of all), newest first.
    pub async fn alerts(&self, project: Option<&Id>) -> Result<Vec<Alert>> {
        let page = Page {
            scope: project.map(|id| id.as_str().to_owned()),
            newest_first: true,
            ..Page::default()
        };
        self.catalog.page(&page).await
    }

    /// What holds for the whole server.
    pub async fn settings(&self) -> Result<Settings> {
        let found = self.catalog.find::<Settings>(Settings::ID).await?;
        Ok(found.map(|row| row.value).unwrap_or_default())
    }

    /// Changes the settings unchecked, for what the server notes by itself ([`Control::edit_settings`] is for the others).
    pub async fn change_settings(
        &self,
        change: impl FnMut(&mut Settings) -> Result<()>,
    ) -> Result<Settings> {
        if self.catalog.find::<Settings>(Settings::ID).await?.is_none() {
            match self.catalog.insert(&Settings::default()).await {
                Err(e) if e.kind() != ErrorKind::Conflict => return Err(e),
                _ => {}
            }
        }
        self.catalog.change(Settings::ID, change).await
    }
}

/// A text of one line that says something, trimmed.
pub(crate) fn line(text: &str, what: &str, most: usize) -> Result<String> {
    let text = text.trim();
    let odd = text.chars().any(char::is_control);
    if text.is_empty() || odd || text.chars().count() > most {
        return Err(Error::usage(format!("the {what} must be one line of 1 to {most} characters")));
    }
    Ok(text.to_owned())
}
