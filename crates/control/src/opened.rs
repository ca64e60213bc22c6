//! Stores that this process has opened. One that does not answer keeps only those waiting who need it, and not for ever.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bygone_base::{Clock, Error, ErrorKind, Result};
use bygone_blockstore::Repository;
use tokio::{
    sync::{Mutex as Slot, oneshot},
    task::JoinSet,
};

/// A store that is being opened is waited for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Repositories by the ids of their stores. Deriving a key is slow on purpose, so each is opened once.
#[derive(Debug, Default)]
pub(crate) struct Opened {
    slots: Mutex<HashMap<String, Arc<Slot<Option<Repository>>>>>,
    /// They go on when those who wait give up: to open a store that hangs again and again would take a thread each time.
    opening: Mutex<JoinSet<()>>,
}

impl Opened {
    /// The repository of a store that is open.
    pub(crate) fn known(&self, id: &str) -> Option<Repository> {
        lock(&self.slots).get(id)?.try_lock().ok()?.clone()
    }

    /// The repository of a store, opened by `open` where it is not yet.
    ///
    /// # Errors
    /// What opening gives. Unavailable: that takes too long.
    pub(crate) async fn get(
        &self,
        id: &str,
        clock: &dyn Clock,
        open: impl Future<Output = Result<Repository>> + Send + 'static,
    ) -> Result<Repository> {
        let slot = Arc::clone(lock(&self.slots).entry(id.to_owned()).or_default());
        let opened = async {
            let mut slot = slot.lock_owned().await;
            if let Some(opened) = &*slot {
                return Ok(opened.clone());
            }
            let (tell, told) = oneshot::channel();
            self.spawn(async move {
                let opened = open.await;
                *slot = opened.as_ref().ok().cloned();
                drop(slot);
                // Whoever asked may have given up.
                drop(tell.send(opened));
            });
            told.await.map_err(|e| Error::internal("a store's opening was cut off").source(e))?
        };
        tokio::select! {
            biased;
            opened = opened => opened,
            () = clock.sleep(PATIENCE) => {
                let slow = format!("store {id} does not answer");
                Err(Error::new(ErrorKind::Unavailable, slow).hint("is its disk or its server there?"))
            }
        }
    }

    fn spawn(&self, opening: impl Future<Output = ()> + Send + 'static) {
        let mut all = lock(&self.opening);
        while all.try_join_next().is_some() {}
        all.spawn(opening);
    }

    /// Puts one that was opened otherwise in the place of what was there.
    pub(crate) fn put(&self, id: &str, opened: Repository) {
        lock(&self.slots).insert(id.to_owned(), Arc::new(Slot::new(Some(opened))));
    }

    /// The next one to ask opens it anew.
    pub(crate) fn forget(&self, id: &str) {
        lock(&self.slots).remove(id);
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use bygone_base::{SeededRng, SystemClock};
    use bygone_blockstore::MemoryStore;

    use super::*;

    async fn memory() -> Result<Repository> {
        let clock = Arc::new(SystemClock::new());
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Repository::create(store, None, Arc::new(SeededRng::new(1)), clock.as_ref()).await
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_is_opened_once_and_holds_nobody_else_up() {
        let (opened, clock) = (Opened::default(), SystemClock::new());
        let (answer, hangs) = oneshot::channel::<()>();
        let slow = async move {
            hangs.await.unwrap();
            memory().await
        };
        let error = opened.get("slow", &clock, slow).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let began = clock.monotonic();
        opened.get("quick", &clock, memory()).await.unwrap();
        assert_eq!(clock.monotonic(), began);
        let again = async { unreachable!("it is being opened") };
        opened.get("slow", &clock, again).await.unwrap_err();
        answer.send(()).unwrap();
        let again = async { unreachable!("it is opened") };
        let there = opened.get("slow", &clock, again).await.unwrap();
        let same = async { unreachable!("it is opened") };
        assert_eq!(opened.get("slow", &clock, same).await.unwrap().id(), there.id());
        opened.forget("slow");
        opened.get("slow", &clock, async { Err(Error::usage("gone")) }).await.unwrap_err();
        opened.get("slow", &clock, memory()).await.unwrap();
    }
}
