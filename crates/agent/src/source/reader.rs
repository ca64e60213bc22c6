//! A server read through any client, for dumps: the cursors of a backup's source, without its demands on
//! read concern and on knowing the member.

use std::{fmt, sync::Arc, time::Duration};

use bson::{Document, RawDocumentBuf, doc};
use bygone_base::{Clock, ErrorKind};
use mongodb::{Client, options::SelectionCriteria};

use super::{
    Batches, CollectionSize, NaturalScan, SourceError, SourceResult,
    cursor::Reading,
    mongo::MongoMember,
    natural::{Natural, Places, exactly},
    part::{Part, divide},
    scan::number,
};

/// Pauses before something is asked again.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a server may take to tell how large a collection is: a dump goes well without.
const SIZE: Duration = Duration::from_secs(30);

/// A reply to a query without an index may take as long as it takes.
const PATIENT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How dumps read.
pub(super) fn patient(what: &'static str, batch: u32) -> Reading {
    Reading { limit: PATIENT, ..Reading::plain(what, batch) }
}

/// How cursors that are cut go on.
#[derive(Clone)]
pub struct Lasting {
    /// The client knows one server only, whatever it calls itself.
    pub direct: bool,
    /// How long a server may be away.
    pub patience: Duration,
    /// Is told of every cut.
    pub tell: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Lasting { direct, patience, .. } = self;
        f.debug_struct("Lasting")
            .field("direct", direct)
            .field("patience", patience)
            .finish_non_exhaustive()
    }
}

/// How long and how often what was lost before it was answered is asked for again.
pub(super) struct Patience<'c> {
    clock: &'c dyn Clock,
    end: Duration,
    pause: Duration,
}

impl<'c> Patience<'c> {
    pub(super) fn new(clock: &'c dyn Clock, patience: Duration) -> Patience<'c> {
        Patience { clock, end: clock.monotonic() + patience, pause: PAUSE }
    }

    /// Waits a little before the next try; what another try does not mend, and what comes too late, is given back.
    pub(super) async fn after(&mut self, lost: SourceError) -> SourceResult<()> {
        if lost.error.kind() != ErrorKind::Unavailable || self.clock.monotonic() >= self.end {
            return Err(lost);
        }
        self.clock.sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Commands and cursors of one client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Those members that the user allows.
    reads: MongoMember,
    /// For how long what is lost before it is answered is asked for again.
    patience: Duration,
    lasting: Option<Lasting>,
    places: Arc<Places>,
}

impl Reader {
    /// Reads through `client`; `shown` names the server in errors.
    pub fn new(client: Client, shown: String, clock: Arc<dyn Clock>) -> Reader {
        let reads = MongoMember { host: shown, client, clock, select: None };
        Reader { reads, patience: Duration::ZERO, lasting: None, places: Arc::default() }
    }

    /// Reads from members that `select` allows.
    #[must_use]
    pub fn select(mut self, select: SelectionCriteria) -> Reader {
        self.reads.select = Some(select);
        self
    }

    /// Reads only from the member of this name: what other members say may be of another moment.
    #[must_use]
    pub fn only(self, member: &str) -> Reader {
        self.select(exactly(member))
    }

    /// A connection that is lost, and a server that is away, ends nothing for so long.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Reader {
        self.patience = patience;
        self
    }

    /// Scans in natural order go on where they were cut: for members of a set or single servers from 4.4 on.
    #[must_use]
    pub fn lasting(mut self, lasting: Lasting) -> Reader {
        self.lasting = Some(lasting);
        self
    }

    fn patience(&self) -> Patience<'_> {
        Patience::new(&*self.reads.clock, self.patience)
    }

    /// A command that reads, and whose reply is small.
    pub async fn command(
        &self,
        db: &str,
        command: Document,
        what: &'static str,
    ) -> SourceResult<Document> {
        let mut patience = self.patience();
        loop {
            match self.reads.command(db, command.clone(), what).await {
                Err(lost) => patience.after(lost).await?,
                answered => return answered,
            }
        }
    }

    /// All documents of a small cursor.
    pub async fn documents(
        &self,
        db: &str,
        command: RawDocumentBuf,
        what: &'static str,
    ) -> SourceResult<Vec<Vec<u8>>> {
        let mut patience = self.patience();
        loop {
            match self.all(db, command.clone(), what).await {
                Err(lost) => patience.after(lost).await?,
                found => return found,
            }
        }
    }

    async fn all(
        &self,
        db: &str,
        command: RawDocumentBuf,
        what: &'static str,
    ) -> SourceResult<Vec<Vec<u8>>> {
        let mut cursor = self.reads.cursor(db, command, patient(what, 1000)).await?;
        let mut docs = Vec::new();
        while let Some(batch) = cursor.next().await? {
            docs.extend(batch.docs().map(<[u8]>::to_vec));
        }
        Ok(docs)
    }

