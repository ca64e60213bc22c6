//! How a job fares: how far it is behind, and the state that pages, metrics, probes, alerts and the command line show.
//! Pure, and the only place where either is decided.

use bygone_base::{Ts, UnixMillis};
use bygone_catalog::record::{Job, JobState};
use bygone_daemon::JobPhase;

use crate::views::Live;

/// An agent that was not heard for so long may be anywhere. It asks for work every 5 seconds and reports every 10, and
/// an idle source writes a no-op every 10.
const SILENT_SECS: u64 = 30;

/// What a job does, and whether that is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is kept.
    Inactive,
    /// Nothing new is taken.
    Stopped,
    /// Everything stored is being deleted.
    Terminating,
    /// Its configuration and its source disagree.
    Misconfigured,
    /// Nobody has begun with it yet.
    Starting,
    /// The initial sync.
    Syncing,
    /// What is stored follows the source.
    Following,
    /// It does, but too far behind.
    Behind,
    /// No agent that serves it is heard.
    Silent,
    /// Its agent or this server cannot do its work, and says why.
    Failing,
}

impl Standing {
    /// A word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Inactive => "inactive",
            Standing::Stopped => "stopped",
            Standing::Terminating => "terminating",
            Standing::Misconfigured => "misconfigured",
            Standing::Starting => "starting",
            Standing::Syncing => "initial sync",
            Standing::Following => "following",
            Standing::Behind => "behind",
            Standing::Silent => "agent silent",
            Standing::Failing => "failing",
        }
    }

    /// It needs somebody to look at it.
    pub fn is_bad(self) -> bool {
        matches!(
            self,
            Standing::Misconfigured | Standing::Behind | Standing::Silent | Standing::Failing
        )
    }
}

/// Seconds by which what is stored up to `stored` is behind a source whose newest entry was last told as `source`.
/// Nothing where nothing is stored yet.
///
/// What was told counts only while what is stored moves on. A source that nobody reaches tells nothing: then the age of
/// what is stored is all that is known, and it is what would be lost.
pub fn lag_secs(stored: Ts, source: Ts, now: UnixMillis) -> Option<u64> {
    if stored.secs() == 0 {
        return None;
    }
    let told = u64::from(source.secs().saturating_sub(stored.secs()));
    let age = (now.0 / 1000).saturating_sub(i64::from(stored.secs()));
    let age = u64::try_from(age).unwrap_or_default();
    Some(if age > SILENT_SECS { told.max(age) } else { told })
}

/// What is known of a job beside its record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// What it does in this process.
    pub live: Option<&'a Live>,
    /// Somebody said why it cannot be served.
    pub problem: bool,
    /// When an agent that serves it last asked for work.
    pub heard: Option<UnixMillis>,
    /// Further behind than this is too far.
    pub behind_secs: u64,
}

/// Whether who was last heard then is silent.
pub fn is_silent(heard: UnixMillis, now: UnixMillis) -> bool {
    now.since(heard) > SILENT_SECS as i64 * 1000
}

/// How a job fares at `now`.
pub fn standing(job: &Job, known: Known<'_>, now: UnixMillis) -> Standing {
    match job.state {
        JobState::Inactive => return Standing::Inactive,
        JobState::Stopped => return Standing::Stopped,
        JobState::Terminating => return Standing::Terminating,
        JobState::Misconfigured => return Standing::Misconfigured,
        JobState::Active => {}
    }
    let failed = known
        .live
        .is_some_and(|live| live.backup.failure.is_some() || live.backup.resync.is_some());
    if known.problem || failed {
        return Standing::Failing;
    }
    let agent = known.live.and_then(|live| live.agent.as_ref());
    let asked = known.heard.unwrap_or(job.since).max(job.since);
    if is_silent(asked, now) || agent.is_some_and(|agent| is_silent(agent.heard, now)) {
        return Standing::Silent;
    }
    let Some(live) = known.live else { return Standing::Starting };
    if live.backup.snapshot_at.is_none() || live.backup.phase != JobPhase::Complete {
        return if agent.is_some() { Standing::Syncing } else { Standing::Starting };
    }
    if live.lag_secs.is_some_and(|lag| lag > known.behind_secs) {
        return Standing::Behind;
    }
    Standing::Following
}

#[cfg(test)]
mod tests {
    use bygone_base::SeededRng;
    use bygone_catalog::{
        Id,
        record::{JobStores, Requests, ScheduleSpec, Source},
    };

