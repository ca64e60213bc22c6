//! The small messages: one BSON document each.

use bson::{RawArrayBuf, RawDocumentBuf, cstr};
use bygone_base::{Epoch, Error, ErrorKind, OpTime, Result, SyncId, TimelineId, UnixMillis};

use super::read::Reader;
use crate::{
    filter::Filter,
    uplink::{
        Ack, AgentReport, Hello, PartKey, PartState, RangeProgress, Session, SessionRef, SyncPlan,
        TimelineReason,
        plan::{binary, timestamp, uuid},
    },
};

/// Reads a message that is one document and nothing else.
fn whole<'a>(what: &'static str, bytes: &'a [u8]) -> Result<Reader<'a>> {
    Reader::new(what, bytes)
}

fn put_key(doc: &mut RawDocumentBuf, key: &PartKey) {
    doc.append(cstr!("job"), key.job.as_str());
    doc.append(cstr!("part"), key.part.as_str());
}

fn key(doc: &Reader<'_>) -> Result<PartKey> {
    Ok(PartKey { job: doc.str("job")?.parse()?, part: doc.str("part")?.parse()? })
}

pub(super) fn put_session(doc: &mut RawDocumentBuf, session: &SessionRef) {
    put_key(doc, &session.key);
    doc.append(cstr!("epoch"), session.epoch.0 as i64);
    doc.append(cstr!("timeline"), i64::from(session.timeline.0));
}

pub(super) fn session(doc: &Reader<'_>) -> Result<SessionRef> {
    Ok(SessionRef {
        key: key(doc)?,
        epoch: Epoch(doc.u64("epoch")?),
        timeline: TimelineId(doc.u32("timeline")?),
    })
}

fn op_time(at: OpTime) -> RawDocumentBuf {
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("ts"), timestamp(at.ts));
    doc.append(cstr!("t"), at.term);
    doc
}

fn read_op_time(doc: &Reader<'_>, name: &str) -> Result<OpTime> {
    doc.doc(name)?.op_time("ts", "t")
}

/// `POST open`.
pub fn encode_hello(hello: &Hello) -> Vec<u8> {
    let mut doc = RawDocumentBuf::new();
    put_key(&mut doc, &hello.key);
    doc.append(cstr!("agent"), hello.agent.as_str());
    doc.append(cstr!("host"), hello.host.as_str());
    doc.append(cstr!("server_version"), hello.server_version.as_str());
    doc.append(cstr!("fcv"), hello.fcv.as_str());
    doc.append(cstr!("filter"), hello.filter.to_bson());
    doc.append(cstr!("take_over"), hello.take_over);
    if let Some(identity) = hello.identity {
        doc.append(cstr!("identity"), uuid(identity));
    }
    doc.into_bytes()
}

/// Reads a [`Hello`].
pub fn decode_hello(bytes: &[u8]) -> Result<Hello> {
    let doc = whole("hello", bytes)?;
    Ok(Hello {
        key: key(&doc)?,
        agent: doc.string("agent")?,
        host: doc.string("host")?,
        server_version: doc.string("server_version")?,
        fcv: doc.string("fcv")?,
        filter: Filter::from_bson(doc.doc("filter")?.bytes())?,
        take_over: doc.bool("take_over")?,
        identity: doc.optional_uuid("identity")?,
    })
}

fn progress(range: &RangeProgress) -> RawDocumentBuf {
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("uuid"), uuid(range.coll));
    doc.append(cstr!("range"), i64::from(range.range));
    doc.append(cstr!("next_seq"), i64::from(range.next_seq));
    put_optional_doc(&mut doc, &range.resume);
    doc.append(cstr!("done"), range.done);
    doc
}

fn read_progress(doc: &Reader<'_>) -> Result<RangeProgress> {
    Ok(RangeProgress {
        coll: doc.uuid("uuid")?,
        range: doc.u32("range")?,
        next_seq: doc.u32("next_seq")?,
        resume: doc.optional_doc("resume")?,
        done: doc.bool("done")?,
    })
}

/// `resume`: a document or null. Bytes that are no document become null.
pub(super) fn put_optional_doc(doc: &mut RawDocumentBuf, value: &Option<Vec<u8>>) {
    let value = value.as_ref().and_then(|v| RawDocumentBuf::from_bytes(v.clone()).ok());
    match value {
        Some(value) => doc.append(cstr!("resume"), value),
        None => doc.append(cstr!("resume"), bson::RawBson::Null),
    }
}

