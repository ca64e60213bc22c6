//! Every object of a small store, with a byte flipped in each of its regions and cut off at several
//! places: `verify` reports every damage, and says what is lost and what still restores; what it says
//! restores, does.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use bson::{Document, doc};
use bygone_tests::{
    ClusterState, ReplicaSet, Version,
    process::{Bygone, Output},
};
use mongodb::Client;
use serde_json::Value;

use crate::{
    bad_input::{orders, told},
    spine::{Backup, Restored, complete, interrupted, mark},
};

/// A store with two snapshots and a stretch of oplog after them, and what the source was at each.
struct Small {
    backup: Backup,
    set: ReplicaSet,
    client: Client,
    marks: Vec<ClusterState>,
}

impl Small {
    async fn new(backup: Backup) -> Small {
        let set = ReplicaSet::single(Version::V8_2).await;
        let client = set.client().await;
        let mut marks = Vec::new();
        for round in 0..3 {
            orders(&client, round * 1000, 200).await;
            let shop = client.database("shop");
            let other = shop.collection::<Document>(&format!("round{round}"));
            other.insert_one(doc! {"_id": 1, "round": round}).await.unwrap();
            let coll = shop.collection::<Document>("orders");
            coll.update_many(doc! {"n": round}, doc! {"$inc": {"n": 10}}).await.unwrap();
            marks.push(mark(&client, Version::V8_2).await);
            if round < 2 {
                let _ = backup.backup(&set.uri()).run().await.expect_code(0);
                continue;
            }
            // The newest snapshot is young: `up` takes none, and the last round stays oplog.
            let mut up = backup.up_every("1h", &set.uri()).start();
            complete(&mut up).await;
            backup.wait_for(marks[2].at.unwrap()).await;
            interrupted(up).await;
        }
        Small { backup, set, client, marks }
    }

    fn verify(&self) -> Bygone {
        self.backup.command("verify").arg("--json")
    }

    async fn is_whole(&self) {
        let report = self.verify().run().await.expect_code(0);
        assert_eq!(value(&report)["good"].as_array().unwrap().len(), 2, "{}", report.stdout);
    }

    /// Restores a moment into a new set and compares it with the source's state then.
    async fn restores(&self, at: &str, mark: &ClusterState) {
        let target = ReplicaSet::single(Version::V8_2).await;
        let output =
            self.backup.restore(&target.uri(), at).arg("--verify").run().await.expect_code(0);
        let restored = Restored { target, output };
        restored.equals((&self.client, Version::V8_2), mark).await;
    }
}

fn value(report: &Output) -> Value {
    serde_json::from_str(&report.stdout).unwrap_or_else(|e| panic!("{e}: {report:?}"))
}

/// All objects, by name.
pub fn objects(store: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(store).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true if name.starts_with('.') => {}
                true => folders.push(path),
                false => drop(found.insert(name, path)),
            }
        }
    }
    found
}

/// The names of objects that contain `part`.
pub fn named(store: &Path, part: &str) -> Vec<String> {
    objects(store).into_keys().filter(|name| name.contains(part)).collect()
}

/// Where bytes are flipped: both ends, every field of an envelope or of a pack's header and footer, and
/// places all over the rest.
fn places(name: &str, len: usize) -> Vec<usize> {
    let fields: &[usize] = match name.split('/').next() {
        Some("packs") => &[0, 8, 12, 16, 47, 48],
        Some("jobs" | "moved" | "groom") => &[0, 4, 5, 6, 7, 8, 12, 20, 51, 52],
        _ => &[0, 10],
    };
    let from_end: &[usize] = match name.starts_with("packs/") {
        true => &[1, 8, 9, 24, 25, 32, 36, 40, 48, 49, 53, 100],
        false => &[1, 16, 17],
    };
    let spread = (1..8).map(|n| len * n / 8);
    let ends = from_end.iter().filter_map(|at| len.checked_sub(*at));
    let mut all: Vec<usize> = fields.iter().copied().chain(ends).chain(spread).collect();
    all.retain(|at| *at < len);
    all.sort_unstable();
    all.dedup();
    all
}

/// An object's bytes with damage, and what was done to them.
fn damages(name: &str, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let flip = |at: usize| {
        let mut damaged = bytes.to_vec();
        damaged[at] ^= 1 << (at % 8);
        (format!("byte {at} of {} flipped", bytes.len()), damaged)
    };
    let cut = |len: usize| (format!("cut to {len} of {}", bytes.len()), bytes[..len].to_vec());
    let mut all: Vec<_> = places(name, bytes.len()).into_iter().map(flip).collect();
    all.extend([0, bytes.len() / 2, bytes.len() - 1].map(cut));
    all
}

/// Whether a damaged object of this name hurts nothing: records that the next groom or reader makes anew.
fn is_disposable(name: &str) -> bool {
    name.starts_with("readers/")
}

/// Damages every object in turn; returns how many damages `verify` was asked about.
async fn every_damage_is_reported(small: &Small) -> usize {
    let mut missed = Vec::new();
    let mut count = 0;
    for (name, path) in objects(&small.backup.store()) {
        let whole = fs::read(&path).unwrap();
        for (what, damaged) in damages(&name, &whole) {
            if is_disposable(&name) {
                continue;
            }
            fs::write(&path, damaged).unwrap();
            let report = small.verify().run().await;
            count += 1;
            let lines = format!("{}\n{}", report.stdout, report.stderr);
            assert!(!lines.contains("panicked"), "{name}: {what}: {lines}");
            if report.code != Some(1) || !names(&name, &lines) {
                missed.push(format!("{name}: {what}: {:?}: {lines}", report.code));
            }
        }
        fs::write(&path, whole).unwrap();
    }
    assert_eq!(missed, Vec::<String>::new(), "{} of {count} damages", missed.len());
    small.is_whole().await;
    count
}

