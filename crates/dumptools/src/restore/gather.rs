//! What a dump holds and what of it is wanted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    path::{Path, PathBuf},
};

use bygone_base::{Error, Result};
use bygone_document::{Doc, MAX_DOCUMENT, split_stream};
use bygone_restore::{Documents, NameRules, Namespace, names::BUCKETS};

use super::{
    Archive, Options, Place,
    files::{self, FileKind},
    people,
};
use crate::{
    archive,
    export::{self, Stored},
    frames::Frames,
    metadata::{Kind, Metadata},
    names::{self, Role},
    report::Log,
    sink::Compression,
};

/// Which version the documents of users have.
pub(super) const VERSION: &str = "system.version";

/// A namespace to restore.
#[derive(Debug, Clone)]
pub struct Intent {
    /// Its name in the dump: of a time-series its own.
    pub source: Namespace,
    /// Its name on the server.
    pub to: Namespace,
    /// What is known of it.
    pub metadata: Metadata,
    /// The file of its documents.
    pub data: Option<PathBuf>,
    /// Where they are in a store.
    pub(super) stored: Option<Stored>,
    /// The file's bytes.
    pub bytes: u64,
    /// Set by looking at the server: it was there before and is not dropped.
    pub existed: bool,
    /// The same: it was there before, and is dropped when its first document comes.
    pub replaced: bool,
}

impl Intent {
    fn new(source: Namespace, to: Namespace) -> Intent {
        let metadata = Metadata::default();
        let (data, stored, bytes) = (None, None, 0);
        let (existed, replaced) = (false, false);
        Intent { source, to, metadata, data, stored, bytes, existed, replaced }
    }

    /// Where documents go: of a time-series into its buckets.
    pub(super) fn stored(&self) -> Namespace {
        match self.metadata.kind {
            Kind::TimeSeries => self.to.buckets(),
            _ => self.to.clone(),
        }
    }
}

/// What was found.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) intents: Vec<Intent>,
    /// Users, roles and their version: by the collection's name in `admin`.
    pub(super) people: BTreeMap<String, PathBuf>,
    pub(super) oplog: Option<PathBuf>,
    pub(super) archive: Option<Archive>,
    /// The same in a store.
    pub(super) stored_people: Vec<(String, Stored)>,
    /// The version of the server that was dumped, as it said it.
    pub(super) server: Option<String>,
    /// What an archive holds beside collections.
    special: Vec<Role>,
}

impl Gathered {
    pub(super) fn has_oplog(&self) -> bool {
        self.oplog.is_some() || self.special.contains(&Role::Oplog)
    }

    pub(super) fn has_people(&self) -> bool {
        let of_one = |role: &Role| matches!(role, Role::People { of_one: true, .. });
        !self.people.is_empty() || !self.stored_people.is_empty() || self.special.iter().any(of_one)
    }
}

/// Looks at the dump, or at the moment of a store that is restored in its place.
pub(super) fn gather(
    options: &Options,
    moment: Option<&dyn Documents>,
    log: &Log,
) -> Result<Gathered> {
    let (intents, passed_over) = (BTreeMap::new(), BTreeSet::new());
    let mut gather = Gather { options, log, found: Gathered::default(), intents, passed_over };
    match &options.place {
        _ if moment.is_some() => moment.map_or(Ok(()), |moment| gather.moment(moment))?,
        Place::Archive(path) => {
            let path = archive_file(path, options.compression);
            let what = format!("error opening archive {}", path.display());
            let file = File::open(&path).map_err(|e| Error::io(what, e))?;
            gather.archive(Box::new(file))?;
        }
        Place::ArchiveIn => gather.archive(Box::new(std::io::stdin()))?,
        Place::Documents => {
            let name = gather.only()?;
            gather.intents.insert(name.clone(), Intent::new(name.clone(), name));
        }
        Place::Path(path) => gather.path(path)?,
    }
    let Gather { mut found, intents, .. } = gather;
    if let Some(file) = &options.oplog_file {
        // What a dump has of `local` gives way; its own oplog does not.
        if let Some(own) = found.oplog.filter(|own| own.ends_with("oplog.bson")) {
            return Err(Error::usage(format!(
                "cannot provide both an oplog.bson file and an oplog file with --oplogFile: {} and {}",
                own.display(),
                file.display()
            )));
        }
        found.oplog = Some(file.clone());
    }
    found.intents = intents.into_values().collect();
    // The largest first.
    found.intents.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.source.cmp(&b.source)));
    Ok(found)
}

