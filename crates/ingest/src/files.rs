//! The objects of one part that ingest reads and writes, typed.

use bson::rawdoc;
use bygone_base::{
    Clock, Epoch, Error, ErrorKind, OpTime, Result, SyncId, TimelineId, Ts, UnixMillis,
};
use bygone_blockstore::{ObjectKind, ObjectStat, Put, Repository};
use bygone_oplog::{
    names::SliceName,
    slice::Slice,
    uplink::{PartKey, SyncPlan},
};
use bygone_snapshot::{
    PartStore, Stores, Timeline,
    sync::{self, SliceKey, SyncEndRecord, SyncSliceRecord},
};
use bytes::Bytes;

use crate::compact::StoredSlice;

/// Who holds an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EpochRecord {
    pub epoch: Epoch,
    pub holder: String,
    pub created: UnixMillis,
}

impl EpochRecord {
    fn to_bson(&self) -> Vec<u8> {
        rawdoc! {
            "format": 1_i32,
            "epoch": i64::try_from(self.epoch.0).unwrap_or(i64::MAX),
            "holder": self.holder.as_str(),
            "created": bson::DateTime::from_millis(self.created.0),
        }
        .into_bytes()
    }

    /// The holder named by an epoch object.
    fn holder(bytes: &[u8]) -> Result<String> {
        let doc = bson::RawDocument::from_bytes(bytes)
            .map_err(|e| Error::damaged("epoch record is not BSON").source(e))?;
        match doc.get_str("holder") {
            Ok(holder) => Ok(holder.to_owned()),
            Err(e) => Err(Error::damaged("epoch record has no holder").source(e)),
        }
    }
}

/// Typed access to the objects of one part.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    oplog: PartStore,
    sync: PartStore,
    pub blocks: Repository,
}

impl Files {
    pub(crate) fn new(stores: &Stores, key: &PartKey) -> Self {
        let part = |repository: &Repository| {
            PartStore::new(repository.clone(), key.job.clone(), key.part.clone())
        };
        Files {
            oplog: part(&stores.oplog),
            sync: part(&stores.sync),
            blocks: stores.blocks.clone(),
        }
    }

    // Epochs

    /// The highest epoch, 0 when there is none.
    pub(crate) async fn highest_epoch(&self) -> Result<Epoch> {
        let leaves = self.oplog.leaf_names("epochs/").await?;
        let Some(leaf) = leaves.last() else { return Ok(Epoch(0)) };
        leaf.parse().map(Epoch).map_err(|_| self.strange("epochs", leaf))
    }

    /// Takes an epoch. True when it is ours: created now, or by an earlier try
    /// whose reply was lost.
    pub(crate) async fn take_epoch(&self, record: &EpochRecord) -> Result<bool> {
        let name = self.epoch_name(record.epoch);
        let plain = record.to_bson();
        match self.oplog.repository().put_object(ObjectKind::Epoch, &name, &plain).await? {
            Put::Created => Ok(true),
            Put::Exists => {
                Ok(self.oplog.repository().get_object(ObjectKind::Epoch, &name).await? == plain)
            }
        }
    }

    /// Who holds an epoch.
    pub(crate) async fn epoch_holder(&self, epoch: Epoch) -> Result<String> {
        let name = self.epoch_name(epoch);
        EpochRecord::holder(&self.oplog.repository().get_object(ObjectKind::Epoch, &name).await?)
    }

    /// Deletes all but the newest `keep` epochs.
    pub(crate) async fn trim_epochs(&self, keep: usize) -> Result<()> {
        let leaves = self.oplog.leaf_names("epochs/").await?;
        let old = leaves.len().saturating_sub(keep);
        for leaf in leaves.iter().take(old) {
            let name = self.oplog.name(&format!("epochs/{leaf}"));
            self.oplog.repository().store().delete(&name).await?;
        }
        Ok(())
    }

    fn epoch_name(&self, epoch: Epoch) -> String {
        self.oplog.name(&format!("epochs/{epoch}"))
    }

    // Timelines

    pub(crate) async fn timelines(&self) -> Result<Vec<Timeline>> {
        self.oplog.timelines().await
    }

    /// True when it is ours, as for epochs.
    pub(crate) async fn put_timeline(&self, timeline: &Timeline) -> Result<bool> {
        let name = self.oplog.name(&format!("timelines/{}", timeline.id));
        let plain = timeline.to_bson();
        match self.oplog.repository().put_object(ObjectKind::Timeline, &name, &plain).await? {
            Put::Created => Ok(true),
            Put::Exists => {
                Ok(self.oplog.repository().get_object(ObjectKind::Timeline, &name).await? == plain)
            }
        }
    }

    // Slices

    /// The slices of a timeline, in order of their names.
    pub(crate) async fn slices(&self, timeline: TimelineId) -> Result<Vec<StoredSlice>> {
        let folder = self.slice_folder(timeline);
        let stats = self.oplog.repository().store().list(&folder, None).await?;
        stats.into_iter().map(|stat| stored(timeline, &folder, stat)).collect()
    }

