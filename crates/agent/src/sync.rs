//! The agent's share of an initial sync: pin the start, plan, scan while the
//! oplog is tailed, and say when the copy is whole.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bygone_base::{Error, ErrorKind, OpTime, Result, SyncId, Ts};
use bygone_oplog::uplink::{
    CollectionPlan, ListedCollection, RangeProgress, SessionRef, Source as PlanSource, SyncEnd,
    SyncPlan,
};
use bygone_tree::cutter::cut_for;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    env::Env,
    plan::{average_doc, method, ranges_for, split_points},
    progress::Phase,
    range::{RangeAt, ScanJob, cancelled, scan_range},
    source::{Member, Server, SourceCollection},
    tail::{Acked, Tail, TailEnd},
    throttle::Throttle,
};

/// Samples per range: the sizes of ranges differ by about a third then.
const SAMPLES: u32 = 20;
/// Listings at the end, until no change of the catalogue came in between.
const LISTINGS: u32 = 20;
/// Pause between two looks at a member that is behind.
const LOOK: Duration = Duration::from_millis(200);

/// One initial sync, begun or resumed.
pub(crate) struct Sync {
    pub(crate) env: Arc<Env>,
    pub(crate) member: Arc<dyn Member>,
    pub(crate) server: Server,
    pub(crate) set: String,
    pub(crate) session: SessionRef,
    pub(crate) sync: SyncId,
    pub(crate) start: OpTime,
    pub(crate) chain: OpTime,
    pub(crate) plan: Option<SyncPlan>,
    pub(crate) stored: Vec<RangeProgress>,
}

/// Where a sync begins.
pub(crate) struct Pinned {
    /// The oplog has to be read from after this entry.
    pub(crate) start: OpTime,
    /// As [`SyncPlan::settled`].
    pub(crate) settled: Ts,
}

/// Pins a sync. Every transaction that is undecided at `settled` begins after `start`: either the look at the
/// open ones, made between the two majority points, shows it, or it began after that look and so after the
/// first of them.
pub(crate) async fn pin(member: &dyn Member) -> Result<Pinned> {
    let majority = member.describe().await?.majority;
    member.reach(majority.ts).await?;
    let oldest = member.oldest_transaction().await?.filter(|first| first.ts <= majority.ts);
    let start = match oldest {
        Some(oldest) => before(member, oldest).await?,
        None => member.entry_at(majority.ts).await?.ok_or_else(|| {
            let host = member.host();
            let message =
                format!("{host} does not show its majority point {majority} in the oplog");
            Error::new(ErrorKind::Unavailable, message)
        })?,
    };
    let settled = member.describe().await?.majority.ts;
    member.reach(settled).await?;
    Ok(Pinned { start, settled })
}

/// The entry before the first one of a transaction.
async fn before(member: &dyn Member, oldest: OpTime) -> Result<OpTime> {
    let host = member.host();
    member.entry_before(oldest.ts, false).await?.ok_or_else(|| {
        let message =
            format!("the oplog of {host} begins after its oldest open transaction, {oldest}");
        Error::new(ErrorKind::Unavailable, message)
            .hint("wait until the transaction is decided, or make the oplog larger")
    })
}

impl Sync {
    /// Scans and tails to the end of the sync. `Ok(TailEnd::Stopped)` when it is complete.
    pub(crate) async fn run(self, shutdown: &CancellationToken) -> Result<(OpTime, TailEnd)> {
        let (acked, watch) = watch::channel(Acked { chain: self.chain, last_ddl: Ts::MIN });
        let stop_tail = shutdown.child_token();
        let stop_scan = shutdown.child_token();
        let tail = Tail {
            env: Arc::clone(&self.env),
            member: Arc::clone(&self.member),
            session: self.session.clone(),
            acked,
            syncing: true,
            stop: stop_tail.clone(),
            goal: None,
        };
        let scan = async {
            let done = self.scan(watch, &stop_scan).await;
            stop_tail.cancel();
            done
        };
        let tailed = async {
            let ended = tail.run().await;
            // Whatever ended it: without a tail the scan must not go on.
            stop_scan.cancel();
            ended
        };
        let (scanned, tailed) = tokio::join!(scan, tailed);
        let chain = tail.acked.borrow().chain;
        match (scanned, tailed) {
            (Ok(()), Ok(end)) => Ok((chain, end)),
            (Ok(()), Err(error)) if error.kind() == ErrorKind::Unavailable => {
                tracing::debug!(%error, "the tail failed after the scan was complete");
                Ok((chain, TailEnd::Rechoose(error.to_string())))
            }
            (_, Err(error)) => Err(error),
            // The scan was stopped because of what the tail found.
            (Err(error), Ok(TailEnd::Stopped)) => Err(error),
            (Err(error), Ok(end)) if error.kind() == ErrorKind::Cancelled => Err(interrupted(end)),
            (Err(error), Ok(_)) => Err(error),
        }
    }

