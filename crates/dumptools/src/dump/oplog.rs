//! What changes while a dump runs: with it a restore reaches the moment of the dump's end.

use bson::{RawDocument, Timestamp, rawdoc};
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

/// The oldest entry that a restore needs: of the oldest transaction that is not decided, else the newest of all.
pub(super) async fn start(connection: &Connection, log: &Log) -> Result<Timestamp> {
    log.info("getting most recent oplog timestamp");
    let undecided = rawdoc! {
        "find": "transactions",
        "filter": {"state": {"$in": ["prepared", "inProgress"]}},
        "sort": {"startOpTime": 1},
        "limit": 1,
        "readConcern": {"level": "local"},
    };
    let found = connection.reader.documents("config", undecided, "look for transactions").await;
    let found = found.map_err(Error::from)?;
    let open = found.first().and_then(|doc| {
        let doc = RawDocument::from_bytes(doc).ok()?;
        doc.get_document("startOpTime").ok()?.get_timestamp("ts").ok()
    });
    let start = match open {
        Some(start) => start,
        None => edge(connection, -1).await?,
    };
    covered(connection, start).await?;
    Ok(start)
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

/// The newest (-1) or oldest (1) timestamp of the oplog.
async fn edge(connection: &Connection, direction: i32) -> Result<Timestamp> {
    let command = rawdoc! {
        "find": "oplog.rs", "sort": {"$natural": direction}, "limit": 1, "projection": {"ts": 1},
    };
    let found = connection.reader.documents("local", command, "read the oplog").await;
    let found = found.map_err(Error::from)?;
    let ts = found.first().and_then(|d| RawDocument::from_bytes(d).ok()?.get_timestamp("ts").ok());
    ts.ok_or_else(|| {
        Error::new(ErrorKind::NotFound, "error getting oplog start: the server has no oplog")
    })
}

/// The oplog must reach back to the start, or what it lost is lost to the dump.
async fn covered(connection: &Connection, start: Timestamp) -> Result<()> {
    let oldest = edge(connection, 1).await?;
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
    let end = edge(run.connection, -1).await?;
    run.log.always("writing captured oplog to ");
    let scan = NaturalScan {
        db: "local".to_owned(),
        coll: "oplog.rs".to_owned(),
        uuid: None,
        filter: Some(rawdoc! {"ts": {"$gte": start, "$lte": end}}),
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
    covered(run.connection, start).await
}

/// Refuses what no replay can repeat, also inside of applyOps.
fn check(entry: &[u8], depth: u32) -> Result<()> {
    let op = raw::text(entry, "op");
    let op = op.ok_or_else(|| Error::damaged("an oplog entry is not BSON, or has no op"))?;
    let ns = raw::text(entry, "ns").unwrap_or_default();
    let (db, coll) = ns.split_once('.').unwrap_or((ns, ""));
    match op {
        "u" if ns == "admin.system.version" => {
            Err(refused("a change of the version of users and roles, or of the server"))
        }
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
        let version = doc! {"op": "u", "ns": "admin.system.version", "o": {}};
        let plain = doc! {"op": "i", "ns": "a.b", "o": {"renameCollection": 1}};
        let import = doc! {"op": "c", "ns": "a.$cmd", "o": {"importCollection": "a.b"}};
        let within = doc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [import.clone()]}};
        let deeper = doc! {"op": "c", "ns": "admin.$cmd", "o": {"applyOps": [within.clone()]}};
        for bad in [rename, inside, version, import, within, deeper] {
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
