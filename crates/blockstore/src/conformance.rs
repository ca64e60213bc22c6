//! What every store and wrapper must do. A function, not a test module, so
//! that any crate can run it against a store that only it can start.

use std::{collections::BTreeSet, sync::Arc};

use bygone_base::{Error, ErrorKind, Result};
use bytes::Bytes;

use crate::{Put, Store, put_new_checked};

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::internal(format!("conformance: {}", what()))) }
}

fn body(seed: u8, len: usize) -> Bytes {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out.into()
}

fn ensure_kind<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, what: &str) -> Result<()> {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => Err(Error::internal(format!("conformance: {what}: {other:?} is not {kind:?}"))),
    }
}

/// Runs the suite; names start with `check/`, which must be empty, and is
/// empty again afterwards.
pub async fn run(store: Arc<dyn Store>) -> Result<()> {
    let found = store.list("check/", None).await?;
    ensure(found.is_empty(), || format!("check/ is not empty: {found:?}"))?;
    missing(&store).await?;
    put_and_get(&store).await?;
    ranges(&store).await?;
    first_put_wins(&store).await?;
    racing_puts(&store).await?;
    listing(&store).await?;
    bad_names(&store).await?;
    sizes(&store).await?;
    clean(&store).await
}

/// Puts and reads bodies of more than 64 MiB, which some stores send
/// in parts.
pub async fn run_large(store: Arc<dyn Store>) -> Result<()> {
    let large = body(9, (64 << 20) + 12_345);
    let name = "check/large";
    ensure(store.put_new(name, large.clone()).await? == Put::Created, || "large put".into())?;
    ensure(store.get(name).await? == large, || "large get".into())?;
    let middle = store.get_range(name, 40_000_000..40_000_100).await?;
    ensure(middle == large[40_000_000..40_000_100], || "large range".into())?;
    let other = body(10, (64 << 20) + 1);
    ensure(store.put_new(name, other.clone()).await? == Put::Exists, || "large again".into())?;
    let checked = put_new_checked(store.as_ref(), name, large.clone()).await?;
    ensure(checked == Put::Exists, || "large lost reply".into())?;
    ensure(store.list("check/", None).await?.len() == 1, || "large leftovers".into())?;
    clean(&store).await
}

/// Races two bodies of more than 64 MiB for one name. Some S3 servers let both win; nothing that is so large is
/// ever raced for: packs have names of their own.
pub async fn run_large_race(store: Arc<dyn Store>) -> Result<()> {
    let (large, other) = (body(9, (64 << 20) + 12_345), body(10, (64 << 20) + 1));
    let (one, two) = futures::future::join(
        store.put_new("check/large-race", large.clone()),
        store.put_new("check/large-race", other.clone()),
    )
    .await;
    let won = [one?, two?];
    ensure(won.iter().filter(|put| **put == Put::Created).count() == 1, || {
        format!("two large puts at once gave {won:?}")
    })?;
    let kept = store.get("check/large-race").await?;
    let right = if won[0] == Put::Created { large } else { other };
    ensure(kept == right, || "the loser of two large puts was kept".into())?;
    clean(&store).await
}

async fn clean(store: &Arc<dyn Store>) -> Result<()> {
    for stat in store.list("check/", None).await? {
        store.delete(&stat.name).await?;
    }
    let left = store.list("check/", None).await?;
    ensure(left.is_empty(), || format!("deleted, but listed: {left:?}"))
}

async fn missing(store: &Arc<dyn Store>) -> Result<()> {
    let name = "check/none/at-all";
    ensure_kind(store.get(name).await, ErrorKind::NotFound, "get of nothing")?;
    ensure_kind(store.get_range(name, 0..1).await, ErrorKind::NotFound, "range of nothing")?;
    ensure_kind(store.get_tail(name, 1).await, ErrorKind::NotFound, "tail of nothing")?;
    ensure_kind(store.stat(name).await, ErrorKind::NotFound, "stat of nothing")?;
    store.delete(name).await
}

async fn put_and_get(store: &Arc<dyn Store>) -> Result<()> {
    let name = "check/a/Plain_name-1.x+2";
    let content = body(1, 10_000);
    ensure(store.put_new(name, content.clone()).await? == Put::Created, || "first put".into())?;
    ensure(store.get(name).await? == content, || "get gives other bytes".into())?;
    let stat = store.stat(name).await?;
    ensure(stat.name == name && stat.size == 10_000, || format!("stat gives {stat:?}"))?;
    ensure(stat.modified.0 > 0, || "no time of modification".into())?;
    // A folder of names is no object.
    ensure_kind(store.get("check/a").await, ErrorKind::NotFound, "get of a prefix")?;
    ensure_kind(store.stat("check/a").await, ErrorKind::NotFound, "stat of a prefix")?;
    store.delete(name).await?;
    ensure_kind(store.get(name).await, ErrorKind::NotFound, "get of a deleted object")?;
    ensure(store.put_new(name, body(2, 5)).await? == Put::Created, || "put after delete".into())
}

async fn ranges(store: &Arc<dyn Store>) -> Result<()> {
    let name = "check/ranges";
    let content = body(3, 1000);
    store.put_new(name, content.clone()).await?;
    for (start, end) in [(0, 1), (0, 1000), (999, 1000), (10, 500), (7, 7)] {
        let got = store.get_range(name, start..end).await?;
        let want = &content[start as usize..end as usize];
        ensure(got == want, || format!("range {start}..{end}"))?;
    }
    for (start, end) in [(0, 1001), (999, 1001), (1000, 1001), (5000, 6000)] {
        let got = store.get_range(name, start..end).await;
        ensure_kind(got, ErrorKind::Damaged, "a range beyond the end")?;
    }
    for max in [0, 1, 999, 1000, 1001, 1 << 30] {
        let (tail, size) = store.get_tail(name, max).await?;
        let want = &content[1000 - max.min(1000) as usize..];
        ensure(size == 1000 && tail == want, || format!("tail of {max}"))?;
    }
    Ok(())
}

