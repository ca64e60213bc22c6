//! The catalogue in a repository: a tree of its entries, so that unchanged
//! parts are shared between snapshots like any other data.

use std::sync::Arc;

use bygone_base::{Error, Result, Ts};
use bygone_blockstore::{BlockReader, BlockRef, BlockWriter};
use bygone_document::key::id_key_into;
use bygone_tree::{
    DocsBuilder, KeyRange, Position, Tree, TreeRoot, cutter::cut_for, docs::LeafStyle,
};

use super::{Catalogue, bson_form};

/// Entries are about this large; fixes where the catalogue's leaves end.
const ENTRY_BYTES: u64 = 512;

/// Writes `catalogue` as of `at`; equal blocks of `old` are used again. Durable only after the
/// writer's flush.
pub async fn save(
    catalogue: &Catalogue,
    at: Ts,
    old: Option<&Tree>,
    writer: &Arc<BlockWriter>,
) -> Result<Option<TreeRoot>> {
    let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let documents = (catalogue.collections.values().map(bson_form::collection_bson))
        .chain(catalogue.views.iter().map(|(id, view)| bson_form::view_bson(id, view)));
    for document in documents {
        let mut key = Vec::new();
        id_key_into(document.as_bytes(), &mut key)?;
        entries.push((key, document.into_bytes()));
    }
    entries.sort();
    // Equal entries must give equal nodes whatever the moment, or nothing would be shared.
    let style =
        LeafStyle { cut: cut_for(ENTRY_BYTES), capped: false, as_of: Ts::MIN, valid_from: Ts::MIN };
    let mut tree = DocsBuilder::new(writer.clone(), style);
    if let Some(old) = old {
        tree = tree.with_old(old);
    }
    for (key, document) in &entries {
        tree.push(key, document, Position::default()).await?;
    }
    tree.finish().await.map_err(|e| e.within(format!("catalogue at {at}")))
}

/// Reads the catalogue below a manifest's root.
///
/// # Errors
/// Damaged when a block is missing, changed or not a catalogue.
pub async fn load(reader: &BlockReader, root: Option<(BlockRef, u8)>) -> Result<Catalogue> {
    let mut catalogue = Catalogue::default();
    let Some(tree) = root.map(|root| tree(reader, root)) else { return Ok(catalogue) };
    let mut leaves = tree.leaves(KeyRange::all());
    while let Some(span) = leaves.next().await? {
        let leaf = tree.read_leaf(&span.entry).await?;
        for document in leaf.docs() {
            match bson_form::parse(document)? {
                bson_form::Entry::Collection(c) => {
                    if let Some(twice) = catalogue.collections.insert(c.id, c) {
                        return Err(Error::damaged(format!(
                            "collection {} occurs twice",
                            twice.id
                        )));
                    }
                }
                bson_form::Entry::View(id, view) => {
                    catalogue.views.insert(id, view);
                }
            }
        }
    }
    Ok(catalogue)
}

/// The catalogue's tree of a manifest.
pub fn tree(reader: &BlockReader, (block, level): (BlockRef, u8)) -> Tree {
    let root = TreeRoot { block, level, items: 0, bytes: 0, as_of: Ts::MIN, valid_from: Ts::MIN };
    Tree::new(root, reader.clone())
}
