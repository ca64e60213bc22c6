//! The documents of one collection.

use bson::{RawDocument, RawDocumentBuf, cstr, rawdoc};
use bygone_agent::source::{Batches, Fault, NaturalScan, SourceResult};
use bygone_base::{Error, Result};
use futures::future::try_join_all;
use tokio::sync::{Mutex, SemaphorePermit};

use super::{Found, Run};
use crate::{
    metadata::{Kind, Metadata},
    progress::Watched,
    report::plural,
    sink::{Compression, Lane},
};

/// Bytes of a reply. One megabyte stays in a processor's cache; a little more bears other work on the machine better, for
/// each reply passes through several threads, and up to three are held.
const REPLY: u64 = 2 << 20;
/// Where compression sets the pace, or several cursors are read, nothing is gained by more than this; where both, each
/// cursor has its share of it.
const SMALL_REPLY: u64 = 1 << 20;

/// Dumps one collection by up to so many cursors as there are permits; gives how many documents.
pub(super) async fn dump(
    run: &Run<'_>,
    found: &Found,
    permits: SemaphorePermit<'_>,
) -> Result<u64> {
    let stored = found.stored();
    let name = format!("{}.{stored}", found.db);
    if found.kind == Kind::View && run.sink.is_directory() {
        return Ok(0);
    }
    run.log.always(format_args!("writing {name} to {}", run.sink.shown(&found.db, &stored)));
    let mut lane = run.sink.lane(&found.db, &stored)?;
    match open(run, found, &stored, permits.num_permits()).await {
        Ok(cursors) if cursors.is_empty() => {}
        Ok(cursors) => {
            if cursors.len() > 1 {
                run.log.info(format_args!("reading {name} with {} cursors", cursors.len()));
            }
            // How many a query finds is not counted.
            let all = if run.options.query.is_some() { 0 } else { found.documents };
            let bar = run.bars.begin(name.clone(), all);
            let read = read(cursors, lane, &bar, permits).await;
            lane = read.map_err(|e| e.within(format!("error dumping {name}")))?;
        }
        // Dropped since it was listed.
        Err(failed) if failed.fault == Fault::Gone => {}
        Err(failed) => return Err(Error::from(failed).within(format!("error dumping {name}"))),
    }
    let (documents, _) = lane.finish().await?;
    if run.sink.shown(&found.db, &stored) == "stdout" {
        run.log.always(format_args!("dumped {}", plural(documents, "document")));
    } else {
        run.log.always(format_args!("done dumping {name} ({})", plural(documents, "document")));
    }
    Ok(documents)
}

/// What all cursors give, as it comes. Each gives its permit back when it has ended.
async fn read(
    cursors: Vec<Box<dyn Batches>>,
    lane: Lane,
    bar: &Watched,
    mut permits: SemaphorePermit<'_>,
) -> Result<Lane> {
    let lane = Mutex::new(lane);
    let each = cursors.into_iter().map(|mut cursor| {
        let (lane, permit) = (&lane, permits.split(1));
        async move {
            while let Some(reply) = cursor.next().await.map_err(Error::from)? {
                let mut lane = lane.lock().await;
                lane.push(reply.docs()).await?;
                bar.set(lane.documents());
            }
            drop(permit);
            Ok::<(), Error>(())
        }
    });
    let each: Vec<_> = each.collect();
    drop(permits);
    try_join_all(each).await?;
    Ok(lane.into_inner())
}

/// So many documents that a reply holds about so many bytes. Who may not ask for the size gets an average one.
fn batch_size(found: &Found, reply: u64) -> u32 {
    let one = match found.bytes.checked_div(found.documents) {
        None | Some(0) => 1000,
        Some(one) => one,
    };
    u32::try_from((reply / one).clamp(16, 20_000)).unwrap_or(1000)
}

