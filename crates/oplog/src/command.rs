//! The catalogue of commands. Each name is handled, ignored for a reason that
//! stands here, or refused by name; each field of a handled one is known.

use bson::RawDocumentBuf;
use bygone_base::Result;

use crate::{
    change::{Ddl, collection, needs_resync, unsupported},
    ddl,
    entry::{Command, Entry},
    raw::{self, Builder, Element, types},
};

/// What a command does to the catalogue; `None` when nothing. A command that
/// is not known is refused.
pub(crate) fn decode(entry: &Entry<'_>, command: &Command<'_>) -> Result<Option<Ddl>> {
    let c = Cmd { entry, command };
    match command.name {
        "create" => c.create(),
        "drop" => c.drop(),
        "dropDatabase" => c.drop_database(),
        "renameCollection" => c.rename(),
        "collMod" => c.coll_mod(),
        "emptycapped" => c.truncate(),
        "createIndexes" => c.index_created(),
        "commitIndexBuild" => c.indexes_built(),
        "dropIndexes" | "dropIndex" | "deleteIndexes" | "deleteIndex" => c.index_dropped(),
        "importCollection" => c.import(),
        name if ignored(name) => Ok(None),
        name => Err(unsupported(entry, refusal(name))),
    }
}

/// Commands that change neither documents nor what listCollections and listIndexes show.
fn ignored(name: &str) -> bool {
    match name {
        // An index is there when its build commits; until then it is not listed as ready.
        "startIndexBuild" | "abortIndexBuild" => true,
        // A consistency check between members; it writes to local.system.healthlog only.
        "dbCheck" => true,
        // Removes a table that no collection uses any more; the `drop` entry came before it.
        "dropIdent" => true,
        // A flag inside an index's metadata that no listing shows and every index build finds out anew.
        "setMultikeyMetadata" => true,
        _ => false,
    }
}

/// Why a known command is refused.
fn refusal(name: &str) -> &'static str {
    match name {
        "createDatabaseMetadata" | "dropDatabaseMetadata" => {
            "shard catalogue command, not expected in a replica set"
        }
        "modifyCollectionShardingIndexCatalog" => {
            "sharded index catalogue command, not expected in a replica set"
        }
        "upgradeDowngradeViewlessTimeseries" => {
            "converts a time-series collection between its two storage forms"
        }
        "truncateRange" => "removes a range of records whose _ids the oplog does not tell",
        "applyOps" | "commitTransaction" | "abortTransaction" => {
            "belongs to a transaction and cannot be applied alone"
        }
        _ => "unknown command",
    }
}

struct Cmd<'e, 'a> {
    entry: &'e Entry<'a>,
    command: &'e Command<'a>,
}

