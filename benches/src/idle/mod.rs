//! Replica sets without a mongod: each listens on a port of its own and answers what an agent asks, so that a
//! server can be given hundreds of jobs on one machine. Nobody writes to them; like a real set that is idle, each
//! writes a no-op into its oplog every ten seconds.
//!
//! ```text
//! server ══TCP══▶ Sets ─▶ wire (framing) ─▶ answers (commands) ─▶ Set { catalogue (shared), oplog }
//! ```
//!
//! What they do not know they refuse, as a server does, and remember: a measurement then fails instead of
//! measuring an agent that tries again and again.

mod answers;
mod catalogue;
mod oplog;
mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bygone_base::{Clock, SystemClock};
use bygone_tests::ports::Port;
use tokio::{net::TcpListener, task::JoinSet};

use self::{catalogue::Catalogue, oplog::Oplog};

/// From one periodic no-op of a set to the next.
const NOOP: Duration = Duration::from_secs(10);

/// One set.
#[derive(Debug)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// What was written when.
    pub oplog: Oplog,
    port: Port,
    clock: Arc<SystemClock>,
    catalogue: Arc<Catalogue>,
    /// Tailing cursors: how many entries each has read.
    cursors: Mutex<HashMap<i64, usize>>,
    next_cursor: AtomicI64,
    asked: Mutex<BTreeMap<String, u64>>,
    refused: Mutex<Vec<String>>,
    connections: AtomicU64,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Set {
    /// `mongodb://127.0.0.1:PORT/?replicaSet=NAME`
    pub fn uri(&self) -> String {
        format!("mongodb://{}/?replicaSet={}", self.port.address(), self.name)
    }

    fn count(&self, command: &str) {
        *locked(&self.asked).entry(command.to_owned()).or_default() += 1;
    }

    fn refuse(&self, what: String) {
        locked(&self.refused).push(what);
    }
}

/// Many of them.
#[derive(Debug)]
pub struct Sets {
    /// Each.
    pub sets: Vec<Arc<Set>>,
    _tasks: JoinSet<()>,
}

impl Sets {
    /// Starts `n`.
    pub async fn start(n: usize, clock: Arc<SystemClock>) -> Sets {
        let catalogue = Arc::new(Catalogue::new());
        let mut tasks = JoinSet::new();
        let mut sets = Vec::with_capacity(n);
        for number in 0..n {
            let port = Port::reserve();
            let listener = TcpListener::bind(port.address()).await.expect("bind");
            let set = Arc::new(Set {
                name: format!("idle{number:03}"),
                oplog: Oplog::new(clock.clone()),
                port,
                clock: clock.clone(),
                catalogue: catalogue.clone(),
                cursors: Mutex::default(),
                next_cursor: AtomicI64::new(1),
                asked: Mutex::default(),
                refused: Mutex::default(),
                connections: AtomicU64::new(0),
            });
            tasks.spawn(listen(set.clone(), listener));
            // They were not started in the same moment.
            tasks.spawn(noops(set.clone(), NOOP * number as u32 / n as u32));
            sets.push(set);
        }
        Sets { sets, _tasks: tasks }
    }

    /// How often which command was asked for so far, of all sets together.
    pub fn asked(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for set in &self.sets {
            for (command, times) in &*locked(&set.asked) {
                *all.entry(command.clone()).or_default() += times;
            }
        }
        all
    }

    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.sets.iter().map(|set| set.connections.load(Ordering::Relaxed)).sum()
    }

    /// Panics when anything was asked that no set could answer.
    pub fn must_have_answered(&self) {
        for set in &self.sets {
            let refused = locked(&set.refused);
            assert!(
                refused.is_empty(),
                "{} was asked what it does not know: {refused:?}",
                set.name
            );
        }
    }
}

async fn listen(set: Arc<Set>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("accept");
                let set = set.clone();
                connections.spawn(async move {
                    set.connections.fetch_add(1, Ordering::Relaxed);
                    // A client that goes away in the middle is nothing to tell.
                    let _ = wire::serve(&set, stream).await;
                    set.connections.fetch_sub(1, Ordering::Relaxed);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// As a primary does: only where nothing was written since the last time.
async fn noops(set: Arc<Set>, phase: Duration) {
    set.clock.sleep(phase).await;
    let mut seen = set.oplog.len();
    loop {
        set.clock.sleep(NOOP).await;
        if set.oplog.len() == seen {
            set.oplog.append("periodic noop");
        }
        seen = set.oplog.len();
    }
}
