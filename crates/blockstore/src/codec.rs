//! zstd with contexts that are used again: making one costs more than
//! compressing a small block. They are shared: one for each thread would be
//! a megabyte for each of dozens that a server with a file store has.

use std::sync::{Mutex, PoisonError};

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

/// So many contexts wait for their next use; more than work at once are not needed again soon.
const IDLE: usize = 8;

/// Contexts that nobody uses now, the last used one last.
struct Pool<T>(Mutex<Vec<T>>);

/// With the level that each is set to.
static COMPRESSORS: Pool<(i32, Compressor<'static>)> = Pool(Mutex::new(Vec::new()));
static DECOMPRESSORS: Pool<Decompressor<'static>> = Pool(Mutex::new(Vec::new()));

impl<T> Pool<T> {
    /// The last used one that `fits`, or else any.
    fn take(&self, fits: impl Fn(&T) -> bool) -> Option<T> {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = idle.iter().rposition(fits);
        found.map(|at| idle.remove(at)).or_else(|| idle.pop())
    }

    fn give_back(&self, context: T) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(context);
        }
    }
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
    let (set, mut compressor) = match COMPRESSORS.take(|(set, _)| *set == level) {
        Some(known) => known,
        None => (
            0,
            Compressor::new(level).map_err(|e| Error::internal("start a compressor").source(e))?,
        ),
    };
    if set != level {
        tune(&mut compressor, level)
            .map_err(|e| Error::usage(format!("compression level {level}")).source(e))?;
    }
    let done = compressor.compress(raw).map_err(|e| Error::internal("compress").source(e));
    COMPRESSORS.give_back((level, compressor));
    done
}

/// Sets a compressor to a level. A zero is what the level says.
fn tune(compressor: &mut Compressor<'static>, level: i32) -> std::io::Result<()> {
    let (level, table, match_length) = if level == LASTING { (1, 17, 6) } else { (level, 0, 0) };
    compressor.set_compression_level(level)?;
    compressor.set_parameter(CParameter::HashLog(table))?;
    compressor.set_parameter(CParameter::MinMatch(match_length))
}

pub(crate) fn decompress(raw_len: usize, zstd: &[u8]) -> Result<Vec<u8>> {
    let mut decompressor = match DECOMPRESSORS.take(|_| true) {
        Some(known) => known,
        None => {
            Decompressor::new().map_err(|e| Error::internal("start a decompressor").source(e))?
        }
    };
    // Room for exactly what is claimed: more is an error of zstd's.
    let mut raw = Vec::with_capacity(raw_len);
    let done = decompressor.decompress_to_buffer(zstd, &mut raw);
    DECOMPRESSORS.give_back(decompressor);
    done.map_err(|e| Error::damaged("zstd data").source(e))?;
    if raw.len() != raw_len {
        let got = raw.len();
        return Err(Error::damaged(format!("{got} bytes decompressed instead of {raw_len}")));
    }
    Ok(raw)
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