/// No cursor for a view, which has no documents. A collection is read in natural order, and goes on where it was cut; what a query or a view finds is not and does not.
async fn open(
    run: &Run<'_>,
    found: &Found,
    stored: &str,
    cursors: usize,
) -> SourceResult<Vec<Box<dyn Batches>>> {
    if found.kind == Kind::View {
        return Ok(Vec::new());
    }
    let (reader, what) = (&run.reader, "dump");
    let reply = match run.options.compression {
        Compression::None if cursors == 1 => REPLY,
        Compression::None => SMALL_REPLY,
        _ => SMALL_REPLY / cursors.max(1) as u64,
    };
    let batch = batch_size(found, reply);
    let mut command = rawdoc! {"find": stored};
    if let Some(query) = &run.options.query {
        let query = match found.kind {
            Kind::TimeSeries => on_meta(found, query)?,
            _ => query.clone(),
        };
        let query = RawDocumentBuf::from_bytes(query)
            .map_err(|e| Error::usage(format!("error parsing query: {e}")))?;
        command.append(cstr!("filter"), query);
    } else if found.stored_in.is_some() {
        let (db, coll) = (found.db.clone(), stored.to_owned());
        let read_concern = run.level.map(str::to_owned);
        let (uuid, filter, entries) = (found.stored_in, None, None);
        let scan = NaturalScan { db, coll, uuid, filter, entries, read_concern, batch, what };
        // What divides it is looked for without a read concern.
        let cursors = if run.level.is_some() { 1 } else { cursors };
        return reader.divided(scan, found.documents, cursors).await;
    }
    if let Some(level) = run.level {
        command.append(cstr!("readConcern"), rawdoc! {"level": level});
    }
    command.append(cstr!("batchSize"), i32::try_from(batch).unwrap_or(1000));
    Ok(vec![reader.open(&found.db, command, batch, what).await?])
}

/// A time-series can only be asked by its meta field, which its buckets hold as `meta`.
fn on_meta(found: &Found, query: &[u8]) -> Result<Vec<u8>> {
    let metadata = Metadata { options: found.options.clone(), ..Metadata::default() };
    let options = RawDocument::from_bytes(&metadata.options)
        .map_err(|e| Error::damaged(format!("options of {}", found.name)).source(e))?;
    let series = options.get_document("timeseries").ok();
    let field = series.and_then(|s| s.get_str("metaField").ok()).unwrap_or_default();
    let refuse = || {
        Error::usage(format!(
            "cannot process query for timeseries collection {}.{}: mongodump only processes queries \
             on metadata fields for timeseries collections",
            found.db, found.name
        ))
    };
    rename(query, field).ok_or_else(refuse)
}

/// `query` with every `field` and `field.x` as `meta` and `meta.x`; `None` where another field is asked for.
fn rename(query: &[u8], field: &str) -> Option<Vec<u8>> {
    use bygone_restore::raw::{Build, fields, kind};
    let mut out = Build::new();
    for element in fields(query) {
        let element = element.ok()?;
        let name = std::str::from_utf8(element.name).ok()?;
        if matches!(name, "$and" | "$or" | "$nor") && element.kind == kind::ARRAY {
            let mut list = Build::new();
            for (index, part) in fields(element.value).enumerate() {
                list = list.doc(&index.to_string(), &rename(part.ok()?.doc()?, field)?);
            }
            out = out.element(kind::ARRAY, element.name, &list.finish());
            continue;
        }
        let below = name.strip_prefix(field).filter(|r| r.is_empty() || r.starts_with('.'));
        let renamed = format!("meta{}", below.filter(|_| !field.is_empty())?);
        out = out.element(element.kind, renamed.as_bytes(), element.value);
    }
    Some(out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_asks_buckets_by_meta() {
        let query = rawdoc! {"m": 1, "$or": [{"m.x": 2}, {"m": {"$gt": 3}}]};
        let want = rawdoc! {"meta": 1, "$or": [{"meta.x": 2}, {"meta": {"$gt": 3}}]};
        assert_eq!(rename(query.as_bytes(), "m").unwrap(), want.into_bytes());
        assert_eq!(rename(rawdoc! {"v": 1}.as_bytes(), "m"), None);
        assert_eq!(rename(rawdoc! {"mm": 1}.as_bytes(), "m"), None);
        assert_eq!(rename(rawdoc! {"m": 1}.as_bytes(), ""), None);
    }
}
