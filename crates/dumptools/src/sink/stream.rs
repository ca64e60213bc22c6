//! Bytes on their way to a file or a pipe, compressed on several threads where asked for.
//!
//! Gzip and zstd are both formats in which pieces compressed alone, one behind the other, are one whole: each 2 MB of
//! the stream become a member of their own.

use std::{
    io::{Read, Write},
    sync::{Arc, Mutex, PoisonError},
};

use bygone_base::{Error, Result};
use flate2::read::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::{JoinHandle, spawn_blocking},
};

use super::effort::{Effort, Pace};

/// Bytes of a member before compression. Larger ones compress a little better and take more memory.
const MEMBER: usize = 2 << 20;

/// Levels of [`Effort`].
const FULL: i32 = 8;
const LIGHT: i32 = 1;

/// How files are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// Gzip.
    Gzip,
    /// Zstandard, which the stock tools do not know.
    Zstd,
}

impl Compression {
    /// What names of files end in, after the ending of what is inside.
    pub fn ending(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Zstd => ".zst",
        }
    }

    /// Whether something that is compressed so can begin with these bytes.
    pub(crate) fn begins(self, bytes: &[u8]) -> bool {
        match self {
            Compression::None => true,
            Compression::Gzip => bytes.starts_with(&[0x1f, 0x8b]),
            Compression::Zstd => bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
        }
    }

    /// One member.
    pub(crate) fn compress(self, bytes: &[u8]) -> Result<Vec<u8>> {
        self.compress_into(bytes, Vec::new(), Effort::Full, &Pace::default())
    }

    /// One member, in the place of what `room` has.
    fn compress_into(
        self,
        bytes: &[u8],
        room: Vec<u8>,
        effort: Effort,
        pace: &Pace,
    ) -> Result<Vec<u8>> {
        match (self, effort) {
            (Compression::None, _) => Ok(bytes.to_vec()),
            (Compression::Gzip, Effort::Full) => gzip(bytes, FULL, room),
            (Compression::Gzip, Effort::Light) => gzip(bytes, LIGHT, room),
            (Compression::Gzip, Effort::Probe) => {
                let light = gzip(bytes, LIGHT, room)?;
                let size = light.len();
                let full = gzip(bytes, FULL, light)?;
                pace.learn(size, full.len());
                Ok(full)
            }
            (Compression::Zstd, _) => {
                zstd::bulk::compress(bytes, 3).map_err(|e| Error::io("compress with zstd", e))
            }
        }
    }

    /// What is inside of `input`, whatever its members are.
    pub(crate) fn reader(self, input: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>> {
        match self {
            Compression::None => Ok(input),
            Compression::Gzip => {
                let input = std::io::BufReader::with_capacity(256 << 10, input);
                Ok(Box::new(MultiGzDecoder::new(input)))
            }
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::new(input);
                Ok(Box::new(decoder.map_err(|e| Error::io("read zstd", e))?))
            }
        }
    }
}

fn gzip(bytes: &[u8], level: i32, mut room: Vec<u8>) -> Result<Vec<u8>> {
    room.clear();
    let mut compressor = Compressor::new(CompressionLvl::new(level).unwrap_or_default());
    room.resize(compressor.gzip_compress_bound(bytes.len()), 0);
    let written = compressor
        .gzip_compress(bytes, &mut room)
        .map_err(|e| Error::internal("a gzip member does not fit its bound").source(e))?;
    room.truncate(written);
    Ok(room)
}

enum Part {
    Ready(Vec<u8>),
    Later(oneshot::Receiver<Result<Vec<u8>>>),
}