impl<'a> Cmd<'_, 'a> {
    /// Walks the fields after the first; `take` says whether it knows the field.
    fn fields(&self, mut take: impl FnMut(&Element<'a>) -> Result<bool>) -> Result<()> {
        let mut walk = raw::elements(self.command.o)?;
        walk.next()?;
        while let Some(element) = walk.next()? {
            if !take(&element)? {
                return Err(self.unknown(&element));
            }
        }
        Ok(())
    }

    fn unknown(&self, element: &Element<'_>) -> bygone_base::Error {
        let name = String::from_utf8_lossy(element.name);
        unsupported(self.entry, &format!("field {name:?} with type 0x{:02x}", element.kind))
    }

    fn refuse(&self, what: &str) -> bygone_base::Error {
        unsupported(self.entry, what)
    }

    fn db(&self) -> String {
        self.entry.ns.db.to_owned()
    }

    fn name(&self) -> Result<String> {
        let name = self.command.target().filter(|name| !name.is_empty());
        Ok(name.ok_or_else(|| self.refuse("no collection name"))?.to_owned())
    }

    fn create(&self) -> Result<Option<Ddl>> {
        let name = self.name()?;
        let mut options = Builder::new();
        let mut id_index = None;
        self.fields(|e| {
            match e.name {
                b"idIndex" => {
                    id_index = Some(index_spec(e.doc().ok_or_else(|| self.unknown(e))?, 0)?)
                }
                b"uuid" => {}
                name if create_option(name) => options.push(e),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        if name == "system.views" {
            // A real collection, but what it holds is kept as views.
            return Ok(None);
        }
        if name.starts_with("system.resharding.") {
            return Err(self.refuse("resharding is under way"));
        }
        let (coll, options) = (collection(self.entry)?, options.finish()?);
        let id_index = match id_index {
            None => default_id_index(options.as_bytes())?,
            given => given,
        };
        Ok(Some(Ddl::Create { coll, db: self.db(), name, options, id_index }))
    }

    fn drop(&self) -> Result<Option<Ddl>> {
        self.fields(|_| Ok(false))?;
        let (db, name) = (self.db(), self.name()?);
        if name == "system.views" {
            return Ok(Some(Ddl::ViewsDropped { db }));
        }
        Ok(Some(Ddl::Drop { coll: collection(self.entry)?, db, name }))
    }

    fn drop_database(&self) -> Result<Option<Ddl>> {
        self.fields(|_| Ok(false))?;
        Ok(Some(Ddl::DropDatabase { db: self.db() }))
    }

    fn rename(&self) -> Result<Option<Ddl>> {
        let (mut to, mut drop_target, mut stay_temp) = (None, None, false);
        self.fields(|e| {
            match e.name {
                b"to" => to = e.str(),
                b"stayTemp" => stay_temp = e.bool().ok_or_else(|| self.unknown(e))?,
                b"dropTarget" if e.bool() == Some(false) => {}
                b"dropTarget" => drop_target = Some(e.uuid().ok_or_else(|| self.unknown(e))?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let pair = |ns: Option<&str>| {
            let (db, coll) = ns.and_then(|ns| ns.split_once('.'))?;
            (!db.is_empty() && !coll.is_empty()).then(|| (db.to_owned(), coll.to_owned()))
        };
        let from = pair(self.command.target()).ok_or_else(|| self.refuse("no source namespace"))?;
        let to = pair(to).ok_or_else(|| self.refuse("no target namespace"))?;
        let coll = collection(self.entry)?;
        Ok(Some(Ddl::Rename { coll, from, to, drop_target, stay_temp }))
    }

    fn coll_mod(&self) -> Result<Option<Ddl>> {
        let name = self.name()?;
        let effects = ddl::effects(self.command.o)
            .map_err(|e| e.within(format_args!("oplog entry {}", self.entry.describe())))?;
        if name == "system.views" {
            return Ok(None);
        }
        let o2 = self.command.o2.map(raw::owned).transpose()?;
        let (coll, o) = (collection(self.entry)?, raw::owned(self.command.o)?);
        Ok(Some(Ddl::CollMod { coll, db: self.db(), name, o, o2, effects }))
    }

    fn truncate(&self) -> Result<Option<Ddl>> {
        self.fields(|_| Ok(false))?;
        Ok(Some(Ddl::Truncate { coll: collection(self.entry)? }))
    }

    /// `createIndexes`: the specification stands flat in `o`.
    fn index_created(&self) -> Result<Option<Ddl>> {
        let spec = index_spec(self.command.o, 1)?;
        for need in ["key", "name"] {
            if raw::get(spec.as_bytes(), need)?.is_none() {
                return Err(self.refuse(&format!("index without {need}")));
            }
        }
        self.built(vec![spec])
    }

    fn indexes_built(&self) -> Result<Option<Ddl>> {
        let mut specs = None;
        self.fields(|e| {
            match e.name {
                b"indexes" => specs = e.array(),
                // Which build it was; and resumable builds' and internal tables' names.
                b"indexBuildUUID" => {}
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        let specs = raw::docs(specs.ok_or_else(|| self.refuse("no indexes"))?)?;
        let specs: Result<Vec<_>> = specs.iter().map(|s| index_spec(s.as_bytes(), 0)).collect();
        self.built(specs?)
    }

    fn built(&self, specs: Vec<RawDocumentBuf>) -> Result<Option<Ddl>> {
        let (coll, name) = (collection(self.entry)?, self.name()?);
        if name == "system.views" {
            return Ok(None);
        }
        Ok(Some(Ddl::IndexesBuilt { coll, db: self.db(), name, specs }))
    }

    fn index_dropped(&self) -> Result<Option<Ddl>> {
        let mut index = None;
        self.fields(|e| {
            if e.name == b"index" {
                index = e.str();
            }
            Ok(e.name == b"index")
        })?;
        let index = index.filter(|name| *name != "*");
        let index = index.ok_or_else(|| self.refuse("index not given by name"))?.to_owned();
        let (coll, db, name) = (collection(self.entry)?, self.db(), self.name()?);
        Ok(Some(Ddl::IndexDropped { coll, db, name, index }))
    }

    /// Brings in files that a backup cursor wrote elsewhere: the documents are not in the oplog.
    fn import(&self) -> Result<Option<Ddl>> {
        if raw::get(self.command.o, "dryRun")?.and_then(|e| e.bool()) == Some(true) {
            return Ok(None);
        }
        Err(needs_resync(self.entry, "the imported documents are not in the oplog"))
    }
}

/// An index specification in listIndexes' form: without the namespace that
/// servers before 4.4 put in, and without the first `skip` fields.
fn index_spec(spec: &[u8], skip: usize) -> Result<RawDocumentBuf> {
    let mut out = Builder::new();
    let mut walk = raw::elements(spec)?;
    let mut at = 0;
    while let Some(element) = walk.next()? {
        if at >= skip && element.name != b"ns" {
            out.push(&element);
        }
        at += 1;
    }
    out.finish()
}

/// What listIndexes shows of `_id` when `create` logs no `idIndex`. That is so
/// for an index of version 1 and for a user's applyOps (both are listed as version 1,
/// seen on 4.4 to 8.2), and for clustered collections, whose clustering is listed as an index.
fn default_id_index(options: &[u8]) -> Result<Option<RawDocumentBuf>> {
    let mut spec = Builder::new();
    if let Some(clustered) = raw::get(options, "clusteredIndex")? {
        // `true`: buckets of a time-series collection, which list none.
        let Some(clustered) = clustered.doc() else { return Ok(None) };
        let mut walk = raw::elements(clustered)?;
        while let Some(element) = walk.next()? {
            spec.push(&element);
        }
        if let Some(secs) = raw::get(options, "expireAfterSeconds")?.and_then(|e| e.int()) {
            let (kind, value) = raw::number(secs);
            spec.put(kind, b"expireAfterSeconds", &value);
        }
        spec.put(types::BOOL, b"clustered", &[1]);
        return spec.finish().map(Some);
    }
    if raw::get(options, "autoIndexId")?.and_then(|e| e.bool()) == Some(false) {
        return Ok(None);
    }
    let mut key = Builder::new();
    key.put(types::INT32, b"_id", &1i32.to_le_bytes());
    spec.put(types::INT32, b"v", &1i32.to_le_bytes());
    spec.put(types::DOCUMENT, b"key", key.finish()?.as_bytes());
    spec.put(types::STRING, b"name", b"\x05\0\0\0_id_\0");
    spec.finish().map(Some)
}

/// Options of `create` that listCollections shows as they are.
/// `viewOn` is not among them: views are documents of `system.views`.
fn create_option(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 18] = [
        b"capped",
        b"size",
        b"max",
        b"collation",
        b"validator",
        b"validationLevel",
        b"validationAction",
        b"clusteredIndex",
        b"expireAfterSeconds",
        b"timeseries",
        b"changeStreamPreAndPostImages",
        b"recordPreImages",
        b"storageEngine",
        b"indexOptionDefaults",
        b"encryptedFields",
        b"temp",
        b"recordIdsReplicated",
        b"autoIndexId",
    ];
    NAMES.contains(&name) || name == b"flags"
}

#[cfg(test)]
mod tests;
