//! Conditions, polled a bounded number of times.

use std::{fmt::Display, future::Future, time::Duration};

use bygone_base::{Clock, SystemClock};

/// How long a step that takes well under a second on an idle machine may take
/// on a loaded one.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `condition` until it gives a value; panics with `what` after `limit`.
pub async fn until<T, F>(what: impl Display, limit: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    match within(limit, &mut condition).await {
        Some(value) => value,
        None => panic!("waited {limit:?} in vain for {what}"),
    }
}

/// Polls `condition` until it gives a value, or gives up after `limit`.
pub async fn within<T, F>(limit: Duration, mut condition: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let clock = SystemClock::new();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(value) = condition().await {
            return Some(value);
        }
        if clock.monotonic() >= limit {
            return None;
        }
        clock.sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_the_value_once_it_is_there() {
        let mut tries = 0;
        let value = until("three tries", PATIENCE, || {
            tries += 1;
            let now = tries;
            async move { (now == 3).then_some(now) }
        })
        .await;
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn gives_up_at_the_limit() {
        let never = within(Duration::from_millis(20), || async { None::<()> }).await;
        assert!(never.is_none());
    }
}
