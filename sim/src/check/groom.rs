//! Groom keeps what is reachable and in the end frees what is not.

use std::sync::Arc;

use bygone_base::{Clock, Result};
use bygone_groom::{GroomOptions, groom, verify, verify::Depth};
use bygone_snapshot::PartStore;

use crate::world::World;

/// Damage, if any.
pub async fn check(world: &World, part: &PartStore) -> Result<Vec<String>> {
    let clock: Arc<dyn Clock> = world.clock.clone();
    let report = verify(part, part, Depth::Full, clock, |_, _, _| {}).await?;
    let mut broken = report.damage;
    broken.extend(report.bad.into_iter().map(|(id, why)| format!("snapshot {id} is bad: {why}")));
    broken.truncate(3);
    Ok(broken)
}

/// With everything expired but the newest snapshot, what is left is what that needs.
pub async fn frees(world: &World, part: &PartStore) -> Result<Vec<String>> {
    let mut manifests = part.manifests().await?;
    let Some(newest) = super::newest_of_current(part).await else { return Ok(Vec::new()) };
    manifests.retain(|m| m.id != newest.id);
    for manifest in manifests {
        part.expire(&manifest.id).await?;
    }
    let options = GroomOptions { delay_ms: 0, dry_run: None };
    let mut last = groom(part.repository(), &[], options).await?;
    for _ in 0..4 {
        let broken = check(world, part).await?;
        if !broken.is_empty() {
            return Ok(broken);
        }
        last = groom(part.repository(), &[], options).await?;
    }
    world.trace.say("check", &last);
    let mut broken = Vec::new();
    if last.deleted > 0 || last.rewritten > 0 || last.waiting > 0 {
        broken.push(format!("grooms never come to an end: {last}"));
    }
    // Packs stay when half of them lives; the rest is headers and tables.
    if last.bytes > last.living * 2 + 400 * last.packs {
        broken.push(format!("too much is left: {last}"));
    }
    Ok(broken)
}
