//! Several writers at once, which pause together at marks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bygone_base::{Clock as _, SystemClock, Ts};
use mongodb::Client;
use tokio::{sync::RwLock, task::JoinSet};

use crate::{ClusterState, Version, Workload, oracle, state_at, wait};

/// Writers at work in the background, until `stop` or drop.
#[derive(Debug)]
pub struct Traffic {
    writers: JoinSet<Workload>,
    shared: Arc<Shared>,
    client: Client,
    version: Version,
}

#[derive(Debug, Default)]
struct Shared {
    /// Held for reading during a step, for writing during a mark.
    gate: RwLock<()>,
    stop: AtomicBool,
    steps: AtomicU64,
}

impl Traffic {
    /// Starts one writer for each workload; `pace` is a pause after each step.
    pub fn start(
        client: &Client,
        version: Version,
        workloads: impl IntoIterator<Item = Workload>,
        pace: Duration,
    ) -> Traffic {
        let shared = Arc::new(Shared::default());
        let mut writers = JoinSet::new();
        for workload in workloads {
            writers.spawn(write(workload, client.clone(), Arc::clone(&shared), pace));
        }
        Traffic { writers, shared, client: client.clone(), version }
    }

    /// How many steps all writers have done so far.
    pub fn steps(&self) -> u64 {
        self.shared.steps.load(Ordering::Relaxed)
    }

    /// Waits until the writers have done `more` steps from now on.
    pub async fn go_on(&mut self, more: u64) {
        let goal = self.steps() + more;
        let limit = self.version.patience(wait::PATIENCE * 5);
        let done = wait::within(limit, || {
            // A writer that failed says why.
            if let Some(ended) = self.writers.try_join_next() {
                drop(ended.expect("a writer"));
            }
            let reached = self.shared.steps.load(Ordering::Relaxed) >= goal;
            async move { reached.then_some(()) }
        })
        .await;
        assert!(done.is_some(), "{} of {goal} steps after {limit:?}", self.steps());
    }

    /// A moment in the middle of the writes: the timestamp alone.
    pub async fn moment(&self) -> Ts {
        oracle::now(&self.client).await
    }

    /// Pauses all writers, takes the state of the whole cluster, and lets them go on.
    pub async fn mark(&self) -> ClusterState {
        let _paused = self.shared.gate.write().await;
        let at = oracle::now(&self.client).await;
        state_at(&self.client, self.version, Some(at)).await
    }

    /// Lets every writer finish its step and ends them; panics if one has failed.
    pub async fn stop(mut self) -> Vec<Workload> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut workloads = Vec::new();
        while let Some(ended) = self.writers.join_next().await {
            workloads.push(ended.expect("a writer"));
        }
        workloads
    }
}

async fn write(
    mut workload: Workload,
    client: Client,
    shared: Arc<Shared>,
    pace: Duration,
) -> Workload {
    let clock = SystemClock::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let turn = shared.gate.read().await;
        workload.step(&client).await;
        drop(turn);
        shared.steps.fetch_add(1, Ordering::Relaxed);
        clock.sleep(pace).await;
    }
    workload
}
