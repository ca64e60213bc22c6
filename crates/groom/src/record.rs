//! What grooms found dead, kept in the store: a pack must be seen dead twice, the delay apart.

use std::collections::BTreeMap;

use bson::{RawDocument, rawdoc, spec::BinarySubtype};
use bygone_base::{Error, ErrorKind, PackId, Result, UnixMillis};
use bygone_blockstore::{ObjectKind, Put, Repository};

/// How often the clock is asked while other grooms clean up beside us.
const CLOCK_TRIES: u32 = 8;
pub(crate) const FOLDER: &str = "groom/";
const ENTRY: usize = PackId::LEN + 8;

/// The newest record's number (0: none) and content. A damaged one counts as empty: nothing was seen dead
/// yet, so all that is lost is the time waited; the next record takes its place.
pub(crate) async fn read(repo: &Repository) -> Result<(u32, BTreeMap<PackId, UnixMillis>)> {
    let Some(number) = numbers(repo).await?.pop() else { return Ok((0, BTreeMap::new())) };
    match parse(repo, &name(number)).await {
        Ok(dead) => Ok((number, dead)),
        Err(error) if error.kind() == ErrorKind::Damaged => {
            tracing::warn!(%error, "what was found dead is found out anew");
            Ok((number, BTreeMap::new()))
        }
        Err(error) => Err(error),
    }
}

async fn parse(repo: &Repository, name: &str) -> Result<BTreeMap<PackId, UnixMillis>> {
    let bytes = repo.get_object(ObjectKind::Groom, name).await?;
    let bad = || Error::damaged(format!("{name} is not a groom's record"));
    let doc = RawDocument::from_bytes(&bytes).map_err(|e| bad().source(e))?;
    let dead = doc.get_binary("dead").map_err(|e| bad().source(e))?.bytes;
    let (entries, rest) = dead.as_chunks::<ENTRY>();
    if !rest.is_empty() {
        return Err(bad());
    }
    let mut map = BTreeMap::new();
    for entry in entries {
        let (pack, since) = entry.split_at(PackId::LEN);
        let pack = PackId::from_slice(pack).ok_or_else(bad)?;
        let since = since.try_into().map_err(|_| bad())?;
        map.insert(pack, UnixMillis(i64::from_le_bytes(since)));
    }
    Ok(map)
}

/// Writes the next record and deletes older ones. Another groom may have been faster: its record counts then.
pub(crate) async fn write(
    repo: &Repository,
    after: u32,
    dead: &BTreeMap<PackId, UnixMillis>,
) -> Result<()> {
    let mut bytes = Vec::with_capacity(dead.len() * ENTRY);
    for (pack, since) in dead {
        bytes.extend_from_slice(&pack.0);
        bytes.extend_from_slice(&since.0.to_le_bytes());
    }
    let dead = bson::Binary { subtype: BinarySubtype::Generic, bytes };
    let doc = rawdoc! { "format": 1_i32, "dead": dead };
    if repo.put_object(ObjectKind::Groom, &name(after + 1), doc.as_bytes()).await? == Put::Created {
        for old in numbers(repo).await?.into_iter().filter(|n| *n <= after) {
            repo.store().delete(&name(old)).await?;
        }
    }
    Ok(())
}

/// The store's clock: the time it gives an object written now.
pub(crate) async fn store_now(repo: &Repository) -> Result<UnixMillis> {
    for _ in 0..CLOCK_TRIES {
        let mut tail = [0; 8];
        repo.rng().fill(&mut tail);
        let name = format!("readers/{:016x}", u64::from_le_bytes(tail));
        // An expired lease is the one object that may come and go.
        let doc = crate::lease::encode(&tail, UnixMillis(0), "clock");
        repo.put_object(ObjectKind::Reader, &name, &doc).await?;
        match repo.store().stat(&name).await {
            Ok(stat) => {
                repo.store().delete(&name).await?;
                return Ok(stat.modified);
            }
            // Another groom took the expired lease away.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Err(Error::new(ErrorKind::Unavailable, "other grooms are in the way").hint("try again later"))
}

async fn numbers(repo: &Repository) -> Result<Vec<u32>> {
    let objects = repo.store().list(FOLDER, None).await?;
    Ok(objects.iter().filter_map(|o| o.name.strip_prefix(FOLDER)?.parse().ok()).collect())
}

fn name(number: u32) -> String {
    format!("{FOLDER}{number:08}")
}
