//! The control plane over real replica sets: catalog, supervisor and agents in this process.

mod alerts;
mod commands;
mod lifecycle;
mod ops_manager;
mod processes;
mod rebuilt;
mod restoring;
mod resyncs;
mod standby;
mod upkeep;

use std::{path::PathBuf, sync::Arc, time::Duration};

use bygone_agent::fleet::{Fleet, MongoSources, Own, Sources};
use bygone_base::{Clock, Result, SystemClock, SystemRng};
use bygone_catalog::{
    Catalog, Id, Seal, Sqlite,
    record::{RestoreJob, RestoreStatus},
};
use bygone_control::{By, Control, Local, NewJob, NewSource, NewStore, Supervisor, views::JobView};
use bygone_tests::wait;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A step may take this long on a loaded machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A server's folder: catalog, key and a store. It outlives the server.
pub struct Site {
    pub folder: TempDir,
    pub control: Arc<Control>,
    pub project: Id,
}

/// A supervisor and agents at work on a site.
pub struct Running {
    stop: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

impl Site {
    /// With one store and one project.
    pub async fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let control = open(&folder);
        let store =
            NewStore::new("main", format!("file://{}", folder.path().join("store").display()));
        control.add_store(store, &By::system()).await.unwrap();
        let project = control.create_project("shop", &By::system()).await.unwrap().id;
        Site { folder, control, project }
    }

    /// The catalog as another process has it open.
    pub fn control(&self) -> Arc<Control> {
        open(&self.folder)
    }

    /// The same site after a restart of the server.
    pub fn reopen(self) -> Site {
        let Site { folder, project, control } = self;
        drop(control);
        let control = open(&folder);
        Site { folder, control, project }
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub fn run(&self) -> Running {
        self.run_by(Arc::new(SystemClock::new()))
    }

    /// With agents that have this clock.
    pub fn run_by(&self, clock: Arc<dyn Clock>) -> Running {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let supervisor = Supervisor::new(self.control.clone());
        let token = stop.clone();
        let runtime = tokio::runtime::Handle::current();
        tasks.spawn_blocking(move || {
            runtime.block_on(supervisor.run(&token)).into_iter().next().map_or(Ok(()), Err)
        });
        let fleet = self.fleet(Arc::new(MongoSources { clock: clock.clone() }), clock);
        let token = stop.clone();
        tasks.spawn(async move { fleet.run(&token).await });
        Running { stop, tasks }
    }

    /// Agents of this process.
    pub fn fleet(&self, sources: Arc<dyn Sources>, clock: Arc<dyn Clock>) -> Fleet {
        let local = Local::new(self.control.clone(), self.project.clone());
        Fleet {
            conf: local.clone(),
            uplink: local,
            sources,
            clock,
            rng: Arc::new(SystemRng),
            host: "here".into(),
            own: Own::default(),
        }
    }

    pub async fn job(&self, cluster: &str, uri: &str) -> Id {
        let new = NewJob {
            cluster: cluster.into(),
            source: NewSource { uri: uri.into(), ..NewSource::default() },
            ..NewJob::default()
        };
        self.control.create_job(&self.project, new, &By::system()).await.unwrap().id
    }

    pub async fn view(&self, job: &Id) -> JobView {
        self.control.job(&self.project, job).await.unwrap()
    }

    /// Until the job is as `wanted`.
    pub async fn until(&self, job: &Id, what: &str, wanted: impl Fn(&JobView) -> bool) -> JobView {
        let look = async || Some(self.view(job).await).filter(|view| wanted(view));
        match wait::within(LIMIT, look).await {
            Some(view) => view,
            None => panic!("waited in vain for {what}: {:#?}", self.view(job).await),
        }
    }

    pub async fn restored(&self, id: &Id) -> RestoreJob {
        let look = async || {
            let restore = self.control.restore_job(&self.project, id).await.unwrap();
            (restore.status != RestoreStatus::InProgress).then_some(restore)
        };
        wait::until("a restore to end", LIMIT, look).await
    }
}

impl Running {
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

fn open(folder: &TempDir) -> Arc<Control> {
    let catalog = Catalog::new(Arc::new(Sqlite::open(&folder.path().join("catalog.db")).unwrap()));
    let seal = Seal::in_file(&folder.path().join("catalog.key"), &SystemRng).unwrap();
    let control = Control::new(catalog, seal, Arc::new(SystemClock::new()), Arc::new(SystemRng));
    Arc::new(control.with_downloads(folder.path().join("downloads")))
}
