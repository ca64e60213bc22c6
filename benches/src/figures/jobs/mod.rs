//! One server with many jobs: what each costs it.

mod busy;
mod gauge;
mod site;

use std::{collections::BTreeSet, fmt::Write as _, path::PathBuf, sync::Arc, time::Duration};

use bygone_base::{Clock as _, SystemClock, Ts};
use bygone_tests::{ReplicaSet, Version};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::{
    busy::{Busy, RATE},
    gauge::{Held, Window, lags, window},
    site::{Site, objects},
};
use super::percentile;
use crate::{
    context::{Context, bygone},
    idle::Sets,
    measure::files,
    report::Report,
};

/// Idle sets, and busy ones beside them.
const IDLE: usize = 200;
const BUSY: usize = 10;
/// How long a state is looked at, ...
const WINDOW: Duration = Duration::from_secs(120);
const ALONE: Duration = Duration::from_secs(30);
/// ... and how long it is left alone before.
const SETTLE: Duration = Duration::from_secs(30);
/// Lags are sampled for so long.
const LAGS: Duration = Duration::from_secs(30);
/// Jobs may take so long to start, or to go on.
const PATIENCE: Duration = Duration::from_secs(300);
/// A soak lasts so long, and is looked at so often.
const SOAK: Duration = Duration::from_secs(600);
const SOAK_LOOK: Duration = Duration::from_secs(60);
/// Seconds between snapshots of idle and of busy sets.
const SNAPSHOTS: (u64, u64) = (6 * 3600, 6 * 3600);
/// ... and of busy ones in a soak, so that there are some.
const SOAK_SNAPSHOTS: u64 = 120;

/// Everything that runs.
struct Bench {
    clock: Arc<SystemClock>,
    site: Site,
    sets: Sets,
    busy: Vec<Busy>,
    writers: JoinSet<()>,
    stop: CancellationToken,
}

impl Bench {
    async fn new(context: &Context) -> Bench {
        let clock = Arc::new(SystemClock::new());
        let mut site = Site::new(context).await;
        site.start(context).await;
        let sets = Sets::start(IDLE, clock.clone()).await;
        let (writers, stop) = (JoinSet::new(), CancellationToken::new());
        Bench { clock, site, sets, busy: Vec::new(), writers, stop }
    }

    /// Makes and starts the jobs of the idle sets; seconds until all are followed.
    async fn add_idle(&self) -> f64 {
        let sets = self.sets.sets.iter();
        let jobs: Vec<_> = sets.map(|s| (s.name.clone(), s.uri(), SNAPSHOTS.0)).collect();
        let began = self.clock.monotonic();
        self.site.make(&jobs).await;
        self.followed(IDLE).await;
        (self.clock.monotonic() - began).as_secs_f64()
    }

    /// Starts the busy sets, their writers and their jobs; seconds until all are followed.
    async fn add_busy(&mut self, every: u64) -> f64 {
        self.busy = Busy::start_all(BUSY).await;
        for set in &self.busy {
            set.write(self.clock.clone(), self.stop.clone(), &mut self.writers);
        }
        let jobs: Vec<_> =
            self.busy.iter().map(|busy| (busy.name.clone(), busy.set.uri(), every)).collect();
        let began = self.clock.monotonic();
        self.site.make(&jobs).await;
        self.followed(IDLE + BUSY).await;
        (self.clock.monotonic() - began).as_secs_f64()
    }

    /// Until so many jobs are started, have a snapshot and follow their sets, and those of busy ones have stored what
    /// was written when this was asked. (No-ops of idle ones are stored later.)
    async fn followed(&self, jobs: usize) {
        let mut goals = Vec::new();
        goals.extend(self.sets.sets.iter().map(|set| (set.name.clone(), Ts::MIN)));
        goals.extend(self.busy.iter().map(|set| (set.name.clone(), set.newest())));
        let until = self.clock.monotonic() + PATIENCE;
        loop {
            let standing = self.site.standing().await;
            let behind: Vec<_> = goals
                .iter()
                .filter(|(name, goal)| {
                    standing.get(name).is_none_or(|job| !job.follows || job.stored < *goal)
                })
                .collect();
            if behind.is_empty() && self.site.started().await == jobs {
                return;
            }
            let late = self.clock.monotonic() > until;
            assert!(!late, "not followed: {behind:?}\n{}", self.site.output());
            self.clock.sleep(Duration::from_millis(500)).await;
        }
    }

