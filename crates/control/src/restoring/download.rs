//! Restores to be fetched: written to a file of their own, so that a download can be resumed at any byte.

use std::{
    fs::{self, File},
    io::{BufWriter, Read as _, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bygone_base::{
    ByteSize, Error, ErrorKind, Result, UnixMillis,
    disk::{private_dir, private_file},
    work,
};
use bygone_catalog::{
    Id,
    record::{Delivery, Form, Job, Names, Progress, RestoreJob, RestoreStatus},
};
use bygone_dumptools::{
    export,
    report::Log,
    sink::{Compression, Place},
};
use bygone_head::View;
use bygone_restore::{Contents, Documents as _, ViewDocuments};
use flate2::write::GzEncoder;
use sha1::{Digest as _, Sha1};
use tokio::sync::watch;

use super::{Outcome, moment, transfer::is_used_up};
use bygone_snapshot::{Manifest, Parts};

use crate::{
    By, Control, disk,
    restores::{reading, rules},
};

/// Bytes that stay free: the catalog lies on the same disk.
const SPARE: u64 = 256 << 20;

/// Whoever follows a link before its file is ready waits for it so long.
const PATIENCE: Duration = Duration::from_secs(600);
/// It is looked for this often.
const LOOK: Duration = Duration::from_millis(500);

/// A file that a link leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    /// Where it is.
    pub path: PathBuf,
    /// What it is called.
    pub name: String,
    /// Its length.
    pub size: u64,
}

/// Where a link leads, under the server's origin. (The dashboard serves it.)
pub fn download_path(restore: &Id, secret: &str) -> String {
    format!("/download/{restore}/{secret}")
}

/// Writes the file of a download.
pub(super) async fn prepare(
    control: &Control,
    job: &Job,
    parts: &Parts,
    restore: &RestoreJob,
    form: &Form,
    sender: watch::Sender<Progress>,
) -> Result<Outcome> {
    let folder = control.downloads()?.join(restore.id.as_str());
    // What a crash left of an earlier try.
    remove(&folder)?;
    private_dir(&folder)?;
    let say = |phase: &str| {
        sender.send_modify(|progress| progress.phase = phase.to_owned());
    };
    say("reading");
    let when = moment(restore)?;
    let Parts { snapshots, oplog } = parts;
    let scratch = control.scratch()?;
    let options = reading(scratch.as_ref());
    let view = View::open(snapshots, oplog, &when, options, control.clock().clone()).await?;
    let manifest = view.manifest.clone();
    let documents = Arc::new(ViewDocuments::new(view)?);
    check_room(&folder, room(documents.contents(), &restore.names, form)?)?;
    let name = file_name(job, restore, form)?;
    let target = folder.join(&name);
    let dump = folder.join("dump");
    let (place, names) = match form {
        Form::Archive => (Place::Archive(target.clone()), restore.names.clone()),
        Form::Tar => (Place::Directory(dump.clone()), restore.names.clone()),
        Form::Collection { namespace } => {
            let include = vec![escape(namespace)];
            (Place::Directory(dump.clone()), Names { include, ..Names::default() })
        }
    };
    let compression = if *form == Form::Archive { Compression::Gzip } else { Compression::None };
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let options =
        export::Options { rules: rules(&names)?, place, compression, parallel: 2, threads };
    let log = Log::new(None, |_| {});
    let exported = tokio::select! {
        done = export::export(documents, &options, &log) => done,
        full = runs_out(control, &folder) => Err(full),
    };
    let (count, bytes) = exported.map_err(|error| match form {
        Form::Collection { namespace } if error.kind() == ErrorKind::NotFound => missing(namespace),
        _ => error,
    })?;
    say("packing");
    let project = control.project(&job.project).await?.name;
    let info = restore_info(&project, job, restore, &manifest);
    let (form, file) = (form.clone(), target.clone());
    let packed = work::apart("packing a download", move || {
        pack(&form, &dump, &file, &info)?;
        private_file(&file)?;
        remove(&dump)?;
        hash(&file)
    });
    let (sha1, size) = packed.await??;
    sender.send_modify(|progress| {
        (progress.documents, progress.bytes, progress.bytes_total) = (count, bytes, bytes);
    });
    Ok(Outcome {
        message: format!("{count} documents are ready to be fetched"),
        proof: None,
        hashes: vec![(name, sha1)],
        size: Some(size),
        differs: false,
    })
}

/// Removes what there is of a file that came to nothing.
pub(super) fn discard(control: &Control, restore: &Id) -> Result<()> {
    remove(&control.downloads()?.join(restore.as_str()))
}

/// Ends when its disk is nearly full: the catalog lies on it.
async fn runs_out(control: &Control, folder: &Path) -> Error {
    while disk::free(folder).is_none_or(|free| free >= SPARE) {
        control.clock().sleep(LOOK).await;
    }
    Error::new(ErrorKind::Full, format!("less than {} are free on its disk", ByteSize(SPARE)))
        .hint("restore fewer collections, or make room in the server's data folder")
}

/// Bytes that a download takes at most while it is made, about: documents compress to a third or better, and a tar is
/// made from a folder of all of them.
fn room(contents: &Contents, names: &Names, form: &Form) -> Result<u64> {
    let rules = rules(names)?;
    let one = match form {
        Form::Collection { namespace } => Some(namespace.as_str()),
        Form::Archive | Form::Tar => None,
    };
    let covered = contents.collections.iter().filter(|collection| match one {
        Some(one) => collection.name.to_string() == one,
        None => rules.covers(&collection.name),
    });
    let bytes: u64 = covered.map(|collection| collection.bytes).sum();
    Ok(match form {
        Form::Archive => bytes / 3,
        Form::Tar => bytes + bytes / 3,
        Form::Collection { .. } => bytes,
    })
}

/// Refuses what would fill the disk of the catalog.
fn check_room(folder: &Path, needed: u64) -> Result<()> {
    match disk::free(folder) {
        Some(free) if free < needed.saturating_add(SPARE) => {
            let (needed, free) = (ByteSize(needed), ByteSize(free));
            let why = format!("the file takes about {needed}, and {free} are free on its disk");
            Err(Error::new(ErrorKind::Full, why)
                .hint("restore fewer collections, or make room in the server's data folder"))
        }
        _ => Ok(()),
    }
}

/// `PROJECT-SET-SECONDS.tar.gz`, as Ops Manager calls it, and alike.
fn file_name(job: &Job, restore: &RestoreJob, form: &Form) -> Result<String> {
    let at = match restore.moment.split_once(':') {
        Some((secs, _)) => secs,
        None => &restore.moment,
    };
    let set = job.set.as_deref().unwrap_or("set");
    let base = format!("{}-{set}-{at}", job.project);
    Ok(match form {
        Form::Archive => format!("{base}.archive.gz"),
        Form::Tar => format!("{base}.tar.gz"),
        Form::Collection { namespace } => {
            let (_, collection) = namespace
                .split_once('.')
                .ok_or_else(|| Error::usage(format!("{namespace:?} is not DATABASE.COLLECTION")))?;
            let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
            format!("{base}-{}.bson", collection.chars().map(plain).take(100).collect::<String>())
        }
    })
}

/// A name as a pattern that matches nothing else.
fn escape(namespace: &str) -> String {
    namespace.replace('\\', "\\\\").replace('*', "\\*")
}

/// What restoreInfo.txt of Ops Manager's downloads says. Moments are UTC, and BSON timestamps.
fn restore_info(project: &str, job: &Job, restore: &RestoreJob, manifest: &Manifest) -> String {
    format!(
        "Restore Information\n\
         Group Name: {project}\nReplica Set: {}\nCluster Name: {}\nCluster Id: {}\n\
         Snapshot: {}\nSnapshot Timestamp: {} UTC\n\
         Restore Timestamp: {}\nLast Oplog Applied: {}\n\
         MongoDB Version: {}\nStorage Engine: none (a directory of mongodump: restore it with mongorestore)\n",
        manifest.source.set,
        job.cluster,
        job.id,
        manifest.id,
        UnixMillis(i64::from(manifest.at.ts.secs()) * 1000).to_rfc3339_seconds(),
        restore.moment,
        restore.moment,
        manifest.source.version,
    )
}

fn pack(form: &Form, dump: &Path, file: &Path, info: &str) -> Result<()> {
    match form {
        Form::Archive => Ok(()),
        Form::Tar => tar(dump, file, info),
        Form::Collection { namespace } => {
            let found = bson_files(dump)?;
            match &found[..] {
                [one] => fs::rename(one, file)
                    .map_err(|e| Error::io(format!("move {}", one.display()), e)),
                [] => Err(missing(namespace)),
                _ => Err(Error::internal(format!("{namespace} gave several files"))),
            }
        }
    }
}

fn missing(namespace: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there was no collection {namespace} then"))
}

/// Files of documents of a dump's databases.
fn bson_files(dump: &Path) -> Result<Vec<PathBuf>> {
    let io = |e| Error::io(format!("read {}", dump.display()), e);
    let mut found = Vec::new();
    if !dump.exists() {
        return Ok(found);
    }
    for database in fs::read_dir(dump).map_err(io)? {
        let database = database.map_err(io)?.path();
        if !database.is_dir() {
            continue;
        }
        for file in fs::read_dir(&database).map_err(io)? {
            let file = file.map_err(io)?.path();
            if file.extension().is_some_and(|ending| ending == "bson") {
                found.push(file);
            }
        }
    }
    Ok(found)
}

fn tar(dump: &Path, file: &Path, info: &str) -> Result<()> {
    let io = |e| Error::io(format!("write {}", file.display()), e);
    let out = BufWriter::new(File::create(file).map_err(io)?);
    let mut builder = tar::Builder::new(GzEncoder::new(out, flate2::Compression::new(6)));
    builder.mode(tar::HeaderMode::Deterministic);
    let mut header = tar::Header::new_gnu();
    header.set_size(info.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    builder.append_data(&mut header, "restoreInfo.txt", info.as_bytes()).map_err(io)?;
    if dump.exists() {
        builder.append_dir_all("dump", dump).map_err(io)?;
    }
    let mut out = builder.into_inner().and_then(GzEncoder::finish).map_err(io)?;
    out.flush().map_err(io)
}

fn hash(file: &Path) -> Result<(String, u64)> {
    let io = |e| Error::io(format!("read {}", file.display()), e);
    let mut input = File::open(file).map_err(io)?;
    let (mut sha, mut size) = (Sha1::new(), 0);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = input.read(&mut buffer).map_err(io)?;
        if read == 0 {
            return Ok((hex::encode(sha.finalize()), size));
        }
        sha.update(&buffer[..read]);
        size += read as u64;
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("remove {}", folder.display()), e))
        }
        _ => Ok(()),
    }
}