    async fn scan(&self, acked: watch::Receiver<Acked>, stop: &CancellationToken) -> Result<()> {
        let env = &self.env;
        let plan = match &self.plan {
            Some(plan) => plan.clone(),
            None => {
                let plan = tokio::select! {
                    biased;
                    plan = self.make_plan() => plan?,
                    () = stop.cancelled() => return Err(cancelled()),
                };
                env.uplink.plan_sync(&self.session, plan.clone()).await?;
                plan
            }
        };
        // It may go on with another member than it began with.
        self.member.reach(plan.settled.max(self.chain.ts)).await?;
        let (job, queue) = self.job(plan, stop.clone()).await?;
        env.progress.phase(Phase::Transferring);
        env.report(&self.session).await;
        let job = Arc::new(job);
        run_workers(&job, queue).await?;
        env.progress.phase(Phase::Finishing);
        let valid_from = Ts(job.valid_from.load(Ordering::Relaxed));
        tokio::select! {
            biased;
            end = self.find_end(acked, valid_from) => env.uplink.end_sync(&self.session, end?).await,
            () = stop.cancelled() => Err(cancelled()),
        }
    }

    /// The shared part of the scanners, and the ranges that are left.
    async fn job(
        &self,
        plan: SyncPlan,
        stop: CancellationToken,
    ) -> Result<(ScanJob, VecDeque<RangeAt>)> {
        let env = &self.env;
        let order = env.options.scan_order;
        let methods = plan
            .collections
            .iter()
            .map(|c| method(&as_listed(c), &self.server, order, Some(c.natural)));
        let methods = methods.collect();
        let (queue, left) = ranges_left(&plan, &self.stored);
        let total = plan.collections.len() as u64;
        let done = total - left.len() as u64;
        env.progress.change(|p| {
            (p.collections, p.collections_done) = (total, done);
            p.documents_total = plan.collections.iter().map(|c| c.docs).sum();
            p.bytes_total = plan.collections.iter().map(|c| c.bytes).sum();
        });
        let job = ScanJob {
            env: Arc::clone(env),
            rbid: self.member.rbid().await?,
            member: Arc::clone(&self.member),
            session: self.session.clone(),
            sync: self.sync,
            start: self.start,
            plan,
            methods,
            throttle: Throttle::new(Arc::clone(&env.clock), env.options.throttle),
            stop,
            began: env.clock.monotonic(),
            valid_from: AtomicU64::new(self.start.ts.0),
            left: Mutex::new(left),
        };
        Ok((job, queue))
    }