    async fn window(&self, long: Duration) -> Window {
        self.clock.sleep(SETTLE.min(long)).await;
        let window = window(&self.site, &self.sets, &self.clock, long).await;
        self.sets.must_have_answered();
        window
    }

    async fn stop_writing(&mut self) {
        self.stop.cancel();
        while let Some(ended) = self.writers.join_next().await {
            ended.expect("a writer");
        }
    }

    /// Kills the server with everything running, and starts it again; seconds until all jobs are followed. What was
    /// written before the new one is there must be stored then.
    async fn killed(&mut self, context: &Context) -> f64 {
        self.site.kill();
        let began = self.clock.monotonic();
        self.site.start(context).await;
        self.followed(IDLE + BUSY).await;
        (self.clock.monotonic() - began).as_secs_f64()
    }

    /// Nothing is lost: every busy job is verified, and one is restored and compared.
    async fn prove(&self, context: &Context) {
        self.followed(IDLE + BUSY).await;
        for set in &self.busy {
            let mut verify = bygone("verify", &self.site.store());
            verify.args(["--quick", "--job", &set.name]);
            context.run(verify, None).await;
        }
        let (first, target) = (&self.busy[0], ReplicaSet::single(Version::V8_2).await);
        let mut restore = bygone("restore", &self.site.store());
        restore.args(["--job", &first.name, "--to", &target.uri()]);
        context.run(restore, None).await;
        let restored = Busy::hash(&target.client().await).await;
        assert_eq!(restored, first.own_hash().await, "what was restored is not what was written");
    }
}

/// Objects that are written for idle sets, per set and hour, seen by listing some of them again and again.
async fn written(bench: &Bench, long: Duration) -> f64 {
    const SOME: usize = 10;
    let store = bench.site.store();
    let look = || -> BTreeSet<PathBuf> {
        let some = bench.sets.sets.iter().take(SOME);
        some.flat_map(|set| objects(&store.join("jobs"), &set.name)).collect()
    };
    let mut seen = look();
    let (before, until) = (seen.len(), bench.clock.monotonic() + long);
    while bench.clock.monotonic() < until {
        bench.clock.sleep(Duration::from_secs(5)).await;
        seen.extend(look());
    }
    (seen.len() - before) as f64 / SOME as f64 * 3600.0 / long.as_secs_f64()
}

fn row(what: &str, window: &Window) -> String {
    let Held { rss, peak, threads, files } = window.held;
    format!(
        "| {what} | {:.1} % | {rss:.0} MB | {peak:.0} MB | {threads} | {files} |\n",
        window.cpu * 100.0
    )
}

/// Requests per set and second, the most frequent first.
fn asked(window: &Window) -> String {
    let mut all: Vec<_> = window.asked.iter().filter(|(_, times)| **times > 0).collect();
    all.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
    let per = |times: u64| times as f64 / window.seconds / IDLE as f64;
    let total = per(all.iter().map(|(_, times)| **times).sum());
    let mut text = format!("{total:.2} requests per idle set and second");
    for (command, times) in all.iter().take(6) {
        let _ = write!(text, ", {command} {:.2}", per(**times));
    }
    text
}