/// Removes the files of links that have ended.
pub(crate) async fn clear_links(control: &Control) -> Result<()> {
    control.note_transfers().await?;
    let now = control.now();
    let Ok(folder) = control.downloads() else { return Ok(()) };
    for restore in control.catalog().all::<RestoreJob>(None).await? {
        let ended = match &restore.delivery {
            Delivery::Http { expires, .. } => *expires <= now || is_used_up(&restore.delivery),
            Delivery::Automated { .. } => false,
        };
        let ended =
            ended || matches!(restore.status, RestoreStatus::Broken | RestoreStatus::Killed);
        if ended && restore.status != RestoreStatus::InProgress {
            remove(&folder.join(restore.id.as_str()))?;
        }
    }
    Ok(())
}

impl Control {
    /// The file that a link leads to, once it is ready: a script may follow the link as soon as it has it. Takes the same
    /// time for every wrong secret.
    ///
    /// # Errors
    /// `NotFound`: no such link, or it has ended. `Unavailable`: still not ready.
    pub async fn download(&self, restore: &Id, secret: &str) -> Result<Download> {
        let end = self.clock().monotonic() + PATIENCE;
        loop {
            match self.ready_download(restore, secret).await {
                Err(e) if e.kind() == ErrorKind::Unavailable && self.clock().monotonic() < end => {
                    self.clock().sleep(LOOK).await;
                }
                found => return found,
            }
        }
    }

