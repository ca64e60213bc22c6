//! Whether the source still has the history that was stored.

use bygone_base::{OpTime, Result};

use crate::source::Member;

/// What became of our chain on the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Its end is there: nothing happened.
    Intact,
    /// The source's history left ours after this entry (rollback, an older
    /// data directory put back).
    Fork(OpTime),
    /// The oplog begins after our end: entries are lost.
    RolledOver {
        /// Its oldest entry.
        oldest: OpTime,
    },
    /// Another history without a common entry that we know.
    Lost,
}

/// Looks for the newest common entry. Only to be called after a majority read
/// passed our end without showing it: members that are merely behind prove nothing.
pub async fn judge(member: &dyn Member, chain: OpTime, recent: &[OpTime]) -> Result<Verdict> {
    if member.entry_at(chain.ts).await? == Some(chain) {
        return Ok(Verdict::Intact);
    }
    let Some(oldest) = member.oldest_entry().await? else { return Ok(Verdict::Lost) };
    let mut known = recent.to_vec();
    known.sort_by(|a, b| b.cmp(a));
    for entry in known.into_iter().filter(|entry| entry.ts < chain.ts || entry.term != chain.term) {
        if entry.ts < oldest.ts {
            break;
        }
        if member.entry_at(entry.ts).await? == Some(entry) {
            return Ok(Verdict::Fork(entry));
        }
    }
    if oldest.ts > chain.ts { Ok(Verdict::RolledOver { oldest }) } else { Ok(Verdict::Lost) }
}