async fn first_put_wins(store: &Arc<dyn Store>) -> Result<()> {
    let name = "check/first";
    let (one, two) = (body(4, 300), body(5, 300));
    store.put_new(name, one.clone()).await?;
    ensure(store.put_new(name, two.clone()).await? == Put::Exists, || "second put".into())?;
    ensure(store.put_new(name, one.clone()).await? == Put::Exists, || "same put".into())?;
    ensure(store.get(name).await? == one, || "the second put changed the object".into())?;
    let checked = put_new_checked(store.as_ref(), name, one).await?;
    ensure(checked == Put::Exists, || "equal content".into())?;
    let checked = put_new_checked(store.as_ref(), name, two).await;
    ensure_kind(checked, ErrorKind::Conflict, "other content")
}

async fn racing_puts(store: &Arc<dyn Store>) -> Result<()> {
    for round in 0..4 {
        let name = format!("check/race/{round}");
        let bodies: Vec<Bytes> = (0..8).map(|seed| body(20 + seed, 50_000)).collect();
        let puts = bodies.iter().map(|body| put_new_checked(store.as_ref(), &name, body.clone()));
        let done = futures::future::join_all(puts).await;
        let kept = store.get(&name).await?;
        for (body, put) in bodies.iter().zip(done) {
            match put {
                Ok(_) => ensure(*body == kept, || "an acknowledged body is not kept".into())?,
                Err(error) => {
                    ensure(error.kind() == ErrorKind::Conflict && *body != kept, || {
                        format!("a racing put failed: {error}")
                    })?;
                }
            }
        }
        ensure(bodies.contains(&kept), || "none of the racing bodies was kept".into())?;
    }
    Ok(())
}

async fn listing(store: &Arc<dyn Store>) -> Result<()> {
    // Bytes' order, not folder by folder: '-' and '+' come before '/', '0' after.
    let names =
        ["check/l/a+1", "check/l/a-b", "check/l/a/x", "check/l/a0", "check/l/b/c/d", "check/l/z"];
    for name in names.iter().rev() {
        store.put_new(name, body(6, name.len())).await?;
    }
    store.put_new("check/la", body(6, 1)).await?;
    let list = async |prefix: &str, after: Option<&str>| -> Result<Vec<String>> {
        Ok(store.list(prefix, after).await?.into_iter().map(|stat| stat.name).collect())
    };
    let all = list("check/l/", None).await?;
    ensure(all == names, || format!("listing gives {all:?}"))?;
    for (at, after) in names.iter().enumerate() {
        let rest = list("check/l/", Some(after)).await?;
        ensure(rest == names[at + 1..], || format!("listing after {after} gives {rest:?}"))?;
    }
    let between = list("check/l/", Some("check/l/a5")).await?;
    ensure(between == names[4..], || format!("listing after a name not there: {between:?}"))?;
    let folder = list("check/l/b/", None).await?;
    ensure(folder == ["check/l/b/c/d"], || format!("listing a folder gives {folder:?}"))?;
    let none = list("check/nowhere/", None).await?;
    ensure(none.is_empty(), || format!("listing nothing gives {none:?}"))?;
    let whole: BTreeSet<String> = list("", None).await?.into_iter().collect();
    ensure(names.iter().all(|name| whole.contains(*name)), || "listing everything".into())?;
    folders(store).await?;
    let stats = store.list("check/l/", None).await?;
    ensure(stats.iter().all(|stat| stat.size == stat.name.len() as u64), || "listed sizes".into())
}

async fn folders(store: &Arc<dyn Store>) -> Result<()> {
    for (prefix, want) in
        [("check/l/", &["a", "b"][..]), ("check/l/b/", &["c"]), ("check/nowhere/", &[])]
    {
        let found = store.list_folders(prefix).await?;
        ensure(found == want, || format!("folders below {prefix}: {found:?}"))?;
    }
    let top = store.list_folders("").await?;
    ensure(top.iter().any(|folder| folder == "check"), || format!("folders at the top: {top:?}"))?;
    // A folder whose last object went may still be listed (some S3 servers do), but has no folders.
    store.put_new("check/f/x/y", body(6, 1)).await?;
    store.delete("check/f/x/y").await?;
    let gone = store.list_folders("check/f/x/").await?;
    ensure(gone.is_empty(), || format!("an empty folder lists folders: {gone:?}"))?;
    store.sweep_leftovers().await
}

async fn bad_names(store: &Arc<dyn Store>) -> Result<()> {
    for bad in ["", "/check/x", "check/../x", "check/.x", "check//x", "check/x/", "check/ä"] {
        let refused = [
            store.put_new(bad, Bytes::from_static(b"x")).await.is_err(),
            store.get(bad).await.is_err(),
            store.delete(bad).await.is_err(),
        ];
        ensure(refused == [true; 3], || format!("the name {bad:?} is accepted"))?;
    }
    Ok(())
}

async fn sizes(store: &Arc<dyn Store>) -> Result<()> {
    for len in [0, 1, 4095, 4096, 1 << 20, (5 << 20) + 1] {
        let name = format!("check/size/{len}");
        let content = body(7, len);
        store.put_new(&name, content.clone()).await?;
        ensure(store.get(&name).await? == content, || format!("a body of {len} bytes"))?;
        let (tail, size) = store.get_tail(&name, 100).await?;
        let want = &content[len.saturating_sub(100)..];
        ensure(size == len as u64 && tail == want, || format!("the tail of {len} bytes"))?;
    }
    Ok(())
}
