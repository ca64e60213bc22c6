use std::sync::Arc;

use bygone_base::{Rng, SeededRng, SystemClock};

use super::*;
use crate::{BlockReader, MemoryStore, Store};

pub(crate) async fn repository() -> Repository {
    let clock = Arc::new(SystemClock::new());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(3));
    Repository::create(store, None, rng, clock.as_ref()).await.unwrap()
}

#[tokio::test]
async fn what_is_put_is_read() {
    let repo = repository().await;
    let writer = BlockWriter::new(repo.clone(), WriterOptions::default());
    let a = writer.put(b"hello").await.unwrap();
    let b = writer.put(b"hello").await.unwrap();
    assert_eq!(a, b);
    writer.flush().await.unwrap();
    let reader = BlockReader::new(repo, 1 << 20);
    assert_eq!(reader.read(&a).await.unwrap(), "hello");
}
