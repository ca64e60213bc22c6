//! What changes while a dump runs: with it a restore reaches the moment of the dump's end.

use bson::{Bson, Document, RawDocument, Timestamp, rawdoc};
use bygone_agent::source::NaturalScan;
use bygone_base::{Error, ErrorKind, Result};

use super::{Found, Run, part::Part};
use crate::{
    connect::Connection,
    report::{Log, plural},
};

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
                check(entry)?;
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

/// Refuses what no replay can repeat.
fn check(entry: &[u8]) -> Result<()> {
    let entry = RawDocument::from_bytes(entry)
        .map_err(|e| Error::damaged("an oplog entry is not BSON").source(e))?;
    let (op, ns) = (entry.get_str("op").unwrap_or(""), entry.get_str("ns").unwrap_or(""));
    if op == "u" && ns == "admin.system.version" {
        return Err(refused("a change of the version of users and roles, or of the server"));
    }
    if op != "c" {
        return Ok(());
    }
    let Ok(o) = entry.get_document("o") else { return Ok(()) };
    let first = o.iter().next().and_then(|f| f.ok()).map(|(name, _)| name.as_str().to_owned());
    match first.as_deref() {
        Some("renameCollection") => Err(refused("a renamed collection")),
        Some("importCollection") => Err(refused("an imported collection")),
        Some("applyOps") => {
            let o = Document::try_from(o).unwrap_or_default();
            nested(&o)
        }
        _ => Ok(()),
    }
}

/// Commands inside applyOps.
fn nested(o: &Document) -> Result<()> {
    let entries = o.get_array("applyOps").map(Vec::as_slice).unwrap_or_default();
    for entry in entries.iter().filter_map(Bson::as_document) {
        let command = entry.get_document("o").cloned().unwrap_or_default();
        if entry.get_str("op").is_ok_and(|op| op == "c") && command.contains_key("renameCollection")
        {
            return Err(refused("a renamed collection"));
        }
    }
    Ok(())
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
        for bad in [rename, inside, version] {
            assert!(check(&bson::serialize_to_vec(&bad).unwrap()).is_err(), "{bad}");
        }
        assert!(check(&bson::serialize_to_vec(&plain).unwrap()).is_ok());
    }
}
