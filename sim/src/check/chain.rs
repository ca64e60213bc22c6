//! Slices have no gap and no fork, and hold only what a majority had.

use std::collections::BTreeMap;

use bygone_base::{OpTime, Result, Ts};
use bygone_snapshot::{PartStore, oplog};

use crate::world::World;

/// What is wrong with the stored slices.
pub async fn check(world: &World, part: &PartStore) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for timeline in part.timelines().await? {
        let mut all: BTreeMap<Ts, (OpTime, blake3::Hash)> = BTreeMap::new();
        let mut ends: Vec<(OpTime, OpTime)> = Vec::new();
        for name in oplog::names(part, timeline.id).await? {
            let Some(slice) = oplog::read(part, &name).await? else { continue };
            let decoded = slice.decode()?;
            ends.push((decoded.header().prev, decoded.header().last));
            for (at, raw) in decoded.entries() {
                let entry = (at, blake3::hash(raw));
                if let Some(other) = all.insert(at.ts, entry)
                    && other != entry
                {
                    broken.push(format!(
                        "timeline {}: {at} and {} are both stored",
                        timeline.id, other.0
                    ));
                }
                match world.set.committed(at) {
                    None => broken.push(format!("{at} is stored, but never had a majority")),
                    Some(there) if *there != *raw => {
                        broken.push(format!("{at} is stored with other bytes"))
                    }
                    Some(_) => {}
                }
            }
        }
        ends.sort_unstable();
        let Some((start, mut reached)) = ends.first().copied() else { continue };
        for (prev, last) in ends {
            if prev > reached {
                broken.push(format!(
                    "timeline {}: nothing between {reached} and {prev}",
                    timeline.id
                ));
            }
            reached = reached.max(last);
        }
        broken.extend(complete(world, start, reached, &all));
    }
    broken.truncate(3);
    Ok(broken)
}

/// Every entry of the source between the first slice and the last is stored.
fn complete(
    world: &World,
    start: OpTime,
    reached: OpTime,
    all: &BTreeMap<Ts, (OpTime, blake3::Hash)>,
) -> Option<String> {
    let log = world.set.log_with(reached)?;
    let missing = log.entries.iter().find(|e| {
        let within = e.at.ts > start.ts && e.at.ts <= reached.ts;
        within && !is_noop(&e.raw) && all.get(&e.at.ts).map(|(at, _)| *at) != Some(e.at)
    })?;
    Some(format!("{} lies between {start} and {reached}, but is not stored", missing.at))
}

/// Agents leave no-ops out, but for the last entry of a slice.
fn is_noop(entry: &[u8]) -> bool {
    bson::RawDocument::from_bytes(entry)
        .is_ok_and(|entry| entry.get_str("op").is_ok_and(|op| op == "n"))
}