fn archive_file(path: &Path, compression: Compression) -> PathBuf {
    if path.is_dir() { path.join(format!("archive{}", compression.ending())) } else { path.into() }
}

struct Gather<'a> {
    options: &'a Options,
    log: &'a Log,
    found: Gathered,
    /// By name in the dump.
    intents: BTreeMap<Namespace, Intent>,
    /// Databases of the servers' own that were left out and told.
    passed_over: BTreeSet<String>,
}

impl Gather<'_> {
    /// The one collection that is named.
    fn only(&self) -> Result<Namespace> {
        match (&self.options.db, &self.options.collection) {
            (Some(db), Some(collection)) => Ok(Namespace::new(db.clone(), collection.clone())),
            _ => Err(Error::usage("cannot restore from stdin without a specified collection")),
        }
    }

    fn path(&mut self, path: &Path) -> Result<()> {
        let found = std::fs::metadata(path).map_err(|e| {
            Error::io(format!("mongorestore target '{}' invalid", path.display()), e)
        })?;
        let (db, collection) = (self.options.db.clone(), self.options.collection.clone());
        match (db, collection, found.is_dir()) {
            (None, _, true) => self.root(path),
            (Some(db), None, true) => {
                self.log.always("The --db and --collection flags are deprecated for this use-case. Please use --nsInclude instead, i.e. with --nsInclude=\"${DATABASE}.${COLLECTION}\"");
                self.log.always(format_args!(
                    "building a list of collections to restore from {} dir",
                    path.display()
                ));
                self.database(&db, path)
            }
            (Some(_), Some(_), true) => Err(Error::usage(format!(
                "file {} is a directory, not a bson file",
                path.display()
            ))),
            (db, collection, false) => self.one_file(path, db, collection),
        }
    }

    /// One file; its name and its directory's tell the namespace that flags do not.
    fn one_file(
        &mut self,
        path: &Path,
        db: Option<String>,
        collection: Option<String>,
    ) -> Result<()> {
        self.log.always(format_args!("checking for collection data in {}", path.display()));
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let FileKind::Data(stem) = files::kind(name, self.options.compression) else {
            return Err(Error::usage(format!(
                "file {} does not have .bson{} extension",
                path.display(),
                self.options.compression.ending()
            )));
        };
        let parent = path.parent().and_then(Path::file_name).and_then(|n| n.to_str());
        let db = db.or_else(|| parent.map(str::to_owned)).unwrap_or_else(|| "test".to_owned());
        let person = collection.as_deref().unwrap_or(&stem);
        if let Role::People { name, of_one: false } = Role::of(&db, person) {
            self.person(&name, path);
            return Ok(());
        }
        let meta = format!(
            "{}.metadata.json{}",
            stem.strip_prefix(BUCKETS).unwrap_or(&stem),
            self.options.compression.ending()
        );
        let meta = path.with_file_name(meta);
        let metadata = match meta.exists() {
            true => Some(files::metadata(&meta, self.options.compression)?),
            false => None,
        };
        let known = metadata
            .as_ref()
            .map(|m| m.name.clone())
            .filter(|n| names::is_cut(&stem) && !n.is_empty());
        let plain = known.or_else(|| names::collection_name(&stem)).unwrap_or_default();
        let plain = plain.strip_prefix(BUCKETS).unwrap_or(&plain).to_owned();
        let named = collection.as_deref().map(|c| c.strip_prefix(BUCKETS).unwrap_or(c).to_owned());
        let source = Namespace::new(db, named.unwrap_or(plain));
        let mut intent = Intent::new(source.clone(), source.clone());
        if let Some(metadata) = metadata {
            self.log.always(format_args!("reading metadata for {source} from {}", meta.display()));
            known_of(&mut intent, metadata, self.log);
        }
        for name in [Some(stem.as_str()), collection.as_deref()].into_iter().flatten() {
            refuse_bare_buckets(name, &intent, path)?;
        }
        (intent.data, intent.bytes) = (Some(path.to_owned()), files::size(path));
        self.intents.insert(source, intent);
        Ok(())
    }

    /// A file of users or roles, and their version beside it.
    fn person(&mut self, name: &str, path: &Path) {
        let version = format!("{VERSION}.bson{}", self.options.compression.ending());
        let version = path.with_file_name(version);
        if version.exists() {
            self.found.people.insert(VERSION.to_owned(), version);
        }
        self.found.people.insert(name.to_owned(), path.to_owned());
    }

    /// A directory of databases.
    fn root(&mut self, root: &Path) -> Result<()> {
        self.log.always("preparing collections to restore from");
        for (name, path) in files::entries(root, self.options.compression)? {
            if path.is_dir() {
                if !names::is_database(&name) {
                    return Err(Error::usage(format!(
                        "invalid database name {name:?}: {} cannot be restored",
                        path.display()
                    )));
                }
                self.database(&name, &path)?;
            } else if name == "oplog.bson" {
                // Its name does not tell that it is compressed.
                self.found.oplog = Some(path);
            } else if name.starts_with("prelude.json") {
                self.prelude(&path);
            } else {
                self.unknown(&path);
            }
        }
        let local =
            root.join("local").join(format!("oplog.rs.bson{}", self.options.compression.ending()));
        if self.found.oplog.is_none() && local.exists() {
            self.found.oplog = Some(local);
        }
        Ok(())
    }

    /// What a dump says of the server. One that says nothing, or nothing that can be read, is a dump all the same.
    fn prelude(&mut self, path: &Path) {
        self.log.debug(format_args!("prelude metadata in {}", path.display()));
        if let Some(version) = files::server_version(path, self.options.compression) {
            self.found.server = Some(version);
        }
    }

    fn unknown(&self, path: &Path) {
        self.log.always(format_args!(
            "don't know what to do with file {:?}, skipping...",
            path.display().to_string()
        ));
    }

    /// A directory of one database's files. Metadata comes first: it knows names that files had to cut.
    fn database(&mut self, db: &str, dir: &Path) -> Result<()> {
        let compression = self.options.compression;
        let (mut metadata, mut data) = (BTreeMap::new(), Vec::new());
        for (name, path) in files::entries(dir, compression)? {
            match files::kind(&name, compression) {
                _ if path.is_dir() => self.log.always(format_args!(
                    "don't know what to do with subdirectory {:?}, skipping...",
                    path.display().to_string()
                )),
                FileKind::Metadata(stem) => {
                    metadata.insert(stem, path);
                }
                FileKind::Data(stem) => data.push((stem, path)),
                FileKind::Other if name.starts_with("prelude.json") => self.prelude(&path),
                FileKind::Other => self.unknown(&path),
            }
        }
        for (stem, path) in &metadata {
            self.metadata_file(db, stem, path)?;
        }
        let legacy = metadata.is_empty().then(|| data.iter().find(|(s, _)| s == "system.indexes"));
        let legacy = legacy.flatten().map(|(_, path)| path.clone());
        for (stem, path) in data {
            self.data_file(db, &stem, path, &metadata)?;
        }
        match legacy {
            Some(path) => self.legacy_indexes(db, &path),
            None => Ok(()),
        }
    }

    /// The intent of a collection of the dump, unless it is not wanted.
    fn wanted(&mut self, source: Namespace) -> Result<Option<&mut Intent>> {
        let special = Role::of(&source.db, &source.coll) != Role::Collection;
        if special || !self.options.rules.covers(&source) {
            return Ok(None);
        }
        let bookkeeping = matches!(source.db.as_str(), "local" | "config")
            && self.options.db.as_deref() != Some(&source.db)
            && !self.options.rules.names_database(&source.db);
        if bookkeeping {
            self.pass_over(&source.db);
            return Ok(None);
        }
        let to = self.options.rules.target(&source)?;
        Ok(Some(self.intents.entry(source.clone()).or_insert_with(|| Intent::new(source, to))))
    }

    /// What servers keep of themselves is another server's business, unless it is named.
    fn pass_over(&mut self, db: &str) {
        if self.passed_over.insert(db.to_owned()) {
            self.log.always(format_args!(
                "not restoring collections of {db}: servers keep them of themselves; --nsInclude=\"{db}.*\" restores them"
            ));
        }
    }

    fn metadata_file(&mut self, db: &str, stem: &str, path: &Path) -> Result<()> {
        if matches!(Role::of(db, stem), Role::People { .. }) {
            return Ok(());
        }
        let metadata = files::metadata(path, self.options.compression)?;
        let name = self.collection(stem, Some(&metadata), path)?;
        let log = self.log;
        if let Some(intent) = self.wanted(Namespace::new(db, name))? {
            log.always(format_args!("reading metadata for {} from {}", intent.to, path.display()));
            known_of(intent, metadata, log);
        }
        Ok(())
    }

    /// The collection's name behind a file's.
    fn collection(&self, stem: &str, metadata: Option<&Metadata>, path: &Path) -> Result<String> {
        if names::is_cut(stem) {
            let name = metadata.map(|m| m.name.clone()).filter(|name| !name.is_empty());
            return name.ok_or_else(|| {
                Error::damaged(format!(
                    "{}: the name is cut, and no metadata file tells the collection's",
                    path.display()
                ))
            });
        }
        names::collection_name(stem).ok_or_else(|| {
            Error::damaged(format!("{}: malformed escape in the name", path.display()))
        })
    }

    fn data_file(
        &mut self,
        db: &str,
        stem: &str,
        path: PathBuf,
        metadata: &BTreeMap<String, PathBuf>,
    ) -> Result<()> {
        if let Role::People { name, of_one } = Role::of(db, stem) {
            if people::asked_for(self.options, &name, of_one) {
                self.found.people.insert(name, path);
            }
            return Ok(());
        }
        let plain = stem.strip_prefix(BUCKETS).unwrap_or(stem);
        let known = match metadata.get(plain) {
            Some(file) if names::is_cut(plain) => {
                Some(files::metadata(file, self.options.compression)?)
            }
            _ => None,
        };
        let name = self.collection(plain, known.as_ref(), &path)?;
        if name == "system.indexes" {
            return Ok(());
        }
        let bytes = files::size(&path);
        let log = self.log;
        if Role::of(db, &name) == Role::System {
            self.left_out(db, &name);
        }
        if let Some(intent) = self.wanted(Namespace::new(db, name))? {
            refuse_bare_buckets(stem, intent, &path)?;
            log.info(format_args!("found collection {} bson to restore", intent.to));
            (intent.data, intent.bytes) = (Some(path), bytes);
        }
        Ok(())
    }

    /// What servers make themselves is not restored.
    fn left_out(&self, db: &str, name: &str) {
        self.log.always(format_args!("not restoring {db}.{name}: it is the system's"));
    }

    /// Indexes as servers before 3.0 kept them: all of a database in one collection.
    fn legacy_indexes(&mut self, db: &str, path: &Path) -> Result<()> {
        let within = |e: Error| e.within(path.display());
        let input = files::open(path, self.options.compression)?;
        for piece in Frames::new(input, MAX_DOCUMENT, true) {
            let piece = piece.map_err(within)?;
            for index in split_stream(&piece.bytes) {
                let index = index.map_err(|e| within(e.into()))?.bytes();
                let ns = Doc::new(index)?.get("ns")?.and_then(|e| e.as_str());
                let name = ns.and_then(|ns| ns.split_once('.')).map(|(_, name)| name);
                let intent = name.and_then(|n| self.intents.get_mut(&Namespace::new(db, n)));
                if let Some(intent) = intent {
                    intent.metadata.indexes.push(index.to_vec());
                }
            }
        }
        Ok(())
    }

    /// A moment, as a dump of it would hold it.
    fn moment(&mut self, moment: &dyn Documents) -> Result<()> {
        for one in export::everything(moment, &NameRules::default())? {
            match Role::of(&one.name.db, &one.name.coll) {
                Role::People { name, .. } => {
                    // A moment has those of all databases: the server picks those of one.
                    let wanted = self.options.users_and_roles
                        || people::asked_for(self.options, &name, false);
                    let people = one.data.filter(|_| wanted).map(|stored| (name, stored));
                    self.found.stored_people.extend(people);
                }
                Role::System => self.left_out(&one.name.db, &one.name.coll),
                Role::Collection | Role::Oplog => {
                    if let Some(intent) = self.wanted(one.name)? {
                        (intent.metadata, intent.stored) = (one.metadata, one.data);
                    }
                }
            }
        }
        Ok(())
    }

    fn archive(&mut self, file: Box<dyn std::io::Read + Send>) -> Result<()> {
        let mut reader = archive::Reader::new(self.options.compression.reader(file)?);
        let prelude = reader.prelude()?;
        self.log
            .info(format_args!("archive of server {} by tool {}", prelude.server, prelude.tool));
        self.found.server = Some(prelude.server);
        self.log.always("preparing collections to restore from");
        for (number, entry) in prelude.entries.into_iter().enumerate() {
            let at = reader.place(number);
            let name = (entry.db.clone(), entry.collection.clone());
            if !self.entry(entry, at)? {
                reader.mute(&name.0, &name.1);
            }
        }
        self.found.archive = Some(reader);
        Ok(())
    }

    /// Takes an entry of an archive, which stands there; whether its documents are wanted.
    fn entry(&mut self, entry: archive::Entry, at: u64) -> Result<bool> {
        let archive::Entry { db, collection, metadata, .. } = entry;
        let role = Role::of(&db, &collection);
        let wanted = match &role {
            Role::Collection => return self.entry_of_collection(db, collection, &metadata, at),
            Role::Oplog => self.options.oplog_replay,
            Role::People { name, of_one } => people::asked_for(self.options, name, *of_one),
            Role::System => {
                self.left_out(&db, &collection);
                false
            }
        };
        self.found.special.push(role);
        Ok(wanted)
    }

    fn entry_of_collection(
        &mut self,
        db: String,
        collection: String,
        text: &str,
        at: u64,
    ) -> Result<bool> {
        let source = Namespace::new(db, collection);
        let log = self.log;
        let Some(intent) = self.wanted(source.clone())? else { return Ok(false) };
        let metadata = Metadata::parse(text).map_err(|e| {
            e.within(format!("error parsing metadata of {source}, at byte {at} of the archive"))
        })?;
        if !text.is_empty() {
            log.always(format_args!("reading metadata for {} from archive", intent.to));
        }
        known_of(intent, metadata, log);
        Ok(true)
    }
}

/// Buckets in a collection of their own name would be no time-series any more.
fn refuse_bare_buckets(stem: &str, intent: &Intent, file: &Path) -> Result<()> {
    if !stem.starts_with(BUCKETS) || intent.metadata.kind == Kind::TimeSeries {
        return Ok(());
    }
    Err(Error::damaged(format!(
        "could not find the timeseries collection metadata file of {}",
        file.display()
    ))
    .hint("put the file NAME.metadata.json of the dump beside it"))
}

/// What a dump says of a collection.
fn known_of(intent: &mut Intent, mut metadata: Metadata, log: &Log) {
    for text in metadata.settle_indexes() {
        log.always(format_args!("{}: {text}", intent.to));
    }
    intent.metadata = metadata;
}