    use super::*;
    use crate::views::AgentLive;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

    fn before(secs: i64) -> UnixMillis {
        UnixMillis(NOW.0 - secs * 1000)
    }

    fn ts(secs_ago: u32) -> Ts {
        Ts::new(1_800_000_000 - secs_ago, 1)
    }

    fn job(state: JobState) -> Job {
        let id = |seed| Id::new(NOW, &SeededRng::new(seed));
        Job {
            id: id(1),
            project: id(2),
            name: "shop".into(),
            cluster: "shop".into(),
            set: Some("rs0".into()),
            state,
            since: before(86_400),
            created: before(86_400),
            source: Source {
                uri: serde_json::from_str("\"\"").unwrap(),
                shown: String::new(),
                include: Vec::new(),
                exclude: Vec::new(),
                member: None,
                member_tag: None,
                throttle: None,
                workers: 2,
            },
            stores: JobStores { snapshot: "m".into(), oplog: "m".into(), sync: "m".into() },
            schedule: ScheduleSpec::default(),
            announced: None,
            keep: None,
            requests: Requests::default(),
            drill: None,
            message: None,
        }
    }

    fn live(heard: UnixMillis, lag: u64) -> Live {
        let agent = AgentLive { heard, ..AgentLive::default() };
        let mut live = Live { agent: Some(agent), lag_secs: Some(lag), ..Live::default() };
        live.backup.phase = JobPhase::Complete;
        live.backup.snapshot_at = Some(ts(600));
        live
    }

    fn fares(live: Option<&Live>, problem: bool, heard: Option<UnixMillis>) -> Standing {
        let known = Known { live, problem, heard, behind_secs: 300 };
        standing(&job(JobState::Active), known, NOW)
    }

    #[test]
    fn a_source_that_is_away_is_as_far_behind_as_what_is_stored_is_old() {
        // Followed: what the agent told counts, also where clocks differ a little.
        assert_eq!(lag_secs(ts(5), ts(3), NOW), Some(2));
        assert_eq!(lag_secs(ts(20), ts(20), NOW), Some(0));
        assert_eq!(lag_secs(Ts::new(1_800_000_009, 1), ts(0), NOW), Some(0));
        // It told last that nothing is missing, and since then nobody knows.
        assert_eq!(lag_secs(ts(105), ts(105), NOW), Some(105));
        // Far behind while it is being read.
        assert_eq!(lag_secs(ts(500), ts(1), NOW), Some(500));
        assert_eq!(lag_secs(Ts::default(), ts(1), NOW), None);
    }

    #[test]
    fn only_a_job_that_is_heard_current_and_without_a_problem_follows() {
        let well = live(before(5), 2);
        let asked = Some(before(3));
        assert_eq!(fares(Some(&well), false, asked), Standing::Following);
        assert_eq!(fares(Some(&well), true, asked), Standing::Failing);
        assert_eq!(fares(Some(&live(before(5), 301)), false, asked), Standing::Behind);
        assert_eq!(fares(Some(&live(before(31), 31)), false, asked), Standing::Silent);
        assert_eq!(fares(Some(&well), false, Some(before(31))), Standing::Silent);
        assert_eq!(fares(Some(&well), false, None), Standing::Silent);
        let mut failed = live(before(5), 2);
        failed.backup.failure = Some("disk".into());
        assert_eq!(fares(Some(&failed), false, asked), Standing::Failing);
        for bad in [Standing::Failing, Standing::Silent, Standing::Behind, Standing::Misconfigured]
        {
            assert!(bad.is_bad(), "{bad:?}");
        }
    }

    #[test]
    fn what_begins_is_starting_unless_something_is_wrong() {
        let asked = Some(before(3));
        assert_eq!(fares(None, false, asked), Standing::Starting);
        // Its mongod cannot be reached: it never came so far.
        assert_eq!(fares(None, true, asked), Standing::Failing);
        let mut syncing = live(before(5), 2);
        syncing.backup.snapshot_at = None;
        assert_eq!(fares(Some(&syncing), false, asked), Standing::Syncing);
        syncing.agent = None;
        assert_eq!(fares(Some(&syncing), false, asked), Standing::Starting);
        let known = Known { problem: true, ..Known::default() };
        assert_eq!(standing(&job(JobState::Stopped), known, NOW), Standing::Stopped);
    }
}
