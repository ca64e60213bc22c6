//! Every store and wrapper against the conformance suite, and what each
//! wrapper is for.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bygone_base::{Clock, Error, ErrorKind, Result, Rng, SeededRng, SystemClock};
use bygone_blockstore::{
    FileStore, MemoryStore, ObjectStat, Put, Store, conformance, put_new_checked,
    store::{FaultPlan, Faulty, Metered, RetryOptions, Retrying, Throttled},
};
use bytes::Bytes;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn rng(seed: u64) -> Arc<dyn Rng> {
    Arc::new(SeededRng::new(seed))
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(clock()))
}

fn faulty(inner: Arc<dyn Store>, seed: u64, plan: FaultPlan) -> Arc<Faulty> {
    Arc::new(Faulty::new(inner, clock(), rng(seed), plan))
}

fn retrying(inner: Arc<dyn Store>, attempts: u32) -> Arc<Retrying> {
    let options = RetryOptions { attempts, ..RetryOptions::default() };
    Arc::new(Retrying::new(inner, clock(), rng(1), options))
}

#[tokio::test]
async fn memory_conforms() {
    conformance::run(memory()).await.unwrap();
    conformance::run_large(memory()).await.unwrap();
    conformance::run_large_race(memory()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_wrapper_conforms() {
    conformance::run(faulty(memory(), 1, FaultPlan::default())).await.unwrap();
    conformance::run(retrying(memory(), 1)).await.unwrap();
    conformance::run(Arc::new(Metered::new(memory()))).await.unwrap();
    conformance::run(Arc::new(Throttled::new(memory(), clock(), 1 << 20))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_half_the_time_conforms_behind_retries() {
    for seed in 0..5 {
        let plan = FaultPlan {
            before: 500,
            slow: 200,
            latency: Duration::from_secs(5),
            ..FaultPlan::default()
        };
        conformance::run(retrying(faulty(memory(), seed, plan), 60)).await.unwrap();
    }
}

#[tokio::test]
async fn everything_on_a_folder_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let file = Arc::new(FileStore::new(dir.path()));
    let plan = FaultPlan { before: 50, ..FaultPlan::default() };
    let throttled = Arc::new(Throttled::new(faulty(file, 1, plan), clock(), 1 << 30));
    let options = RetryOptions { first_wait: Duration::from_millis(1), ..RetryOptions::default() };
    let store = Arc::new(Retrying::new(throttled, clock(), rng(2), options));
    conformance::run(Arc::new(Metered::new(store))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_is_told_from_a_rival() {
    let inner = memory();
    let plan = FaultPlan { lost_reply: 600, ..FaultPlan::default() };
    let store = retrying(faulty(inner.clone(), 5, plan), 40);
    let mut existed = 0;
    for n in 0..100 {
        let name = format!("a/{n}");
        let put = put_new_checked(store.as_ref(), &name, Bytes::from(name.clone())).await.unwrap();
        existed += u32::from(put == Put::Exists);
        let rival = put_new_checked(store.as_ref(), &name, Bytes::from_static(b"rival")).await;
        assert_eq!(rival.expect_err("rival").kind(), ErrorKind::Conflict);
        assert_eq!(inner.get(&name).await.unwrap(), name);
    }
    assert!(existed > 30, "{existed} replies were lost");
}

#[tokio::test(start_paused = true)]
async fn retries_end_and_only_passing_errors_are_retried() {
    let metered = Arc::new(Metered::new(faulty(
        memory(),
        1,
        FaultPlan { before: 1000, ..FaultPlan::default() },
    )));
    let error = retrying(metered.clone(), 5).get("a").await.expect_err("always fails");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("5 attempts"), "{error}");
    assert_eq!(metered.usage().gets, 5);

    let metered = Arc::new(Metered::new(memory()));
    let error = retrying(metered.clone(), 5).get("a").await.expect_err("nothing there");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(metered.usage().gets, 1);
}

/// Never answers.
#[derive(Debug)]
struct Hanging;

#[async_trait]
impl Store for Hanging {
    async fn put_new(&self, _: &str, _: Bytes) -> Result<Put> {
        std::future::pending().await
    }
    async fn get(&self, _: &str) -> Result<Bytes> {
        std::future::pending().await
    }
    async fn get_range(&self, _: &str, _: Range<u64>) -> Result<Bytes> {
        std::future::pending().await
    }
    async fn get_tail(&self, _: &str, _: u64) -> Result<(Bytes, u64)> {
        std::future::pending().await
    }
    async fn stat(&self, _: &str) -> Result<ObjectStat> {
        std::future::pending().await
    }
    async fn list(&self, _: &str, _: Option<&str>) -> Result<Vec<ObjectStat>> {
        std::future::pending().await
    }
    async fn delete(&self, _: &str) -> Result<()> {
        std::future::pending().await
    }
    fn location(&self) -> String {
        "nowhere".to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_is_given_up() {
    let clock = clock();
    let before = clock.monotonic();
    let store = retrying(Arc::new(Hanging), 2);
    let error = store.put_new("a", Bytes::from(vec![0; 1 << 20])).await.expect_err("hangs");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("no answer from nowhere"), "{error}");
    let waited = clock.monotonic() - before;
    // Twice: a minute and the time of 1 MiB at the slowest speed.
    assert!(waited >= Duration::from_secs(136) && waited < Duration::from_secs(140), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_throttle_holds_its_speed_whoever_asks() {
    let clock = clock();
    let store = Throttled::new(memory(), clock.clone(), 1 << 20);
    let before = clock.monotonic();
    let puts = (0..10).map(|n| store.put_new(NAMES[n], Bytes::from(vec![0; 1 << 20])));
    futures::future::try_join_all(puts).await.unwrap();
    for name in NAMES {
        store.get(name).await.unwrap();
    }
    let took = clock.monotonic() - before;
    // The last transfer is not waited for.
    assert!(took >= Duration::from_secs(18) && took <= Duration::from_secs(20), "{took:?}");
}

const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

#[tokio::test]
async fn a_meter_counts() {
    let store = Metered::new(memory());
    store.put_new("a", Bytes::from_static(b"12345")).await.unwrap();
    store.put_new("a", Bytes::from_static(b"12345")).await.unwrap();
    store.get_range("a", 1..3).await.unwrap();
    store.list("", None).await.unwrap();
    store.get("b").await.expect_err("nothing there");
    let usage = store.usage();
    assert_eq!((usage.created, usage.existed, usage.bytes_put), (1, 1, 5));
    assert_eq!((usage.gets, usage.bytes_got, usage.errors), (2, 2, 1));
    assert_eq!((usage.lists, usage.listed), (1, 1));
}

#[tokio::test]
async fn a_full_store_stays_full_until_told_otherwise() {
    let plan = FaultPlan { full_after: Some(10), ..FaultPlan::default() };
    let store = faulty(memory(), 1, plan);
    store.put_new("a", Bytes::from_static(b"12345678")).await.unwrap();
    let error: Error = store.put_new("b", Bytes::from_static(b"123")).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Full);
    store.set_plan(FaultPlan::default());
    store.put_new("b", Bytes::from_static(b"123")).await.unwrap();
}
