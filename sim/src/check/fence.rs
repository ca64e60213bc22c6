//! A stale owner is fenced: once a higher epoch was given, the old one soon gets nothing acknowledged.

use std::time::Duration;

use crate::ledger::Promises;

/// How long a fenced writer may go on without being told: `bygone_ingest::Options::fence_check`,
/// and the time that a call may take.
const GRACE: Duration = Duration::from_secs(10);

/// A slice that was sent at `sent` under `epoch` was acknowledged.
pub fn acknowledged(promises: &mut Promises, epoch: u64, sent: Duration) {
    let later = promises.epochs.range(epoch + 1..).next().map(|(epoch, at)| (*epoch, *at));
    if let Some((higher, given)) = later
        && sent > given + GRACE
    {
        promises.broken.push(format!(
            "a slice of epoch {epoch} sent at {sent:?} was acknowledged, but epoch {higher} was given at {given:?}"
        ));
    }
}
