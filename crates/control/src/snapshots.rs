//! Snapshots of a job: listed, kept longer or shorter, deleted.

use bygone_base::{Error, ErrorKind, OpTime, Result, SnapshotId, TimelineId, UnixMillis};
use bygone_catalog::{Id, record::Job};
use bygone_head::{Overview, overview};
use bygone_snapshot::{
    Keep, Manifest, Parts, histories,
    timeline::{Stretch, includes},
};

use crate::{
    By, Control,
    views::{History, RangeView, SnapshotView},
};

const DAY: u64 = 86_400;

/// How long one snapshot is kept from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepUntil {
    /// Never deleted by itself.
    ForEver,
    /// Until then; other rules may keep it longer.
    Moment(UnixMillis),
}

impl Control {
    /// What of a job can be restored, read from its stores.
    pub async fn history(&self, project: &Id, job: &Id) -> Result<History> {
        let job: Job = self.within(project, job.as_str()).await?;
        self.history_of(&job).await
    }

    pub(crate) async fn history_of(&self, job: &Job) -> Result<History> {
        let Some(Parts { snapshots: part, oplog }) = self.parts(job).await? else {
            return Ok(History::default());
        };
        let Overview { snapshots, ranges, .. } = overview(&part, &oplog).await?;
        let keeps = part.keeps().await?;
        let shares = self.shares(&job.stores.snapshot).await?;
        let unique = |m: &Manifest| {
            let own =
                |(of, id, _): &&(String, String, u64)| *of == job.name && *id == m.id.as_str();
            shares.as_ref()?.snapshots.iter().find(own).map(|(_, _, bytes)| *bytes)
        };
        let view =
            |m: &Manifest| SnapshotView { unique_bytes: unique(m), ..view(m, keeps.get(&m.id)) };
        let first = |from| snapshots.manifests.iter().find(|m| m.at.ts == from);
        let mut ranges: Vec<RangeView> = ranges
            .iter()
            .flatten()
            .map(|range| RangeView {
                from: range.from,
                to: range.to,
                snapshot: first(range.from).map(|m| m.id.clone()),
            })
            .collect();
        ranges.sort_by_key(|range| range.from);
        Ok(History {
            snapshots: snapshots.manifests.iter().map(view).collect(),
            damaged: snapshots.damaged.iter().map(|(id, e)| (id.clone(), e.to_string())).collect(),
            ranges,
        })
    }

    /// Keeps a snapshot longer or shorter than the schedule says.
    ///
    /// # Errors
    /// `NotFound`; Usage: the moment is past.
    pub async fn keep_snapshot(
        &self,
        project: &Id,
        job: &Id,
        id: &SnapshotId,
        until: KeepUntil,
        by: &By,
    ) -> Result<SnapshotView> {
        let (job, parts) = self.with_snapshot(project, job, id).await?;
        let due = parts.snapshots.keeps().await?.get(id).and_then(|keep| keep.due);
        let secs = match until {
            KeepUntil::ForEver => None,
            KeepUntil::Moment(moment) if moment <= self.now() => {
                return Err(Error::usage("the expiry lies in the past")
                    .hint("to delete a snapshot now, delete it"));
            }
            KeepUntil::Moment(moment) => Some(u64::try_from(moment.0 / 1000).unwrap_or_default()),
        };
        let keep = Keep { due, until: secs };
        parts.snapshots.set_keep(id, &keep).await?;
        let message = match secs {
            None => format!("snapshot {id} of {} is kept for ever", job.cluster),
            Some(_) => format!("expiry of snapshot {id} of {} changed", job.cluster),
        };
        let kind = "SNAPSHOT_EXPIRY_UPDATED_AUDIT";
        self.event(by, Some(project), Some(&job), kind, message).await?;
        Ok(view(&parts.snapshots.manifest(id).await?, Some(&keep)))
    }

    /// Keeps the newest snapshot, which was just taken for somebody, as many days as he asked for. Other rules may keep it
    /// longer.
    pub(crate) async fn keep_newest(&self, job: &Job, days: u32) -> Result<()> {
        let Some(Parts { snapshots, .. }) = self.parts(job).await? else { return Ok(()) };
        let Some(id) = snapshots.snapshot_ids().await?.pop() else { return Ok(()) };
        let known = snapshots.keeps().await?.get(&id).cloned();
        let created = snapshots.manifest(&id).await?.created;
        let asked = u64::try_from(created.0 / 1000).unwrap_or_default() + u64::from(days) * DAY;
        // What the schedule gave it already may be longer, or for ever.
        let until = match &known {
            Some(keep) => keep.until.map(|until| until.max(asked)),
            None => Some(asked),
        };
        snapshots.set_keep(&id, &Keep { due: known.and_then(|keep| keep.due), until }).await?;
        let message =
            format!("snapshot {id} of {} is kept for {days} days, as asked for", job.cluster);
        let kind = "SNAPSHOT_EXPIRY_UPDATED_AUDIT";
        self.event(&By::system(), Some(&job.project), Some(job), kind, message).await
    }

