//! Applying a retention policy: manifests, then slices. Packs are the groom's.

use bygone_base::{Result, Ts};
use bygone_ingest::Ingest;
use bygone_oplog::uplink::PartKey;
use bygone_snapshot::{
    PartStore, Policy, histories,
    retention::{Candidate, Expiry, plan},
    timeline::includes,
};

/// Expires what `policy` does not keep, with the stored oplog ending at `end`. Returns what was done.
pub async fn keep(
    ingest: &Ingest,
    key: &PartKey,
    part: &PartStore,
    oplog_part: &PartStore,
    policy: &Policy,
    end: Ts,
) -> Result<Expiry> {
    let pins = part.pins().await?;
    let history = histories(&oplog_part.timelines().await?).into_iter().next().unwrap_or_default();
    let candidates: Vec<Candidate> = part
        .manifests()
        .await?
        .into_iter()
        .map(|m| Candidate {
            pinned: pins.contains(&m.id),
            current: includes(&history, m.timeline, m.at),
            id: m.id,
            at: m.at.ts,
            replay_from: m.replay_from,
        })
        .collect();
    let expiry = plan(&candidates, policy, end);
    for id in &expiry.expire {
        part.expire(id).await?;
    }
    if let Some(before) = expiry.slices_before {
        ingest.expire(key, before).await?;
    }
    Ok(expiry)
}
