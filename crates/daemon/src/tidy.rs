//! Expiry: each snapshot is given its time, and what has had it goes. By the clock, not behind snapshots: a job that is
//! stopped takes none.

use std::collections::BTreeSet;

use bygone_base::{Result, SnapshotId, Ts, UnixMillis};
use bygone_groom::lease;
use bygone_ingest::Ingest;
use bygone_oplog::uplink::PartKey;
use bygone_schedule::{Schedule, expiry};
use bygone_snapshot::{
    Keep, Manifest, PartStore, Parts, histories, oplog::covered, retention::Expiry,
};

use crate::{Terms, keep::keep};

/// A snapshot that has no time yet is left alone for so long: whoever took it knows for which moment it was due.
const YOUNG_MS: i64 = 60_000;

/// While a job is followed, nothing goes that would not have gone so long after what it has stored: a clock that is put
/// ahead takes no snapshot, and one that is long away loses none before a newer one is there.
const AHEAD_MS: i64 = 86_400_000;

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tidied {
    /// What was old is gone.
    Done(Expiry),
    /// Nothing goes while these read: a restore needs the slices after its snapshot until it has read them.
    Held(Vec<String>),
}

/// Puts the policy in force, gives snapshots their times, and deletes what has had its time at `now`; `followed`: the
/// job is active, and its oplog goes on.
pub async fn tidy(
    ingest: &Ingest,
    key: &PartKey,
    parts: &Parts,
    terms: &Terms,
    followed: bool,
    now: UnixMillis,
) -> Result<Tidied> {
    let part = &parts.snapshots;
    part.set_policy(&terms.policy).await?;
    if terms.tiers {
        give_time(part, &terms.schedule, |m| {
            (now.since(m.created) >= YOUNG_MS).then_some(m.created)
        })
        .await?;
    }
    let readers = lease::readers(part.repository()).await?;
    if !readers.is_empty() {
        tracing::info!(?readers, "nothing expires while somebody reads");
        return Ok(Tidied::Held(readers));
    }
    let end = stored_end(parts).await?;
    let stored = UnixMillis(i64::from(end.secs()) * 1000 + AHEAD_MS);
    let now = if followed { now.min(stored) } else { now };
    keep(ingest, key, parts, &terms.policy, end, now).await.map(Tidied::Done)
}

/// Gives snapshots the time that they are kept: each by what it is the first of since the one before it. `moment` tells
/// for which moment one without was taken; `None`: that is not told yet.
pub(crate) async fn give_time(
    part: &PartStore,
    schedule: &Schedule,
    moment: impl Fn(&Manifest) -> Option<UnixMillis>,
) -> Result<()> {
    let keeps = part.keeps().await?;
    let mut dues: BTreeSet<u64> = keeps.values().filter_map(|keep| keep.due).collect();
    for manifest in part.manifests().await? {
        if keeps.contains_key(&manifest.id) {
            continue;
        }
        let Some(moment) = moment(&manifest) else { continue };
        let before = dues.range(..secs(moment)).next_back().copied();
        part.set_keep(&manifest.id, &time_of(schedule, before, secs(moment))).await?;
        dues.insert(secs(moment));
    }
    Ok(())
}

/// The times that existing snapshots would have if the schedule had been so when they were taken. Those that are kept
/// for ever stay so. Gives what is another time than now, oldest first.
pub fn retimed(schedule: &Schedule, given: &[(SnapshotId, Keep)]) -> Vec<(SnapshotId, Keep)> {
    let mut given: Vec<_> =
        given.iter().filter_map(|(id, keep)| Some((keep.due?, id, keep))).collect();
    given.sort_by_key(|(due, id, _)| (*due, *id));
    let mut before = None;
    let mut changed = Vec::new();
    for (due, id, keep) in given {
        let new = time_of(schedule, before, due);
        before = Some(due);
        if keep.until.is_some() && keep.until != new.until {
            changed.push((id.clone(), new));
        }
    }
    changed
}

fn time_of(schedule: &Schedule, before: Option<u64>, due: u64) -> Keep {
    let millis =
        |secs: u64| UnixMillis(i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1000));
    let until = expiry(schedule, before.map(millis), millis(due));
    Keep { due: Some(due), until: Some(secs(until)) }
}

fn secs(at: UnixMillis) -> u64 {
    u64::try_from(at.0.div_euclid(1000)).unwrap_or_default()
}

/// The newest moment that is stored of the history being continued.
async fn stored_end(parts: &Parts) -> Result<Ts> {
    let timelines = parts.oplog.timelines().await?;
    let newest =
        histories(&timelines).into_iter().next().and_then(|history| history.last().copied());
    let Some(newest) = newest else { return Ok(Ts::default()) };
    let stored = covered(&parts.oplog, &[newest]).await?;
    Ok(stored.iter().map(|slice| slice.last.ts).max().unwrap_or(newest.after.ts))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bygone_base::SeededRng;
    use bygone_schedule::Retention;

    use super::*;

    #[test]
    fn another_retention_is_applied_to_what_is_there() {
        let rng = SeededRng::new(1);
        let hour = 3600;
        let given = |due: u64, until: Option<u64>| {
            let at = 1_800_000_000 / 86_400 * 86_400 + due;
            let keep = Keep { due: Some(at), until: until.map(|secs| at + secs) };
            (SnapshotId::new(u32::try_from(at).unwrap(), &rng), keep)
        };
        let all = [
            given(0, Some(hour)),
            given(6 * hour, Some(hour)),
            given(12 * hour, None),
            given(24 * hour, Some(hour)),
        ];
        let base = Duration::from_secs(2 * hour);
        let retention = Retention { base, days: 3, weeks: 0, months: 0, years: 0 };
        let schedule = Schedule { retention, ..Schedule::default() };
        let spans: Vec<u64> = retimed(&schedule, &all)
            .iter()
            .map(|(_, keep)| keep.until.unwrap() - keep.due.unwrap())
            .collect();
        assert_eq!(spans, [3 * 86_400, 2 * hour, 3 * 86_400], "what is kept for ever stays");
        let again: Vec<_> = retimed(&schedule, &all).into_iter().collect();
        assert_eq!(retimed(&schedule, &again), []);
    }
}
