//! What the names of files in a dump directory say.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use bygone_base::{Error, Result};
use bygone_restore::raw;

use crate::{
    extjson,
    metadata::Metadata,
    progress::{Bars, Reading},
    sink::Compression,
};

/// The largest metadata file that is read.
const MAX_METADATA: u64 = 64 << 20;

/// What a file of a database's directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileKind {
    /// Documents; the collection's escaped name.
    Data(String),
    /// Metadata; the same.
    Metadata(String),
    /// Something else.
    Other,
}

/// What a file is, by its name.
pub(super) fn kind(name: &str, compression: Compression) -> FileKind {
    let Some(plain) = name.strip_suffix(compression.ending()) else { return FileKind::Other };
    if let Some(name) = plain.strip_suffix(".metadata.json") {
        return FileKind::Metadata(name.to_owned());
    }
    // An uncompressed name keeps no ending to strip: other compressions are something else.
    for ending in [".bson", ".bin"] {
        if let Some(name) = plain.strip_suffix(ending) {
            return FileKind::Data(name.to_owned());
        }
    }
    FileKind::Other
}

/// Entries of a directory by name. A name that is not UTF-8 can only be that of something which is no part of a dump.
pub(super) fn entries(dir: &Path, compression: Compression) -> Result<Vec<(String, PathBuf)>> {
    let failed = |e| Error::io(format!("error reading directory {}", dir.display()), e);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (name, path) = (entry.file_name(), entry.path());
        let shown = name.to_string_lossy().into_owned();
        if name.to_str().is_none()
            && (path.is_dir() || kind(&shown, compression) != FileKind::Other)
        {
            let text = format!("{}: {name:?} is not UTF-8", dir.display());
            return Err(Error::unsupported(text));
        }
        found.push((shown, path));
    }
    found.sort();
    Ok(found)
}

/// Opens a file, which may be a link.
pub(super) fn open(path: &Path, compression: Compression) -> Result<Box<dyn Read + Send>> {
    let file = File::open(path);
    let file = file.map_err(|e| Error::io(format!("error opening {}", path.display()), e))?;
    compression.reader(Box::new(file)).map_err(|e| e.within(path.display()))
}

/// As [`open`]; a bar shows how much of the file has been read.
pub(super) fn watched(
    path: &Path,
    compression: Compression,
    bars: &Bars,
    name: String,
) -> Result<Box<dyn Read + Send>> {
    let file = File::open(path);
    let inner = file.map_err(|e| Error::io(format!("error opening {}", path.display()), e))?;
    let bar = bars.begin(name, size(path));
    compression.reader(Box::new(Reading { inner, bar })).map_err(|e| e.within(path.display()))
}

/// Bytes of a file, for deciding what to restore first.
pub(super) fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// The text of a small file.
pub(super) fn text(path: &Path, compression: Compression) -> Result<String> {
    let mut text = String::new();
    let mut input = open(path, compression)?.take(MAX_METADATA + 1);
    let read = input.read_to_string(&mut text);
    read.map_err(|e| Error::io(format!("error reading {}", path.display()), e))?;
    if text.len() as u64 > MAX_METADATA {
        return Err(Error::unsupported(format!("{} is larger than 64 MiB", path.display())));
    }
    Ok(text)
}

/// A metadata file.
pub(super) fn metadata(path: &Path, compression: Compression) -> Result<Metadata> {
    let text = text(path, compression)?;
    Metadata::parse(&text)
        .map_err(|e| e.within(format!("error parsing metadata from {}", path.display())))
}

/// The server's version, by a dump's `prelude.json`; nothing where that tells none.
pub(super) fn server_version(path: &Path, compression: Compression) -> Option<String> {
    let text = text(path, compression).ok()?;
    let prelude = extjson::parse_first(&text).ok()?;
    raw::text(&prelude, "ServerVersion").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_files_are() {
        let data = |name: &str| FileKind::Data(name.to_owned());
        assert_eq!(kind("a%2Fb.bson", Compression::None), data("a%2Fb"));
        assert_eq!(kind("a.bin", Compression::None), data("a"));
        assert_eq!(kind("a.bson.gz", Compression::Gzip), data("a"));
        assert_eq!(kind("a.bson", Compression::Gzip), FileKind::Other);
        assert_eq!(kind("a.bson.gz", Compression::None), FileKind::Other);
        let metadata = FileKind::Metadata("a".to_owned());
        assert_eq!(kind("a.metadata.json", Compression::None), metadata);
    }

    #[test]
    fn a_prelude_tells_the_version_of_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("prelude.json");
        for (text, want) in [
            ("{\"ServerVersion\":\"8.2.0\",\"ToolVersion\":\"x\"}\n", Some("8.2.0")),
            ("{}", None),
            ("no JSON", None),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(server_version(&path, Compression::None).as_deref(), want, "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn names_that_are_not_text_are_no_part_of_a_dump() {
        use std::os::unix::ffi::OsStrExt as _;
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &[u8]| dir.path().join(std::ffi::OsStr::from_bytes(name));
        fs::write(place(b"notes\xff.txt"), "").unwrap();
        assert_eq!(entries(dir.path(), Compression::None).unwrap().len(), 1);
        // Documents must not be passed over.
        fs::write(place(b"a\xff.bson"), "").unwrap();
        assert!(entries(dir.path(), Compression::None).is_err());
    }
}