    async fn make_plan(&self) -> Result<SyncPlan> {
        let options = &self.env.options;
        let pinned = pin(self.member.as_ref()).await?;
        if pinned.start.ts < self.start.ts {
            // Only a member that is behind the one where the sync was begun can show that.
            let host = self.member.host();
            let message =
                format!("{host} has not reached the beginning of the sync, {}", self.start);
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let listing = self.member.catalogue(&options.filter).await?;
        let mut collections = Vec::with_capacity(listing.collections.len());
        for listed in listing.collections {
            collections.push(self.plan_collection(listed).await?);
        }
        Ok(SyncPlan {
            sync: self.sync,
            start: self.start,
            settled: pinned.settled,
            collections,
            views: listing.views,
            filter: options.filter.clone(),
            source: PlanSource {
                set: self.set.clone(),
                version: self.server.version.clone(),
                fcv: self.server.fcv.clone(),
                identity: self.server.identity,
            },
        })
    }

    async fn plan_collection(&self, listed: SourceCollection) -> Result<CollectionPlan> {
        let options = &self.env.options;
        let how = method(&listed, &self.server, options.scan_order, None);
        let size = self.member.size(&listed.db, &listed.name).await?;
        let ranges = if how.splits() { ranges_for(size, options) } else { 1 };
        let mut points = Vec::new();
        if ranges > 1 {
            let n = ranges * SAMPLES;
            let sample = self.member.sample(&listed.db, &listed.name, size, n).await?;
            points = split_points(sample, ranges)?;
        }
        let (mut keys, mut bounds) = (Vec::new(), Vec::new());
        for (key, bound) in points {
            let bound = bson::RawDocumentBuf::from_bytes(bound)
                .map_err(|e| Error::damaged(format!("a sampled _id: {e}")))?;
            keys.push(key);
            bounds.push(bound);
        }
        Ok(CollectionPlan {
            coll: listed.id,
            db: listed.db,
            name: listed.name,
            options: listed.options,
            indexes: listed.indexes,
            natural: how.runs,
            cut: cut_for(average_doc(size)),
            docs: size.docs,
            bytes: size.bytes,
            ranges: keys,
            bounds,
        })
    }

    /// The end of the sync: a listing of the source and the entry of our chain
    /// at which exactly that was listed, past everything that the scan may hold.
    async fn find_end(&self, mut acked: watch::Receiver<Acked>, valid_from: Ts) -> Result<SyncEnd> {
        let member = self.member.as_ref();
        for attempt in 1.. {
            let before = member.describe().await?.majority.ts;
            let listing = member.catalogue(&self.env.options.filter).await?;
            // listCollections may show what is not yet committed.
            let applied = member.describe().await?.applied.ts.max(valid_from);
            let gone = |_| Error::new(ErrorKind::Unavailable, "the tail ended before the sync");
            let end = *acked.wait_for(|a| a.chain.ts >= applied).await.map_err(gone)?;
            if end.last_ddl <= before {
                let listed = listing.collections.into_iter().map(listed).collect();
                return Ok(SyncEnd { sync: self.sync, end: end.chain, listed });
            }
            if attempt >= LISTINGS {
                // A source that never rests: no listing belongs to any moment, so there is none to compare with.
                return Ok(SyncEnd { sync: self.sync, end: end.chain, listed: Vec::new() });
            }
            self.env.clock.sleep(LOOK).await;
        }
        Err(Error::internal("no end of the sync"))
    }
}

fn interrupted(end: TailEnd) -> Error {
    match end {
        TailEnd::Diverged => Error::new(
            ErrorKind::ResyncRequired,
            "the source's history changed during the initial sync",
        ),
        TailEnd::Uncovered(why) => Error::new(ErrorKind::ResyncRequired, why),
        TailEnd::Rechoose(why) => Error::new(ErrorKind::Unavailable, why),
        TailEnd::Stopped | TailEnd::Reached => cancelled(),
    }
}

fn listed(coll: SourceCollection) -> ListedCollection {
    let name = |index: &bson::RawDocumentBuf| index.get_str("name").unwrap_or("").to_owned();
    ListedCollection {
        coll: coll.id,
        db: coll.db,
        name: coll.name,
        indexes: coll.indexes.iter().map(name).collect(),
    }
}

fn as_listed(plan: &CollectionPlan) -> SourceCollection {
    SourceCollection {
        id: plan.coll,
        db: plan.db.clone(),
        name: plan.name.clone(),
        options: plan.options.clone(),
        indexes: plan.indexes.clone(),
    }
}

/// The ranges that are not stored whole, largest collections first, and how
/// many each collection has left.
fn ranges_left(
    plan: &SyncPlan,
    stored: &[RangeProgress],
) -> (VecDeque<RangeAt>, BTreeMap<usize, usize>) {
    let known: BTreeMap<_, _> = stored.iter().map(|p| ((p.coll, p.range), p)).collect();
    let mut order: Vec<usize> = (0..plan.collections.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(plan.collections[*i].bytes));
    let (mut queue, mut left) = (VecDeque::new(), BTreeMap::new());
    for coll in order {
        let planned = &plan.collections[coll];
        for range in 0..=planned.ranges.len() as u32 {
            let progress = known.get(&(planned.coll, range));
            if progress.is_some_and(|p| p.done) {
                continue;
            }
            *left.entry(coll).or_insert(0) += 1;
            let seq = progress.map_or(0, |p| p.next_seq);
            let resume = progress.and_then(|p| p.resume.clone());
            queue.push_back(RangeAt { coll, range, seq, resume });
        }
    }
    (queue, left)
}

/// Scans all ranges, several at once. On the first error the others end after
/// the slice they are at.
async fn run_workers(job: &Arc<ScanJob>, queue: VecDeque<RangeAt>) -> Result<()> {
    let queue = Arc::new(Mutex::new(queue));
    let mut workers = JoinSet::new();
    for _ in 0..job.env.options.workers.max(1) {
        let (job, queue) = (Arc::clone(job), Arc::clone(&queue));
        workers.spawn(async move {
            loop {
                if job.stop.is_cancelled() {
                    return Err(cancelled());
                }
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(at) = next else { return Ok(()) };
                scan_range(&job, at).await?;
            }
        });
    }
    let mut first: Option<Error> = None;
    while let Some(ended) = workers.join_next().await {
        let ended = ended.unwrap_or_else(|e| Err(Error::internal("a scanner failed").source(e)));
        if let Err(error) = ended {
            job.stop.cancel();
            let cancelled = |e: &Error| e.kind() == ErrorKind::Cancelled;
            if first.as_ref().is_none_or(cancelled) {
                first = Some(error);
            }
        }
    }
    first.map_or(Ok(()), Err)
}
