//! A process seen from outside for a while.

use std::{collections::BTreeMap, fs, time::Duration};

use bygone_base::{Clock as _, SystemClock};

use super::{busy::Busy, site::Site};
use crate::{
    idle::Sets,
    measure::{cpu_of, files},
};

/// Lags are looked at so often.
const LOOK: Duration = Duration::from_millis(500);

/// What a process holds now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    /// Resident memory in MB, ...
    pub(super) rss: f64,
    /// ... and the most of it so far.
    pub(super) peak: f64,
    pub(super) threads: u64,
    pub(super) files: usize,
}

impl Held {
    pub(super) fn of(pid: u32) -> Held {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            let number = line.split_whitespace().next().expect("a number");
            number.parse::<f64>().expect("a number")
        };
        Held {
            rss: field("VmRSS:") / 1024.0,
            peak: field("VmHWM:") / 1024.0,
            threads: field("Threads:") as u64,
            files: fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").count(),
        }
    }
}

/// What was seen in a stretch of time.
#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    pub(super) seconds: f64,
    /// Share of a core.
    pub(super) cpu: f64,
    pub(super) held: Held,
    /// Requests to the idle sets by command.
    pub(super) asked: BTreeMap<String, u64>,
    /// Objects in the store at its beginning and its end.
    pub(super) objects: (usize, usize),
}

/// Looks at the server for so long, without asking it anything.
pub(super) async fn window(
    site: &Site,
    sets: &Sets,
    clock: &SystemClock,
    long: Duration,
) -> Window {
    let before = sets.asked();
    let objects = files(&site.store()).len();
    let (cpu, began) = (cpu_of(site.pid()), clock.monotonic());
    clock.sleep(long).await;
    let seconds = (clock.monotonic() - began).as_secs_f64();
    let cpu = (cpu_of(site.pid()) - cpu) / seconds;
    let mut asked = sets.asked();
    for (command, times) in &mut asked {
        *times -= before.get(command).copied().unwrap_or_default();
    }
    let held = Held::of(site.pid());
    Window { seconds, cpu, held, asked, objects: (objects, files(&site.store()).len()) }
}

/// Ages of the oldest entry that is not durable yet: of idle sets and of busy ones, ascending.
pub(super) async fn lags(
    site: &Site,
    sets: &Sets,
    busy: &[Busy],
    clock: &SystemClock,
    long: Duration,
) -> (Vec<f64>, Vec<f64>) {
    let until = clock.monotonic() + long;
    let (mut idle_lags, mut busy_lags) = (Vec::new(), Vec::new());
    while clock.monotonic() < until {
        // Before it is asked: what is stored by then is not late.
        let asked = clock.monotonic();
        let standing = site.standing().await;
        let age = |written: Option<Duration>| {
            written.map_or(0.0, |at| asked.saturating_sub(at).as_secs_f64())
        };
        for set in &sets.sets {
            let job = standing.get(&set.name).expect("its job");
            idle_lags.push(age(set.oplog.written_after(job.stored)));
        }
        for set in busy {
            let job = standing.get(&set.name).expect("its job");
            busy_lags.push(age(set.written_after(job.stored)));
        }
        clock.sleep(LOOK).await;
    }
    idle_lags.sort_by(f64::total_cmp);
    busy_lags.sort_by(f64::total_cmp);
    (idle_lags, busy_lags)
}