    /// Whether a stored slice begins at or after `at`: then the chain goes on beyond it.
    pub(crate) async fn continues(&self, timeline: TimelineId, at: OpTime) -> Result<bool> {
        let folder = self.slice_folder(timeline);
        // Names sort by position: nothing before is listed.
        let before = OpTime::new(at.ts.prev(), -1);
        let after = self.slice_name(timeline, before, None);
        let stats = self.oplog.repository().store().list(&folder, Some(&after)).await?;
        for stat in stats {
            if stored(timeline, &folder, stat)?.prev.ts >= at.ts {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Full name of a slice.
    pub(crate) fn slice_name(
        &self,
        timeline: TimelineId,
        prev: OpTime,
        last: Option<Ts>,
    ) -> String {
        format!("{}{}", self.slice_folder(timeline), SliceName { timeline, prev, last }.leaf())
    }

    fn slice_folder(&self, timeline: TimelineId) -> String {
        self.oplog.name(&format!("oplog/{timeline}/"))
    }

    pub(crate) async fn put_slice(&self, name: &str, slice: &[u8]) -> Result<Put> {
        self.oplog.repository().put_object(ObjectKind::Slice, name, slice).await
    }

    /// A stored slice; `None` when it is not there (any more).
    pub(crate) async fn slice(&self, name: &str) -> Result<Option<Slice>> {
        match self.oplog.repository().get_object(ObjectKind::Slice, name).await {
            Ok(bytes) => Slice::parse(bytes).map(Some).map_err(|e| e.within(name)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(crate) async fn delete_slice(&self, name: &str) -> Result<()> {
        self.oplog.repository().store().delete(name).await
    }

    // Initial syncs

    pub(crate) async fn plan(&self, sync: SyncId) -> Result<Option<SyncPlan>> {
        let name = self.sync.name(&sync::plan_name(sync));
        self.sync_object(&name).await?.map(|b| SyncPlan::from_bson(&b)).transpose()
    }

    /// Puts the plan; a different one under the same name is a conflict.
    pub(crate) async fn put_plan(&self, plan: &SyncPlan) -> Result<()> {
        let name = self.sync.name(&sync::plan_name(plan.sync));
        self.put_sync_object(&name, plan.to_bson().as_bytes()).await
    }

    pub(crate) async fn end(&self, sync: SyncId) -> Result<Option<SyncEndRecord>> {
        let name = self.sync.name(&sync::end_name(sync));
        self.sync_object(&name).await?.map(|b| SyncEndRecord::from_bson(&b)).transpose()
    }

    pub(crate) async fn put_end(&self, sync: SyncId, end: &SyncEndRecord) -> Result<()> {
        let name = self.sync.name(&sync::end_name(sync));
        self.put_sync_object(&name, &end.to_bson()).await
    }

    /// Keys of the stored slices of a sync, ascending.
    pub(crate) async fn sync_slices(&self, sync: SyncId) -> Result<Vec<SliceKey>> {
        let leaves = self.sync.leaf_names(&sync::slices_folder(sync)).await?;
        leaves
            .iter()
            .map(|leaf| SliceKey::parse(leaf).ok_or_else(|| self.strange("sync", leaf)))
            .collect()
    }

    pub(crate) async fn sync_record(
        &self,
        sync: SyncId,
        key: SliceKey,
    ) -> Result<Option<SyncSliceRecord>> {
        let name = self.sync.name(&key.name(sync));
        let record = self
            .sync_object(&name)
            .await?
            .map(|b| SyncSliceRecord::from_bson(&b).map_err(|e| e.within(&name)))
            .transpose()?;
        match record {
            Some(record) if record.key != key => {
                Err(Error::damaged(format!("{name} is the record of another slice")))
            }
            record => Ok(record),
        }
    }

    pub(crate) async fn put_sync_record(
        &self,
        sync: SyncId,
        record: &SyncSliceRecord,
    ) -> Result<Put> {
        let name = self.sync.name(&record.key.name(sync));
        self.sync.repository().put_object(ObjectKind::Sync, &name, &record.to_bson()).await
    }

    async fn sync_object(&self, name: &str) -> Result<Option<Bytes>> {
        match self.sync.repository().get_object(ObjectKind::Sync, name).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn put_sync_object(&self, name: &str, plain: &[u8]) -> Result<()> {
        let repository = self.sync.repository();
        if repository.put_object(ObjectKind::Sync, name, plain).await? == Put::Exists
            && repository.get_object(ObjectKind::Sync, name).await? != plain
        {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("{name} exists with other content"),
            )
            .hint("open a new session: another agent or an earlier try wrote it"));
        }
        Ok(())
    }

    fn strange(&self, folder: &str, leaf: &str) -> Error {
        Error::damaged(format!(
            "{} has an object that is not ours: {leaf:?}",
            self.oplog.name(folder)
        ))
        .hint("move it away: nothing else may be in this folder")
    }
}

fn stored(timeline: TimelineId, folder: &str, stat: ObjectStat) -> Result<StoredSlice> {
    let leaf = stat.name.strip_prefix(folder).unwrap_or_default();
    let parsed = SliceName::parse_leaf(timeline, leaf)
        .map_err(|e| e.within(folder).hint("move it away: nothing else may be in this folder"))?;
    Ok(StoredSlice {
        prev: parsed.prev,
        last: parsed.last,
        size: stat.size,
        modified: stat.modified,
        name: stat.name,
    })
}

/// An epoch record made now.
pub(crate) fn epoch_record(epoch: Epoch, holder: String, clock: &dyn Clock) -> EpochRecord {
    EpochRecord { epoch, holder, created: clock.now() }
}
