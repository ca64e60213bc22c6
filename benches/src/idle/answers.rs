//! What a set answers to which command.

use std::{sync::atomic::Ordering, time::Duration};

use bson::{
    Bson, DateTime, Document, RawArrayBuf, RawDocumentBuf, Timestamp, oid::ObjectId, rawdoc,
};
use bygone_base::{Clock as _, Ts};

use super::{
    Set, locked,
    oplog::{Entry, TERM},
};

/// `None`: the command, or this form of it, is not known.
type Answer = Option<RawDocumentBuf>;

fn timestamp(ts: Ts) -> Timestamp {
    Timestamp { time: ts.secs(), increment: ts.inc() }
}

/// Answers a command.
pub(super) async fn answer(set: &Set, command: &Document) -> RawDocumentBuf {
    let name = command.keys().next().map(String::as_str).unwrap_or_default();
    let waits = if command.contains_key("maxAwaitTimeMS") { " (awaited)" } else { "" };
    set.count(&format!("{name}{waits}"));
    let db = command.get_str("$db").unwrap_or("admin");
    let answer = match name {
        "hello" | "isMaster" | "ismaster" => Some(hello(set, command).await),
        "buildInfo" => Some(rawdoc! { "version": "8.2.0", "ok": 1.0 }),
        "ping" | "endSessions" | "killCursors" => Some(rawdoc! { "ok": 1.0 }),
        "serverStatus" => Some(rawdoc! { "repl": { "rbid": 1 }, "ok": 1.0 }),
        "listDatabases" => Some(databases()),
        "listCollections" => Some(cursor(0, set.catalogue.listed(db))),
        "listIndexes" => collection(set, command, db).map(|coll| cursor(0, coll.indexes())),
        "collStats" => collection(set, command, db)
            .map(|coll| rawdoc! { "count": coll.count, "size": coll.bytes, "ok": 1.0 }),
        "find" => find(set, command, db),
        "getMore" => get_more(set, command).await,
        "appendOplogNote" => {
            let data = command.get_document("data").ok();
            let message = data.and_then(|data| data.get_str("msg").ok()).unwrap_or_default();
            set.oplog.append(message);
            Some(rawdoc! { "ok": 1.0 })
        }
        _ => None,
    };
    let mut answer = answer.unwrap_or_else(|| {
        set.refuse(command.to_string());
        rawdoc! {
            "ok": 0.0, "code": 59, "codeName": "CommandNotFound",
            "errmsg": format!("no such command: '{name}'"),
        }
    });
    answer.append(bson::cstr!("operationTime"), timestamp(set.oplog.newest()));
    answer
}

fn cursor(id: i64, batch: RawArrayBuf) -> RawDocumentBuf {
    rawdoc! { "cursor": { "id": id, "ns": "a.b", "firstBatch": batch }, "ok": 1.0 }
}

fn array(entries: Vec<Entry>) -> RawArrayBuf {
    let mut array = RawArrayBuf::new();
    entries.into_iter().for_each(|entry| array.push(entry.doc));
    array
}

/// An awaited one is answered when its time is over: nothing changes here.
async fn hello(set: &Set, command: &Document) -> RawDocumentBuf {
    if let Some(wait) = milliseconds(command, "maxAwaitTimeMS") {
        set.clock.sleep(wait).await;
    }
    let (me, now) = (set.port.address(), DateTime::from_millis(set.clock.now().0));
    let at = rawdoc! { "ts": timestamp(set.oplog.newest()), "t": TERM };
    rawdoc! {
        "helloOk": true, "ismaster": true, "isWritablePrimary": true, "secondary": false,
        "setName": set.name.as_str(), "setVersion": 1, "hosts": [me.as_str()],
        "primary": me.as_str(), "me": me.as_str(),
        "topologyVersion": { "processId": ObjectId::from_bytes([9; 12]), "counter": 6_i64 },
        "lastWrite": {
            "opTime": at.clone(), "lastWriteDate": now,
            "majorityOpTime": at, "majorityWriteDate": now,
        },
        "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000, "localTime": now, "logicalSessionTimeoutMinutes": 30,
        "connectionId": 1, "minWireVersion": 0, "maxWireVersion": 27, "readOnly": false, "ok": 1.0,
    }
}

