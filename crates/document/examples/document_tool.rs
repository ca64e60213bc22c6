//! The crate as a filter, for comparing it with real servers from outside.
//!
//! Standard input is one mode byte, then documents one behind the other:
//!
//! - `k`: for each document the key of its `_id`;
//! - `u`: pairs of pre-image and `o`; for each pair the post-image;
//! - `c`: (no input) for each document of the corpus its group number (u32) and the document.
//!
//! Standard output is a record each: a status byte (0 done, 1 an anomaly was
//! tolerated, 2 error), u32 little-endian length, bytes (an error: its text).

use std::io::{Read as _, Write as _};

use bygone_document::{Doc, apply, corpus, id_key, split_stream};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut input = Vec::new();
    std::io::stdin().lock().read_to_end(&mut input)?;
    let (mode, documents) = input.split_first().ok_or("no mode byte")?;
    let mut documents = split_stream(documents);
    let mut output = Vec::new();
    match mode {
        b'k' => {
            for doc in documents {
                let key = id_key(doc?.bytes());
                record(&mut output, key.map(|key| (0, key)))?;
            }
        }
        b'u' => {
            while let Some(pre) = documents.next() {
                let o = documents.next().ok_or("a pre-image without an update")??;
                record(&mut output, post_image(pre?, o))?;
            }
        }
        b'c' => {
            for (number, group) in corpus::id_groups().into_iter().enumerate() {
                for doc in group {
                    let mut bytes = u32::try_from(number)?.to_le_bytes().to_vec();
                    bytes.extend_from_slice(&doc);
                    record(&mut output, Ok((0, bytes)))?;
                }
            }
        }
        _ => return Err("unknown mode".into()),
    }
    std::io::stdout().lock().write_all(&output)?;
    Ok(())
}

fn post_image(pre: Doc<'_>, o: Doc<'_>) -> bygone_document::Result<(u8, Vec<u8>)> {
    let mut post = Vec::new();
    let applied = apply(pre.bytes(), o.bytes(), &mut post)?;
    Ok((u8::from(applied.is_anomalous()), post))
}

fn record(
    out: &mut Vec<u8>,
    result: bygone_document::Result<(u8, Vec<u8>)>,
) -> Result<(), Failure> {
    let (status, bytes) = result.unwrap_or_else(|error| (2, error.to_string().into_bytes()));
    out.push(status);
    out.extend_from_slice(&u32::try_from(bytes.len())?.to_le_bytes());
    out.extend_from_slice(&bytes);
    Ok(())
}
