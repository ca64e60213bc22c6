//! What is known of how jobs stand, kept in the catalog: a restart, or a job that begins anew because its schedule was
//! changed, does not make it unknown.

use std::collections::HashMap;

use bygone_base::{ErrorKind, Result, Ts, UnixMillis};
use bygone_catalog::{
    Id,
    record::{Failing, Job, JobState, Seen},
};
use bygone_daemon::{JobPhase, JobStatus};
use bygone_oplog::uplink::TimelineReason;

use crate::{Control, running::Running, views::Live};

/// A failure is over when nothing failed for so long.
const WELL_MS: i64 = 60_000;
/// How far what is stored reaches is written at most so often.
const EVERY_MS: i64 = 60_000;

/// Looks at the jobs that run here and notes how they stand; gives what is known of all.
pub(crate) async fn note(control: &Control, jobs: &[Job]) -> Result<HashMap<Id, Seen>> {
    let now = control.now();
    let all: Vec<Seen> = control.catalog().all(None).await?;
    let mut known: HashMap<Id, Seen> =
        all.into_iter().map(|seen| (seen.job.clone(), seen)).collect();
    for job in jobs {
        let Some(running) = control.running(&job.id) else { continue };
        let old = known.get(&job.id);
        let new = next(job, old, &running.live(now), now);
        if old.is_none_or(|old| is_news(old, &new)) {
            write(control, &new).await?;
        }
        known.insert(job.id.clone(), new);
    }
    Ok(known)
}

/// Notes how one job stands that is about to be stopped here.
pub(crate) async fn note_last(control: &Control, job: &Job, running: &Running) -> Result<()> {
    let old = control.catalog().find::<Seen>(job.id.as_str()).await?.map(|row| row.value);
    write(control, &next(job, old.as_ref(), &running.live(control.now()), control.now())).await
}

