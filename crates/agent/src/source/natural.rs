//! A collection in natural order, for dumps. What is cut - by the network, an election, a restart - goes on behind the
//! last document that was given out.
//!
//! Resume tokens are record ids, which mean nothing on another member: 5.0 and 4.4 accept foreign ones and lose
//! documents. So a scan stays with the member that answered first. What that member rolled back meanwhile, or lost by
//! ending without a shutdown, shows in its rollback id; a new collection of the same name shows in its UUID. Either ends the scan.
//! An oplog, whose tokens no server takes back, goes on at the time of its last entry, which must come once more.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bson::{RawDocument, RawDocumentBuf, Timestamp, cstr, doc, rawdoc};
use bygone_base::{Error, ErrorKind, Result};
use mongodb::options::SelectionCriteria;

use super::{
    Batch, Batches, Fault, Lasting, Member as _, SourceError, SourceResult,
    cursor::Pumped,
    mongo::MongoMember,
    part::{self, Part},
    reader::{Patience, patient},
};

/// Times that a scan is cut without a reply in between before it fails.
const CUTS: u32 = 20;
/// Pauses before a cursor is opened again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What to read.
#[derive(Debug, Clone)]
pub struct NaturalScan {
    /// Database.
    pub db: String,
    /// Collection.
    pub coll: String,
    /// UUID of the collection; asked for where it is not known.
    pub uuid: Option<[u8; 16]>,
    /// Which documents.
    pub filter: Option<RawDocumentBuf>,
    /// Of an oplog: the entries from one time to another, with both, in the place of a filter. They go on by their time,
    /// for servers take no token there.
    pub entries: Option<(Timestamp, Timestamp)>,
    /// Level of the read concern, where it is not the server's own.
    pub read_concern: Option<String>,
    /// Documents per reply.
    pub batch: u32,
    /// What is done, for errors.
    pub what: &'static str,
}

/// Where a scan begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Begin<'a> {
    Start,
    /// Behind this token's record, which must be there.
    Behind(&'a RawDocumentBuf),
    /// At the first record not before this token's.
    At(&'a RawDocumentBuf),
    /// At the first entry of an oplog not before this time.
    Entry(Timestamp),
}

impl NaturalScan {
    /// The `find`; `tokens` says where to begin and asks where each reply ends.
    pub(super) fn find(&self, tokens: Option<Begin<'_>>) -> RawDocumentBuf {
        let mut command = rawdoc! { "find": self.coll.as_str(), "hint": { "$natural": 1 } };
        if let Some((first, last)) = self.entries {
            let first = if let Some(Begin::Entry(at)) = tokens { at } else { first };
            command.append(cstr!("filter"), rawdoc! { "ts": { "$gte": first, "$lte": last } });
        } else if let Some(filter) = &self.filter {
            command.append(cstr!("filter"), filter.clone());
        }
        if let Some(level) = &self.read_concern {
            command.append(cstr!("readConcern"), rawdoc! { "level": level.as_str() });
        }
        command.append(cstr!("batchSize"), i32::try_from(self.batch).unwrap_or(1000));
        if tokens.is_some() && self.entries.is_none() {
            command.append(cstr!("$_requestResumeToken"), true);
        }
        match tokens {
            Some(Begin::Behind(token)) => command.append(cstr!("$_resumeAfter"), token.clone()),
            Some(Begin::At(token)) => command.append(cstr!("$_startAt"), token.clone()),
            Some(Begin::Start | Begin::Entry(_)) | None => {}
        }
        command
    }

    pub(super) fn ns(&self) -> String {
        format!("{}.{}", self.db, self.coll)
    }
}

/// A member that is read.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Answered by this member only.
    pub(super) member: MongoMember,
    /// Its name for itself; that of a standalone server is empty.
    me: String,
    /// Its rollback id when it was first read; a standalone server has none. `Err` says why nobody knows.
    rbid: std::result::Result<Option<i64>, String>,
}

/// The members that were read, by their names for themselves.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<BTreeMap<String, Place>>);

