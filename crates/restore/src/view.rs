//! A view of a store as what is restored.

use std::sync::Arc;

use async_trait::async_trait;
use bygone_base::{CollectionId, Result};
use bygone_head::View;
use bygone_tree::{KeyRange, Merge, Piece};

use crate::{
    model::{
        Chunk, Contents, DocumentStream, Documents, Position, Source, SourceCollection, SourceView,
    },
    names::Namespace,
};

/// The documents of a [`View`].
#[derive(Debug, Clone)]
pub struct ViewDocuments {
    view: Arc<View>,
    contents: Contents,
}

impl ViewDocuments {
    /// The state that `view` shows.
    ///
    /// # Errors
    /// Unsupported when the manifest names a server version that does not parse.
    pub fn new(view: View) -> Result<ViewDocuments> {
        let catalogue = &view.catalogue;
        let source = &view.manifest.source;
        let collection = |c: &bygone_snapshot::Collection| SourceCollection {
            id: c.id,
            name: Namespace::new(c.db.clone(), c.name.clone()),
            options: c.options.clone(),
            indexes: c.indexes.clone(),
            capped: c.capped(),
            documents: c.tree.root.as_ref().map_or(0, |root| root.items),
            bytes: c.tree.root.as_ref().map_or(0, |root| root.bytes),
        };
        let contents = Contents {
            at: view.at,
            source: Source {
                set: source.set.clone(),
                version: source.version.parse()?,
                fcv: source.fcv.parse()?,
            },
            collections: catalogue.collections.values().map(collection).collect(),
            views: catalogue
                .views
                .values()
                .map(|v| SourceView {
                    name: Namespace::new(v.db.clone(), v.name.clone()),
                    definition: v.doc.clone(),
                })
                .collect(),
            operations: view.operations,
        };
        Ok(ViewDocuments { view: Arc::new(view), contents })
    }
}

#[async_trait]
impl Documents for ViewDocuments {
    fn contents(&self) -> &Contents {
        &self.contents
    }

    async fn open(&self, collection: CollectionId) -> Result<Box<dyn DocumentStream>> {
        let capped = self.view.catalogue.collections.get(&collection).is_some_and(|c| c.capped());
        let merge = self.view.merge(collection, KeyRange::all()).await?;
        Ok(Box::new(Pieces { merge, capped }))
    }
}

struct Pieces {
    merge: Merge,
    capped: bool,
}

#[async_trait]
impl DocumentStream for Pieces {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        let Some(piece) = self.merge.next().await? else { return Ok(None) };
        let count = piece.len();
        let position = |index| -> Option<Position> {
            let position = piece.position(index)?;
            Some((position.ts.0, position.n))
        };
        let positions = match self.capped {
            // A position that is missing leaves the list short, which the loader refuses.
            true => Some((0..count).map_while(position).collect()),
            false => None,
        };
        let documents = match piece {
            Piece::Leaf(_, leaf) => leaf.docs_bytes(),
            Piece::Docs(batch) => batch.into_docs().into(),
        };
        Ok(Some(Chunk { documents, count: count as u64, positions }))
    }
}