/// Notes that an agent which served a job does so no more: the job is without one from now on, not since ever.
pub(crate) async fn no_longer_served(control: &Control, job: &Id, now: UnixMillis) -> Result<()> {
    let changed = control.catalog().change::<Seen>(job.as_str(), |kept| {
        kept.served = kept.served.max(Some(now));
        Ok(())
    });
    match changed.await {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

async fn write(control: &Control, seen: &Seen) -> Result<()> {
    let changed = control.catalog().change::<Seen>(seen.job.as_str(), |kept| {
        let served = kept.served.max(seen.served);
        *kept = Seen { served, ..seen.clone() };
        Ok(())
    });
    match changed.await {
        Err(e) if e.kind() == ErrorKind::NotFound => control.catalog().insert(seen).await,
        changed => changed.map(|_| ()),
    }
}

/// Whether `new` is to be written over `old`.
fn is_news(old: &Seen, new: &Seen) -> bool {
    let plain = Seen { at: old.at, stored: old.stored, ..new.clone() };
    plain != *old || new.stored != old.stored && new.at.since(old.at) >= EVERY_MS
}

/// What is known after a look at a running job.
fn next(job: &Job, old: Option<&Seen>, live: &Live, now: UnixMillis) -> Seen {
    let backup = &live.backup;
    let head = backup.position.ts.max(backup.snapshot_at.unwrap_or_default());
    let stored = live.agent.as_ref().map(|agent| agent.stored).unwrap_or_default().max(head);
    let newest = backup.timeline.as_ref().map_or(0, |timeline| timeline.id.0);
    Seen {
        job: job.id.clone(),
        project: job.project.clone(),
        at: now,
        // Nothing is known yet just after a start.
        stored: if stored > Ts::MIN { stored.0 } else { old.map_or(0, |old| old.stored) },
        snapshot: backup.snapshot_at.map(|ts| ts.0).or_else(|| old?.snapshot),
        failing: failing(old.and_then(|old| old.failing.as_ref()), backup, now),
        resync: resync(old, backup),
        timeline: newest.max(old.map_or(0, |old| old.timeline)),
        served: old.and_then(|old| old.served),
    }
}

/// A failure lasts from the first try that failed until it was well for a while: the tries between say nothing.
fn failing(old: Option<&Failing>, backup: &JobStatus, now: UnixMillis) -> Option<Failing> {
    if let Some(why) = &backup.failure {
        let since = old.map_or(now, |old| old.since);
        let stopped = backup.phase == JobPhase::Stopped;
        return Some(Failing { why: why.clone(), since, stopped, well: None });
    }
    let old = old?;
    if backup.phase != JobPhase::Complete {
        return Some(Failing { well: None, ..old.clone() });
    }
    let well = old.well.unwrap_or(now);
    (now.since(well) < WELL_MS).then(|| Failing { well: Some(well), ..old.clone() })
}

/// A resync that nobody asked for is needed from when that was found out, by the daemon or by an agent, until its first
/// snapshot is there.
fn resync(old: Option<&Seen>, backup: &JobStatus) -> Option<String> {
    if let Some(why) = &backup.resync {
        return Some(why.clone());
    }
    // What was over before the first look is no news.
    let known = old.map_or(0, |old| old.timeline);
    let news = known > 0 || backup.phase != JobPhase::Complete;
    let new = backup.timeline.as_ref().filter(|timeline| news && timeline.id.0 > known);
    if let Some(timeline) = new.filter(|timeline| timeline.sync.is_some()) {
        match TimelineReason::parse(&timeline.reason) {
            Some(TimelineReason::RollOver) => {
                return Some(
                    "the source's oplog no longer reached back to what is stored: entries are lost, and a new initial \
                     sync began"
                        .to_owned(),
                );
            }
            Some(TimelineReason::Rollback) => {
                return Some("the source has another history: a new initial sync began".to_owned());
            }
            _ => {}
        }
    }
    if backup.phase == JobPhase::Complete {
        return None;
    }
    old.and_then(|old| old.resync.clone())
}

impl Control {
    /// A job becomes active: of one that was inactive nothing is known any more, of one that was stopped not what failed.
    pub(crate) async fn forget_seen(&self, job: &Job, before: JobState) -> Result<()> {
        let id = job.id.as_str();
        if before == JobState::Inactive {
            return self.catalog().delete::<Seen>(id).await;
        }
        let forgotten = self.catalog().change::<Seen>(id, |seen| {
            (seen.failing, seen.resync) = (None, None);
            Ok(())
        });
        match forgotten.await {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// What is known of the jobs of a project.
    pub(crate) async fn seen(&self, project: Option<&Id>) -> Result<HashMap<Id, Seen>> {
        let all: Vec<Seen> = self.catalog().all(project.map(Id::as_str)).await?;
        Ok(all.into_iter().map(|seen| (seen.job.clone(), seen)).collect())
    }
}

#[cfg(test)]
mod tests {
    use bygone_base::{OpTime, SyncId, TimelineId};
    use bygone_snapshot::Timeline;

    use super::*;

    fn at(secs: i64) -> UnixMillis {
        UnixMillis(1_800_000_000_000 + secs * 1000)
    }

    fn backup(phase: JobPhase, failure: Option<&str>) -> JobStatus {
        JobStatus { phase, failure: failure.map(str::to_owned), ..JobStatus::default() }
    }

    #[test]
    fn a_failure_lasts_over_its_tries_and_until_it_was_well_for_a_minute() {
        let fails = backup(JobPhase::Complete, Some("no answer"));
        let first = failing(None, &fails, at(0)).unwrap();
        assert_eq!((first.since, first.stopped, first.well), (at(0), false, None));
        let trying = backup(JobPhase::ApplyingOplogs, None);
        let between = failing(Some(&first), &trying, at(5)).unwrap();
        assert_eq!(between, first);
        let well = backup(JobPhase::Complete, None);
        let seems = failing(Some(&between), &well, at(10)).unwrap();
        assert_eq!(seems.well, Some(at(10)));
        let again = failing(Some(&seems), &fails, at(40)).unwrap();
        assert_eq!((again.since, again.well), (at(0), None));
        let seems = failing(Some(&again), &well, at(50)).unwrap();
        assert!(failing(Some(&seems), &well, at(109)).is_some());
        assert_eq!(failing(Some(&seems), &well, at(110)), None);
        assert_eq!(failing(None, &well, at(0)), None);
        assert!(failing(None, &backup(JobPhase::Stopped, Some("x")), at(0)).unwrap().stopped);
    }

    fn seen(timeline: u32, resync: Option<&str>) -> Seen {
        let id = Id::new(at(0), &bygone_base::SeededRng::new(1));
        Seen {
            job: id.clone(),
            project: id,
            at: at(0),
            stored: 5,
            snapshot: Some(5),
            failing: None,
            resync: resync.map(str::to_owned),
            timeline,
            served: None,
        }
    }

    fn on(timeline: u32, reason: TimelineReason, phase: JobPhase) -> JobStatus {
        let timeline = Timeline {
            id: TimelineId(timeline),
            start: OpTime::default(),
            parent: None,
            reason: reason.as_str().to_owned(),
            sync: Some(SyncId([0; 8])),
            created: at(0),
        };
        JobStatus { timeline: Some(timeline), phase, ..JobStatus::default() }
    }

    #[test]
    fn a_resync_is_needed_until_its_first_snapshot_and_seen_once_however_short_it_was() {
        let over = on(2, TimelineReason::RollOver, JobPhase::Complete);
        assert!(resync(Some(&seen(1, None)), &over).unwrap().contains("entries are lost"));
        assert_eq!(resync(Some(&seen(2, Some("x"))), &over), None);
        let under_way = on(2, TimelineReason::RollOver, JobPhase::Waiting);
        assert_eq!(resync(Some(&seen(2, Some("x"))), &under_way).as_deref(), Some("x"));
        let asked = on(2, TimelineReason::Resync, JobPhase::Waiting);
        assert_eq!(resync(Some(&seen(1, None)), &asked), None);
        let needed = JobStatus { resync: Some("gap".into()), ..asked };
        assert_eq!(resync(None, &needed).as_deref(), Some("gap"));
        let first = on(1, TimelineReason::InitialSync, JobPhase::Waiting);
        assert_eq!(resync(None, &first), None);
    }

    #[test]
    fn how_far_it_reaches_is_written_once_a_minute_and_the_rest_at_once() {
        let old = seen(1, None);
        let later = |secs: i64| Seen { at: at(secs), stored: 9, ..old.clone() };
        assert!(!is_news(&old, &later(59)));
        assert!(is_news(&old, &later(60)));
        assert!(is_news(&old, &Seen { snapshot: Some(6), ..later(1) }));
        assert!(!is_news(&old, &Seen { at: at(900), ..old.clone() }));
    }
}
