//! Where a dump goes: a directory of files, an archive, or one collection's documents alone. Dumps of a server and
//! exports of a store share it.

mod effort;
mod stream;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use bygone_base::{Error, Result};
use tokio::sync::Mutex;

pub use stream::{Compression, Stream, Threads};

use crate::{
    archive::{Crc, Prelude, Writer},
    names,
};

/// Bytes of documents handed on at once: fits a processor's cache.
const PIECE: usize = 1 << 20;

/// The place of a dump, as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A directory.
    Directory(PathBuf),
    /// An archive in this file.
    Archive(PathBuf),
    /// An archive on standard output.
    ArchiveOut,
    /// One collection's documents on standard output.
    Documents,
}

/// What all collections of an archive share.
#[derive(Debug)]
struct Shared {
    writer: Writer,
    stream: Stream,
}

#[derive(Debug)]
enum Inner {
    Directory(PathBuf),
    Archive(Arc<Mutex<Shared>>, String),
    Documents,
}

/// An open dump.
#[derive(Debug)]
pub struct Sink {
    inner: Inner,
    compression: Compression,
    threads: Threads,
}

impl Sink {
    /// Opens the place; a directory is made only when its first file is.
    ///
    /// # Errors
    /// The archive's file cannot be made.
    pub fn open(place: &Place, compression: Compression, threads: usize) -> Result<Sink> {
        let threads = Threads::new(threads);
        let archive = |to: Box<dyn Write + Send>, shown: String| {
            let stream = Stream::new(to, shown.clone(), compression, threads.clone());
            Inner::Archive(Arc::new(Mutex::new(Shared { writer: Writer::new(), stream })), shown)
        };
        let inner = match place {
            Place::Directory(root) => Inner::Directory(root.clone()),
            Place::Documents => Inner::Documents,
            Place::ArchiveOut => archive(Box::new(std::io::stdout()), "archive on stdout".into()),
            Place::Archive(path) => {
                let shown = format!("archive '{}'", path.display());
                let path = archive_path(path, compression);
                let file = File::create(&path)
                    .map_err(|e| Error::io(format!("error creating {shown}"), e))?;
                archive(Box::new(file), shown)
            }
        };
        Ok(Sink { inner, compression, threads })
    }

    /// Whether each collection has a file of its own, and a view none.
    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.inner, Inner::Directory(_))
    }

    /// Whether everything goes into one stream.
    pub fn is_archive(&self) -> bool {
        matches!(self.inner, Inner::Archive(..))
    }

    /// What stands before all documents; only archives have it.
    ///
    /// # Errors
    /// The archive cannot be written.
    pub async fn prelude(&self, prelude: &Prelude) -> Result<()> {
        let Inner::Archive(shared, _) = &self.inner else { return Ok(()) };
        let mut shared = shared.lock().await;
        let bytes = shared.writer.prelude(prelude)?;
        shared.stream.write(bytes).await
    }

    /// A file of a directory, whole. Directories are made as needed; other places have no such files.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn file(&self, db: Option<&str>, name: &str, text: &[u8]) -> Result<()> {
        let Inner::Directory(root) = &self.inner else { return Ok(()) };
        let path = within(root, db, &format!("{name}{}", self.compression.ending()))?;
        make_parent(&path)?;
        let bytes = self.compression.compress(text)?;
        let what = format!("error writing {}", path.display());
        fs::write(&path, bytes).map_err(|e| Error::io(what, e))
    }

    /// The path of a collection's documents, as log lines show it.
    pub fn shown(&self, db: &str, collection: &str) -> String {
        match &self.inner {
            Inner::Archive(_, shown) => shown.clone(),
            Inner::Documents => "stdout".to_owned(),
            Inner::Directory(root) => {
                root.join(db).join(self.data_name(collection)).display().to_string()
            }
        }
    }

    fn data_name(&self, collection: &str) -> String {
        let file = names::file_name(collection);
        format!("{file}.bson{}", self.compression.ending())
    }

    /// Where the documents of a collection go.
    ///
    /// # Errors
    /// Its file cannot be made.
    pub fn lane(&self, db: &str, collection: &str) -> Result<Lane> {
        let to = match &self.inner {
            Inner::Archive(shared, _) => Into::Archive {
                shared: Arc::clone(shared),
                db: db.to_owned(),
                collection: collection.to_owned(),
                crc: Box::default(),
            },
            Inner::Documents => {
                Into::Stream(self.stream(Box::new(std::io::stdout()), "stdout".to_owned()))
            }
            Inner::Directory(root) => {
                let path = within(root, Some(db), &self.data_name(collection))?;
                self.file_lane(&path)?
            }
        };
        Ok(Lane { to, buffer: Vec::new(), documents: 0, bytes: 0 })
    }

    /// The oplog: a file at the top whose name does not tell that it is compressed, or a namespace without database.
    ///
    /// # Errors
    /// Its file cannot be made.
    pub fn oplog(&self) -> Result<Lane> {
        let Inner::Directory(root) = &self.inner else { return self.lane("", "oplog") };
        let to = self.file_lane(&root.join("oplog.bson"))?;
        Ok(Lane { to, buffer: Vec::new(), documents: 0, bytes: 0 })
    }

    fn file_lane(&self, path: &Path) -> Result<Into> {
        make_parent(path)?;
        let shown = path.display().to_string();
        let file = File::create(path);
        let file = file.map_err(|e| Error::io(format!("error creating file {shown}"), e))?;
        Ok(Into::Stream(self.stream(Box::new(file), shown)))
    }

    fn stream(&self, to: Box<dyn Write + Send>, shown: String) -> Stream {
        Stream::new(to, shown, self.compression, self.threads.clone())
    }

    /// The last thing: an archive is complete only now. All lanes must have been finished.
    ///
    /// # Errors
    /// What was left could not be written.
    pub async fn finish(self) -> Result<()> {
        match self.inner {
            Inner::Archive(shared, _) => match Arc::try_unwrap(shared) {
                Ok(shared) => shared.into_inner().stream.finish().await,
                Err(_) => Err(Error::internal("a collection of the archive is still open")),
            },
            _ => Ok(()),
        }
    }
}

