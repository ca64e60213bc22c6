//! Acknowledged is durable: what was acknowledged and is still needed is stored, byte for byte.

use bygone_base::{OpTime, Result, UnixMillis};
use bygone_snapshot::{
    PartStore,
    retention::{Candidate, Kept, plan},
};

use super::{current, entries, manifests};
use crate::world::World;

/// What is missing.
pub async fn check(world: &World, part: &PartStore) -> Result<Vec<String>> {
    let history = current(part).await?;
    let Some(first) = history.first() else { return Ok(Vec::new()) };
    let kept = manifests(part, &history).await?;
    if kept.is_empty() && !part.manifests().await?.is_empty() {
        // The source went back before every snapshot: a resync follows.
        return Ok(Vec::new());
    }
    let acknowledged =
        world.ledger.lock().entries.values().filter_map(|of| of.keys().next_back().copied()).max();
    // More may be stored than anybody knows to be: its acknowledgement was lost. Windows end where the store does.
    let end = acknowledged.max(kept.iter().map(|m| m.at.ts).max());
    let candidates: Vec<Candidate> = kept
        .iter()
        .map(|m| Candidate {
            id: m.id.clone(),
            at: m.at.ts,
            replay_from: m.replay_from,
            kept: Kept::ByPolicy,
            history: Some(0),
        })
        .collect();
    let from: OpTime = plan(
        &candidates,
        &[None],
        &world.plan.job.terms.policy,
        end.unwrap_or_default(),
        UnixMillis(0),
    )
    .slices_before
    .first()
    .copied()
    .unwrap_or(first.after);
    let stored = entries(part, &history, from).await?;
    let mut broken = Vec::new();
    let promises = world.ledger.lock();
    for stretch in &history {
        let Some(of) = promises.entries.get(&stretch.timeline) else { continue };
        for (ts, (at, hash)) in of.range(from.ts..) {
            let void = stretch.until.is_some_and(|until| *ts > until.ts);
            if *ts == from.ts || void {
                continue;
            }
            match stored.binary_search_by_key(ts, |(at, _)| at.ts) {
                Ok(i) if stored[i] == (*at, *hash) => {}
                Ok(i) => broken.push(format!("{at} was acknowledged, {} is stored", stored[i].0)),
                Err(_) => broken.push(format!(
                    "{at} of timeline {} was acknowledged and is not stored",
                    stretch.timeline
                )),
            }
        }
    }
    broken.truncate(3);
    Ok(broken)
}
