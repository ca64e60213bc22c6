//! The stores' conformance suite, and a repository, on a real S3 server.

use std::sync::Arc;

use bygone_base::{ErrorKind, SystemClock, SystemRng};
use bygone_blockstore::{
    BlockReader, BlockWriter, Repository, Secret, Store, WriterOptions, audit, conformance,
    store::open_store_with,
};
use bygone_tests::s3::{Weed, environment};

async fn open(weed: &Weed, prefix: &str) -> Arc<dyn Store> {
    let clock = Arc::new(SystemClock::new());
    open_store_with(&weed.url(prefix), clock, &environment()).await.unwrap()
}

#[tokio::test]
async fn a_real_s3_server_conforms() {
    let weed = Weed::start().await;
    let store = open(&weed, "some/prefix").await;
    conformance::run(store.clone()).await.unwrap();
    // Bodies in parts.
    conformance::run_large(store).await.unwrap();
}

#[tokio::test]
async fn a_repository_in_s3_survives_the_server() {
    let mut weed = Weed::start().await;
    let store = open(&weed, "repository").await;
    let secret = Secret::parse_key(&format!("bygone-key-1:{}", "5a".repeat(32))).unwrap();
    let (rng, clock) = (Arc::new(SystemRng), SystemClock::new());
    let repo = Repository::create(store.clone(), Some(&secret), rng.clone(), &clock).await.unwrap();
    let writer = BlockWriter::new(repo, WriterOptions::default());
    let block = writer.put(&b"content ".repeat(1000)).await.unwrap();
    writer.flush().await.unwrap();
    weed.restart().await;
    let repo = Repository::open(store, Some(&secret), rng).await.unwrap();
    assert_eq!(audit::check_pack(&repo, block.pack).await.unwrap(), []);
    let raw = BlockReader::new(repo, 0).read(&block).await.unwrap();
    assert_eq!(raw, b"content ".repeat(1000));
}

#[tokio::test]
async fn wrong_keys_and_missing_buckets_are_named() {
    let weed = Weed::start().await;
    let clock = Arc::new(SystemClock::new());
    let wrong = [("AWS_ACCESS_KEY_ID", "bygone-test"), ("AWS_SECRET_ACCESS_KEY", "wrong")];
    let store = open_store_with(&weed.url("x"), clock.clone(), &wrong).await.unwrap();
    let error = store.list("", None).await.expect_err("wrong key");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    assert!(error.hint_text().is_some());
    let nowhere = format!("s3://no-such-bucket/x?endpoint={}", weed.endpoint());
    let store = open_store_with(&nowhere, clock, &environment()).await.unwrap();
    let error = store.list("", None).await.expect_err("no bucket");
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    assert!(error.to_string().contains("does not exist"), "{error}");
}