/// Buffers that are used again: what an allocator gets back from another thread it keeps for a while.
#[derive(Debug, Default)]
struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    fn take(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

/// Threads that compress, shared by all streams of a dump: bounds memory too.
#[derive(Debug, Clone)]
pub struct Threads {
    permits: Arc<Semaphore>,
    /// For members before compression, and for those after it.
    plain: Arc<Spare>,
    small: Arc<Spare>,
}

impl Threads {
    /// `count` at once.
    pub fn new(count: usize) -> Threads {
        let permits = Arc::new(Semaphore::new(count.max(1)));
        Threads { permits, plain: Arc::default(), small: Arc::default() }
    }
}

/// A file or a pipe that is written to from one end to the other.
#[derive(Debug)]
pub struct Stream {
    shown: String,
    parts: mpsc::Sender<Part>,
    writer: JoinHandle<Result<()>>,
    compression: Compression,
    threads: Threads,
    /// Bytes of a member that is not yet full.
    pending: Vec<u8>,
    /// Members so far.
    members: u32,
    pace: Arc<Pace>,
}

impl Stream {
    /// Writes to `to`, which errors call `shown`.
    pub fn new(
        to: Box<dyn Write + Send>,
        shown: String,
        compression: Compression,
        threads: Threads,
    ) -> Stream {
        // One waits for its turn, one is being written, and as many as there are threads are being compressed.
        let (parts, queue) = mpsc::channel(1);
        let (what, small) = (shown.clone(), Arc::clone(&threads.small));
        let writer = spawn_blocking(move || write_all(to, queue, &small, &what));
        Stream {
            shown,
            parts,
            writer,
            compression,
            threads,
            pending: Vec::new(),
            members: 0,
            pace: Arc::default(),
        }
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// An earlier write failed, or compressing did.
    pub async fn write(&mut self, bytes: Vec<u8>) -> Result<()> {
        if self.compression == Compression::None {
            return self.send(Part::Ready(bytes)).await;
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            if self.pending.capacity() == 0 {
                self.pending = self.threads.plain.take();
                self.pending.reserve_exact(MEMBER);
            }
            let (now, later) = rest.split_at(rest.len().min(MEMBER - self.pending.len()));
            self.pending.extend_from_slice(now);
            rest = later;
            if self.pending.len() >= MEMBER {
                self.member().await?;
            }
        }
        Ok(())
    }

    async fn member(&mut self) -> Result<()> {
        let bytes = std::mem::take(&mut self.pending);
        let effort = match bytes.len() {
            MEMBER.. => self.pace.effort(self.members),
            _ => Effort::Full,
        };
        self.members = self.members.wrapping_add(1);
        let stopped = |_| Error::internal("the dump was stopped");
        let permit = Arc::clone(&self.threads.permits)
            .acquire_owned()
            .await
            .map_err(|e| Error::internal("threads that compress").source(e))?;
        let (done, later) = oneshot::channel();
        let (compression, threads) = (self.compression, self.threads.clone());
        let pace = Arc::clone(&self.pace);
        // Its result comes through the channel; nobody waits for the task itself.
        let _task = spawn_blocking(move || {
            let compressed = compression.compress_into(&bytes, threads.small.take(), effort, &pace);
            threads.plain.give(bytes);
            drop(permit);
            done.send(compressed).map_err(stopped)
        });
        self.send(Part::Later(later)).await
    }

    async fn send(&mut self, part: Part) -> Result<()> {
        if self.parts.send(part).await.is_ok() {
            return Ok(());
        }
        // The writer has ended early: it knows why.
        match (&mut self.writer).await {
            Ok(Err(failed)) => Err(failed),
            _ => Err(Error::internal(format!("write {}: it was closed", self.shown))),
        }
    }

    /// Writes what is left and waits until everything is written.
    ///
    /// # Errors
    /// A write failed, for example for want of room.
    pub async fn finish(mut self) -> Result<()> {
        // Even an empty file has one member.
        if self.compression != Compression::None && (self.members == 0 || !self.pending.is_empty())
        {
            self.member().await?;
        }
        drop(self.parts);
        self.writer.await.map_err(|e| Error::internal("a writer died").source(e))?
    }
}

fn write_all(
    mut to: Box<dyn Write + Send>,
    mut parts: mpsc::Receiver<Part>,
    small: &Spare,
    shown: &str,
) -> Result<()> {
    let failed = |e| Error::io(format!("error writing {shown}"), e);
    while let Some(part) = parts.blocking_recv() {
        match part {
            Part::Ready(bytes) => to.write_all(&bytes).map_err(failed)?,
            Part::Later(later) => {
                let stopped = |_| Error::internal("compression was stopped");
                let bytes = later.blocking_recv().map_err(stopped)??;
                to.write_all(&bytes).map_err(failed)?;
                small.give(bytes);
            }
        }
    }
    to.flush().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_one_behind_the_other_are_one_whole() {
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let parts = [vec![1; 1000], Vec::new(), vec![2; 10]];
            let file: Vec<u8> =
                parts.iter().flat_map(|p| compression.compress(p).unwrap()).collect();
            let mut reader = compression.reader(Box::new(std::io::Cursor::new(file))).unwrap();
            let mut whole = Vec::new();
            reader.read_to_end(&mut whole).unwrap();
            assert_eq!(whole, parts.concat());
        }
    }

    #[tokio::test]
    async fn a_stream_is_what_was_written() {
        for compression in [Compression::None, Compression::Gzip] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("x");
            let file = Box::new(std::fs::File::create(&path).unwrap());
            let mut stream = Stream::new(file, "x".to_owned(), compression, Threads::new(2));
            let chunk: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
            for _ in 0..4 {
                stream.write(chunk.clone()).await.unwrap();
            }
            stream.finish().await.unwrap();
            let file = Box::new(std::fs::File::open(&path).unwrap());
            let mut whole = Vec::new();
            compression.reader(file).unwrap().read_to_end(&mut whole).unwrap();
            assert!(whole == chunk.repeat(4));
        }
    }
}
