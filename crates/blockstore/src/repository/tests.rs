use bygone_base::{SeededRng, SystemClock, UnixMillis};

use super::*;
use crate::{MemoryStore, keys};

fn rng(seed: u64) -> Arc<dyn Rng> {
    Arc::new(SeededRng::new(seed))
}

fn key(byte: u8) -> Secret {
    Secret::parse_key(&format!("bygone-key-1:{}", hex::encode([byte; 32]))).unwrap()
}

fn phrase(text: &str) -> Secret {
    Secret::passphrase(text.to_owned()).unwrap()
}

fn memory() -> (MemoryStore, Arc<dyn Store>) {
    let store = MemoryStore::new(Arc::new(SystemClock::new()));
    (store.clone(), Arc::new(store))
}

async fn create(store: &Arc<dyn Store>, secret: Option<&Secret>) -> Result<Repository> {
    create_by(store, secret, 1).await
}

async fn create_by(
    store: &Arc<dyn Store>,
    secret: Option<&Secret>,
    seed: u64,
) -> Result<Repository> {
    let cost = Argon2Cost::LITTLE;
    create_with(store.clone(), secret, rng(seed), &SystemClock::new(), cost).await
}

async fn open(store: &Arc<dyn Store>, secret: Option<&Secret>) -> Result<Repository> {
    Repository::open(store.clone(), secret, rng(2)).await
}

#[track_caller]
fn refused<T>(result: Result<T>, kind: ErrorKind, words: &str) {
    let Err(error) = result else { panic!("not refused: {words}") };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(error.hint_text().is_some() || kind == ErrorKind::Conflict, "no hint: {error}");
}

#[tokio::test]
async fn opens_with_what_it_was_made_with_and_nothing_else() {
    for secret in [None, Some(key(1)), Some(phrase("correct horse"))] {
        let (_, store) = memory();
        refused(open(&store, secret.as_ref()).await, ErrorKind::NotFound, "no repository");
        let made = create(&store, secret.as_ref()).await.unwrap();
        refused(create_by(&store, secret.as_ref(), 9).await, ErrorKind::Conflict, "already");
        let opened = open(&store, secret.as_ref()).await.unwrap();
        assert_eq!(opened.id(), made.id());
        assert_eq!(opened.block_id(b"x"), made.block_id(b"x"));
        assert_eq!(opened.is_encrypted(), secret.is_some());
        for wrong in [key(2), phrase("wrong horse")] {
            let kind = if secret.is_some() { ErrorKind::Denied } else { ErrorKind::Usage };
            let words = if secret.is_some() { "wrong key" } else { "not encrypted" };
            refused(open(&store, Some(&wrong)).await, kind, words);
        }
        if secret.is_some() {
            refused(open(&store, None).await, ErrorKind::Denied, "needs its key");
        }
    }
}

#[tokio::test]
async fn names_of_blocks_tell_nothing_without_the_key() {
    let (_, one) = memory();
    let (_, two) = memory();
    let one = create_by(&one, Some(&key(1)), 1).await.unwrap();
    let two = create_by(&two, Some(&key(1)), 9).await.unwrap();
    assert_ne!(one.block_id(b"x"), two.block_id(b"x"));
    assert_ne!(one.block_id(b"x").0, *blake3::hash(b"x").as_bytes());
    assert!(one.expect_id(one.id()).is_ok());
    refused(one.expect_id(two.id()), ErrorKind::Usage, &two.id().to_string());
}

