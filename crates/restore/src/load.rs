//! Loads the documents of all collections, and builds the indexes of each as
//! soon as its documents are in.
//!
//! ```text
//! one reader per restore ──batches──▶ bounded channel ──▶ connections (2): insert
//!   (store, merge, hash)                                        │ all batches of a collection in
//!   capped: inserts itself, in order                            ▼
//!                                                  index builder (2 commands at once)
//! ```
//!
//! One reader is enough: it reads, merges and hashes faster than servers insert, and
//! documents stay in key order, which the hash needs. Collections come one after the other: two connections into one
//! collection were faster than into several at once. Memory: a batch per connection and
//! as many waiting, and what the reader's stream holds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bygone_base::{Error, Result};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

use crate::{
    batch::{Batch, Cutter, Head},
    build, capped,
    hash::StreamHash,
    insert::{self, Inserted, Into, Refusals},
    model::Documents,
    plan::{CollectionPlan, RestorePlan},
    progress::Meter,
    target::Target,
    version::ServerVersion,
};

/// What the tasks of a load share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) target: Target,
    pub(crate) plan: Arc<RestorePlan>,
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) version: ServerVersion,
    pub(crate) connections: usize,
    pub(crate) hash: bool,
    pub(crate) start: std::time::Duration,
}

/// What was loaded into one collection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Documents.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Hash of the stream, by the plan's method, where a proof was asked for.
    pub hash: Option<String>,
}

/// One collection while its batches are on their way.
pub(crate) struct Loading {
    pub(crate) index: usize,
    pub(crate) into: Into,
    /// Batches not yet in, and one more until the reader has seen the end.
    open: AtomicU64,
}

impl Loading {
    fn new(shared: &Shared, index: usize, plan: &CollectionPlan) -> Loading {
        let ordered = plan.capped.is_some();
        let keeps = shared.version.keeps_zero_timestamps();
        let head = Head::new(&plan.target, ordered, keeps);
        let into = Into {
            name: plan.target.clone(),
            shown: plan.create.name.clone(),
            waiting: head.clone(),
            head,
            ordered,
            fix_zero_timestamps: !keeps,
            refusals: Refusals::Fail,
            existed: false,
        };
        Loading { index, into, open: AtomicU64::new(1) }
    }
}

type Work = (Arc<Loading>, Batch);

/// Loads everything; gives what was loaded per collection of the plan, and warnings.
pub(crate) async fn load(shared: &Shared) -> Result<(Vec<Loaded>, Vec<String>)> {
    let (work, queue) = mpsc::channel::<Work>(shared.connections);
    let (filled, full) = mpsc::unbounded_channel::<usize>();
    let queue = Arc::new(Mutex::new(queue));
    let mut tasks: JoinSet<Result<Part>> = JoinSet::new();
    for _ in 0..shared.connections {
        tasks.spawn(inserter(shared.clone(), Arc::clone(&queue), filled.clone()));
    }
    // Only the inserters hold the queue: when they fail, the reader's sends fail.
    drop(queue);
    tasks.spawn(reader(shared.clone(), work, filled));
    tasks.spawn(indexer(shared.clone(), full));
    let (mut loaded, mut warnings) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done.map_err(|e| Error::internal("a task of the restore died").source(e))?? {
            Part::Read(parts) => loaded = parts,
            Part::Built(more) => warnings = more,
            Part::Inserted => {}
        }
    }
    Ok((loaded, warnings))
}

/// What a task brings back.
enum Part {
    Read(Vec<Loaded>),
    Inserted,
    Built(Vec<String>),
}

async fn reader(
    shared: Shared,
    work: mpsc::Sender<Work>,
    filled: mpsc::UnboundedSender<usize>,
) -> Result<Part> {
    let mut all = Vec::with_capacity(shared.plan.collections.len());
    for (index, plan) in shared.plan.collections.iter().enumerate() {
        let loading = Arc::new(Loading::new(&shared, index, plan));
        let loaded = match plan.capped {
            Some(limits) => capped::load(&shared, plan, limits, &loading.into).await?,
            None => read(&shared, plan, &loading, &work).await?,
        };
        all.push(loaded);
        complete(&loading, &filled);
    }
    Ok(Part::Read(all))
}

async fn read(
    shared: &Shared,
    plan: &CollectionPlan,
    loading: &Arc<Loading>,
    work: &mpsc::Sender<Work>,
) -> Result<Loaded> {
    let mut stream = shared.documents.open(plan.id).await?;
    let mut hash = shared.hash.then(|| StreamHash::new(plan.method));
    let mut loaded = Loaded::default();
    let mut cutter = Cutter::default();
    while let Some(chunk) = stream.next().await? {
        loaded.bytes += chunk.documents.len() as u64;
        if let Some(hash) = &mut hash {
            hash.update(&chunk.documents);
        }
        for batch in cutter.push(&chunk.documents)? {
            loaded.documents += batch.documents as u64;
            send(loading, batch, work).await?;
        }
    }
    if let Some(batch) = cutter.finish() {
        loaded.documents += batch.documents as u64;
        send(loading, batch, work).await?;
    }
    loaded.hash = hash.map(StreamHash::finish);
    Ok(loaded)
}

async fn send(loading: &Arc<Loading>, batch: Batch, work: &mpsc::Sender<Work>) -> Result<()> {
    loading.open.fetch_add(1, Ordering::AcqRel);
    let sent = work.send((Arc::clone(loading), batch)).await;
    // The inserters are gone: one of them failed, and its error is the one to show.
    sent.map_err(|_| Error::internal("the restore was stopped"))
}

/// One batch less; the last one of a collection hands it to the index builder.
fn complete(loading: &Loading, filled: &mpsc::UnboundedSender<usize>) {
    if loading.open.fetch_sub(1, Ordering::AcqRel) == 1 {
        // Nobody listens any more only when the whole restore has failed.
        let _ = filled.send(loading.index);
    }
}

async fn inserter(
    shared: Shared,
    queue: Arc<Mutex<mpsc::Receiver<Work>>>,
    filled: mpsc::UnboundedSender<usize>,
) -> Result<Part> {
    loop {
        let next = queue.lock().await.recv().await;
        let Some((loading, batch)) = next else { return Ok(Part::Inserted) };
        insert::insert(&shared.target, &loading.into, &batch, &mut Inserted::default()).await?;
        inserted(&shared, &batch);
        complete(&loading, &filled);
    }
}

/// Counts a batch that is in.
pub(crate) fn inserted(shared: &Shared, batch: &Batch) {
    let elapsed = shared.target.clock().monotonic().saturating_sub(shared.start);
    shared.meter.inserted(batch.documents as u64, batch.bytes as u64, elapsed);
}

async fn indexer(shared: Shared, mut full: mpsc::UnboundedReceiver<usize>) -> Result<Part> {
    let mut warnings = Vec::new();
    while let Some(index) = full.recv().await {
        shared.meter.change(|p| p.collections += 1);
        if let Some(plan) = shared.plan.collections.get(index) {
            warnings.extend(build::indexes(&shared.target, plan, false, &shared.meter).await?);
        }
    }
    Ok(Part::Built(warnings))
}
