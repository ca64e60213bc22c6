//! zstd with contexts that are kept per thread: making one costs more than
//! compressing a small block.

use std::cell::RefCell;

use bygone_base::{Error, Result};
use bytes::Bytes;
use zstd::{
    bulk::{Compressor, Decompressor},
    zstd_safe::CParameter,
};

use crate::pack::MAX_RAW;

/// The level of blocks that stay. It is zstd-1 with a larger table: in blocks of 64 to 512 KB that finds as much as zstd-3
/// (0.96 to 1.04 of the size) in two thirds of its time (docs/performance.md).
const LASTING: i32 = 3;

/// Above this, work leaves the async threads.
const INLINE: usize = 1 << 20;

struct Contexts {
    level: i32,
    compressor: Option<Compressor<'static>>,
    decompressor: Option<Decompressor<'static>>,
}

thread_local! {
    static CONTEXTS: RefCell<Contexts> =
        const { RefCell::new(Contexts { level: 0, compressor: None, decompressor: None }) };
}

/// Compresses the raw content of a block for
/// [`put_compressed`](crate::BlockWriter::put_compressed).
pub fn compress_block(level: i32, raw: &[u8]) -> Result<Bytes> {
    // Exactly as long as the frame: what zstd writes into has room for the raw size, and many blocks are
    // held at once.
    compress(level, raw).map(|frame| Bytes::copy_from_slice(&frame))
}

/// Decompresses a block; anything but exactly `raw_len` bytes is damage.
pub fn decompress_block(raw_len: u32, zstd: &[u8]) -> Result<Bytes> {
    if raw_len > MAX_RAW {
        return Err(Error::damaged(format!("a block of {raw_len} bytes is over the limit")));
    }
    decompress(raw_len as usize, zstd).map(Bytes::from)
}

pub(crate) fn compress(level: i32, raw: &[u8]) -> Result<Vec<u8>> {
    CONTEXTS.with_borrow_mut(|contexts| {
        if contexts.compressor.is_none() {
            let fresh = Compressor::new(level)
                .map_err(|e| Error::internal("start a compressor").source(e))?;
            contexts.compressor = Some(fresh);
        }
        let Some(compressor) = contexts.compressor.as_mut() else {
            return Err(Error::internal("start a compressor"));
        };
        if contexts.level != level {
            tune(compressor, level)
                .map_err(|e| Error::usage(format!("compression level {level}")).source(e))?;
            contexts.level = level;
        }
        compressor.compress(raw).map_err(|e| Error::internal("compress").source(e))
    })
}

/// Sets a compressor to a level. A zero is what the level says.
fn tune(compressor: &mut Compressor<'static>, level: i32) -> std::io::Result<()> {
    let (level, table, match_length) = if level == LASTING { (1, 17, 6) } else { (level, 0, 0) };
    compressor.set_compression_level(level)?;
    compressor.set_parameter(CParameter::HashLog(table))?;
    compressor.set_parameter(CParameter::MinMatch(match_length))
}

pub(crate) fn decompress(raw_len: usize, zstd: &[u8]) -> Result<Vec<u8>> {
    CONTEXTS.with_borrow_mut(|contexts| {
        if contexts.decompressor.is_none() {
            let fresh = Decompressor::new()
                .map_err(|e| Error::internal("start a decompressor").source(e))?;
            contexts.decompressor = Some(fresh);
        }
        let Some(decompressor) = contexts.decompressor.as_mut() else {
            return Err(Error::internal("start a decompressor"));
        };
        // Room for exactly what is claimed: more is an error of zstd's.
        let mut raw = Vec::with_capacity(raw_len);
        decompressor
            .decompress_to_buffer(zstd, &mut raw)
            .map_err(|e| Error::damaged("zstd data").source(e))?;
        if raw.len() != raw_len {
            let got = raw.len();
            return Err(Error::damaged(format!("{got} bytes decompressed instead of {raw_len}")));
        }
        Ok(raw)
    })
}

/// [`compress`], off the async threads when it takes long.
pub(crate) async fn compress_async(level: i32, raw: &[u8]) -> Result<Vec<u8>> {
    if raw.len() <= INLINE {
        return compress(level, raw);
    }
    let raw = Bytes::copy_from_slice(raw);
    blocking(move || compress(level, &raw)).await
}

/// Runs `work` here when it concerns few bytes, else off the async threads.
pub(crate) async fn run<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if bytes <= INLINE { work() } else { blocking(work).await }
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    bygone_base::work::run("a worker", work).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_only_with_the_right_length() {
        let raw = b"abcabcabcabcabcabcabcabcabcabc".repeat(50);
        for level in [1, 3, 1, -5, 19] {
            let zstd = compress_block(level, &raw).unwrap();
            assert!(zstd.len() < raw.len());
            assert_eq!(decompress_block(raw.len() as u32, &zstd).unwrap(), raw);
            for wrong in [0, 1, raw.len() as u32 - 1, raw.len() as u32 + 1] {
                assert!(decompress_block(wrong, &zstd).is_err());
            }
        }
        assert!(decompress_block(u32::MAX, b"").is_err());
    }
}
