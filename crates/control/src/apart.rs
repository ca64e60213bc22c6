//! Async work on a thread of its own. What reads whole stores and fills servers holds its processor for long
//! stretches, and its futures cannot be moved between threads.

use bygone_base::{Result, work};
use tokio::runtime::Handle;

/// Runs the future that `make` gives to its end. Needs a runtime of several threads.
pub(crate) async fn run<T: Send + 'static, F: Future<Output = T>>(
    what: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<T> {
    let handle = Handle::current();
    work::apart(what, move || handle.block_on(make())).await
}