impl Places {
    /// The member that answers `reads` now.
    pub(super) async fn choose(
        &self,
        reads: &MongoMember,
        lasting: &Lasting,
    ) -> SourceResult<Place> {
        let me = name(reads).await?;
        if let Some(known) = self.known().get(&me) {
            return Ok(known.clone());
        }
        let mut member = reads.clone();
        if !lasting.direct && !me.is_empty() {
            member.select = Some(exactly(&me));
        }
        let rbid = match rbid(&member).await {
            Ok(None) if !me.is_empty() => Err("it tells no rollback id".to_owned()),
            Ok(rbid) => Ok(rbid),
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error.into()),
            Err(error) => Err(error.message().to_owned()),
        };
        let place = Place { member, me: me.clone(), rbid };
        Ok(self.known().entry(me).or_insert(place).clone())
    }

    /// Fails unless what was read is still what those members have that it was read from.
    pub(super) async fn unchanged(&self, lasting: &Lasting) -> SourceResult<()> {
        let places: Vec<Place> = self.known().values().cloned().collect();
        for place in places {
            let mut patience = Patience::new(&*place.member.clock, lasting.patience);
            while let Err(failed) = place.unchanged().await {
                patience.after(failed).await?;
            }
        }
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn name(member: &MongoMember) -> SourceResult<String> {
    let hello = member.command("admin", doc! { "isMaster": 1 }, "hello").await?;
    Ok(hello.get_str("me").unwrap_or_default().to_owned())
}

pub(super) fn exactly(host: &str) -> SelectionCriteria {
    let host = host.to_ascii_lowercase();
    SelectionCriteria::Predicate(Arc::new(move |server| server.address().to_string() == host))
}

async fn rbid(member: &MongoMember) -> Result<Option<i64>> {
    match member.rbid().await {
        Ok(rbid) => Ok(Some(rbid)),
        Err(error) if error.kind() == ErrorKind::Unsupported => Ok(None),
        Err(error) => Err(error),
    }
}

impl Place {
    /// Fails unless what was read from it is still what it has.
    async fn unchanged(&self) -> SourceResult<()> {
        let host = &self.member.host;
        if name(&self.member).await? != self.me {
            let message = format!("another server answers at {host} than the one that was read");
            return Err(Error::new(ErrorKind::Conflict, message).into());
        }
        let Ok(before) = &self.rbid else { return Ok(()) };
        if rbid(&self.member).await? == *before {
            return Ok(());
        }
        let message = format!(
            "{host} rolled back, or ended without a shutdown: what was read may not be there any more"
        );
        Err(Error::new(ErrorKind::Conflict, message).hint("begin again").into())
    }

    async fn uuid(&self, scan: &NaturalScan) -> SourceResult<Option<[u8; 16]>> {
        let list = rawdoc! {
            "listCollections": 1, "filter": { "name": scan.coll.as_str() }, "cursor": {},
        };
        let found = self.member.documents(&scan.db, list, "listCollections").await?;
        let listed = found.first().and_then(|entry| {
            let entry = bson::RawDocument::from_bytes(entry).ok()?;
            let uuid = entry.get_document("info").ok()?.get_binary("uuid").ok()?;
            uuid.bytes.try_into().ok()
        });
        Ok(listed)
    }

    async fn open(&self, scan: &NaturalScan, from: Begin<'_>) -> SourceResult<Pumped> {
        let command = scan.find(Some(from));
        self.member.cursor(&scan.db, command, patient(scan.what, scan.batch)).await
    }
}

/// A running scan.
pub(super) struct Natural {
    reads: MongoMember,
    places: Arc<Places>,
    lasting: Lasting,
    scan: NaturalScan,
    /// There is one as soon as there is a cursor.
    place: Option<Place>,
    /// Where it is one of several scans of a collection.
    part: Option<Part>,
    cursor: Option<Pumped>,
    /// Behind the last reply that was given out.
    token: Option<RawDocumentBuf>,
    /// The last entry of an oplog that was given out.
    last: Option<Vec<u8>>,
    /// The cursor begins with that entry once more.
    repeats: bool,
    /// Whether a reply was given out.
    begun: bool,
    /// Since the last reply.
    cuts: u32,
}

impl Natural {
    pub(super) async fn open(
        reads: MongoMember,
        places: Arc<Places>,
        lasting: Lasting,
        scan: NaturalScan,
    ) -> SourceResult<Natural> {
        let mut natural = Natural {
            reads,
            places,
            lasting,
            scan,
            place: None,
            part: None,
            cursor: None,
            token: None,
            last: None,
            repeats: false,
            begun: false,
            cuts: 0,
        };
        match natural.again().await {
            Ok(cursor) => natural.cursor = Some(cursor),
            Err(cut) => natural.go_on(cut).await?,
        }
        Ok(natural)
    }

    /// One of several scans, on the member that knows the part's records.
    pub(super) async fn part(
        reads: MongoMember,
        places: Arc<Places>,
        lasting: Lasting,
        scan: NaturalScan,
        (place, part): (Place, Part),
    ) -> SourceResult<Natural> {
        let mut natural = Natural {
            reads,
            places,
            lasting,
            scan,
            place: Some(place),
            part: Some(part),
            cursor: None,
            token: part.after.map(part::token),
            last: None,
            repeats: false,
            begun: part.after.is_some(),
            cuts: 0,
        };
        natural.cursor = Some(natural.again().await?);
        Ok(natural)
    }

    /// What of a reply belongs to this part; behind its end nothing more is read.
    async fn within(&mut self, batch: Batch) -> SourceResult<Batch> {
        let until = self.part.and_then(|part| part.until);
        let (Some(until), Some(place)) = (until, &self.place) else { return Ok(batch) };
        if batch.is_empty() || part::ends_before(self.token.as_ref(), until) {
            return Ok(batch);
        }
        self.cursor = None;
        let mut patience = Patience::new(&*self.reads.clock, self.lasting.patience);
        let mut lost = false;
        let count = loop {
            let found = async {
                if lost {
                    place.unchanged().await?;
                }
                part::first(&place.member, &self.scan, &batch, until).await
            };
            match found.await {
                Ok(count) => break count,
                Err(failed) => patience.after(failed).await?,
            }
            lost = true;
        };
        Ok(batch.first(count))
    }

    /// Why the scan cannot go on where it was.
    fn stuck(&self) -> Option<String> {
        if self.cuts > CUTS {
            return Some("it is cut again and again".to_owned());
        }
        if !self.begun {
            return None;
        }
        match self.place.as_ref().map(|place| &place.rbid) {
            Some(Err(why)) => {
                Some(format!("it cannot go on: whether the server rolls back is not known, {why}"))
            }
            _ if self.token.is_none() && self.scan.entries.is_none() => {
                Some("the server does not say where it was".to_owned())
            }
            _ => None,
        }
    }

    /// Opens the cursor again, as soon as the server is back.
    async fn go_on(&mut self, cut: SourceError) -> SourceResult<()> {
        let lost = matches!(cut.fault, Fault::PositionLost | Fault::Gone);
        if cut.error.kind() != ErrorKind::Unavailable || lost {
            return Err(cut);
        }
        self.cuts += 1;
        if let Some(why) = self.stuck() {
            return Err(SourceError { error: cut.error.hint(why), ..cut });
        }
        let ns = self.scan.ns();
        (self.lasting.tell)(&format!("{ns}: {}; going on where it was", cut.error.message()));
        let clock = Arc::clone(&self.reads.clock);
        let end = clock.monotonic() + self.lasting.patience;
        let mut pause = PAUSE;
        loop {
            match self.again().await {
                Ok(cursor) => {
                    self.cursor = Some(cursor);
                    return Ok(());
                }
                Err(failed) => {
                    let late = clock.monotonic() >= end;
                    if late || failed.error.kind() != ErrorKind::Unavailable {
                        let what = format!(
                            "the cursor was cut ({}) and cannot go on",
                            cut.error.message()
                        );
                        return Err(SourceError { error: failed.error.within(what), ..failed });
                    }
                }
            }
            clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// From the beginning. What is only like a mongod may not know tokens: there nothing goes on after a cut.
    async fn start(&self, place: &Place) -> SourceResult<Pumped> {
        match place.open(&self.scan, Begin::Start).await {
            Err(failed) if failed.error.kind() == ErrorKind::Internal => {
                let (scan, member) = (&self.scan, &place.member);
                member.cursor(&scan.db, scan.find(None), patient(scan.what, scan.batch)).await
            }
            opened => opened,
        }
    }

    /// Entries of an oplog, behind a cut from the last one on that was given out: where that comes once more, and nothing
    /// but that, no entry was lost between.
    async fn entries(&mut self, place: &Place) -> SourceResult<Pumped> {
        let Some(last) = &self.last else { return place.open(&self.scan, Begin::Start).await };
        let at = RawDocument::from_bytes(last).ok().and_then(|last| last.get_timestamp("ts").ok());
        let at = at.ok_or_else(|| Error::damaged("an oplog entry without a time"))?;
        self.repeats = true;
        place.open(&self.scan, Begin::Entry(at)).await
    }

    /// What of a reply was not given out before.
    fn fresh(&mut self, batch: Batch) -> SourceResult<Batch> {
        if self.scan.entries.is_none() {
            return Ok(batch);
        }
        let repeated = self.repeats && !batch.is_empty();
        if repeated && batch.docs().next() != self.last.as_deref() {
            return Err(overwritten());
        }
        let batch = if repeated { batch.behind_first() } else { batch };
        self.repeats &= !repeated;
        if let Some(last) = batch.docs().last() {
            self.last = Some(last.to_vec());
        }
        Ok(batch)
    }

    /// Another cursor, behind what was given out, on the same collection of the same member.
    async fn again(&mut self) -> SourceResult<Pumped> {
        let place = match &self.place {
            Some(place) if self.begun || self.part.is_some() => place.clone(),
            _ => self.places.choose(&self.reads, &self.lasting).await?,
        };
        if self.cuts > 0 {
            place.unchanged().await?;
        }
        if self.scan.uuid.is_none() {
            self.scan.uuid = place.uuid(&self.scan).await?;
        }
        let cursor = match &self.token {
            _ if self.scan.entries.is_some() => self.entries(&place).await?,
            None => self.start(&place).await?,
            Some(token) => behind(&place, &self.scan, token).await?,
        };
        // Looked at last: what was opened before had the name by then.
        if self.begun && place.uuid(&self.scan).await? != self.scan.uuid {
            let message = format!("{} was dropped or renamed meanwhile", self.scan.ns());
            return Err(Error::new(ErrorKind::NotFound, message).into());
        }
        self.place = Some(place);
        Ok(cursor)
    }
}

fn overwritten() -> SourceError {
    let message = "the last oplog entry that was read is not in the oplog any more";
    Error::new(ErrorKind::NotFound, message).hint("make the oplog larger, and begin again").into()
}

/// Where the last document was deleted, a scan begins where it was, which only newer servers can (8.0.14, 8.2).
async fn behind(place: &Place, scan: &NaturalScan, token: &RawDocumentBuf) -> SourceResult<Pumped> {
    let lost = match place.open(scan, Begin::Behind(token)).await {
        Err(SourceError { fault: Fault::TokenLost, error }) => error,
        opened => return opened,
    };
    match place.open(scan, Begin::At(token)).await {
        Err(failed) if failed.error.kind() != ErrorKind::Unavailable => {
            let message =
                format!("the last document that was read has been deleted ({})", lost.message());
            Err(Error::new(ErrorKind::NotFound, message).hint("begin again").into())
        }
        opened => opened,
    }
}

#[async_trait]
impl Batches for Natural {
    async fn next(&mut self) -> SourceResult<Option<Batch>> {
        loop {
            let Some(cursor) = &mut self.cursor else { return Ok(None) };
            match cursor.next().await {
                Ok(Some(batch)) => {
                    let batch = self.fresh(batch)?;
                    (self.begun, self.cuts) = (true, 0);
                    self.token = batch.resume_token();
                    return self.within(batch).await.map(Some);
                }
                Ok(None) if self.repeats => return Err(overwritten()),
                Ok(None) => return Ok(None),
                Err(cut) => self.go_on(cut).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan() -> NaturalScan {
        NaturalScan {
            db: "d".into(),
            coll: "c".into(),
            uuid: None,
            filter: Some(rawdoc! { "x": 1 }),
            entries: None,
            read_concern: None,
            batch: 7,
            what: "dump",
        }
    }

    #[test]
    fn entries_of_an_oplog_begin_at_a_time() {
        let at = |increment| Timestamp { time: 5, increment };
        let scan = NaturalScan { entries: Some((at(1), at(9))), filter: None, ..scan() };
        for (from, first) in [(Begin::Start, 1), (Begin::Entry(at(4)), 4)] {
            let command = scan.find(Some(from));
            let want = rawdoc! { "ts": { "$gte": at(first), "$lte": at(9) } };
            assert_eq!(command.get_document("filter").unwrap(), want.as_ref());
            assert!(command.get("$_requestResumeToken").unwrap().is_none());
        }
    }

    #[test]
    fn a_scan_says_where_it_begins() {
        let scan = scan();
        let token = rawdoc! { "$recordId": 5_i64 };
        let has = |from, name: &str| scan.find(from).get(name).unwrap().is_some();
        assert!(!has(None, "$_requestResumeToken") && has(None, "filter"));
        assert!(has(Some(Begin::Start), "$_requestResumeToken"));
        assert!(has(Some(Begin::Behind(&token)), "$_resumeAfter"));
        assert!(has(Some(Begin::At(&token)), "$_startAt"));
        assert!(!has(None, "readConcern"));
        let majority = NaturalScan { read_concern: Some("majority".into()), ..scan };
        let concern = majority.find(None).get_document("readConcern").unwrap().to_owned();
        assert_eq!(concern, rawdoc! { "level": "majority" });
    }
}