fn databases() -> RawDocumentBuf {
    let mut all = RawArrayBuf::new();
    for name in ["admin", "config", "local", "shop"] {
        all.push(rawdoc! { "name": name });
    }
    rawdoc! { "databases": all, "ok": 1.0 }
}

/// By the first field of the command: a UUID or a name.
fn collection<'a>(
    set: &'a Set,
    command: &Document,
    db: &str,
) -> Option<&'a super::catalogue::Collection> {
    match command.values().next()? {
        Bson::Binary(uuid) => set.catalogue.by_uuid(&uuid.bytes),
        Bson::String(name) => set.catalogue.by_name(db, name),
        _ => None,
    }
}

fn find(set: &Set, command: &Document, db: &str) -> Answer {
    let nothing = || Some(cursor(0, RawArrayBuf::new()));
    match (db, command.get_str("find").ok()) {
        ("local", Some("oplog.rs")) => find_oplog(set, command),
        ("config", Some("transactions")) | ("admin", Some("system.users")) => nothing(),
        ("admin", Some("system.version")) => {
            let filter = command.get_document("filter").ok();
            let id = filter.and_then(|filter| filter.get_str("_id").ok());
            if id == Some("shardIdentity") {
                return nothing();
            }
            collection(set, command, db).map(|coll| cursor(0, coll.docs.clone()))
        }
        // A scan: what a set has fits into one reply. No bounds: it is too small for several ranges.
        (_, None) if !command.contains_key("min") && !command.contains_key("max") => {
            collection(set, command, db).map(|coll| cursor(0, coll.docs.clone()))
        }
        _ => None,
    }
}

fn find_oplog(set: &Set, command: &Document) -> Answer {
    let filter = command.get_document("filter").ok();
    let range = filter.and_then(|filter| filter.get_document("ts").ok());
    let bound = |name: &str| {
        let ts = range?.get_timestamp(name).ok()?;
        Some(Ts::new(ts.time, ts.increment))
    };
    let entries = set.oplog.from(0);
    let read = entries.len();
    let fits = |entry: &Entry| {
        bound("$gte").is_none_or(|from| entry.ts >= from)
            && bound("$lte").is_none_or(|to| entry.ts <= to)
            && bound("$lt").is_none_or(|to| entry.ts < to)
    };
    let mut found: Vec<Entry> = entries.into_iter().filter(fits).collect();
    if command.get_bool("tailable").unwrap_or_default() {
        let id = set.next_cursor.fetch_add(1, Ordering::Relaxed);
        locked(&set.cursors).insert(id, read);
        return Some(cursor(id, array(found)));
    }
    let sort = command.get_document("sort").ok();
    if sort.and_then(|sort| sort.get_i32("$natural").ok()) == Some(-1) {
        found.reverse();
    }
    found.truncate(1);
    Some(cursor(0, array(found)))
}

/// Of a tailing cursor: no other is left open.
async fn get_more(set: &Set, command: &Document) -> Answer {
    let id = command.get_i64("getMore").ok()?;
    let read = locked(&set.cursors).get(&id).copied()?;
    let wait = milliseconds(command, "maxTimeMS").unwrap_or(Duration::from_secs(1));
    set.oplog.more_than(read, wait).await;
    let entries = set.oplog.from(read);
    locked(&set.cursors).insert(id, read + entries.len());
    let batch = array(entries);
    let cursor = rawdoc! { "id": id, "ns": "local.oplog.rs", "nextBatch": batch };
    Some(rawdoc! { "cursor": cursor, "ok": 1.0 })
}

fn milliseconds(command: &Document, name: &str) -> Option<Duration> {
    let number = match command.get(name)? {
        Bson::Int32(n) => u64::try_from(*n).ok()?,
        Bson::Int64(n) => u64::try_from(*n).ok()?,
        Bson::Double(n) => *n as u64,
        _ => return None,
    };
    Some(Duration::from_millis(number))
}