    /// Deletes a snapshot. The newest good one of the history that is being continued stays: the backup goes on from it.
    /// While that history has none, the newest good one of all does.
    ///
    /// # Errors
    /// `NotFound`; Conflict: it is that one.
    pub async fn delete_snapshot(
        &self,
        project: &Id,
        job: &Id,
        id: &SnapshotId,
        by: &By,
    ) -> Result<()> {
        let (job, parts) = self.with_snapshot(project, job, id).await?;
        if needed(&parts).await?.as_ref() == Some(id) {
            return Err(Error::new(ErrorKind::Conflict, "the newest snapshot is not deleted")
                .hint("the backup goes on from it; take another one first"));
        }
        parts.snapshots.expire(id).await?;
        let message = format!("snapshot {id} of {} deleted", job.cluster);
        self.event(by, Some(project), Some(&job), "SNAPSHOT_DELETED_AUDIT", message).await
    }

    async fn with_snapshot(&self, project: &Id, job: &Id, id: &SnapshotId) -> Result<(Job, Parts)> {
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no snapshot {id}"));
        let job: Job = self.within(project, job.as_str()).await?;
        let parts = self.parts(&job).await?.ok_or_else(missing)?;
        if parts.snapshots.snapshot_ids().await?.contains(id) {
            Ok((job, parts))
        } else {
            Err(missing())
        }
    }
}

/// The snapshot that must stay.
async fn needed(parts: &Parts) -> Result<Option<SnapshotId>> {
    let timelines = parts.oplog.timelines().await?;
    let current = histories(&timelines).into_iter().next().unwrap_or_default();
    let good = parts.snapshots.find_manifests().await?.manifests;
    let moments: Vec<_> = good.iter().map(|m| (m.timeline, m.at)).collect();
    Ok(newest_of(&moments, &current).and_then(|n| good.get(n)).map(|m| m.id.clone()))
}

/// Which of the moments is the newest of the current history; where it has none, the newest of all.
fn newest_of(moments: &[(TimelineId, OpTime)], current: &[Stretch]) -> Option<usize> {
    let all = || moments.iter().enumerate();
    let own = all().filter(|(_, (timeline, at))| includes(current, *timeline, *at));
    let newest = own.max_by_key(|(_, moment)| **moment);
    newest.or_else(|| all().max_by_key(|(_, moment)| **moment)).map(|(n, _)| n)
}

pub(crate) fn millis(secs: u64) -> UnixMillis {
    UnixMillis(i64::try_from(secs).unwrap_or(i64::MAX / 1000).saturating_mul(1000))
}

fn view(m: &Manifest, keep: Option<&Keep>) -> SnapshotView {
    SnapshotView {
        id: m.id.clone(),
        at: m.at.ts,
        created: m.created,
        expires: keep.and_then(|keep| keep.until).map(millis),
        kept_for_ever: keep.is_some_and(|keep| keep.until.is_none()),
        collections: m.stats.collections,
        documents: m.stats.documents,
        bytes: m.stats.bytes,
        new_bytes: m.stats.new_bytes,
        unique_bytes: None,
        pending_ops: m.runs.iter().map(|run| run.ops).sum(),
        set: m.source.set.clone(),
        version: m.source.version.clone(),
        fcv: m.source.fcv.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bygone_base::Ts;

    use super::*;

    #[test]
    fn the_newest_of_the_current_history_stays_whatever_was_voided_or_is_older() {
        let at = |secs: u32| OpTime::new(Ts::new(secs, 1), 1);
        let stretch = |timeline: u32, after: u32, until: Option<u32>| Stretch {
            timeline: TimelineId(timeline),
            after: at(after),
            until: until.map(at),
        };
        // The source went back to 20: what the first timeline has after that is void.
        let forked = [stretch(1, 0, Some(20)), stretch(2, 20, None)];
        let moments = [(TimelineId(1), at(10)), (TimelineId(1), at(20)), (TimelineId(1), at(30))];
        assert_eq!(newest_of(&moments, &forked), Some(1));
        // A resync that has no snapshot yet.
        assert_eq!(newest_of(&moments, &[stretch(2, 40, None)]), Some(2));
        assert_eq!(newest_of(&[], &forked), None);
    }
}
