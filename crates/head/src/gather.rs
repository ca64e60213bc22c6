//! Operations of the oplog as operations of a run.

use bygone_base::{Error, ErrorKind, Result, Ts};
use bygone_document::{key::id_key_into, update};
use bygone_oplog::{
    assemble::{Assembler, Op},
    change::{Change, Ddl},
};
use bygone_snapshot::{Catalogue, catalogue::Window};
use bygone_tree::{OpKind, RunBuffer, RunOp};

/// Takes entries in oplog order; keeps data operations in a buffer to be sorted and DDL in a list.
#[derive(Debug)]
pub(crate) struct Gatherer {
    assembler: Assembler,
    sink: Sink,
}

#[derive(Debug)]
struct Sink {
    buffer: RunBuffer,
    /// The catalogue with every DDL entry delivered so far.
    live: Catalogue,
    /// DDL entries after the base's moment, in order of delivery.
    pending: Vec<(Ts, u32, Ddl)>,
    /// Up to here the base's catalogue already holds every DDL entry.
    base_at: Ts,
    /// Up to here an operation on an unknown collection means one that was dropped since.
    fuzzy_until: Ts,
    /// Prepared transactions that ended: where they were prepared, and by which entry they ended.
    late: Vec<(Ts, Ts)>,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Gatherer {
    pub(crate) fn new(
        assembler: Assembler,
        catalogue: Catalogue,
        base_at: Ts,
        fuzzy_until: Ts,
    ) -> Self {
        let sink = Sink {
            buffer: RunBuffer::new(),
            live: catalogue,
            pending: Vec::new(),
            base_at,
            fuzzy_until,
            late: Vec::new(),
            key: Vec::new(),
            value: Vec::new(),
        };
        Gatherer { assembler, sink }
    }

    pub(crate) fn assembler(&self) -> &Assembler {
        &self.assembler
    }

    /// Takes one entry.
    pub(crate) fn push(&mut self, entry: &[u8]) -> Result<()> {
        let Gatherer { assembler, sink } = self;
        assembler.push(entry, |op| sink.take(op))?;
        let by = assembler.position().ts;
        sink.late.extend(assembler.ended_prepare().map(|prepared| (prepared, by)));
        Ok(())
    }

    /// The newest moment up to `at` of which the entries up to it tell everything. One that an entry after it
    /// decided (of a prepared transaction) would be another should that entry turn out never to have happened.
    pub(crate) fn settled(&self, mut at: Ts) -> Ts {
        loop {
            let unsettled =
                self.sink.late.iter().filter(|(prepared, by)| *prepared <= at && *by > at);
            match unsettled.map(|(prepared, _)| prepared.prev()).min() {
                Some(before) => at = before,
                None => return at,
            }
        }
    }

    /// Bytes held in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.sink.buffer.bytes() + self.assembler.buffered_bytes()
    }

    pub(crate) fn buffer(&self) -> &RunBuffer {
        &self.sink.buffer
    }

    pub(crate) fn take_buffer(&mut self) -> RunBuffer {
        std::mem::take(&mut self.sink.buffer)
    }

    /// The catalogue as of the newest entry.
    pub(crate) fn live(&self) -> &Catalogue {
        &self.sink.live
    }

    /// Feature compatibility versions written after `after`, up to and including `at`, in order.
    pub(crate) fn versions_between(&self, after: Ts, at: Ts) -> Vec<(Ts, &str)> {
        let mut versions = Vec::new();
        for (ts, _, ddl) in self.ddl_between(after, at) {
            if let Ddl::FcvChanged { version: Some(version), .. } = ddl {
                versions.push((*ts, version.as_str()));
            }
        }
        versions
    }

    /// DDL decided after `after`, up to and including `at`, in order.
    pub(crate) fn ddl_between(&self, after: Ts, at: Ts) -> Vec<&(Ts, u32, Ddl)> {
        let mut ddl: Vec<_> =
            self.sink.pending.iter().filter(|(ts, ..)| *ts > after && *ts <= at).collect();
        ddl.sort_by_key(|(ts, n, _)| (*ts, *n));
        ddl
    }

    /// The base moved on to `at`: DDL up to there is in its catalogue.
    pub(crate) fn rebase(&mut self, at: Ts) {
        self.assembler.settle(at);
        self.sink.base_at = at;
        self.sink.fuzzy_until = self.sink.fuzzy_until.max(at);
        self.sink.pending.retain(|(ts, ..)| *ts > at);
        self.sink.late.retain(|(prepared, _)| *prepared > at);
    }

    /// Collections of the live catalogue take their trees from `catalogue`.
    pub(crate) fn adopt_trees(&mut self, catalogue: &Catalogue) {
        for (id, collection) in &mut self.sink.live.collections {
            if let Some(of) = catalogue.collections.get(id) {
                collection.tree = of.tree.clone();
                collection.truncated = of.truncated;
            }
        }
    }
}

impl Sink {
    fn take(&mut self, op: Op<'_>) -> Result<()> {
        let Op { at, n, change } = op;
        match change {
            Change::Put { coll, doc, insert } => {
                let kind = if insert { OpKind::Insert } else { OpKind::Replace };
                // A replacement made by a pipeline is logged with its fields in the pipeline's order
                // (8.2), but stored with `_id` first, as everything is.
                if insert || doc.get(5..9) == Some(b"_id\0") {
                    return self.gather(at, n, coll, kind, doc, &[doc]);
                }
                let mut stored = Vec::with_capacity(doc.len());
                update::apply(&[], doc, &mut stored)?;
                self.gather(at, n, coll, kind, &stored, &[&stored])
            }
            Change::Delete { coll, key_doc } => {
                self.gather(at, n, coll, OpKind::Delete, key_doc, &[])
            }
            Change::Update { coll, o, o2, upsert: false } => {
                self.gather(at, n, coll, OpKind::Update, o2, &[o])
            }
            Change::Update { coll, o, o2, upsert: true } => {
                self.gather(at, n, coll, OpKind::Upsert, o2, &[o2, o])
            }
            Change::Ddl(ddl) => self.ddl(at, n, *ddl),
        }
    }

    fn gather(
        &mut self,
        ts: Ts,
        n: u32,
        coll: bygone_base::CollectionId,
        kind: OpKind,
        id_of: &[u8],
        value: &[&[u8]],
    ) -> Result<()> {
        if !self.live.collections.contains_key(&coll) {
            if ts <= self.fuzzy_until {
                return Ok(());
            }
            return Err(Error::new(
                ErrorKind::ResyncRequired,
                format!(
                    "the oplog entry at {ts} writes to collection {coll}, which the backup does not have"
                ),
            )
            .hint("the backup requires a resync"));
        }
        self.key.clear();
        id_key_into(id_of, &mut self.key)?;
        let value = match value {
            [] => &[],
            [one] => *one,
            many => {
                self.value.clear();
                many.iter().for_each(|part| self.value.extend_from_slice(part));
                &self.value
            }
        };
        self.buffer.push(&RunOp { coll, key: &self.key, ts, n, kind, value });
        Ok(())
    }

    fn ddl(&mut self, ts: Ts, n: u32, ddl: Ddl) -> Result<()> {
        if ts <= self.base_at {
            return Ok(());
        }
        let window = if ts <= self.fuzzy_until { Window::Fuzzy } else { Window::Exact };
        self.live.apply(ts, &ddl, window)?;
        self.pending.push((ts, n, ddl));
        Ok(())
    }
}