    /// Starts to read a cursor, one reply ahead; `batch` documents per reply after the first.
    pub async fn open(
        &self,
        db: &str,
        command: RawDocumentBuf,
        batch: u32,
        what: &'static str,
    ) -> SourceResult<Box<dyn Batches>> {
        let mut patience = self.patience();
        loop {
            match self.reads.cursor(db, command.clone(), patient(what, batch)).await {
                Err(lost) => patience.after(lost).await?,
                Ok(cursor) => return Ok(Box::new(cursor)),
            }
        }
    }

    /// Starts to read a collection in natural order, one reply ahead. Where [`Reader::lasting`] was given, what is
    /// cut goes on behind the last document that was given out.
    pub async fn natural(&self, scan: NaturalScan) -> SourceResult<Box<dyn Batches>> {
        let Some(lasting) = self.lasting.clone() else {
            let (db, batch, what) = (scan.db.clone(), scan.batch, scan.what);
            return self.open(&db, scan.find(None), batch, what).await;
        };
        let places = Arc::clone(&self.places);
        Ok(Box::new(Natural::open(self.reads.clone(), places, lasting, scan).await?))
    }

    /// The same with up to `parts` cursors, each for records of its own, of a collection of about so many documents. It has
    /// to have an index on `_id`. One cursor where it cannot be divided, for example without [`Reader::lasting`].
    pub async fn divided(
        &self,
        scan: NaturalScan,
        documents: u64,
        parts: usize,
    ) -> SourceResult<Vec<Box<dyn Batches>>> {
        let divided = match &self.lasting {
            Some(lasting) if parts > 1 => self.parts(&scan, lasting, documents, parts).await,
            _ => Ok(Vec::new()),
        };
        match divided {
            Ok(open) if !open.is_empty() => Ok(open),
            // Why it cannot be divided, a plain cursor finds out too, or it is no matter.
            _ => Ok(vec![self.natural(scan).await?]),
        }
    }

    async fn parts(
        &self,
        scan: &NaturalScan,
        lasting: &Lasting,
        documents: u64,
        parts: usize,
    ) -> SourceResult<Vec<Box<dyn Batches>>> {
        let place = self.places.choose(&self.reads, lasting).await?;
        let cuts = divide(&place.member, scan, documents, parts).await?;
        let open = |part| {
            let (reads, places) = (self.reads.clone(), Arc::clone(&self.places));
            Natural::part(reads, places, lasting.clone(), scan.clone(), (place.clone(), part))
        };
        let (mut all, mut until) = (Vec::<Box<dyn Batches>>::new(), None);
        if cuts.is_empty() {
            return Ok(all);
        }
        for cut in cuts.into_iter().rev() {
            // Where the record was deleted meanwhile, the part before reaches further.
            if let Ok(natural) = open(Part { after: Some(cut), until }).await {
                all.push(Box::new(natural));
                until = Some(cut);
            }
        }
        all.push(Box::new(open(Part { after: None, until }).await?));
        all.reverse();
        Ok(all)
    }

    /// Knows from now on that the member that answers has not rolled back, where [`Reader::lasting`] was given.
    pub async fn remember(&self) -> SourceResult<()> {
        let Some(lasting) = &self.lasting else { return Ok(()) };
        let mut patience = self.patience();
        while let Err(lost) = self.places.choose(&self.reads, lasting).await {
            patience.after(lost).await?;
        }
        Ok(())
    }

    /// Fails where a member that was read has rolled back since, or ended without a shutdown: then what was read of it may
    /// be of no moment. Without [`Reader::lasting`] nobody knows.
    pub async fn unchanged(&self) -> SourceResult<()> {
        match &self.lasting {
            Some(lasting) => self.places.unchanged(lasting).await,
            None => Ok(()),
        }
    }

    /// Size by the collection's metadata: an estimate. Without bytes where the user may only read the collection;
    /// nothing where the server does not say, or takes long to.
    pub async fn size(&self, db: &str, coll: &str) -> SourceResult<CollectionSize> {
        tokio::select! {
            size = self.told_size(db, coll) => size,
            () = self.reads.clock.sleep(SIZE) => Ok(CollectionSize::default()),
        }
    }

    async fn told_size(&self, db: &str, coll: &str) -> SourceResult<CollectionSize> {
        match self.command(db, doc! { "collStats": coll }, "collStats").await {
            Ok(stats) => {
                let (docs, bytes) = (number(&stats, "count"), number(&stats, "size"));
                return Ok(CollectionSize { docs, bytes });
            }
            Err(lost) if lost.error.kind() == ErrorKind::Unavailable => return Err(lost),
            Err(_) => {}
        }
        match self.command(db, doc! { "count": coll }, "count").await {
            Ok(count) => Ok(CollectionSize { docs: number(&count, "n"), bytes: 0 }),
            Err(lost) if lost.error.kind() == ErrorKind::Unavailable => Err(lost),
            Err(_) => Ok(CollectionSize::default()),
        }
    }
}
