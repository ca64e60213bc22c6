//! Compaction and expiry, interrupted at every step.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bygone_base::{Clock as _, Error, ErrorKind, Result, SeededRng};
use bygone_blockstore::{ObjectKind, ObjectStat, Put, Repository, Store};
use bygone_oplog::{
    names::SliceName,
    uplink::{Ack, SessionRef, Uplink as _},
};
use bytes::Bytes;

use super::support::{World, at, slice};
use crate::{
    Ingest,
    compact::{CompactOptions, Compacted},
};

/// Everything fails from the `left`-th change of the store on; the change at
/// which it fails is done or not.
#[derive(Debug)]
struct DiesAt {
    inner: Arc<dyn Store>,
    left: AtomicU64,
    last_is_done: bool,
}

impl DiesAt {
    fn step(&self) -> Step {
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
            Ok(n) if n > 1 => Step::Lives,
            Ok(_) if self.last_is_done => Step::DiesAfter,
            _ => Step::Dead,
        }
    }

    fn alive(&self) -> Result<()> {
        if self.left.load(Ordering::SeqCst) == 0 { Err(dead()) } else { Ok(()) }
    }
}

#[derive(PartialEq)]
enum Step {
    Lives,
    DiesAfter,
    Dead,
}

fn dead() -> Error {
    Error::new(ErrorKind::Unavailable, "the process is dead")
}

#[async_trait]
impl Store for DiesAt {
    async fn put_new(&self, name: &str, body: Bytes) -> Result<Put> {
        let step = self.step();
        if step == Step::Dead {
            return Err(dead());
        }
        let put = self.inner.put_new(name, body).await;
        if step == Step::DiesAfter { Err(dead()) } else { put }
    }

    async fn get(&self, name: &str) -> Result<Bytes> {
        self.alive()?;
        self.inner.get(name).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        self.alive()?;
        self.inner.get_range(name, range).await
    }

