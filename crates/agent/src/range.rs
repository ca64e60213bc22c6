//! The scan of one range of one collection, from the first document to the
//! slice that says "done".

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bygone_base::{Error, ErrorKind, OpTime, Result, SyncId, Ts};
use bygone_document::id_key;
use bygone_oplog::uplink::{SessionRef, SyncPlan, SyncSlice};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    env::Env,
    pack::{Packer, id_document},
    plan::Method,
    source::{Batch, Fault, Member, Scan, SourceError, SourceResult},
    throttle::Throttle,
};

/// Attempts without progress before a range gives up on this member.
const ATTEMPTS: u32 = 20;
/// Pause before a cursor is opened again.
const AGAIN: Duration = Duration::from_millis(100);

/// What all scanners of a sync share.
pub(crate) struct ScanJob {
    pub(crate) env: Arc<Env>,
    pub(crate) member: Arc<dyn Member>,
    /// The member's rollback id when the scan began.
    pub(crate) rbid: i64,
    pub(crate) session: SessionRef,
    pub(crate) sync: SyncId,
    pub(crate) start: OpTime,
    pub(crate) plan: SyncPlan,
    /// Per collection of the plan.
    pub(crate) methods: Vec<Method>,
    pub(crate) throttle: Throttle,
    /// Ends the scanners between two slices.
    pub(crate) stop: CancellationToken,
    pub(crate) began: Duration,
    /// The newest moment that any range may hold.
    pub(crate) valid_from: AtomicU64,
    /// Ranges left per collection of the plan.
    pub(crate) left: Mutex<BTreeMap<usize, usize>>,
}

impl ScanJob {
    fn range_is_done(&self, coll: usize) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ranges) = left.get_mut(&coll) {
            *ranges = ranges.saturating_sub(1);
            if *ranges == 0 {
                self.env.progress.change(|p| p.collections_done += 1);
            }
        }
    }
}

/// A range to scan: where it was left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeAt {
    /// Index into the plan's collections.
    pub(crate) coll: usize,
    /// Range number.
    pub(crate) range: u32,
    /// Number of the next slice.
    pub(crate) seq: u32,
    /// `{_id: x}` of the last document stored.
    pub(crate) resume: Option<Vec<u8>>,
}

/// Scans a range to its end. Whatever ends it, a slice that is being handed over is handed over first.
pub(crate) async fn scan_range(job: &ScanJob, at: RangeAt) -> Result<()> {
    let coll = at.coll;
    let mut run = RangeRun::new(job, at)?;
    let scanned = run.scan().await;
    let stored = run.handed_over().await;
    scanned.and(stored)?;
    job.range_is_done(coll);
    Ok(())
}

pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the initial sync was stopped; it goes on where it was")
}

struct RangeRun<'a> {
    job: &'a ScanJob,
    at: RangeAt,
    method: Method,
    packer: Packer,
    request: Scan,
    documents: u64,
    valid_from: Ts,
    /// The slice that is being handed over while the next one is filled: storing it waits for the disk or
    /// the network, scanning does not. At most one, so that the slices of a range stay in order.
    upload: JoinSet<Result<u64>>,
}

impl<'a> RangeRun<'a> {
    fn new(job: &'a ScanJob, at: RangeAt) -> Result<Self> {
        let none = || Error::internal("a range outside the plan");
        let coll = job.plan.collections.get(at.coll).ok_or_else(none)?;
        let method = *job.methods.get(at.coll).ok_or_else(none)?;
        let options = &job.env.options;
        let limit = usize::try_from(options.sync_slice.0).unwrap_or(10 << 20);
        let mut packer = if method.runs {
            Packer::runs(coll.coll, job.start.ts, options.scan_level, limit)
        } else {
            Packer::leaves(coll.coll, coll.cut, options.scan_level, limit)
        };
        let bound = |i: usize| coll.bounds.get(i).map(|b| b.as_bytes().to_vec());
        let range = at.range as usize;
        let lower = range.checked_sub(1).and_then(bound);
        let resume = at.resume.clone().filter(|_| method.resumes());
        if let Some(resume) = &resume {
            packer.after(id_key(resume)?);
        }
        let size = crate::source::CollectionSize { docs: coll.docs, bytes: coll.bytes };
        let request = Scan {
            coll: coll.coll,
            db: coll.db.clone(),
            by: method.by,
            min: resume.or(lower),
            max: bound(range),
            after: job.start.ts,
            batch: crate::plan::batch_docs(size, options.batch.0),
        };
        let (valid_from, upload) = (job.start.ts, JoinSet::new());
        Ok(RangeRun { job, at, method, packer, request, documents: 0, valid_from, upload })
    }

