//! The manifest: one small object per snapshot, written last (docs/format.md, section 7).

use bson::{RawDocumentBuf, rawdoc};
use bygone_base::{
    Error, JobName, OpTime, PartName, RepositoryId, Result, SnapshotId, TimelineId, Ts, UnixMillis,
};
use bygone_blockstore::BlockRef;

use crate::fields::{Fields, binary, long, timestamp};

/// Largest manifest (docs/format.md, section 7).
const MAX_BYTES: usize = 64 << 20;

/// A sorted run that belongs to a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// Root node of the run.
    pub root: BlockRef,
    /// Level of the root node.
    pub level: u8,
    /// Smallest timestamp of its operations.
    pub min: Ts,
    /// Largest timestamp of its operations.
    pub max: Ts,
    /// Number of operations.
    pub ops: u64,
    /// Raw bytes of the operations.
    pub bytes: u64,
}

/// Where the data came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceInfo {
    /// Replica set name.
    pub set: String,
    /// Server version, for example `8.2.0`.
    pub version: String,
    /// Feature compatibility version, for example `8.2`.
    pub fcv: String,
}

/// What a snapshot holds and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Collections and views.
    pub collections: u64,
    /// Documents in the base trees (runs not counted).
    pub documents: u64,
    /// Raw bytes of those documents.
    pub bytes: u64,
    /// Blocks that this snapshot added to the store.
    pub new_blocks: u64,
    /// Their stored bytes.
    pub new_bytes: u64,
    /// Leaves rewritten by folding.
    pub folded: u64,
}

/// A snapshot as it stands in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// Id.
    pub id: SnapshotId,
    /// Job and part.
    pub job: JobName,
    /// Part.
    pub part: PartName,
    /// The history it belongs to.
    pub timeline: TimelineId,
    /// Repository of its blocks.
    pub repository: RepositoryId,
    /// Repository of the oplog slices that go on from it.
    pub oplog_repository: RepositoryId,
    /// It holds everything decided up to and including this moment.
    pub at: OpTime,
    /// Slices must be read from after this entry to go on.
    pub replay_from: OpTime,
    /// When it was taken, by our clock.
    pub created: UnixMillis,
    /// Root of the catalogue's tree; `None` when the source was empty.
    pub catalogue: Option<(BlockRef, u8)>,
    /// Runs not yet folded.
    pub runs: Vec<RunInfo>,
    /// Smallest `as_of` of any block.
    pub oldest: Ts,
    /// Source.
    pub source: SourceInfo,
    /// Figures.
    pub stats: Stats,
    /// The namespace filter in force, as its BSON.
    pub filter: RawDocumentBuf,
}

impl Manifest {
    /// The object's plain bytes.
    pub fn to_bson(&self) -> Vec<u8> {
        let mut runs = bson::RawArrayBuf::new();
        for run in &self.runs {
            runs.push(rawdoc! {
                "root": binary(&run.root.to_bytes()),
                "level": i32::from(run.level),
                "min": timestamp(run.min),
                "max": timestamp(run.max),
                "ops": long(run.ops),
                "bytes": long(run.bytes),
            });
        }
        let mut doc = rawdoc! {
            "format": 1_i32,
            "id": self.id.as_str(),
            "job": self.job.as_str(),
            "part": self.part.as_str(),
            "timeline": self.timeline.0 as i32,
            "repository": binary(&self.repository.0),
            "oplog_repository": binary(&self.oplog_repository.0),
            "at": timestamp(self.at.ts),
            "at_term": self.at.term,
            "replay_ts": timestamp(self.replay_from.ts),
            "replay_term": self.replay_from.term,
            "created": bson::DateTime::from_millis(self.created.0),
        };
        match &self.catalogue {
            Some((root, level)) => {
                doc.append(bson::cstr!("catalogue"), binary(&root.to_bytes()));
                doc.append(bson::cstr!("catalogue_level"), i32::from(*level));
            }
            None => {
                doc.append(bson::cstr!("catalogue"), bson::RawBson::Null);
                doc.append(bson::cstr!("catalogue_level"), 0_i32);
            }
        }
        doc.append(bson::cstr!("runs"), runs);
        doc.append(bson::cstr!("oldest"), timestamp(self.oldest));
        doc.append(bson::cstr!("source"), source_bson(&self.source));
        doc.append(bson::cstr!("stats"), stats_bson(&self.stats));
        doc.append(bson::cstr!("filter"), self.filter.clone());
        doc.into_bytes()
    }

