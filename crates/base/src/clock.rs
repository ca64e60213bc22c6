//! The door to time. Everything that needs the time or waits takes a
//! `&dyn Clock`; the simulator passes its own.

use std::{fmt, time::Duration};

use async_trait::async_trait;

use crate::UnixMillis;

/// Time as the rest of the system sees it.
#[async_trait]
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall-clock time. May step back and forth; never use it to order data.
    fn now(&self) -> UnixMillis;

    /// Time that only goes forward, for durations; its origin is arbitrary.
    fn monotonic(&self) -> Duration;

    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// The real clock.
#[derive(Debug)]
pub struct SystemClock {
    origin: tokio::time::Instant,
}

impl SystemClock {
    /// The real clock; `monotonic` counts from now.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub fn new() -> Self {
        SystemClock { origin: tokio::time::Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn now(&self) -> UnixMillis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        UnixMillis(since.map_or(0, |d| d.as_millis() as i64))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