    /// Cursor after cursor, until one reaches the end of the range.
    async fn scan(&mut self) -> Result<()> {
        let job = self.job;
        let mut attempts = 0;
        loop {
            let before = self.documents;
            match self.pass().await {
                Ok(()) => return self.send(true, false).await,
                Err(SourceError { fault: Fault::Gone, .. }) => {
                    self.packer.clear();
                    return self.send(true, true).await;
                }
                Err(SourceError { fault: Fault::Other, error }) => return Err(error),
                Err(SourceError { error, .. }) => {
                    // A scan that starts again makes no progress by being long.
                    let forward = self.documents > before && self.method.resumes();
                    attempts = if forward { 0 } else { attempts + 1 };
                    if attempts >= ATTEMPTS {
                        return Err(error.within("the scan is interrupted again and again"));
                    }
                    tracing::debug!(%error, "a scan is opened again");
                    self.reopen();
                    job.env.clock.sleep(AGAIN).await;
                }
            }
        }
    }

    /// One cursor, to the end of the range.
    async fn pass(&mut self) -> SourceResult<()> {
        let mut cursor = self.job.member.scan(&self.request).await?;
        let stop = &self.job.stop;
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(cancelled().into()),
                batch = cursor.next() => batch?,
            };
            let Some(batch) = batch else { return Ok(()) };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Err(cancelled().into()),
                () = self.job.throttle.take(batch.bytes() as u64) => {}
            }
            self.take(&batch).await?;
        }
    }

    async fn take(&mut self, batch: &Batch) -> SourceResult<()> {
        let job = self.job;
        let time = match batch.operation_time() {
            Some(time) => time,
            // The majority point afterwards is not older than what was read.
            None => job.member.describe().await?.applied.ts,
        };
        self.valid_from = self.valid_from.max(time);
        job.valid_from.fetch_max(self.valid_from.0, Ordering::Relaxed);
        let mut last = None;
        let (mut documents, mut bytes) = (0, 0);
        for doc in batch.docs() {
            last = Some(doc);
            if self.packer.push(doc)? {
                documents += 1;
                bytes += doc.len() as u64;
            }
            if self.packer.is_full() {
                self.send(false, false).await?;
            }
        }
        self.documents += documents;
        if let Some(last) = last.filter(|_| self.method.resumes()) {
            self.request.min = Some(id_document(last)?);
        }
        job.env.progress.scanned(documents, bytes, job.began, job.env.clock.as_ref());
        Ok(())
    }

    /// Before the cursor is opened again. One that resumes keeps what is
    /// packed: the last `_id` is the next bound. One that does not starts from the
    /// beginning: its documents come again, at higher positions, and win.
    fn reopen(&mut self) {
        if !self.method.resumes() {
            self.packer.clear();
        }
    }

    async fn send(&mut self, done: bool, gone: bool) -> Result<()> {
        let job = self.job;
        let packed = self.packer.take(self.at.seq, done)?;
        let rbid = job.member.rbid().await?;
        if rbid != job.rbid {
            let message = format!("{} rolled back during the scan", job.member.host());
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let none = || Error::internal("a range outside the plan");
        let coll = job.plan.collections.get(self.at.coll).ok_or_else(none)?.coll;
        let bytes = packed.bytes as u64;
        let resume = if self.method.runs && self.method.resumes() {
            self.request.min.clone()
        } else {
            packed.resume
        };
        let slice = SyncSlice {
            sync: job.sync,
            coll,
            range: self.at.range,
            seq: self.at.seq,
            runs: self.method.runs,
            valid_from: self.valid_from,
            resume: resume.filter(|_| !done),
            done,
            gone,
            blocks: packed.blocks,
        };
        self.handed_over().await?;
        let (uplink, session) = (Arc::clone(&job.env.uplink), job.session.clone());
        self.upload.spawn(async move { uplink.sync_slice(&session, slice).await.map(|_| bytes) });
        self.at.seq =
            self.at.seq.checked_add(1).ok_or_else(|| Error::internal("too many slices"))?;
        Ok(())
    }

    /// Waits until the slice under way is stored.
    async fn handed_over(&mut self) -> Result<()> {
        while let Some(ended) = self.upload.join_next().await {
            let bytes = ended.map_err(|e| Error::internal("a hand-over failed").source(e))??;
            self.job.env.progress.change(|p| p.sent += bytes);
        }
        Ok(())
    }
}
