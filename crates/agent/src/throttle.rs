//! A limit of bytes per second, shared by all scanners.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bygone_base::{ByteSize, Clock};

/// Spaces reads out so that they stay below a rate.
#[derive(Debug)]
pub(crate) struct Throttle {
    clock: Arc<dyn Clock>,
    per_second: Option<u64>,
    /// When what was taken so far is paid off.
    paid: Mutex<Duration>,
}

impl Throttle {
    /// No limit when `None` or zero.
    pub(crate) fn new(clock: Arc<dyn Clock>, limit: Option<ByteSize>) -> Self {
        let per_second = limit.map(|l| l.0).filter(|l| *l > 0);
        Throttle { clock, per_second, paid: Mutex::new(Duration::ZERO) }
    }

    fn wait(&self, bytes: u64) -> Option<Duration> {
        let per_second = self.per_second?;
        let now = self.clock.monotonic();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(now) + Duration::from_secs_f64(bytes as f64 / per_second as f64);
        paid.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// Waits until so many bytes more are within the limit.
    pub(crate) async fn take(&self, bytes: u64) {
        if let Some(wait) = self.wait(bytes) {
            self.clock.sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use bygone_base::SystemClock;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_holds_over_all_takers() {
        let clock = Arc::new(SystemClock::new());
        let throttle = Throttle::new(clock.clone(), Some(ByteSize(1000)));
        let start = clock.monotonic();
        let four = futures::future::join_all((0..4).map(|_| throttle.take(500)));
        four.await;
        let took = clock.monotonic() - start;
        assert!((1.9..2.1).contains(&took.as_secs_f64()), "{took:?}");
        Throttle::new(clock.clone(), None).take(1 << 40).await;
        assert!((clock.monotonic() - start) < Duration::from_secs(3));
    }
}