/// One server with 200 idle jobs, then with 10 busy ones beside them, then killed.
pub async fn jobs(context: &Context) -> Report {
    let mut bench = Bench::new(context).await;
    let alone = bench.window(ALONE).await;
    let started = bench.add_idle().await;
    let idle = bench.window(WINDOW).await;
    let connections = bench.sets.connections();
    let objects_per_hour = written(&bench, Duration::from_secs(60)).await;
    let busy_started = bench.add_busy(SNAPSHOTS.1).await;
    let both = bench.window(WINDOW).await;
    let (idle_lags, busy_lags) =
        lags(&bench.site, &bench.sets, &bench.busy, &bench.clock, LAGS).await;
    let catalog = std::fs::metadata(bench.site.catalog()).map_or(0, |meta| meta.len());
    let again = bench.killed(context).await;
    let batches: usize = bench.busy.iter().map(Busy::batches).sum();
    bench.stop_writing().await;
    bench.prove(context).await;
    bench.sets.must_have_answered();
    let mut report = Report::default();
    let what = "200 idle jobs: CPU, share of a core";
    report.at_most("jobs/cpu", what, 15.0, idle.cpu * 100.0, "%");
    report.at_most("jobs/memory", "the same: resident memory", 300.0, idle.held.rss, "MB");
    report.at_most(
        "jobs/started",
        "200 jobs made by the API until all are followed",
        60.0,
        started,
        "s",
    );
    let what = "10 busy jobs beside them: oldest write that is not durable, p99";
    report.at_most("jobs/lag", what, 2.0, percentile(&busy_lags, 99), "s");
    report.at_most(
        "jobs/again",
        "kill -9: until all 210 jobs are followed again",
        60.0,
        again,
        "s",
    );
    report.details += "\n| server with | CPU, share of a core | memory | most | threads | open files |\n|---|---|---|---|---|---|\n";
    report.details += &row("no jobs", &alone);
    report.details += &row("200 idle jobs", &idle);
    report.details += &row("and 10 busy ones", &both);
    let lags = |lags: &[f64]| {
        let at = |part| percentile(lags, part);
        format!("p50 {:.2}, p99 {:.2}, most {:.2} s", at(50), at(99), at(100))
    };
    report.note(format!(
        "Per idle job {:.2} % of a core, {:.2} MB, {:.1} connections; {}. {objects_per_hour:.0} objects written per \
         idle set and hour; the store has {} objects, {} before the window of idle sets. 200 jobs followed after \
         {started:.0} s, the busy ones after {busy_started:.0} s more ({RATE} writes/s each in {} batches so far). \
         The oldest entry that is not durable: idle sets {}; busy sets {}. The catalog has {} KB. After kill -9 all were followed again within \
         {again:.0} s; all busy jobs were verified, one was restored and had the dbHash of its source.",
        (idle.cpu - alone.cpu) * 100.0 / IDLE as f64,
        (idle.held.rss - alone.held.rss) / IDLE as f64,
        connections as f64 / IDLE as f64,
        asked(&idle),
        files(&bench.site.store()).len(), idle.objects.0, batches,
        lags(&idle_lags), lags(&busy_lags), catalog / 1024,
    ));
    bench.site.stop().await;
    report
}

/// The same for ten minutes: what grows?
pub async fn soak(context: &Context) -> Report {
    let mut bench = Bench::new(context).await;
    bench.add_idle().await;
    bench.add_busy(SOAK_SNAPSHOTS).await;
    bench.clock.sleep(SETTLE).await;
    let mut report = Report::default();
    report.details += "\n| after | CPU, share of a core | memory | most | threads | open files | objects of idle jobs | of busy jobs |\n|---|---|---|---|---|---|---|---|\n";
    let began = bench.clock.monotonic();
    let mut window = Window { held: Held::of(bench.site.pid()), ..Window::default() };
    loop {
        let after = bench.clock.monotonic() - began;
        let all = files(&bench.site.store().join("jobs"));
        let of = |prefix: &str| {
            let of =
                |path: &PathBuf| path.iter().any(|part| part.to_string_lossy().starts_with(prefix));
            all.iter().filter(|(path, _)| of(path)).count()
        };
        let line = row(&format!("{} s", after.as_secs()), &window);
        let line = line.trim_end();
        let _ = writeln!(report.details, "{line} {} | {} |", of("idle"), of("busy"));
        crate::say(line);
        if after >= SOAK {
            break;
        }
        window = gauge::window(&bench.site, &bench.sets, &bench.clock, SOAK_LOOK).await;
    }
    bench.stop_writing().await;
    bench.prove(context).await;
    bench.sets.must_have_answered();
    bench.site.stop().await;
    report
}