/// Whether a report names the object, by its whole name or the part of it that is its own.
fn names(object: &str, report: &str) -> bool {
    let own = object.rsplit('/').next().unwrap_or(object);
    report.contains(own) || report.contains(object)
}

#[tokio::test]
async fn every_damage_of_a_plain_store_is_reported() {
    let small = Small::new(Backup::new()).await;
    small.is_whole().await;
    let count = every_damage_is_reported(&small).await;
    assert!(count > 200, "only {count} damages");
}

#[tokio::test]
async fn every_damage_of_an_encrypted_store_is_reported() {
    let backup = Backup::new();
    let key = backup.path("key").display().to_string();
    let _ = Bygone::new(["key", "new", &key]).run().await.expect_code(0);
    let small = Small::new(backup.with("--key-file", key)).await;
    small.is_whole().await;
    let count = every_damage_is_reported(&small).await;
    assert!(count > 200, "only {count} damages");
}

/// An object that is gone altogether.
#[tokio::test]
async fn what_is_missing_is_reported_and_the_rest_restores() {
    let small = Small::new(Backup::new()).await;
    let all = objects(&small.backup.store());
    let before: Vec<String> = all.keys().cloned().collect();
    let ranges = |report: &Output| value(report)["ranges"].clone();
    let whole_ranges = ranges(&small.verify().run().await);
    let mut unneeded = Vec::new();
    for (name, path) in &all {
        // One policy stands for all before it; an epoch or the record of a groom is needed by nobody later.
        let needed = ["packs/", "/oplog/", "bygone.repository", "/timelines/"];
        if !needed.iter().any(|part| name.contains(part)) {
            continue;
        }
        let whole = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        let report = small.verify().run().await;
        // The beginning of the oplog may have expired: that is no damage, but less restores.
        let less = name.contains("/oplog/") && ranges(&report) != whole_ranges;
        if report.code == Some(0) && name.starts_with("packs/") {
            // Runs that a later snapshot took up are there until they are groomed.
            unneeded.push(path.clone());
            fs::write(path, whole).unwrap();
            continue;
        }
        assert!(report.code == Some(1) || less, "{name} is missing: {}", report.stdout);
        fs::write(path, whole).unwrap();
    }
    assert_eq!(objects(&small.backup.store()).into_keys().collect::<Vec<_>>(), before);
    small.is_whole().await;
    let packs = before.iter().filter(|name| name.starts_with("packs/")).count();
    assert!(
        unneeded.len() <= packs / 2,
        "{} of {packs} packs are said to be needless",
        unneeded.len()
    );
    unneeded.iter().for_each(|path| fs::remove_file(path).unwrap());
    small.is_whole().await;
    for mark in &small.marks {
        small.restores(&mark.at.unwrap().to_string(), mark).await;
    }
}

/// Each damage of a pack takes some snapshots and leaves others; what is left restores, what is lost is
/// refused with a line that names the object.
#[tokio::test]
async fn what_verify_says_restores_does() {
    let small = Small::new(Backup::new()).await;
    let whole = value(&small.verify().run().await.expect_code(0));
    let ids: Vec<String> = whole["good"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_str().unwrap().to_owned())
        .collect();
    let mut kinds = BTreeMap::new();
    for (name, path) in objects(&small.backup.store()) {
        let bytes = fs::read(&path).unwrap();
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 4;
        fs::write(&path, &damaged).unwrap();
        let report = small.verify().run().await;
        if report.code == Some(1) && !report.stdout.is_empty() {
            let report = value(&report);
            let list = |name: &str| report[name].as_array().unwrap().clone();
            let good: Vec<bool> =
                ids.iter().map(|id| list("good").contains(&(*id.clone()).into())).collect();
            let kind = (good, list("ranges").len());
            kinds.entry(kind).or_insert((name, path.clone(), damaged));
        }
        fs::write(&path, bytes).unwrap();
    }
    assert!(kinds.len() >= 3, "damages that take different things: {:?}", kinds.keys());
    let mut refused = 0;
    for ((good, _), (name, path, damaged)) in kinds {
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, damaged).unwrap();
        for (n, id) in ids.iter().enumerate() {
            if good[n] {
                small.restores(id, &small.marks[n]).await;
                continue;
            }
            let target = ReplicaSet::single(Version::V8_2).await;
            let restore = small.backup.restore(&target.uri(), id).arg("--verify").run().await;
            if restore.code == Some(0) {
                // What is damaged is something that a target has of its own: its version.
                let restored = Restored { target, output: restore };
                restored.equals((&small.client, Version::V8_2), &small.marks[n]).await;
                continue;
            }
            let line = told(&restore, 1);
            assert!(names(&name, &line), "{name} is not named: {line}");
            refused += 1;
        }
        fs::write(&path, bytes).unwrap();
    }
    assert!(refused > 0, "no damage of these lost anything");
    small.restores("latest", &small.marks[2]).await;
    // The source, too, is as it was: nothing above wrote to it.
    assert!(small.set.databases().await.contains("shop"));
}
