//! A restore that runs while snapshots expire and packs are groomed reads to its end.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bygone_base::{Clock, Result, When};
use bygone_head::{Choice, View, ViewOptions, choose};
use bygone_snapshot::PartStore;
use bygone_tree::KeyRange;
use tokio::task::JoinSet;

use super::ranges::truth;
use crate::{clock::SimClock, replica::Moment, world::World};

/// Readers that run.
#[derive(Default)]
pub struct Readers {
    tasks: JoinSet<()>,
    broken: Arc<Mutex<Vec<String>>>,
}

impl Readers {
    /// Starts one now and then; says what went wrong with those that run.
    pub async fn tend(&mut self, world: &World) {
        while self.tasks.try_join_next().is_some() {}
        self.report(world);
        if self.tasks.len() < 2
            && world.dice.hits(30)
            && let Some(part) = world.part().await
        {
            self.start(world, part).await;
        }
    }

    /// Waits for all of them.
    pub async fn finish(&mut self, world: &World) {
        while self.tasks.join_next().await.is_some() {}
        self.report(world);
    }

    fn report(&self, world: &World) {
        let broken =
            std::mem::take(&mut *self.broken.lock().unwrap_or_else(PoisonError::into_inner));
        broken.into_iter().for_each(|what| world.find(format!("reader: {what}")));
    }

    async fn start(&mut self, world: &World, part: PartStore) {
        let clock = Arc::clone(&world.clock);
        let lease =
            bygone_groom::lease::hold(part.repository(), clock.clone(), "a simulated restore")
                .await;
        let Ok(choice) = choose(&part, &part, &When::Latest).await else {
            if let Ok(Some(lease)) = lease {
                lease.release().await;
            }
            return;
        };
        let again = choice.clone();
        // A cache of nothing: every block is read from the store when it is needed.
        let options = ViewOptions { cache: 1, ..ViewOptions::default() };
        world
            .trace
            .say("reader", format_args!("opens {} of snapshot {}", choice.at, choice.manifest.id));
        let (at, view) = match View::of(&part, &part, choice, options, clock.clone()).await {
            Ok(view) => (view.at, Ok(view)),
            Err(e) => (again.at, Err(e)),
        };
        // The newest moment may be undecided: the view says which one it shows.
        let Ok(Some(truth)) = truth(world, &part, &Choice { at, ..again }).await else { return };
        let (broken, pause) =
            (Arc::clone(&self.broken), Duration::from_millis(world.dice.between(100, 20_000)));
        let trace = world.trace.clone();
        self.tasks.spawn(async move {
            let done = match view {
                Ok(view) => read(&view, &truth, &clock, pause).await,
                Err(e) => Err(e),
            };
            if let Ok(Some(lease)) = lease {
                lease.release().await;
            }
            trace.say("reader", format_args!("ends with {at}: {}", done.is_ok()));
            if let Err(e) = done {
                broken
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(format!("at {at}: {:?} {e}", e.kind()));
            }
        });
    }
}

async fn read(view: &View, truth: &Moment, clock: &SimClock, pause: Duration) -> Result<()> {
    for (id, held) in &truth.collections {
        clock.sleep(pause).await;
        let mut merge = view.merge(*id, KeyRange::all()).await?;
        let mut docs = Vec::new();
        while let Some(piece) = merge.next().await? {
            docs.extend(piece.docs().map(<[u8]>::to_vec));
            clock.sleep(pause).await;
        }
        let same = docs.iter().map(Vec::as_slice).eq(held.docs.iter().map(|doc| &**doc));
        if !same && !held.meta.capped() {
            let what = format!(
                "{}: {} documents are not the {} there were",
                held.meta.ns(),
                docs.len(),
                held.docs.len()
            );
            return Err(bygone_base::Error::internal(what));
        }
    }
    Ok(())
}
