//! The door to other threads: work that keeps a processor busy.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::{Error, Result};

/// Does CPU work off the async threads; `what` names it should it be cut off.
///
/// A runtime of one thread does it in place: nobody else waits for that thread, and what runs
/// there comes out the same every time, which simulations rely on.
pub async fn run<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() != RuntimeFlavor::CurrentThread => handle
            .spawn_blocking(work)
            .await
            .map_err(|e| Error::internal(format!("{what} was cut off")).source(e)),
        _ => Ok(work()),
    }
}

/// What `future` gives; a panic within it becomes an error, which names `what`, so that it ends nothing else. What the
/// future held is dropped: it must not leave half of a change in what it shares with others.
///
/// # Errors
/// Internal: it panicked.
pub async fn guarded<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        match polled {
            Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panicked(what, &*panic))),
        }
    })
    .await
}

fn panicked(what: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Error::internal(format!("{what} panicked: {text}"))
        .hint("this is a bug: report it with what the log says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_nothing_else() {
        assert_eq!(guarded("it", async { 5 }).await.unwrap(), 5);
        let broken = async {
            tokio::task::yield_now().await;
            assert_eq!(2 + 2, 5, "broken");
        };
        let error = guarded("it", broken).await.unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Internal);
        assert!(error.message().starts_with("it panicked: ") && error.message().contains("broken"));
    }

    #[test]
    fn the_work_is_done_on_either_runtime() {
        let threads = || std::thread::current().id();
        let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(one.block_on(run("test", threads)).unwrap(), threads());
        let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert_ne!(many.block_on(run("test", threads)).unwrap(), threads());
    }
}
