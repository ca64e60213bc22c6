//! What the tests share: a repository in memory, documents, operations.

use std::sync::Arc;

use bson::rawdoc;
use bygone_base::{CollectionId, SeededRng, SystemClock, Ts};
use bygone_blockstore::{BlockReader, BlockWriter, MemoryStore, Repository, WriterOptions};
use bygone_document::id_key;
use bygone_tree::{
    DocsBuilder, KeyRange, LeafSpan, Merge, MergeOptions, OpKind, Position, RunBuffer, RunOp,
    RunRoot, Tree, TreeInfo, TreeRoot, docs::LeafStyle,
};
use bytes::Bytes;

pub(crate) const COLL: CollectionId = CollectionId([0xc0; 16]);
/// About three documents per leaf.
pub(crate) const CUT: u64 = u64::MAX / 3;

/// A repository in memory, with one writer and one reader.
pub(crate) struct Place {
    pub(crate) repo: Repository,
    pub(crate) writer: Arc<BlockWriter>,
    pub(crate) reader: BlockReader,
}

pub(crate) async fn place() -> Place {
    let clock = Arc::new(SystemClock::new());
    let store = Arc::new(MemoryStore::new(clock.clone()));
    let rng = Arc::new(SeededRng::new(1));
    let repo = Repository::create(store, None, rng, clock.as_ref()).await.unwrap();
    let writer = Arc::new(BlockWriter::new(repo.clone(), WriterOptions::default()));
    let reader = BlockReader::new(repo.clone(), 16 << 20);
    Place { repo, writer, reader }
}

/// Runs an async test body.
pub(crate) fn run<T>(body: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body)
}

/// `{_id: id, v: v, s: "xxx.."}`
pub(crate) fn doc(id: i32, v: i32, len: usize) -> Vec<u8> {
    rawdoc! { "_id": id, "v": v, "s": "x".repeat(len) }.into_bytes()
}

pub(crate) fn key(id: i32) -> Vec<u8> {
    id_key(rawdoc! { "_id": id }.as_bytes()).unwrap()
}

/// The `o` of a `$v: 2` update that sets `v`.
pub(crate) fn set_v(v: i32) -> Vec<u8> {
    rawdoc! { "$v": 2, "diff": { "u": { "v": v } } }.into_bytes()
}

/// An operation that owns its parts.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) id: i32,
    pub(crate) ts: u64,
    pub(crate) n: u32,
    pub(crate) kind: OpKind,
    pub(crate) value: Vec<u8>,
}

impl Op {
    pub(crate) fn new(id: i32, ts: u64, kind: OpKind, value: Vec<u8>) -> Self {
        Op { id, ts, n: 0, kind, value }
    }

    pub(crate) fn add_to(&self, buffer: &mut RunBuffer) {
        let (ts, n) = (Ts(self.ts), self.n);
        let value = &self.value;
        buffer.push(&RunOp { coll: COLL, key: &key(self.id), ts, n, kind: self.kind, value });
    }
}

/// `o2` and `o` of an upsert.
pub(crate) fn upsert(id: i32, v: i32, len: usize) -> Vec<u8> {
    let mut value = rawdoc! { "_id": id }.into_bytes();
    let set = rawdoc! { "$v": 2, "diff": { "i": { "v": v, "s": "x".repeat(len) } } };
    value.extend_from_slice(set.as_bytes());
    value
}

pub(crate) async fn write_run(place: &Place, ops: &[Op]) -> Option<RunRoot> {
    let mut buffer = RunBuffer::new();
    ops.iter().for_each(|op| op.add_to(&mut buffer));
    let root = buffer.sort().write(&place.writer).await.unwrap();
    place.writer.flush().await.unwrap();
    root
}

pub(crate) fn style(as_of: u64) -> LeafStyle {
    LeafStyle { cut: CUT, capped: false, as_of: Ts(as_of), valid_from: Ts(as_of) }
}

/// Builds a tree of `docs` in key order.
pub(crate) async fn build(place: &Place, docs: &[Vec<u8>], as_of: u64) -> Option<TreeRoot> {
    let mut builder = DocsBuilder::new(place.writer.clone(), style(as_of));
    for doc in docs {
        builder.push(&id_key(doc).unwrap(), doc, Position::default()).await.unwrap();
    }
    let root = builder.finish().await.unwrap();
    place.writer.flush().await.unwrap();
    root
}

pub(crate) fn info(root: Option<TreeRoot>, as_of: u64) -> TreeInfo {
    TreeInfo::of(root, CUT, Ts(as_of), Ts(as_of))
}

pub(crate) async fn spans(place: &Place, root: &TreeRoot) -> Vec<LeafSpan> {
    let tree = Tree::new(root.clone(), place.reader.clone());
    let mut cursor = tree.leaves(KeyRange::all());
    let mut spans = Vec::new();
    while let Some(span) = cursor.next().await.unwrap() {
        spans.push(span);
    }
    spans
}

/// The documents of a merge, one after the other.
pub(crate) async fn read(
    place: &Place,
    base: &TreeInfo,
    runs: &[RunRoot],
    options: MergeOptions,
) -> bygone_base::Result<Vec<u8>> {
    let mut merge = Merge::open(&place.reader, base, runs, options).await?;
    let mut out = Vec::new();
    while let Some(piece) = merge.next().await? {
        assert!(!piece.is_empty());
        out.extend_from_slice(piece.docs_bytes());
    }
    Ok(out)
}

pub(crate) async fn read_at(
    place: &Place,
    base: &TreeInfo,
    runs: &[RunRoot],
    at: u64,
) -> bygone_base::Result<Vec<u8>> {
    read(place, base, runs, MergeOptions::new(COLL, Ts(at))).await
}

pub(crate) fn bytes(key: &[u8]) -> Bytes {
    Bytes::copy_from_slice(key)
}
