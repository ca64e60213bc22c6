//! One checker per promise. They read the store itself, without faults, while everything else
//! stands still.

pub mod chain;
pub mod durable;
pub mod fence;
pub mod groom;
pub mod model;
pub mod ranges;
pub mod readers;

use std::time::Duration;

use bygone_base::{OpTime, Result, Ts};
use bygone_snapshot::{
    Manifest, PartStore, histories,
    timeline::{Stretch, includes},
};

use crate::world::World;

/// Everything that can be checked at any moment.
pub async fn now(world: &World) {
    let Some(part) = world.part().await else { return };
    let checks = [
        ("durable", durable::check(world, &part).await),
        ("chain", chain::check(world, &part).await),
        ("ranges", ranges::check(world, &part).await),
    ];
    for (name, done) in checks {
        match done {
            Ok(broken) => broken.into_iter().for_each(|what| world.find(format!("{name}: {what}"))),
            Err(e) => world.find(format!("{name}: cannot be checked: {:?} {e}", e.kind())),
        }
    }
    if world.found().is_empty() {
        report(world, "groom", groom::check(world, &part).await);
    }
}

/// What must hold when everything has come to rest.
pub async fn end(world: &mut World) {
    // Leases of readers that were cut off count for an hour.
    world.pass(Duration::from_secs(3700)).await;
    let Some(part) = world.part().await else { return };
    if world.found().is_empty() {
        report(world, "groom at the end", groom::frees(world, &part).await);
    }
}

fn report(world: &World, name: &str, done: Result<Vec<String>>) {
    match done {
        Ok(broken) => broken.into_iter().for_each(|what| world.find(format!("{name}: {what}"))),
        Err(e) => world.find(format!("{name}: {:?} {e}", e.kind())),
    }
}

/// The history that is being continued.
pub async fn current(part: &PartStore) -> Result<Vec<Stretch>> {
    Ok(histories(&part.timelines().await?).into_iter().next().unwrap_or_default())
}

/// The manifests of a history.
pub async fn manifests(part: &PartStore, history: &[Stretch]) -> Result<Vec<Manifest>> {
    let mut all = part.manifests().await?;
    all.retain(|m| includes(history, m.timeline, m.at));
    Ok(all)
}

/// The newest manifest of the history that is being continued.
pub async fn newest_of_current(part: &PartStore) -> Option<Manifest> {
    let history = current(part).await.ok()?;
    manifests(part, &history).await.ok()?.pop()
}

/// The stored entries of a history from its first slice that can be read on from `from`.
pub async fn entries(
    part: &PartStore,
    history: &[Stretch],
    from: OpTime,
) -> Result<Vec<(OpTime, blake3::Hash)>> {
    let mut walk = bygone_snapshot::oplog::OplogWalk::new(part.clone(), history, from)?;
    let mut all = Vec::new();
    while let Some(portion) = walk.next().await? {
        all.extend(portion.entries()?.map(|(at, raw)| (at, blake3::hash(raw))));
    }
    Ok(all)
}

/// The last of `entries` at or before `at`.
pub fn last_at(entries: &[(OpTime, blake3::Hash)], at: Ts) -> Option<OpTime> {
    let n = entries.partition_point(|(entry, _)| entry.ts <= at);
    n.checked_sub(1).map(|i| entries[i].0)
}
