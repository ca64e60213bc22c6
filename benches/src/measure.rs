//! Processes, measured from outside: wall time, CPU, peak memory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bygone_base::{Clock, SystemClock};
use rustix::process::{Pid, Signal, kill_process};

/// How often a running process is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What one run took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Seconds.
    pub wall: f64,
    /// Seconds of user and system time, with those of children that it waited for.
    pub cpu: f64,
    /// Peak resident memory in MB.
    pub rss: f64,
    /// Seconds of CPU of the server meanwhile.
    pub server: f64,
}

impl Cost {
    /// One after the other.
    #[must_use]
    pub fn then(self, next: Cost) -> Cost {
        Cost {
            wall: self.wall + next.wall,
            cpu: self.cpu + next.cpu,
            rss: self.rss.max(next.rss),
            server: self.server + next.server,
        }
    }
}

/// A number per field of [`Cost`], the median of each by itself.
pub fn median(costs: &[Cost]) -> Cost {
    let of = |field: fn(&Cost) -> f64| middle(costs.iter().map(field).collect());
    Cost { wall: of(|c| c.wall), cpu: of(|c| c.cpu), rss: of(|c| c.rss), server: of(|c| c.server) }
}

/// The median.
pub fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 { 0.0 } else { (values[(n - 1) / 2] + values[n / 2]) / 2.0 }
}

/// CPU seconds of a process so far; of its children too once it has waited for them. From
/// /proc, which counts in hundredths and keeps the numbers of a process that ended until it is waited for.
pub fn cpu_of(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |(_, cpu)| cpu)
}

/// State letter and CPU seconds.
fn stat(pid: u32) -> Option<(char, f64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit(')').next()?.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let state = fields.first()?.chars().next()?;
    Some((state, (ticks(11) + ticks(12) + ticks(13) + ticks(14)) / 100.0))
}

/// Peak resident memory in MB; nothing once the process has ended.
fn peak(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// A process whose output goes to a file; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
    name: String,
    clock: SystemClock,
    peak: f64,
}

impl Running {
    /// Starts it; standard output and error go to `log`.
    pub fn start(mut command: Command, log: &Path) -> Running {
        let out = File::create(log).expect("log file");
        let err = out.try_clone().expect("log file");
        let name = format!("{command:?}");
        let clock = SystemClock::new();
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = child.unwrap_or_else(|e| panic!("start {name}: {e}"));
        Running { child, log: log.to_owned(), name, clock, peak: 0.0 }
    }

    /// What it has written.
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for a line that contains `text`, and returns it.
    pub async fn line(&mut self, text: &str, limit: Duration) -> String {
        let end = self.clock.monotonic() + limit;
        loop {
            if let Some(line) = self.output().lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(
                self.look() && self.clock.monotonic() < end,
                "no {text:?} from {}:\n{}",
                self.name,
                self.output()
            );
            self.clock.sleep(Duration::from_millis(10)).await;
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// CPU seconds so far.
    pub fn cpu(&self) -> f64 {
        cpu_of(self.child.id())
    }

    /// Takes note of its memory; false when it has ended.
    fn look(&mut self) -> bool {
        self.peak = self.peak.max(peak(self.child.id()).unwrap_or(0.0));
        stat(self.child.id()).is_some_and(|(state, _)| state != 'Z')
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("pid");
        let _ = kill_process(pid, Signal::INT);
    }

    /// Waits for its end, which must be a success. Returns its cost and what it wrote.
    pub async fn end(mut self) -> (Cost, String) {
        while self.look() {
            self.clock.sleep(LOOK).await;
        }
        let wall = self.clock.monotonic().as_secs_f64();
        let cost = Cost { wall, cpu: self.cpu(), rss: self.peak, server: 0.0 };
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{} ended with {status}:\n{}", self.name, self.output());
        (cost, self.output())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end; `server` is the process id of the server that it works on.
pub async fn run(command: Command, log: &Path, server: Option<u32>) -> (Cost, String) {
    let before = server.map_or(0.0, cpu_of);
    let (mut cost, output) = Running::start(command, log).end().await;
    cost.server = server.map_or(0.0, cpu_of) - before;
    (cost, output)
}

/// Files below a folder with their sizes.
pub fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => found.push((entry.path(), meta.len())),
                Err(_) => {}
            }
        }
    }
    found
}

/// Bytes of the files of `after` that `before` does not have.
pub fn new_bytes(before: &[(PathBuf, u64)], after: &[(PathBuf, u64)]) -> u64 {
    let known: std::collections::HashSet<&PathBuf> = before.iter().map(|(path, _)| path).collect();
    after.iter().filter(|(path, _)| !known.contains(path)).map(|(_, size)| size).sum()
}

/// Bytes free on the disk that holds `path`.
pub fn free_space(path: &Path) -> u64 {
    let stat = rustix::fs::statvfs(path).expect("statvfs");
    stat.f_bavail * stat.f_frsize
}