    /// Keeps that the file of a download is being fetched, from its beginning, and from where: data leaves the server.
    ///
    /// # Errors
    /// The catalog's.
    pub async fn fetched(&self, restore: &Id, address: Option<&str>) -> Result<()> {
        let restore = self.catalog().get::<RestoreJob>(restore.as_str()).await?.value;
        let job = self.catalog().find::<Job>(restore.job.as_str()).await?.map(|row| row.value);
        let by = By { address: address.map(str::to_owned), ..By::system() };
        let message = format!("the file of restore {} is fetched by its link", restore.id);
        let kind = "RESTORE_FETCHED_AUDIT";
        self.event(&by, Some(&restore.project), job.as_ref(), kind, message).await
    }

    async fn ready_download(&self, restore: &Id, secret: &str) -> Result<Download> {
        let unknown = || Error::new(ErrorKind::NotFound, "this link leads nowhere, or no longer");
        let found = self.catalog().find::<RestoreJob>(restore.as_str()).await?;
        let restore = found.ok_or_else(unknown)?.value;
        let Delivery::Http { expires, secret: hash, size, .. } = &restore.delivery else {
            return Err(unknown());
        };
        let given = blake3::hash(secret.as_bytes());
        if blake3::Hash::from_hex(hash).ok() != Some(given) {
            return Err(unknown());
        }
        if *expires <= self.now() || is_used_up(&restore.delivery) {
            return Err(unknown());
        }
        match (restore.status, size, restore.hashes.first()) {
            (RestoreStatus::Finished, Some(size), Some((name, _))) => {
                let path = self.downloads()?.join(restore.id.as_str()).join(name);
                Ok(Download { path, name: name.clone(), size: *size })
            }
            (RestoreStatus::InProgress, ..) => {
                Err(Error::new(ErrorKind::Unavailable, "the file is not ready yet")
                    .hint("try again in a minute"))
            }
            _ => Err(unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_would_fill_the_disk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        check_room(dir.path(), 1).unwrap();
        let error = check_room(dir.path(), u64::MAX / 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(error.message().contains("are free on its disk"), "{error}");
    }
}
