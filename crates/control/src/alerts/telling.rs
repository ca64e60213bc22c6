//! Telling alerts. Each way is for itself: one that fails, or that nobody answers, is tried again ever more seldom, and
//! keeps nothing from the others, nor has them repeat what they told.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bygone_base::Result;
use bygone_catalog::{Id, record::Alert};
use futures::future::join_all;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::notify::Channel;
use crate::{Control, housekeeping::beside};

/// Alerts told at once by one way.
const AT_ONCE: usize = 8;
/// The first pause after a failure, and the longest.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// The ways, and how each fares.
#[derive(Default)]
pub(crate) struct Telling {
    ways: HashMap<String, Way>,
}

#[derive(Default)]
struct Way {
    tasks: JoinSet<()>,
    pace: Arc<Mutex<Pace>>,
}

/// When a way is tried again.
#[derive(Debug, Default)]
struct Pace {
    failures: u32,
    next: Duration,
    /// How often each alert failed: one that is refused again and again keeps none from being tried.
    refused: HashMap<Id, u32>,
}

impl Pace {
    /// After a round in which something failed, and perhaps something else `worked`.
    fn failed(&mut self, now: Duration, worked: bool) {
        if worked {
            self.failures = 0;
        }
        let pause = BACK_OFF.0.saturating_mul(1 << self.failures.min(10)).min(BACK_OFF.1);
        self.failures += 1;
        self.next = now + pause;
    }

    fn succeeded(&mut self) {
        *self = Pace::default();
    }
}

fn lock(pace: &Mutex<Pace>) -> MutexGuard<'_, Pace> {
    pace.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Telling {
    /// Begins to tell what was not told yet, by each way that is not at it and has not just failed. Waits for nobody.
    pub(crate) async fn step(
        &mut self,
        control: &Arc<Control>,
        stop: &CancellationToken,
    ) -> Result<()> {
        let channels = Channel::all(&control.settings().await?);
        let keys: Vec<String> = channels.iter().map(Channel::key).collect();
        self.ways.retain(|key, _| keys.contains(key));
        let untold = settle(control, &keys).await?;
        let now = control.clock().monotonic();
        for (channel, key) in channels.into_iter().zip(keys) {
            let way = self.ways.entry(key.clone()).or_default();
            let mine: Vec<Alert> =
                untold.iter().filter(|alert| !alert.told.contains(&key)).cloned().collect();
            if mine.is_empty() || lock(&way.pace).next > now {
                continue;
            }
            let (control, pace) = (control.clone(), Arc::clone(&way.pace));
            beside(&mut way.tasks, 1, stop, "telling alerts", move || async move {
                tell(&control, &channel, mine, &pace).await
            });
        }
        Ok(())
    }

    pub(crate) async fn stop(&mut self) {
        for way in self.ways.values_mut() {
            while way.tasks.join_next().await.is_some() {}
        }
    }
}

/// Notes which alerts everybody was told of; gives the others.
async fn settle(control: &Control, keys: &[String]) -> Result<Vec<Alert>> {
    let now = control.now();
    let mut untold = Vec::new();
    for alert in control.catalog().all::<Alert>(None).await? {
        if alert.notified.is_some() {
            continue;
        }
        if !keys.iter().all(|key| alert.told.contains(key)) {
            untold.push(alert);
            continue;
        }
        note(control, &alert, |kept| kept.notified = Some(now)).await?;
    }
    Ok(untold)
}

/// Notes something of an alert that still stands as it was told.
async fn note(control: &Control, told: &Alert, change: impl Fn(&mut Alert)) -> Result<()> {
    let noted = control.catalog().change::<Alert>(told.id.as_str(), |kept| {
        if kept.status == told.status {
            change(kept);
        }
        Ok(())
    });
    noted.await.map(|_| ())
}

/// Tells alerts by one way, some at once, until too many failed.
async fn tell(
    control: &Control,
    channel: &Channel,
    mut alerts: Vec<Alert>,
    pace: &Mutex<Pace>,
) -> Result<()> {
    {
        let pace = lock(pace);
        alerts.sort_by_key(|alert| pace.refused.get(&alert.id).copied().unwrap_or_default());
    }
    let key = channel.key();
    for some in alerts.chunks(AT_ONCE) {
        let tries = some.iter().map(|alert| async move { channel.tell(control, alert).await });
        let (mut failed, mut worked) = (false, false);
        for (alert, told) in some.iter().zip(join_all(tries).await) {
            if let Err(error) = told {
                tracing::warn!(alert = %alert.id, %error, "an alert could not be told");
                *lock(pace).refused.entry(alert.id.clone()).or_default() += 1;
                failed = true;
                continue;
            }
            worked = true;
            note(control, alert, |kept| kept.told.push(key.clone())).await?;
        }
        if failed {
            lock(pace).failed(control.clock().monotonic(), worked);
            return Ok(());
        }
    }
    lock(pace).succeeded();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_that_fails_is_tried_ever_more_seldom() {
        let mut pace = Pace::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            pace.failed(Duration::ZERO, false);
            pauses.push(pace.next.as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        pace.failed(Duration::ZERO, true);
        assert_eq!(pace.next.as_secs(), 5);
        pace.succeeded();
        assert_eq!(pace.next, Duration::ZERO);
    }
}