    async fn get_tail(&self, name: &str, max: u64) -> Result<(Bytes, u64)> {
        self.alive()?;
        self.inner.get_tail(name, max).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectStat> {
        self.alive()?;
        self.inner.stat(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectStat>> {
        self.alive()?;
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, name: &str) -> Result<()> {
        let step = self.step();
        if step == Step::Dead {
            return Err(dead());
        }
        let deleted = self.inner.delete(name).await;
        if step == Step::DiesAfter { Err(dead()) } else { deleted }
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

/// A server that dies at its `k`-th change.
async fn dying(w: &World, k: u64, last_is_done: bool) -> Arc<Ingest> {
    let inner = Arc::clone(&w.store);
    let store = Arc::new(DiesAt { inner, left: AtomicU64::new(k), last_is_done });
    let repo = Repository::open(store, None, Arc::new(SeededRng::new(k))).await.unwrap();
    w.ingest_over(repo, k)
}

fn options() -> CompactOptions {
    CompactOptions { min_count: 3, min_age: Duration::from_secs(60), ..CompactOptions::default() }
}

/// Ten slices of two entries, old enough.
async fn ten(w: &World) -> (Arc<Ingest>, SessionRef) {
    let ingest = w.ingest();
    let s = w.begun(&ingest, "a").await;
    for n in 0..10 {
        ingest.oplog_slice(&s, slice(n * 2, n * 2 + 2)).await.unwrap();
    }
    w.clock.pass(100);
    (ingest, s)
}

#[tokio::test]
async fn small_slices_become_one_and_the_chain_goes_on() {
    let w = World::new().await;
    let (ingest, s) = ten(&w).await;
    let before = w.entries(s.timeline, at(0)).await;
    let done = ingest.compact(&w.key, w.clock.now(), &options()).await.unwrap();
    assert_eq!(done, Compacted { merged: 9, written: 1, leftovers: 0 });
    assert_eq!(w.slice_names(s.timeline).await.len(), 2);
    assert_eq!(w.entries(s.timeline, at(0)).await, before);
    assert_eq!(w.entries(s.timeline, at(7)).await, before[7..]);
    // What was merged is known as stored, and the chain goes on; also after a restart.
    assert_eq!(ingest.oplog_slice(&s, slice(4, 6)).await.unwrap(), Ack::AlreadyStored);
    ingest.oplog_slice(&s, slice(20, 21)).await.unwrap();
    let again = w.ingest();
    let s2 = w.session(&w.open(&again, "a").await);
    again.oplog_slice(&s2, slice(21, 22)).await.unwrap();
    assert_eq!(w.entries(s.timeline, at(0)).await.len(), 22);
    assert_eq!(
        again.compact(&w.key, w.clock.now(), &options()).await.unwrap(),
        Compacted::default()
    );
}

#[tokio::test]
async fn a_compaction_that_dies_at_any_step_loses_nothing_and_is_finished_later() {
    for k in 1..=11 {
        for last_is_done in [false, true] {
            let w = World::new().await;
            let (ingest, s) = ten(&w).await;
            let before = w.entries(s.timeline, at(0)).await;
            let dying = dying(&w, k, last_is_done).await;
            let died = dying.compact(&w.key, w.clock.now(), &options()).await;
            assert!(died.is_err() || k > 10, "step {k}");
            for from in [0, 5, 13] {
                assert_eq!(w.entries(s.timeline, at(from)).await, before[from as usize..]);
            }
            w.open(&w.ingest(), "a").await;
            w.clock.pass(100);
            ingest.compact(&w.key, w.clock.now(), &options()).await.unwrap();
            ingest.compact(&w.key, w.clock.now(), &options()).await.unwrap();
            assert_eq!(w.slice_names(s.timeline).await.len(), 2, "step {k}");
            assert_eq!(w.entries(s.timeline, at(0)).await, before);
        }
    }
}

/// A put that took minutes may come under a name that was freed meanwhile.
#[tokio::test]
async fn overlapping_slices_of_one_history_are_merged_away() {
    let w = World::new().await;
    let (ingest, s) = ten(&w).await;
    let before = w.entries(s.timeline, at(0)).await;
    for (from, to) in [(3, 4), (5, 9), (7, 8)] {
        let name = SliceName { timeline: s.timeline, prev: at(from), last: None };
        let name = name.object(&w.key.job, &w.key.part);
        let put = w.repo.put_object(ObjectKind::Slice, &name, &slice(from, to)).await.unwrap();
        assert_eq!(put, Put::Created);
    }
    w.clock.pass(100);
    w.open(&w.ingest(), "a").await;
    for _ in 0..2 {
        ingest.compact(&w.key, w.clock.now(), &options()).await.unwrap();
        assert_eq!(w.entries(s.timeline, at(0)).await, before);
    }
    assert_eq!(w.slice_names(s.timeline).await.len(), 2);
}

#[tokio::test]
async fn two_compactions_at_once_do_no_harm() {
    let w = World::new().await;
    let (a, s) = ten(&w).await;
    let b = w.ingest_over(w.repo.clone(), 2);
    let before = w.entries(s.timeline, at(0)).await;
    let options = options();
    let (first, second) = tokio::join!(
        a.compact(&w.key, w.clock.now(), &options),
        b.compact(&w.key, w.clock.now(), &options)
    );
    first.unwrap();
    second.unwrap();
    assert_eq!(w.entries(s.timeline, at(0)).await, before);
    assert_eq!(w.slice_names(s.timeline).await.len(), 2);
}

/// A name that compaction freed must not be taken again by a process that
/// serves the same session and has not heard of what the other one stored.
#[tokio::test]
async fn a_process_that_fell_behind_does_not_append_under_a_freed_name() {
    let w = World::new().await;
    let behind = w.ingest_over(w.repo.clone(), 2);
    let ingest = w.ingest();
    let s = w.begun(&ingest, "a").await;
    behind.oplog_slice(&s, slice(0, 2)).await.unwrap();
    for n in 1..10 {
        ingest.oplog_slice(&s, slice(n * 2, n * 2 + 2)).await.unwrap();
    }
    w.clock.pass(100);
    ingest.compact(&w.key, w.clock.now(), &options()).await.unwrap();
    assert_eq!(behind.oplog_slice(&s, slice(2, 5)).await.unwrap(), Ack::AlreadyStored);
    let lie = behind.oplog_slice(&s, super::support::salted(2, 5, 1)).await.unwrap_err();
    assert_eq!(lie.kind(), ErrorKind::Conflict);
    behind.oplog_slice(&s, slice(20, 21)).await.unwrap();
    assert_eq!(w.slice_names(s.timeline).await.len(), 3);
    assert_eq!(w.entries(s.timeline, at(0)).await.len(), 21);
}

#[tokio::test]
async fn expiry_keeps_what_follows_a_position_and_the_end() {
    let w = World::new().await;
    let (ingest, s) = ten(&w).await;
    let before = w.entries(s.timeline, at(0)).await;
    assert_eq!(ingest.expire(&w.key, at(5)).await.unwrap().slices, 2);
    assert_eq!(w.entries(s.timeline, at(5)).await, before[5..]);
    ingest.compact(&w.key, w.clock.now(), &options()).await.unwrap();
    assert_eq!(ingest.expire(&w.key, at(12)).await.unwrap().slices, 0);
    // What was just written stays for a moment.
    assert_eq!(ingest.expire(&w.key, at(99)).await.unwrap().slices, 0);
    w.clock.pass(100);
    // Everything may go, but the end of the chain must stay known.
    ingest.expire(&w.key, at(99)).await.unwrap();
    assert_eq!(w.slice_names(s.timeline).await.len(), 1);
    let again = w.ingest();
    let s = w.session(&w.open(&again, "a").await);
    again.oplog_slice(&s, slice(20, 21)).await.unwrap();
    assert_eq!(again.oplog_slice(&s, slice(0, 2)).await.unwrap_err().kind(), ErrorKind::Conflict);
}

#[tokio::test]
async fn an_expiry_that_dies_at_any_step_leaves_no_hole() {
    for k in 1..=6 {
        for last_is_done in [false, true] {
            let w = World::new().await;
            let (_, s) = ten(&w).await;
            let before = w.entries(s.timeline, at(0)).await;
            let _ = dying(&w, k, last_is_done).await.expire(&w.key, at(11)).await;
            let first = w.slice_names(s.timeline).await[0].prev;
            assert!(first <= at(10));
            let kept = (first.ts.secs() - 1000) as usize;
            assert_eq!(w.entries(s.timeline, first).await, before[kept..]);
            w.open(&w.ingest(), "a").await;
        }
    }
}

#[tokio::test]
async fn many_sessions_do_not_fill_the_store_with_epochs() {
    let w = World::new().await;
    let ingest = w.ingest();
    for _ in 0..40 {
        w.open(&ingest, "a").await;
    }
    ingest.expire(&w.key, at(0)).await.unwrap();
    let epochs = w.store.list("jobs/job/rs0/epochs/", None).await.unwrap();
    assert_eq!(epochs.len(), 16);
    assert_eq!(w.open(&ingest, "a").await.epoch.0, 41);
}