    /// Reads the object's plain bytes.
    ///
    /// # Errors
    /// Damaged when a field is missing or of another type; Unsupported for a newer format.
    pub fn from_bson(bytes: &[u8]) -> Result<Manifest> {
        if bytes.len() > MAX_BYTES {
            return Err(Error::damaged(format!("a snapshot manifest of {} bytes", bytes.len())));
        }
        let f = Fields::new(bytes, "snapshot manifest")?;
        f.format_one()?;
        let mut runs = Vec::new();
        for run in f.docs("runs")? {
            runs.push(run_from(&Fields::of(run, "run of a snapshot manifest"))?);
        }
        let catalogue = match f.optional("catalogue")? {
            None => None,
            Some(_) => Some((block_ref(f.binary("catalogue")?)?, f.u8("catalogue_level")?)),
        };
        Ok(Manifest {
            id: f.str("id")?.parse().map_err(|_| f.bad("id"))?,
            job: f.str("job")?.parse().map_err(|_| f.bad("job"))?,
            part: f.str("part")?.parse().map_err(|_| f.bad("part"))?,
            timeline: TimelineId(u32::try_from(f.i32("timeline")?).map_err(|_| f.bad("timeline"))?),
            repository: repository(&f, "repository")?,
            oplog_repository: repository(&f, "oplog_repository")?,
            at: OpTime::new(f.ts("at")?, f.i64("at_term")?),
            replay_from: OpTime::new(f.ts("replay_ts")?, f.i64("replay_term")?),
            created: UnixMillis(f.millis("created")?),
            catalogue,
            runs,
            oldest: f.ts("oldest")?,
            source: source_from(&Fields::of(f.doc("source")?, "source of a manifest"))?,
            stats: stats_from(&Fields::of(f.doc("stats")?, "stats of a manifest"))?,
            filter: f.doc("filter")?.to_owned(),
        })
    }
}

fn repository(f: &Fields<'_>, name: &str) -> Result<RepositoryId> {
    RepositoryId::from_slice(f.binary(name)?).ok_or_else(|| f.bad(name))
}

/// Reads a block reference of 48 bytes.
pub(crate) fn block_ref(bytes: &[u8]) -> Result<BlockRef> {
    BlockRef::from_slice(bytes).ok_or_else(|| Error::damaged("a block reference is cut short"))
}

fn run_from(f: &Fields<'_>) -> Result<RunInfo> {
    Ok(RunInfo {
        root: block_ref(f.binary("root")?)?,
        level: f.u8("level")?,
        min: f.ts("min")?,
        max: f.ts("max")?,
        ops: f.count("ops")?,
        bytes: f.count("bytes")?,
    })
}

fn source_bson(source: &SourceInfo) -> RawDocumentBuf {
    rawdoc! { "set": source.set.as_str(), "version": source.version.as_str(), "fcv": source.fcv.as_str() }
}

fn source_from(f: &Fields<'_>) -> Result<SourceInfo> {
    Ok(SourceInfo {
        set: f.str("set")?.to_owned(),
        version: f.str("version")?.to_owned(),
        fcv: f.str("fcv")?.to_owned(),
    })
}

fn stats_bson(stats: &Stats) -> RawDocumentBuf {
    rawdoc! {
        "collections": long(stats.collections),
        "documents": long(stats.documents),
        "bytes": long(stats.bytes),
        "new_blocks": long(stats.new_blocks),
        "new_bytes": long(stats.new_bytes),
        "folded": long(stats.folded),
    }
}

fn stats_from(f: &Fields<'_>) -> Result<Stats> {
    Ok(Stats {
        collections: f.count("collections")?,
        documents: f.count("documents")?,
        bytes: f.count("bytes")?,
        new_blocks: f.count("new_blocks")?,
        new_bytes: f.count("new_bytes")?,
        folded: f.count("folded")?,
    })
}
