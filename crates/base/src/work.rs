//! The door to other threads: work that keeps a processor busy, and what must or may wait by itself.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, LazyLock, Mutex, PoisonError, mpsc},
    task::Poll,
    thread,
};

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::oneshot,
};

use crate::{Error, Result};

/// Does CPU work off the async threads, on as many threads as there are processors; `what` names it should it be cut off.
/// It must wait for nothing: see [`apart`] for that.
///
/// A runtime of one thread does it in place: nobody else waits for that thread, and what runs
/// there comes out the same every time, which simulations rely on.
pub async fn run<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if !has_threads() {
        return Ok(work());
    }
    match &*BUSY {
        Ok(workers) => workers.run(what, work).await,
        Err(error) => Err(Error::internal(error.to_string())),
    }
}

/// Does work on a thread that ends with it: what may stand still for long takes no turn from others.
///
/// A runtime of one thread does it in place, as in [`run`].
///
/// # Errors
/// Internal: it panicked, or there is no thread for it.
pub async fn apart<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if !has_threads() {
        return Ok(work());
    }
    handed(what, work, |task| thread(what, task)).await
}

/// Waits for what `work` gives, which `hand` takes to another thread.
async fn handed<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
    hand: impl FnOnce(Task) -> Result<()>,
) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    hand(Box::new(move || {
        // Nobody may wait any more.
        let _ = sender.send(work());
    }))?;
    receiver.await.map_err(|e| Error::internal(format!("{what} was cut off")).source(e))
}

/// Starts a thread, of whose name the system keeps the first 15 bytes.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the door to threads that are not the runtime's"
)]
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(|_| ()).map_err(|e| Error::io(format!("start a thread for {name}"), e))
}

/// Whether the runtime has threads beside the one that asks.
fn has_threads() -> bool {
    Handle::try_current().is_ok_and(|h| h.runtime_flavor() != RuntimeFlavor::CurrentThread)
}

type Task = Box<dyn FnOnce() + Send>;

/// Threads that do what they are given in its order, for what must not wait until one of all is free.
pub struct Workers {
    queue: mpsc::Sender<Task>,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Workers")
    }
}

impl Workers {
    /// Starts so many; they end when this is dropped and everything is done.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(name: &str, threads: usize) -> Result<Workers> {
        let (queue, tasks) = mpsc::channel::<Task>();
        let tasks = Arc::new(Mutex::new(tasks));
        for _ in 0..threads.max(1) {
            let tasks = Arc::clone(&tasks);
            thread(name, move || {
                while let Some(task) = next(&tasks) {
                    // What panics is told to who waits for it, and ends nothing else.
                    let _ = catch_unwind(AssertUnwindSafe(task));
                }
            })?;
        }
        Ok(Workers { queue })
    }

    /// Does `work` there, behind what was given to it before; in place where the runtime has one thread only.
    ///
    /// # Errors
    /// Internal: it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        what: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if !has_threads() {
            return Ok(work());
        }
        // Where the threads are gone the task is dropped, and whoever waits is told.
        let hand = |task| {
            let _ = self.queue.send(task);
            Ok(())
        };
        handed(what, work, hand).await
    }
}

/// Waits for a task; `None`: there will be none.
fn next(tasks: &Mutex<mpsc::Receiver<Task>>) -> Option<Task> {
    tasks.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// As many as there are processors. Of the runtime's own threads for blocking work there may be dozens, and each that once decoded a
/// slice or sorted a run keeps memory for the next time.
static BUSY: LazyLock<Result<Workers>> = LazyLock::new(|| {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    Workers::start("work", threads.max(2))
});

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

    #[test]
    fn a_worker_goes_on_after_a_panic_and_keeps_the_order() {
        let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let worker = Workers::start("test", 1).unwrap();
        let name = || thread::current().name().map(str::to_owned);
        many.block_on(async {
            assert_eq!(worker.run("it", name).await.unwrap().as_deref(), Some("test"));
            let broken = worker.run("it", || assert_eq!(2 + 2, 5)).await.unwrap_err();
            assert!(broken.message().contains("it was cut off"), "{broken}");
            assert_eq!(worker.run("it", || 7).await.unwrap(), 7);
            assert_eq!(apart("apart", name).await.unwrap().as_deref(), Some("apart"));
            assert!(apart("apart", || assert_eq!(2 + 2, 5)).await.is_err());
        });
        let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let here = thread::current().id();
        assert_eq!(one.block_on(worker.run("it", || thread::current().id())).unwrap(), here);
    }
}
