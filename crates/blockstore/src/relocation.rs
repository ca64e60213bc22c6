//! Relocation records: where the living blocks of a removed pack went
//! (docs/format.md section 4.3).

use bson::{RawDocument, RawDocumentBuf, rawdoc, spec::BinarySubtype};
use bygone_base::{BlockId, Error, PackId, Result};
use bytes::Bytes;

use crate::{BlockRef, ObjectKind, Put, Repository, names};

/// Where the living blocks of one removed pack went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocation {
    pack: PackId,
    /// Sequence of block id ‖ new pack id, in order of block id.
    blocks: Bytes,
}

impl Relocation {
    /// The blocks of `pack` that live on, each with its new pack.
    pub fn new(pack: PackId, mut blocks: Vec<BlockRef>) -> Self {
        blocks.sort_unstable();
        blocks.dedup_by_key(|block| block.id);
        let mut bytes = Vec::with_capacity(blocks.len() * BlockRef::LEN);
        for block in &blocks {
            bytes.extend_from_slice(&block.to_bytes());
        }
        Relocation { pack, blocks: bytes.into() }
    }

    /// The pack that was removed.
    pub fn pack(&self) -> PackId {
        self.pack
    }

    /// The pack a block moved to.
    pub fn find(&self, id: BlockId) -> Option<PackId> {
        let (all, _) = self.blocks.as_chunks::<{ BlockRef::LEN }>();
        let at = all.binary_search_by(|chunk| chunk[..BlockId::LEN].cmp(&id.0)).ok()?;
        BlockRef::from_slice(all.get(at)?).map(|block| block.pack)
    }

    /// The blocks, each with its new pack, in order of their ids.
    pub fn blocks(&self) -> impl Iterator<Item = BlockRef> {
        let (all, _) = self.blocks.as_chunks::<{ BlockRef::LEN }>();
        all.iter().filter_map(|chunk| BlockRef::from_slice(chunk))
    }

    /// Bytes of memory, about.
    pub(crate) fn weight(&self) -> usize {
        self.blocks.len() + 128
    }

    fn encode(&self) -> Vec<u8> {
        let binary =
            |bytes: &[u8]| bson::Binary { subtype: BinarySubtype::Generic, bytes: bytes.to_vec() };
        let doc: RawDocumentBuf =
            rawdoc! { "pack": binary(&self.pack.0), "blocks": binary(&self.blocks) };
        doc.into_bytes()
    }

    /// Parses the plain bytes of a record.
    pub fn parse(plain: &[u8]) -> Result<Self> {
        let doc = RawDocument::from_bytes(plain)
            .map_err(|e| Error::damaged("is not a document").source(e))?;
        let binary = |key: &str| {
            let value =
                doc.get_binary(key).map_err(|e| Error::damaged(key.to_owned()).source(e))?;
            Ok::<_, Error>(value.bytes)
        };
        let pack = PackId::from_slice(binary("pack")?)
            .ok_or_else(|| Error::damaged("its pack is not an id"))?;
        let blocks = binary("blocks")?;
        let (all, rest) = blocks.as_chunks::<{ BlockRef::LEN }>();
        let ids =
            |chunk: &[u8; BlockRef::LEN]| -> [u8; 32] { crate::envelope::array(&chunk[..32]) };
        if !rest.is_empty() || !all.is_sorted_by(|a, b| ids(a) < ids(b)) {
            return Err(Error::damaged("its blocks are cut off or not in order"));
        }
        Ok(Relocation { pack, blocks: Bytes::copy_from_slice(blocks) })
    }

    /// Puts the record; it must be durable before the pack is deleted.
    pub async fn write(&self, repo: &Repository) -> Result<Put> {
        let name = names::moved(self.pack);
        repo.put_object_checked(ObjectKind::Relocation, &name, &self.encode()).await
    }

    /// The record of a pack; [`bygone_base::ErrorKind::NotFound`] when it has none.
    pub async fn read(repo: &Repository, pack: PackId) -> Result<Self> {
        let name = names::moved(pack);
        let plain = repo.get_object(ObjectKind::Relocation, &name).await?;
        let record = Relocation::parse(&plain).map_err(|e| e.within(&name))?;
        if record.pack == pack {
            return Ok(record);
        }
        Err(Error::damaged(format!("{name}: is the record of pack {}", record.pack)))
    }
}
