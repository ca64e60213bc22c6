//! Applying a retention policy: manifests, then slices. Packs are the groom's.

use bygone_base::{Result, Ts, UnixMillis};
use bygone_ingest::Ingest;
use bygone_oplog::uplink::PartKey;
use bygone_snapshot::{
    Parts, Policy, histories,
    list::{ends, history_of},
    retention::{Candidate, Expiry, Kept, plan},
    timeline::includes,
};

/// Expires what `policy` does not keep, with the stored oplog ending at `end` and our clock showing `now`. Returns what
/// was done.
///
/// # Errors
/// Damaged when a manifest cannot be read: nothing is expired by a list that is not whole.
pub async fn keep(
    ingest: &Ingest,
    key: &PartKey,
    parts: &Parts,
    policy: &Policy,
    end: Ts,
    now: UnixMillis,
) -> Result<Expiry> {
    let Parts { snapshots: part, oplog: oplog_part } = parts;
    let keeps = part.keeps().await?;
    let timelines = oplog_part.timelines().await?;
    let histories = histories(&timelines);
    let candidates: Vec<Candidate> = part
        .manifests()
        .await?
        .into_iter()
        .map(|m| Candidate {
            kept: Kept::of(keeps.get(&m.id)),
            history: histories.iter().position(|h| includes(h, m.timeline, m.at)),
            id: m.id,
            at: m.at.ts,
            replay_from: m.replay_from,
        })
        .collect();
    let expiry = plan(&candidates, &ends(&timelines, &histories), policy, end, now);
    for id in &expiry.expire {
        part.expire(id).await?;
    }
    if !expiry.slices_before.is_empty() {
        let before = |timeline| {
            let history = history_of(&histories, timeline)?;
            expiry.slices_before.get(history).copied()
        };
        ingest.expire_each(key, before).await?;
    }
    Ok(expiry)
}
