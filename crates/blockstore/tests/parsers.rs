//! Parsers of bytes from a store: no input panics. Random bytes, and good
//! bytes with random changes.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use bygone_base::{Rng, SeededRng, SystemClock};
use bygone_blockstore::{
    BlockRef, BlockWriter, MemoryStore, ObjectKind, Repository, Store, WriterOptions, fuzzing,
    names, relocation::Relocation,
};
use proptest::prelude::*;

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("runtime").block_on(work)
}

/// Good bytes of each kind: a pack, an envelope, a record, a repository file.
async fn samples() -> (Repository, Vec<Vec<u8>>) {
    let clock = Arc::new(SystemClock::new());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock.clone()));
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(4));
    let repo = Repository::create(store.clone(), None, rng, clock.as_ref()).await.expect("create");
    let writer = BlockWriter::new(repo.clone(), WriterOptions::default());
    let mut blocks: Vec<BlockRef> = Vec::new();
    for n in 1..20_u8 {
        blocks.push(writer.put(&vec![n; 20 * usize::from(n)]).await.expect("put"));
    }
    writer.flush().await.expect("flush");
    let pack = blocks[0].pack;
    Relocation::new(pack, blocks).write(&repo).await.expect("moved");
    let mut samples = Vec::new();
    for name in [names::pack(pack), names::moved(pack), names::REPOSITORY.to_owned()] {
        samples.push(store.get(&name).await.expect("get").to_vec());
    }
    let moved = repo.get_object(ObjectKind::Relocation, &names::moved(pack)).await.expect("moved");
    samples.push(moved.to_vec());
    samples.push(repo.seal(ObjectKind::Manifest, "fuzz", &[5; 300]).expect("seal").to_vec());
    (repo, samples)
}

fn try_all(repo: &Repository, data: &[u8]) {
    let _ = fuzzing::pack(repo, data);
    let _ = fuzzing::envelope(repo, data);
    let _ = fuzzing::frame(data);
    let _ = fuzzing::relocation(data);
    let _ = fuzzing::repository_file(data);
    let _ = fuzzing::keyring(data);
    let _ = fuzzing::names(data);
}

#[test]
fn good_samples_are_good() {
    let (repo, samples) = run(samples());
    fuzzing::pack(&repo, &samples[0]).expect("pack");
    fuzzing::repository_file(&samples[2]).expect("repository file");
    fuzzing::relocation(&samples[3]).expect("relocation");
    fuzzing::envelope(&repo, &samples[4]).expect("envelope");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_do_no_harm(data in prop::collection::vec(any::<u8>(), 0..600)) {
        let repo = run(fuzzing::repository()).expect("repository");
        try_all(&repo, &data);
    }

    #[test]
    fn changed_bytes_do_no_harm(
        which in 0..5_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let (repo, samples) = run(samples());
        let mut data = samples[which].clone();
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len()));
        }
        try_all(&repo, &data);
    }

    #[test]
    fn relocations_come_back(ids in prop::collection::vec(any::<u8>(), 0..40)) {
        let blocks: Vec<BlockRef> = ids
            .iter()
            .map(|n| BlockRef {
                id: bygone_base::BlockId([*n; 32]),
                pack: bygone_base::PackId([n.wrapping_mul(7); 16]),
            })
            .collect();
        let repo = run(fuzzing::repository()).expect("repository");
        let pack = bygone_base::PackId([1; 16]);
        let record = Relocation::new(pack, blocks.clone());
        let read = run(async {
            record.write(&repo).await.expect("write");
            Relocation::read(&repo, pack).await.expect("read")
        });
        prop_assert_eq!(&read, &record);
        for block in &blocks {
            prop_assert_eq!(read.find(block.id), Some(block.pack));
        }
        prop_assert_eq!(read.find(bygone_base::BlockId([41; 32])).is_some(), ids.contains(&41));
    }
}