/// The answer to `open`.
pub fn encode_session(session: &Session) -> Vec<u8> {
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("epoch"), session.epoch.0 as i64);
    doc.append(cstr!("timeline"), i64::from(session.timeline.0));
    match &session.state {
        PartState::Empty { why } => {
            doc.append(cstr!("state"), "empty");
            if let Some(why) = why {
                doc.append(cstr!("why"), why.as_str());
            }
        }
        PartState::Syncing { plan, sync, start, chain, progress: ranges, ended } => {
            doc.append(cstr!("state"), "syncing");
            if let Some(plan) = plan {
                doc.append(cstr!("plan"), plan.to_bson());
            }
            doc.append(cstr!("sync"), binary(&sync.0));
            doc.append(cstr!("start"), op_time(*start));
            doc.append(cstr!("chain"), op_time(*chain));
            let mut list = RawArrayBuf::new();
            for range in ranges {
                list.push(progress(range));
            }
            doc.append(cstr!("progress"), list);
            doc.append(cstr!("ended"), *ended);
        }
        PartState::Tailing { chain, recent } => {
            doc.append(cstr!("state"), "tailing");
            doc.append(cstr!("chain"), op_time(*chain));
            let mut list = RawArrayBuf::new();
            for at in recent {
                list.push(op_time(*at));
            }
            doc.append(cstr!("recent"), list);
        }
    }
    doc.into_bytes()
}

/// Reads a [`Session`].
pub fn decode_session(bytes: &[u8]) -> Result<Session> {
    let doc = whole("session", bytes)?;
    let state = match doc.str("state")? {
        "empty" => {
            PartState::Empty { why: doc.has("why")?.then(|| doc.string("why")).transpose()? }
        }
        "syncing" => PartState::Syncing {
            plan: match doc.has("plan")? {
                true => Some(Box::new(SyncPlan::from_bson(doc.doc("plan")?.bytes())?)),
                false => None,
            },
            sync: SyncId(doc.id("sync")?),
            start: read_op_time(&doc, "start")?,
            chain: read_op_time(&doc, "chain")?,
            progress: doc.each("progress", |range| read_progress(&range))?,
            ended: doc.bool("ended")?,
        },
        "tailing" => PartState::Tailing {
            chain: read_op_time(&doc, "chain")?,
            recent: doc.each("recent", |at| at.op_time("ts", "t"))?,
        },
        other => return Err(Error::unsupported(format!("session: state {other:?}"))),
    };
    Ok(Session {
        epoch: Epoch(doc.u64("epoch")?),
        timeline: TimelineId(doc.u32("timeline")?),
        state,
    })
}

/// `POST begin-sync`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeginSync {
    /// Session.
    pub session: SessionRef,
    /// The entry that the new chain continues from.
    pub start: OpTime,
    /// Why.
    pub reason: TimelineReason,
}

impl BeginSync {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut doc = RawDocumentBuf::new();
        put_session(&mut doc, &self.session);
        doc.append(cstr!("start"), op_time(self.start));
        doc.append(cstr!("reason"), self.reason.as_str());
        doc.into_bytes()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let doc = whole("begin-sync", bytes)?;
        let reason = TimelineReason::parse(doc.str("reason")?);
        Ok(BeginSync {
            session: session(&doc)?,
            start: read_op_time(&doc, "start")?,
            reason: reason.ok_or_else(|| Error::unsupported("begin-sync: unknown reason"))?,
        })
    }
}

/// The answer to `begin-sync`.
pub fn encode_sync_begun(timeline: TimelineId, sync: SyncId) -> Vec<u8> {
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("timeline"), i64::from(timeline.0));
    doc.append(cstr!("sync"), binary(&sync.0));
    doc.into_bytes()
}

/// Reads the answer to `begin-sync`.
pub fn decode_sync_begun(bytes: &[u8]) -> Result<(TimelineId, SyncId)> {
    let doc = whole("begin-sync reply", bytes)?;
    Ok((TimelineId(doc.u32("timeline")?), SyncId(doc.id("sync")?)))
}

/// `POST fork`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// Session.
    pub session: SessionRef,
    /// The newest stored entry that still stands on the source.
    pub common: OpTime,
}

impl Fork {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut doc = RawDocumentBuf::new();
        put_session(&mut doc, &self.session);
        doc.append(cstr!("common"), op_time(self.common));
        doc.into_bytes()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let doc = whole("fork", bytes)?;
        Ok(Fork { session: session(&doc)?, common: read_op_time(&doc, "common")? })
    }
}

/// The answer to `fork`.
pub fn encode_fork_reply(timeline: TimelineId) -> Vec<u8> {
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("timeline"), i64::from(timeline.0));
    doc.into_bytes()
}

