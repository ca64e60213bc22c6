//! Any moment of a source that many write to all the while.

use bygone_base::{Rng as _, SeededRng};
use bygone_tests::{
    ClusterState, Moment, ReplicaSet, Traffic, Version, Workload, oracle,
    process::Running,
    wait::{self, PATIENCE},
};
use mongodb::Client;

use super::{Backup, PACE, complete, interrupted, number};

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    pub seed: u64,
    /// Steps before the backup starts.
    pub before: usize,
    /// Marks, and moments between them.
    pub marks: usize,
    /// Steps from one to the next.
    pub steps: u64,
    /// Restores of each kind.
    pub restores: usize,
}

impl Scale {
    /// What `make test` does; a soak takes more from the environment.
    pub fn short() -> Scale {
        Scale {
            seed: number("BYGONE_TEST_SEED", 41),
            before: number("BYGONE_TEST_BEFORE", 250) as usize,
            marks: number("BYGONE_TEST_MARKS", 3) as usize,
            steps: number("BYGONE_TEST_STEPS", 150),
            restores: number("BYGONE_TEST_RESTORES", 2) as usize,
        }
    }
}

/// A workload runs, `up` runs, and marks and moments are taken.
pub async fn any_moment(version: Version, scale: Scale) {
    let set = ReplicaSet::single(version).await;
    let client = set.client().await;
    let mut workloads =
        [Workload::new(scale.seed, version), Workload::new(scale.seed + 1, version)];
    for workload in &mut workloads {
        workload.run(&client, scale.before).await;
    }
    let backup = Backup::new();
    let mut traffic = Traffic::start(&client, version, workloads, PACE);
    let mut up = backup.up(&set.uri()).arg("-v").start();
    complete(&mut up).await;

    let mut rng = SeededRng::new(scale.seed);
    let (marks, moments) = gather(&mut traffic, (&client, version), scale, &mut rng).await;
    traffic.stop().await;
    let end = oracle::now(&client).await;
    backup.wait_for(end).await;
    snapshots_are_taken(&backup, &up, 2).await;
    interrupted(up).await;
    backup.verify().await;

    for mark in chosen(&mut rng, &marks, scale.restores) {
        let restored = backup.restored(version, mark.at.unwrap()).await;
        restored.equals((&client, version), mark).await;
    }
    let mut compared = 0;
    for moment in &moments {
        let restored = backup.restored(version, moment.at).await;
        compared += restored.equals_moment((&client, version), moment).await;
    }
    assert!(compared > 0, "nothing of a moment between marks was compared");
}

/// Marks and moments by turns, a bounded number of steps apart. What the source was at the moments that are compared
/// is asked soon: in a long run its oplog, which says what of its catalogue has changed since, does not reach back.
async fn gather(
    traffic: &mut Traffic,
    (client, version): (&Client, Version),
    scale: Scale,
    rng: &mut SeededRng,
) -> (Vec<ClusterState>, Vec<Moment>) {
    let all: Vec<usize> = (0..scale.marks).collect();
    let compared = chosen(rng, &all, scale.restores);
    let (mut marks, mut moments) = (Vec::new(), Vec::new());
    for turn in &all {
        traffic.go_on(scale.steps).await;
        let at = traffic.moment().await;
        traffic.go_on(scale.steps).await;
        if compared.contains(&turn) {
            moments.push(oracle::moment(client, version, at).await);
        }
        marks.push(traffic.mark().await);
    }
    (marks, moments)
}

/// The last one and some others.
fn chosen<'a, T>(rng: &mut SeededRng, of: &'a [T], n: usize) -> Vec<&'a T> {
    let mut all: Vec<&T> = of.iter().collect();
    let last = all.pop();
    while all.len() >= n {
        all.remove((rng.next_u64() % all.len() as u64) as usize);
    }
    all.extend(last);
    all
}

/// Waits until the store has so many snapshots.
async fn snapshots_are_taken(backup: &Backup, up: &Running, n: usize) {
    let taken = wait::within(PATIENCE, async || {
        let list = backup.command("snapshots").arg("--json").run().await.expect_code(0);
        let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
        (list["snapshots"].as_array().unwrap().len() >= n).then_some(())
    });
    assert!(taken.await.is_some(), "not {n} snapshots:\n{}", up.stderr());
}

#[tokio::test]
async fn any_moment_of_a_busy_source_8_2() {
    any_moment(Version::V8_2, Scale::short()).await;
}

#[tokio::test]
async fn any_moment_of_a_busy_source_4_4() {
    any_moment(Version::V4_4, Scale::short()).await;
}

/// For `make matrix`.
#[tokio::test]
async fn any_moment_of_a_busy_source_5_0() {
    any_moment(Version::V5_0, Scale::short()).await;
}

/// For `make matrix`: this version runs under emulation, at a tenth of the speed.
#[tokio::test]
async fn any_moment_of_a_busy_source_7_0() {
    any_moment(Version::V7_0, Scale::short()).await;
}