#[tokio::test]
async fn rotation_keeps_the_old_readable_and_locks_out_the_old_secret() {
    let (_, store) = memory();
    let before = create(&store, Some(&key(1))).await.unwrap();
    let kind = ObjectKind::Manifest;
    before.put_object(kind, "a", b"old").await.unwrap();
    refused(keys::rotate(&before, &key(2), &key(3)).await, ErrorKind::Denied, "wrong key");
    let after = keys::rotate(&before, &key(1), &key(2)).await.unwrap();
    after.put_object(kind, "b", b"new").await.unwrap();
    assert_eq!(after.id(), before.id());
    assert_eq!(after.block_id(b"x"), before.block_id(b"x"));
    assert_eq!(after.get_object(kind, "a").await.unwrap(), "old");
    refused(open(&store, Some(&key(1))).await, ErrorKind::Denied, "wrong key");
    let again = open(&store, Some(&key(2))).await.unwrap();
    assert_eq!(again.get_object(kind, "a").await.unwrap(), "old");
    assert_eq!(again.get_object(kind, "b").await.unwrap(), "new");
    // A program that was running meanwhile: it goes on, and says what it cannot read.
    before.put_object(kind, "c", b"late").await.unwrap();
    refused(before.get_object(kind, "b").await, ErrorKind::Denied, "data key 2");
    assert_eq!(again.get_object(kind, "c").await.unwrap(), "late");
    let (_, plain) = memory();
    let plain = create(&plain, None).await.unwrap();
    let error = keys::rotate(&plain, &key(1), &key(2)).await.expect_err("plain");
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[tokio::test]
async fn a_newer_format_is_named() {
    let (raw, store) = memory();
    create(&store, None).await.unwrap();
    let line = store.get(names::REPOSITORY).await.unwrap();
    let text =
        std::str::from_utf8(&line).unwrap().trim_end().replace("\"format\":1", "\"format\":2");
    let (head, _) = text.rsplit_once(",\"check\":").unwrap();
    let unsigned = format!("{head},\"check\":\"\"}}");
    let check = hex::encode(&blake3::hash(unsigned.as_bytes()).as_bytes()[..16]);
    raw.overwrite(names::REPOSITORY, format!("{head},\"check\":\"{check}\"}}\n").into());
    refused(open(&store, None).await, ErrorKind::Unsupported, "format 2");
}

#[tokio::test]
async fn a_creation_that_was_cut_off_is_finished_and_one_that_was_not_is_left_alone() {
    let (raw, store) = memory();
    let first = create(&store, Some(&key(1))).await.unwrap();
    let ring = store.get("keys/00000001").await.unwrap();
    store.delete("keys/00000001").await.unwrap();
    refused(open(&store, Some(&key(1))).await, ErrorKind::Damaged, "has no keys");
    let again = create_by(&store, Some(&key(2)), 7).await.unwrap();
    assert_eq!(again.id(), first.id());
    // With anything in it, lost keys are lost keys.
    store.delete("keys/00000001").await.unwrap();
    store.put_new("jobs/a/b/epochs/1", Bytes::new()).await.unwrap();
    refused(create_by(&store, Some(&key(1)), 9).await, ErrorKind::Conflict, "already");
    raw.overwrite("keys/00000001", ring);
    assert_eq!(open(&store, Some(&key(1))).await.unwrap().id(), first.id());
}

#[tokio::test]
async fn two_that_create_at_once_get_one_repository() {
    for secret in [None, Some(key(4))] {
        let (_, store) = memory();
        let clock = SystemClock::new();
        let make =
            |seed| Repository::open_or_create(store.clone(), secret.as_ref(), rng(seed), &clock);
        let (one, two) = futures::future::try_join(make(1), make(2)).await.unwrap();
        assert_eq!(one.id(), two.id());
        assert_eq!(one.block_id(b"x"), two.block_id(b"x"));
    }
}

#[tokio::test]
async fn every_changed_or_missing_byte_of_repository_file_and_keyring_is_seen() {
    let (raw, store) = memory();
    let secret = key(1);
    create(&store, Some(&secret)).await.unwrap();
    for name in [names::REPOSITORY, "keys/00000001"] {
        let good = store.get(name).await.unwrap();
        for at in 0..good.len() {
            for bit in [0, 5, 7] {
                let mut bad = good.to_vec();
                bad[at] ^= 1 << bit;
                raw.overwrite(name, bad.into());
                assert!(open(&store, Some(&secret)).await.is_err(), "{name} byte {at} bit {bit}");
            }
            raw.overwrite(name, good.slice(..at));
            assert!(open(&store, Some(&secret)).await.is_err(), "{name} cut at {at}");
        }
        raw.overwrite(name, vec![b' '; 100_000].into());
        assert!(open(&store, Some(&secret)).await.is_err());
        raw.overwrite(name, good);
    }
    assert!(open(&store, Some(&secret)).await.is_ok());
}

#[tokio::test]
async fn every_changed_or_missing_byte_of_an_envelope_is_seen() {
    let compressible = b"abcdefgh".repeat(20);
    for secret in [None, Some(key(1))] {
        let (_, store) = memory();
        let repo = create(&store, secret.as_ref()).await.unwrap();
        for plain in [&b""[..], b"short", &compressible] {
            let kind = ObjectKind::Manifest;
            let good = repo.seal(kind, "a/b", plain).unwrap();
            assert_eq!(repo.unseal(kind, "a/b", good.clone()).unwrap(), plain);
            for at in 0..good.len() {
                for bit in 0..8 {
                    let mut bad = good.to_vec();
                    bad[at] ^= 1 << bit;
                    assert!(repo.unseal(kind, "a/b", bad.into()).is_err(), "byte {at} bit {bit}");
                }
                assert!(repo.unseal(kind, "a/b", good.slice(..at)).is_err(), "cut at {at}");
            }
            let mut longer = good.to_vec();
            longer.push(0);
            assert!(repo.unseal(kind, "a/b", longer.into()).is_err());
            assert!(repo.unseal(ObjectKind::Slice, "a/b", good.clone()).is_err());
            assert_eq!(repo.unseal(kind, "a/c", good).is_err(), secret.is_some());
        }
    }
}

#[tokio::test]
async fn plain_objects_do_not_pass_in_an_encrypted_repository() {
    let (_, plain) = memory();
    let (_, locked) = memory();
    let plain = create(&plain, None).await.unwrap();
    let locked = create(&locked, Some(&key(1))).await.unwrap();
    let kind = ObjectKind::Manifest;
    for (from, to) in [(&plain, &locked), (&locked, &plain)] {
        let sealed = from.seal(kind, "a", b"forged").unwrap();
        assert_eq!(to.unseal(kind, "a", sealed).expect_err("mixed").kind(), ErrorKind::Damaged);
    }
}

#[tokio::test]
async fn a_body_with_a_false_length_takes_no_memory() {
    let (_, store) = memory();
    let repo = create(&store, None).await.unwrap();
    let sealed = repo.seal(ObjectKind::Manifest, "a", &vec![7; 100_000]).unwrap();
    for claim in [0, 1, 99_999, 100_001, envelope::MAX_PLAIN, u64::MAX] {
        let mut bad = sealed[..sealed.len() - 16].to_vec();
        bad[12..20].copy_from_slice(&claim.to_le_bytes());
        let check = crate::crypto::check_of(&[&bad]);
        bad.extend_from_slice(&check);
        let error = repo.unseal(ObjectKind::Manifest, "a", bad.into()).expect_err("false");
        assert_eq!(error.kind(), ErrorKind::Damaged);
    }
}

#[tokio::test]
async fn equal_content_put_again_is_fine_and_other_content_is_a_conflict() {
    let (_, store) = memory();
    let repo = create(&store, Some(&key(1))).await.unwrap();
    let kind = ObjectKind::Epoch;
    assert_eq!(repo.put_object_checked(kind, "e", b"x").await.unwrap(), Put::Created);
    assert_eq!(repo.put_object_checked(kind, "e", b"x").await.unwrap(), Put::Exists);
    let error = repo.put_object_checked(kind, "e", b"y").await.expect_err("other");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(repo.get_object(kind, "e").await.unwrap(), "x");
}

#[test]
fn the_file_says_when_it_was_made() {
    let created = UnixMillis(1_700_000_000_000).to_rfc3339_seconds();
    let file = RepositoryFile::new(RepositoryId([1; 16]), created, None);
    let line = String::from_utf8(file.to_line().unwrap()).unwrap();
    assert!(line.contains("\"created\":\"2023-11-14T22:13:20Z\""), "{line}");
    assert!(line.ends_with("\"}\n"));
    assert_eq!(RepositoryFile::parse(line.as_bytes()).unwrap().created, file.created);
}
