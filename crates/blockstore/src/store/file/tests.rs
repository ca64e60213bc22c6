use bygone_base::SystemClock;

use super::*;
use crate::{conformance, open_store};

fn leftovers(root: &Path) -> usize {
    fs::read_dir(root.join(TEMPORARY)).map_or(0, |entries| entries.count())
}

#[tokio::test]
async fn conforms() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(FileStore::create(dir.path().join("new/store")).unwrap());
    conformance::run(store.clone()).await.unwrap();
    conformance::run_large(store.clone()).await.unwrap();
    conformance::run_large_race(store.clone()).await.unwrap();
    assert_eq!(leftovers(&dir.path().join("new/store")), 0);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_not_made_and_not_taken_for_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("mount");
    let url = format!("file://{}", root.display());
    let store = open_store(&url, Arc::new(SystemClock::new())).await.unwrap();
    let body = Bytes::from_static(b"x");
    for error in [
        store.put_new("a/b", body).await.expect_err("put"),
        store.get("a/b").await.expect_err("get"),
        store.list("a/", None).await.map(drop).expect_err("list"),
    ] {
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        assert!(error.to_string().contains("does not exist"), "{error}");
    }
    assert!(!root.exists());
}

#[tokio::test]
async fn what_a_killed_writer_left_is_no_object_and_goes_away_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    store.put_new("packs/x", Bytes::from_static(b"whole")).await.unwrap();
    let temporary = dir.path().join(TEMPORARY);
    fs::write(temporary.join("0123-0"), b"ha").unwrap();
    fs::write(temporary.join("0123-1"), b"half").unwrap();
    let old = File::options().write(true).open(temporary.join("0123-1")).unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let listed = store.list("", None).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    store.sweep_leftovers().await.unwrap();
    assert!(temporary.join("0123-0").exists(), "a writer may still be at it");
    assert!(!temporary.join("0123-1").exists());
    assert_eq!(leftovers(dir.path()), 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_says_so() {
    let dir = tempfile::tempdir().unwrap();
    // A file where a folder is needed: refused for every user, root too.
    fs::write(dir.path().join("jobs"), b"").unwrap();
    let store = FileStore::new(dir.path());
    let error = store.put_new("jobs/a", Bytes::new()).await.expect_err("put");
    assert!(error.to_string().contains("jobs/a"), "{error}");
    assert_eq!(leftovers(dir.path()), 0);
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_behind() {
    // /dev/full is the one file of every machine whose disk is full.
    let error = write_synced(Path::new("/dev/full"), b"x").expect_err("exists");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    let full = OpenOptions::new().write(true).open("/dev/full").and_then(|mut f| f.write_all(b"x"));
    let dir = tempfile::tempdir().unwrap();
    let store = FileStore::new(dir.path());
    let error = store.inner.error("write", "packs/x", full.expect_err("full"));
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.hint_text().is_some());
}

#[tokio::test]
async fn two_writers_of_one_folder_agree() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (FileStore::new(dir.path()), FileStore::new(dir.path()));
    for round in 0..50 {
        let name = format!("epochs/{round}");
        let (a, b) = futures::future::join(
            one.put_new(&name, Bytes::from_static(b"one")),
            two.put_new(&name, Bytes::from_static(b"two")),
        )
        .await;
        let won = if a.unwrap() == Put::Created { "one" } else { "two" };
        assert_eq!(b.unwrap() == Put::Created, won == "two");
        assert_eq!(two.get(&name).await.unwrap(), won);
    }
}
