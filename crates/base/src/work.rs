//! The door to other threads: work that keeps a processor busy.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_done_on_either_runtime() {
        let threads = || std::thread::current().id();
        let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(one.block_on(run("test", threads)).unwrap(), threads());
        let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        assert_ne!(many.block_on(run("test", threads)).unwrap(), threads());
    }
}