fn archive_path(path: &Path, compression: Compression) -> PathBuf {
    if path.is_dir() { path.join(format!("archive{}", compression.ending())) } else { path.into() }
}

/// The path of a file; names that come from a server must not lead out of the directory.
fn within(root: &Path, db: Option<&str>, file: &str) -> Result<PathBuf> {
    match db {
        None => Ok(root.join(file)),
        Some(db) if names::is_database(db) => Ok(root.join(db).join(file)),
        Some(db) => Err(Error::unsupported(format!("{db:?} cannot be the name of a database"))),
    }
}

fn make_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    let what = format!("error creating directory {}", parent.display());
    fs::create_dir_all(parent).map_err(|e| Error::io(what, e))
}

#[derive(Debug)]
enum Into {
    Stream(Stream),
    Archive { shared: Arc<Mutex<Shared>>, db: String, collection: String, crc: Box<Crc> },
}

/// The documents of one collection on their way.
#[derive(Debug)]
pub struct Lane {
    to: Into,
    buffer: Vec<u8>,
    documents: u64,
    bytes: u64,
}

impl Lane {
    /// Appends whole documents, one behind the other in each slice.
    ///
    /// # Errors
    /// Writing failed.
    pub async fn push<'a>(
        &mut self,
        documents: impl Iterator<Item = &'a [u8]> + Send,
    ) -> Result<()> {
        for document in documents {
            self.documents += 1;
            self.bytes += document.len() as u64;
            if self.buffer.len() + document.len() > PIECE {
                self.flush().await?;
                // A page of the end is used only by documents that do not fit.
                self.buffer.reserve_exact(PIECE.max(document.len()));
            }
            self.buffer.extend_from_slice(document);
        }
        Ok(())
    }

    /// Documents so far.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Bytes of the documents so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.buffer);
        match &mut self.to {
            Into::Stream(stream) => stream.write(bytes).await,
            Into::Archive { shared, db, collection, crc } => {
                crc.update(&bytes);
                let mut shared = shared.lock().await;
                let before = shared.writer.before(db, collection);
                if !before.is_empty() {
                    shared.stream.write(before).await?;
                }
                shared.stream.write(bytes).await
            }
        }
    }

    /// Writes what is left; gives documents and bytes.
    ///
    /// # Errors
    /// Writing failed.
    pub async fn finish(mut self) -> Result<(u64, u64)> {
        self.flush().await?;
        let count = (self.documents, self.bytes);
        match self.to {
            Into::Stream(stream) => stream.finish().await?,
            Into::Archive { shared, db, collection, crc } => {
                let mut shared = shared.lock().await;
                if self.documents == 0 {
                    // A block without documents, as the stock tool writes it.
                    let before = shared.writer.before(&db, &collection);
                    shared.stream.write(before).await?;
                }
                let end = shared.writer.end(&db, &collection, crc.finish());
                shared.stream.write(end).await?;
            }
        }
        Ok(count)
    }
}
