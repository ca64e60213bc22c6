//! `bygone up`: everything in one process: what `bygone server` runs, for the one job that the arguments describe.

use std::{process::ExitCode, sync::Arc};

use async_trait::async_trait;
use bygone_access::Access;
use bygone_agent::{
    MongoSource, Source,
    fleet::{MongoSources, Own, Sources, Watched},
};
use bygone_base::{Error, ErrorKind, Result, Ts};
use bygone_catalog::{
    Id,
    record::{Job, JobStores, Keeping, ScheduleSpec},
};
use bygone_control::{Control, Given, NewSource, NewStore, Supervisor};
use bygone_daemon::{JobStatus, Terms};
use bygone_ingest::http::{Server, TlsFiles};
use bygone_oplog::uplink::PartKey;
use bygone_snapshot::Stores;
use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::{
    report::{Reported, report},
    server::{
        first_project,
        site::{self, Agents, Alone, MIN_TOKEN, Service},
        welcome,
    },
    source::{Connected, agent_options, check_stores, connect, job_options, throttle},
    status::TOKEN,
};
use crate::{
    access,
    args::{SourceArgs, StoreArgs, UpArgs},
    output::Output,
};

/// Runs until Ctrl-C.
pub async fn run(args: UpArgs, output: &Output) -> Result<ExitCode> {
    let (schedule, keep) = kept(&args)?;
    // What is wrong by itself is said before anything is touched.
    agent_options(&args.source)?;
    let _alone = args.data.as_deref().map(Alone::in_folder).transpose()?;
    let control = Arc::new(match &args.data {
        Some(folder) => site::in_folder(folder)?,
        None => site::in_memory()?,
    });
    // All that ran on this catalog before were this command.
    control.end_leases(|_| true).await?;
    let clock = control.clock().clone();
    let Connected { uri, mongo, set } = connect(&args.source, &clock).await?;
    let key = PartKey { job: args.source.name.parse()?, part: set.clone() };
    let project = first_project(&control).await?;
    let (ids, stores) = stores(&control, &args.store).await?;
    check_stores(&stores.part(key.job.clone(), set.clone())).await?;
    let source = source(&args.source, uri.expose());
    let name = args.source.name.clone();
    let given = Given { name, set, source, stores: ids, schedule, keep: Some(keep) };
    let job = control.given_job(&project, given).await?;
    let mut signals = JoinSet::new();
    let shutdown = super::on_signal(&mut signals);
    warn_of_delay(&args, output);
    greet(output, &key, &stores.blocks.store().location());
    let server = listen(&args, &control, &project, output).await?;
    let mut supervisor = Supervisor::new(control.clone());
    supervisor.begin().await?;
    let shown = Shown { control: control.clone(), project, job: job.id.clone() };
    if let Some(why) = shown.refused().await {
        return Err(Error::new(ErrorKind::Unavailable, why));
    }
    let (started, agents) = mpsc::unbounded_channel();
    let mut reporting = JoinSet::new();
    let (out, watching) = (*output, shown.clone());
    reporting.spawn(async move { report(out, clock, agents, watching).await });
    let agents = Agents {
        sources: Arc::new(Known { uri: uri.expose().to_owned(), mongo, others: others(&control) }),
        own: own(&args, &job, started),
        control,
    };
    let ran = site::run(supervisor, Some(agents), server, &shutdown, async || shown.stored().await);
    let ended = ran.await;
    reporting.abort_all();
    let (failures, chain) = ended.map_err(|e| taken_over(e, &key))?;
    if let Some(error) = failures.into_iter().next() {
        return Err(error);
    }
    output.event(
        "stopped",
        format!("stopped; stored up to {chain}"),
        json!({"chain": chain.to_string()}),
    );
    Ok(ExitCode::SUCCESS)
}

/// What the arguments say of snapshots and how long they are kept.
fn kept(args: &UpArgs) -> Result<(ScheduleSpec, Keeping)> {
    let Terms { schedule, tiers, policy, .. } = job_options(&args.keep, Some(args.interval))?.terms;
    let retention = schedule.retention;
    let base = match policy.keep_within_secs {
        Some(within) if !tiers => within,
        _ => retention.base.as_secs(),
    };
    let spec = ScheduleSpec {
        interval_secs: schedule.interval.as_secs(),
        base_secs: base,
        days: retention.days,
        weeks: retention.weeks,
        months: retention.months,
        years: retention.years,
        hour: schedule.reference.hour,
        minute: schedule.reference.minute,
        zone: args.keep.zone.clone(),
        window_secs: policy.window_secs,
    };
    let keep = Keeping {
        last: policy.keep_last,
        within_secs: policy.keep_within_secs,
        tiers,
        groom_delay_secs: args.keep.groom_delay.as_secs(),
    };
    Ok((spec, keep))
}

/// Registers the stores, which makes those that are not there; gives their ids, and them.
async fn stores(control: &Control, args: &StoreArgs) -> Result<(JobStores, Stores)> {
    let access = &args.access;
    let passphrase = access::passphrase_text(access)?;
    let given = async |id: &str, url: &str| {
        let key_file = access.key_file.clone();
        let passphrase = passphrase.clone().filter(|_| key_file.is_none());
        let store = NewStore { key_file, passphrase, ..NewStore::new(id, url) };
        control.given_store(store).await.map(|()| id.to_owned())
    };
    let snapshot = given("main", &args.store).await?;
    let other = async |url: &Option<String>, id: &str| match url {
        Some(url) if *url != args.store => {
            given(id, url).await.map_err(|e| e.within(format!("--{id}-store")))
        }
        _ => Ok(snapshot.clone()),
    };
    let oplog = other(&access.oplog_store, "oplog").await?;
    let sync = other(&access.sync_store, "sync").await?;
    let stores = Stores {
        blocks: control.repository(&snapshot).await?,
        oplog: control.repository(&oplog).await?,
        sync: control.repository(&sync).await?,
    };
    Ok((JobStores { snapshot, oplog, sync }, stores))
}

