//! What changes while a dump runs: with it a restore reaches the moment of the dump's end.

use bson::{RawDocument, Timestamp, cstr, rawdoc};
use bygone_agent::source::NaturalScan;
use bygone_base::{Error, ErrorKind, Result};
use bygone_restore::raw::{self, kind};

use super::{Found, Run, part::Part};
use crate::{
    connect::Connection,
    report::{Log, plural},
};

/// Entries within entries.
const DEPTH: u32 = 10;
const RESHARDING: &str = "a collection that is resharded";
/// Where a server keeps its own version and that of its users.
pub(super) const VERSION: &str = "admin.system.version";
pub(super) const VERSION_CHANGE: &str =
    "a change of the version of users and roles, or of the server";

/// The oldest entry that a restore needs: of the oldest transaction that is not decided, or the newest of all.
pub(super) async fn start(
    connection: &Connection,
    level: Option<&str>,
    log: &Log,
) -> Result<Timestamp> {
    log.info("getting most recent oplog timestamp");
    // In this order: what is prepared behind the newest entry is in the oplog's part anyway, and what was decided when
    // transactions were looked for is in the collections, which are read later.
    let newest = edge(connection, -1, level).await?;
    let open = undecided(connection, level).await?;
    let start = open.map_or(newest, |open| open.min(newest));
    covered(connection, start).await?;
    Ok(start)
}

/// Where the oldest transaction begins that is not decided, if it has written anything.
async fn undecided(connection: &Connection, level: Option<&str>) -> Result<Option<Timestamp>> {
    let undecided = rawdoc! {
        "find": "transactions",
        "filter": {"state": {"$in": ["prepared", "inProgress"]}, "startOpTime": {"$exists": true}},
        "sort": {"startOpTime": 1},
        "limit": 1,
        "readConcern": {"level": level.unwrap_or("local")},
    };
    let found = connection.reader.documents("config", undecided, "look for transactions").await;
    let found = found.map_err(Error::from)?;
    Ok(found.first().and_then(|doc| {
        let doc = RawDocument::from_bytes(doc).ok()?;
        doc.get_document("startOpTime").ok()?.get_timestamp("ts").ok()
    }))
}

/// A collection that gets another shard key is filled under a name that no dump holds, and takes its own at the end: an
/// oplog of that cannot be replayed. What began before the dump may write nothing that tells for a while.
pub(super) async fn refuse_resharding(connection: &Connection) -> Result<()> {
    for coll in [
        "localReshardingOperations.donor",
        "localReshardingOperations.recipient",
        "reshardingOperations",
    ] {
        let find = rawdoc! {"find": coll, "projection": {"_id": 1}, "limit": 1};
        let found = connection.reader.documents("config", find, "look for resharding").await;
        let found = match found.map_err(Error::from) {
            // Who may not look learns it from the oplog.
            Err(denied) if denied.kind() == ErrorKind::Denied => return Ok(()),
            found => found?,
        };
        if !found.is_empty() {
            return Err(refused(RESHARDING));
        }
    }
    Ok(())
}

/// The newest (-1) or oldest (1) timestamp of the oplog. Of the newest nothing may be missing in collections: they are
/// read at the same level.
async fn edge(connection: &Connection, direction: i32, level: Option<&str>) -> Result<Timestamp> {
    let mut command = rawdoc! {
        "find": "oplog.rs", "sort": {"$natural": direction}, "limit": 1, "projection": {"ts": 1},
    };
    if let Some(level) = level {
        command.append(cstr!("readConcern"), rawdoc! {"level": level});
    }
    let found = connection.reader.documents("local", command, "read the oplog").await;
    let found = found.map_err(Error::from)?;
    let ts = found.first().and_then(|d| RawDocument::from_bytes(d).ok()?.get_timestamp("ts").ok());
    ts.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "error getting oplog start: the server has no oplog")
    })
}

/// The oplog must reach back to the start, or what it lost is lost to the dump.
async fn covered(connection: &Connection, start: Timestamp) -> Result<()> {
    let oldest = edge(connection, 1, None).await?;
    if (oldest.time, oldest.increment) <= (start.time, start.increment) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotCovered,
        "oplog overflow: mongodump was unable to capture all new oplog entries during execution",
    )
    .hint("make the oplog larger, or dump when less is written"))
}

/// Dumps everything from `start` to what is newest now, as far as it is about what was dumped.
pub(super) async fn finish(run: &Run<'_>, start: Timestamp, found: &[Found]) -> Result<()> {
    covered(run.connection, start).await?;
    run.reader.unchanged().await.map_err(Error::from)?;
    let end = edge(run.connection, -1, run.level).await?;
    run.log.always("writing captured oplog to ");
    let scan = NaturalScan {
        db: "local".to_owned(),
        coll: "oplog.rs".to_owned(),
        uuid: None,
        filter: None,
        entries: Some((start, end)),
        read_concern: run.level.map(str::to_owned),
        batch: 1000,
        what: "dump the oplog",
    };
    let mut lane = run.sink.oplog()?;
    let mut replies = run.reader.natural(scan).await.map_err(Error::from)?;
    let selection = &run.options.selection;
    let part = Part::new(selection, found);
    let bar = run.bars.begin("local.oplog.rs".to_owned(), 0);
    while let Some(reply) = replies.next().await.map_err(Error::from)? {
        if selection.all() {
            for entry in reply.docs() {
                check(entry, 0)?;
            }
            lane.push(reply.docs()).await?;
        } else {
            let parts: Vec<_> = reply
                .docs()
                .filter_map(|entry| part.of(entry).transpose())
                .collect::<Result<_>>()?;
            lane.push(parts.iter().map(|entry| &**entry)).await?;
        }
        bar.set(lane.documents());
    }
    if lane.documents() == 0 {
        // Nothing happened to what is dumped; of an archive the stock mongorestore replays no oplog without an entry.
        let nothing = rawdoc! {"ts": end, "v": 2, "op": "n", "ns": "", "o": {"msg": "no change"}};
        lane.push(std::iter::once(nothing.as_bytes())).await?;
    }
    drop(bar);
    let (entries, _) = lane.finish().await?;
    let word = if entries == 1 { "entry" } else { "entries" };
    run.log.always(format_args!("\tdumped {entries} oplog {word}"));
    run.log.debug(plural(entries, "oplog document"));
    covered(run.connection, start).await?;
    run.reader.unchanged().await.map_err(Error::from)
}

