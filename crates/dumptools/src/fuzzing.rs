//! Bodies of fuzz targets: each takes any bytes and must return.

use crate::{
    archive::{Event, Reader},
    extjson::{self, Strictness, Style},
    frames::Frames,
    metadata::Metadata,
    names,
};

/// Documents of more bytes than this are refused by the targets.
const MAX: usize = 1 << 16;

/// An archive, from its prelude to its end.
pub fn fuzz_archive(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let Ok(prelude) = reader.prelude() else { return };
    for entry in &prelude.entries {
        let _ = Metadata::parse(&entry.metadata);
    }
    for event in reader.map_while(Result::ok) {
        if let Event::Documents { piece, .. } = event {
            assert!(piece.documents > 0 && piece.bytes.len() <= bytes.len());
        }
    }
}

/// A metadata file, a query, a file's name.
pub fn fuzz_metadata(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(found) = Metadata::parse(&text)
        && let Ok(again) = found.to_text()
    {
        assert_eq!(Metadata::parse(&again).ok(), Some(found));
    }
    if let Ok(document) = extjson::parse(&text, Strictness::Relaxed) {
        // What was read is BSON: it can be shown, and what is shown can be read.
        if let Ok(shown) = extjson::to_text(&document) {
            assert!(extjson::parse(&shown, Strictness::Strict).is_ok());
        }
    }
    if let Some(name) = names::collection_name(&text) {
        let file = names::file_name(&name);
        assert!(names::is_cut(&file) || names::collection_name(&file) == Some(name));
    }
}

/// A file of documents.
pub fn fuzz_frames(bytes: &[u8]) {
    let frames = Frames::new(bytes, MAX, false);
    let mut out = Vec::new();
    for piece in frames.map_while(Result::ok) {
        for document in bygone_document::split_stream(&piece.bytes).map_while(Result::ok) {
            out.clear();
            let _ = extjson::write(document.bytes(), Style::Pretty, &mut out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn any_bytes_are_taken(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            fuzz_archive(&bytes);
            fuzz_metadata(&bytes);
            fuzz_frames(&bytes);
            let archive = [&crate::archive::MAGIC[..], &bytes].concat();
            fuzz_archive(&archive);
        }
    }
}