/// Reads the answer to `fork`.
pub fn decode_fork_reply(bytes: &[u8]) -> Result<TimelineId> {
    Ok(TimelineId(whole("fork reply", bytes)?.u32("timeline")?))
}

/// `POST report`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Session.
    pub session: SessionRef,
    /// The report.
    pub report: AgentReport,
}

impl Report {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let r = &self.report;
        let mut doc = RawDocumentBuf::new();
        put_session(&mut doc, &self.session);
        doc.append(cstr!("phase"), r.phase.as_str());
        doc.append(cstr!("member"), r.member.as_str());
        doc.append(cstr!("message"), r.message.as_str());
        doc.append(cstr!("collections_done"), r.collections_done as i64);
        doc.append(cstr!("collections_total"), r.collections_total as i64);
        doc.append(cstr!("documents"), r.documents as i64);
        doc.append(cstr!("bytes"), r.bytes as i64);
        doc.append(cstr!("bytes_total"), r.bytes_total as i64);
        doc.append(cstr!("bytes_per_second"), r.bytes_per_second as i64);
        doc.append(cstr!("entries"), r.entries as i64);
        doc.append(cstr!("sent"), r.sent as i64);
        doc.append(cstr!("chain"), op_time(r.chain));
        doc.append(cstr!("source"), op_time(r.source));
        doc.append(cstr!("at"), r.at.0);
        doc.into_bytes()
    }

    /// From bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let doc = whole("report", bytes)?;
        let report = AgentReport {
            phase: doc.string("phase")?,
            member: doc.string("member")?,
            message: doc.string("message")?,
            collections_done: doc.u64("collections_done")?,
            collections_total: doc.u64("collections_total")?,
            documents: doc.u64("documents")?,
            bytes: doc.u64("bytes")?,
            bytes_total: doc.u64("bytes_total")?,
            bytes_per_second: doc.u64("bytes_per_second")?,
            entries: doc.u64("entries")?,
            sent: doc.u64("sent")?,
            chain: read_op_time(&doc, "chain")?,
            source: read_op_time(&doc, "source")?,
            at: UnixMillis(doc.i64("at")?),
        };
        Ok(Report { session: session(&doc)?, report })
    }
}

/// The answer to a write.
pub fn encode_ack(ack: Ack) -> Vec<u8> {
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("stored"), if ack == Ack::Stored { "now" } else { "before" });
    doc.into_bytes()
}

/// Reads the answer to a write.
pub fn decode_ack(bytes: &[u8]) -> Result<Ack> {
    match whole("ack", bytes)?.str("stored")? {
        "now" => Ok(Ack::Stored),
        "before" => Ok(Ack::AlreadyStored),
        other => Err(Error::unsupported(format!("ack: {other:?}"))),
    }
}

const KINDS: [(ErrorKind, &str); 12] = [
    (ErrorKind::Usage, "usage"),
    (ErrorKind::Unavailable, "unavailable"),
    (ErrorKind::Denied, "denied"),
    (ErrorKind::NotFound, "not found"),
    (ErrorKind::Conflict, "conflict"),
    (ErrorKind::Damaged, "damaged"),
    (ErrorKind::Full, "full"),
    (ErrorKind::ResyncRequired, "resync required"),
    (ErrorKind::NotCovered, "not covered"),
    (ErrorKind::Unsupported, "unsupported"),
    (ErrorKind::Cancelled, "cancelled"),
    (ErrorKind::Internal, "internal"),
];

/// An error as an answer: kind, message with its causes, hint.
pub fn encode_error(error: &Error) -> Vec<u8> {
    let kind = KINDS.iter().find(|(kind, _)| *kind == error.kind());
    let mut doc = RawDocumentBuf::new();
    doc.append(cstr!("kind"), kind.map_or("internal", |(_, name)| *name));
    doc.append(cstr!("message"), error.to_string());
    if let Some(hint) = error.hint_text() {
        doc.append(cstr!("hint"), hint);
    }
    doc.into_bytes()
}

/// The error that an answer tells of.
pub fn decode_error(bytes: &[u8]) -> Result<Error> {
    let doc = whole("error", bytes)?;
    let name = doc.str("kind")?;
    let kind =
        KINDS.iter().find(|(_, n)| *n == name).map_or(ErrorKind::Internal, |(kind, _)| *kind);
    let error = Error::new(kind, doc.string("message")?);
    Ok(if doc.has("hint")? { error.hint(doc.string("hint")?) } else { error })
}
