//! What `up` and `backup` share: the source, and what the arguments ask for.

use std::{sync::Arc, time::Duration};

use bygone_agent::{
    Agent, AgentOptions, MongoSource, Progress, SourceUri, Wanted, source::set_name,
};
use bygone_base::{ByteSize, Clock, Error, JobName, PartName, Result, SystemRng};
use bygone_daemon::{JobOptions, Terms};
use bygone_ingest::{Ingest, Options};
use bygone_oplog::{filter::Filter, uplink::PartKey};
use bygone_schedule::{Reference, Retention, Schedule, zone};
use bygone_snapshot::{Parts, Policy, histories, timeline::includes};
use tokio::sync::watch;

use crate::{
    access,
    args::{KeepArgs, SourceArgs, StoreArgs},
};

/// A source that answered.
pub struct Connected {
    pub uri: SourceUri,
    pub mongo: Arc<MongoSource>,
    pub set: PartName,
}

/// Connects to the source.
pub async fn connect(args: &SourceArgs, clock: &Arc<dyn Clock>) -> Result<Connected> {
    let uri = access::uri(
        "source",
        args.source.as_deref(),
        "BYGONE_SOURCE",
        args.source_file.as_deref(),
        args.password_file.as_deref(),
    )?;
    let mongo = Arc::new(MongoSource::new(uri.clone(), clock.clone()).await?);
    let set = set_name(&*mongo).await?;
    Ok(Connected { uri, mongo, set })
}

/// Everything of one part, wired for one backup.
pub struct Wired {
    pub agent: Agent,
    pub progress: watch::Receiver<Progress>,
    pub ingest: Arc<Ingest>,
    pub key: PartKey,
    pub part: Parts,
    pub clock: Arc<dyn Clock>,
}

/// Connects to the source and opens the stores.
pub async fn wire(source: &SourceArgs, store: &StoreArgs, keep: &Policy) -> Result<Wired> {
    let options = agent_options(source)?;
    let clock = access::clock();
    let Connected { mongo, set, .. } = connect(source, &clock).await?;
    let stores = access::open(store, clock.clone(), true).await?;
    let part = stores.part(options.job.clone(), set.clone());
    check_stores(&part).await?;
    if !stores.are_one() {
        // A groom of the snapshots' store learns from it that the job has more elsewhere.
        part.snapshots.set_policy(keep).await?;
    }
    let rng = Arc::new(SystemRng);
    let ingest = Arc::new(Ingest::new(stores, clock.clone(), rng.clone(), Options::default()));
    let key = PartKey { job: options.job.clone(), part: set };
    let (agent, progress) = Agent::new(mongo, ingest.clone(), clock.clone(), rng, options);
    Ok(Wired { agent, progress, ingest, key, part, clock })
}

/// A job that is kept in other stores than those given must not begin anew in these.
pub async fn check_stores(part: &Parts) -> Result<()> {
    let Some(newest) = part.snapshots.find_manifests().await?.manifests.pop() else {
        return Ok(());
    };
    let expected = part.oplog.repository().expect_id(newest.oplog_repository);
    expected.map_err(|e| e.hint("name the store that holds the job's oplog with --oplog-store"))?;
    let timelines = part.oplog.timelines().await?;
    let history = histories(&timelines).into_iter().next().unwrap_or_default();
    if !includes(&history, newest.timeline, newest.at) {
        return Ok(());
    }
    let first = history.first().map(|s| s.timeline);
    let sync = timelines.iter().find(|t| Some(t.id) == first).and_then(|t| t.sync);
    let records = part.oplog.sync();
    let Some(sync) = sync else { return Ok(()) };
    if records.leaf_names(&format!("sync/{sync}/")).await?.is_empty() {
        let location = records.repository().store().location();
        return Err(Error::usage(format!(
            "{location} does not hold the initial sync that the newest snapshot came from"
        ))
        .hint("name the store that holds it with --sync-store"));
    }
    Ok(())
}

/// What the arguments ask of an agent.
///
/// # Errors
/// Usage: something of it is wrong.
pub fn agent_options(args: &SourceArgs) -> Result<AgentOptions> {
    let job: JobName = args.name.parse()?;
    let mut options = AgentOptions::new(job);
    options.filter = Filter::of(&args.include, &args.exclude)?;
    options.workers = args.workers.clamp(1, 64);
    options.take_over = args.take_over;
    options.throttle = throttle(args).map(ByteSize);
    options.member.wanted = match (&args.member, &args.member_tag) {
        (Some(host), _) => Some(Wanted::Host(host.clone())),
        (None, Some(tag)) => Some(Wanted::tag(tag)?),
        (None, None) => None,
    };
    Ok(options)
}

/// Bytes per second of an initial sync.
pub fn throttle(args: &SourceArgs) -> Option<u64> {
    args.throttle.map(|mb| (mb * 1e6).max(1.0) as u64)
}

/// How a job runs and what it keeps, as it is asked for: seven days and one day of any second by default.
///
/// # Errors
/// Usage: something is out of its limits.
pub fn job_options(args: &KeepArgs, interval: Option<Duration>) -> Result<JobOptions> {
    let counts = [args.keep_daily, args.keep_weekly, args.keep_monthly, args.keep_yearly];
    let tiers = args.keep_every.is_some() || counts.iter().any(Option::is_some);
    let retention = Retention::default();
    let [days, weeks, months, years] = counts.map(Option::unwrap_or_default);
    let base = args.keep_every.unwrap_or(retention.base);
    let schedule = Schedule {
        interval: interval.unwrap_or(Schedule::default().interval),
        reference: Reference::parse(&args.day_at, zone(&args.zone)?)?,
        retention: Retention { base, days, weeks, months, years },
    };
    schedule.check()?;
    let default = Policy::default();
    let within = args.keep_within.map(|d| d.as_secs());
    let policy = Policy {
        keep_last: args.keep_last,
        keep_within_secs: match args.keep_last.is_some() || tiers {
            true => within,
            false => within.or(default.keep_within_secs),
        },
        window_secs: args.window.map_or(default.window_secs, |d| d.as_secs()),
    };
    let terms = Terms { schedule, tiers, policy, announced: None };
    Ok(JobOptions { terms, groom_delay: args.groom_delay, ..JobOptions::default() })
}
