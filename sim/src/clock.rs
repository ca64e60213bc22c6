//! Clocks of the simulated machines: one virtual time, a wall clock each.

use std::{
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::Duration,
};

use async_trait::async_trait;
use bygone_base::{Clock, SystemClock, UnixMillis};

/// Where the simulated wall clocks begin, milliseconds since 1970.
pub const EPOCH: i64 = 1_800_000_000_000;

/// A machine's clock on the runtime's paused time; its wall clock can be set.
#[derive(Debug, Default)]
pub struct SimClock {
    virtual_time: SystemClock,
    /// Milliseconds that the wall clock is wrong by.
    off: AtomicI64,
}

impl SimClock {
    /// A clock that is right. To be made at the beginning of a simulation.
    pub fn new() -> SimClock {
        SimClock::default()
    }

    /// Sets the wall clock forward or back, as an operator or a time service does.
    pub fn step(&self, millis: i64) {
        self.off.fetch_add(millis, Relaxed);
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(EPOCH + self.monotonic().as_millis() as i64 + self.off.load(Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.virtual_time.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        self.virtual_time.sleep(duration).await;
    }
}