/// Refuses what no replay can repeat, also inside of applyOps.
fn check(entry: &[u8], depth: u32) -> Result<()> {
    let op = raw::text(entry, "op");
    let op = op.ok_or_else(|| Error::damaged("an oplog entry is not BSON, or has no op"))?;
    let ns = raw::text(entry, "ns").unwrap_or_default();
    let (db, coll) = ns.split_once('.').unwrap_or((ns, ""));
    match op {
        "i" | "u" | "d" if ns == VERSION => Err(refused(VERSION_CHANGE)),
        "i" | "u" | "d" if is_resharding(db, coll) => Err(refused(RESHARDING)),
        "c" => command(entry, db, depth),
        _ => Ok(()),
    }
}

fn command(entry: &[u8], db: &str, depth: u32) -> Result<()> {
    let Some(o) = raw::get(entry, "o").and_then(|o| o.doc()) else { return Ok(()) };
    let Some(first) = raw::fields(o).next().transpose()? else { return Ok(()) };
    match first.name {
        b"renameCollection" => Err(refused("a renamed collection")),
        b"importCollection" => Err(refused("an imported collection")),
        b"upgradeDowngradeViewlessTimeseries" => {
            Err(refused("a time-series that changed its form"))
        }
        b"create" if is_resharding(db, first.text().unwrap_or_default()) => {
            Err(refused(RESHARDING))
        }
        b"applyOps" if first.kind == kind::ARRAY => {
            if depth > DEPTH {
                return Err(Error::damaged("an oplog entry has applyOps nested too deep"));
            }
            for operation in raw::fields(first.value) {
                if let Some(operation) = operation?.doc() {
                    check(operation, depth + 1)?;
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether a collection is one that a collection is resharded into, or the bookkeeping of that (8.2; 5.0).
fn is_resharding(db: &str, coll: &str) -> bool {
    let books = coll.starts_with("localResharding") || coll == "reshardingOperations";
    coll.starts_with("system.resharding.") || db == "config" && books
}

pub(super) fn refused(what: &str) -> Error {
    Error::unsupported(format!("cannot dump with oplog: the oplog has {what} during the dump"))
        .hint("dump again when no such operation runs")
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn what_no_replay_can_repeat_is_refused() {
        let rename =
            doc! {"op": "c", "ns": "a.$cmd", "o": {"renameCollection": "a.b", "to": "a.c"}};
        let inside = doc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [rename.clone()]}};
        let of_version = |op: &str| doc! {"op": op, "ns": "admin.system.version", "o": {}};
        let versions = ["i", "u", "d"].map(of_version);
        let plain = doc! {"op": "i", "ns": "a.b", "o": {"renameCollection": 1}};
        let import = doc! {"op": "c", "ns": "a.$cmd", "o": {"importCollection": "a.b"}};
        let within = doc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [import.clone()]}};
        let deeper = doc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [within.clone()]}};
        for bad in [rename, inside, import, within, deeper].into_iter().chain(versions) {
            assert!(check(&bson::serialize_to_vec(&bad).unwrap(), 0).is_err(), "{bad}");
        }
        assert!(check(&bson::serialize_to_vec(&plain).unwrap(), 0).is_ok());
    }

    /// As 8.2 writes them.
    #[test]
    fn a_resharding_is_refused_as_soon_as_it_shows() {
        let id = "eef1157b-bd6d-4ab6-8ff3-87c34be0f81a";
        let insert = |ns: String| doc! {"op": "i", "ns": ns, "o": {"_id": 1}};
        let create = |db: &str, coll: String| doc! {"op": "c", "ns": format!("{db}.$cmd"), "o": {"create": coll}};
        let copied = insert(format!("d.system.resharding.{id}"));
        for bad in [
            create("config", "localReshardingOperations.donor".to_owned()),
            insert("config.localReshardingOperations.donor".to_owned()),
            doc! {"op": "u", "ns": "config.localReshardingOperations.recipient", "o": {"$v": 2, "diff": {}}, "o2": {"_id": 1}},
            insert(format!("config.localReshardingOplogBuffer.{id}.sh")),
            insert("config.reshardingOperations".to_owned()),
            create("d", format!("system.resharding.{id}")),
            doc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [copied]}, "txnNumber": 2_i64},
        ] {
            let refused = check(&bson::serialize_to_vec(&bad).unwrap(), 0).unwrap_err();
            assert!(refused.message().contains("resharded"), "{bad}: {refused}");
        }
        for good in [
            insert("d.localReshardingOperations.donor".to_owned()),
            insert(format!("config.cache.chunks.d.system.resharding.{id}")),
            create("d", "a".to_owned()),
        ] {
            assert!(check(&bson::serialize_to_vec(&good).unwrap(), 0).is_ok(), "{good}");
        }
    }
}