fn source(args: &SourceArgs, uri: &str) -> NewSource {
    NewSource {
        uri: uri.to_owned(),
        include: args.include.clone(),
        exclude: args.exclude.clone(),
        member: args.member.clone(),
        member_tag: args.member_tag.clone(),
        throttle: throttle(args),
        workers: u32::try_from(args.workers.clamp(1, 64)).unwrap_or(2),
    }
}

/// The service of `--listen`, for agents that have the token in `BYGONE_AGENT_TOKEN` too.
async fn listen(
    args: &UpArgs,
    control: &Arc<Control>,
    project: &Id,
    output: &Output,
) -> Result<Option<Server>> {
    let Some(address) = &args.listen else { return Ok(None) };
    if let Ok(token) = std::env::var(TOKEN) {
        let token = token.trim();
        if token.len() < MIN_TOKEN {
            let short = format!("{TOKEN} is shorter than {MIN_TOKEN} characters");
            return Err(Error::usage(short).hint("use a random one, for example 32 hex digits"));
        }
        control.given_agent_key(project, token.as_bytes()).await?;
    }
    let tls = args.tls_cert.clone().zip(args.tls_key.clone());
    let tls = tls.map(|(certificate, key)| TlsFiles { certificate, key });
    let scheme = if tls.is_some() { "https" } else { "http" };
    let who = Arc::new(Access::new(control.clone()));
    let service = Service {
        address: address.clone(),
        tls,
        metrics_token: args.metrics_token_file.clone(),
        strict: true,
        ..Service::default()
    };
    let server = site::listen(service, control, &who).await?;
    let url = format!("{scheme}://{}", server.local_addr());
    output.event("server", format!("bygone serves {url}"), json!({"url": url}));
    if args.data.is_none() {
        output.event(
            "warning",
            "users and keys are forgotten when this process ends: --data DIR keeps them",
            json!({"warning": "no data folder"}),
        );
    }
    welcome(&who, &url, &server, output).await?;
    Ok(Some(server))
}

fn own(
    args: &UpArgs,
    job: &Job,
    started: mpsc::UnboundedSender<watch::Receiver<bygone_agent::Progress>>,
) -> Own {
    // Room and networks come back; what else is wrong needs a person, who looks at what ended.
    let fatal = |e: &Error| !matches!(e.kind(), ErrorKind::Unavailable | ErrorKind::Full);
    Own {
        flush: Some(args.flush),
        take_over: args.source.take_over,
        watched: Some(Watched { job: job.id.to_string(), fatal, started }),
    }
}

/// The source that has answered already, and others by their URIs.
#[derive(Debug)]
struct Known {
    uri: String,
    mongo: Arc<MongoSource>,
    others: MongoSources,
}

fn others(control: &Control) -> MongoSources {
    MongoSources { clock: control.clock().clone() }
}

#[async_trait]
impl Sources for Known {
    async fn open(&self, uri: &str) -> Result<Arc<dyn Source>> {
        if uri == self.uri {
            return Ok(Arc::<MongoSource>::clone(&self.mongo));
        }
        self.others.open(uri).await
    }
}

/// The job as the control plane sees it.
#[derive(Clone)]
struct Shown {
    control: Arc<Control>,
    project: Id,
    job: Id,
}

impl Shown {
    /// Why it does not run here. (What agents said in an earlier run is no reason.)
    async fn refused(&self) -> Option<String> {
        self.control.job(&self.project, &self.job).await.ok()?.job.message
    }

    /// The end of what is stored.
    async fn stored(&self) -> Ts {
        let view = self.control.job(&self.project, &self.job).await.ok();
        let agent = view.and_then(|view| view.live).and_then(|live| live.agent);
        agent.map(|agent| agent.stored).unwrap_or_default()
    }
}

#[async_trait]
impl Reported for Shown {
    fn job(&self) -> Option<watch::Receiver<JobStatus>> {
        self.control.follow(&self.job)
    }

    async fn problem(&self) -> Option<String> {
        self.control.job(&self.project, &self.job).await.ok()?.problem
    }
}

fn greet(output: &Output, key: &PartKey, location: &str) {
    let (part, job) = (key.part.as_str(), key.job.as_str());
    output.event(
        "up",
        format!(
            "backing up {part} to {location} as job {job}; Ctrl-C stops, the next start resumes"
        ),
        json!({"part": part, "job": job, "store": location}),
    );
}

fn warn_of_delay(args: &UpArgs, output: &Output) {
    if args.interval >= args.keep.groom_delay {
        output.event(
            "warning",
            "warning: --interval is not below --groom-delay: another process that grooms this store \
             could delete what is written between two snapshots",
            json!({"warning": "short groom delay"}),
        );
    }
}

/// A conflict of the agent means one thing to people, however it shows.
pub fn taken_over(error: Error, key: &PartKey) -> Error {
    if error.kind() != ErrorKind::Conflict {
        return error;
    }
    let PartKey { job, part } = key;
    error
        .within(format!("another bygone backs up job {job}, replica set {part}; this one stops"))
        .hint(
            "run only one `bygone up` or `bygone backup` for a job, or give them names with --name",
        )
}
