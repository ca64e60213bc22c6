//! A view of a store as what is restored.

use std::sync::Arc;

use async_trait::async_trait;
use bygone_base::{CollectionId, Result};
use bygone_head::View;
use bygone_tree::{KeyRange, Merge, Piece, capped::NaturalOrder};

use crate::{
    create::is_converted,
    model::{
        Chunk, Contents, DocumentStream, Documents, InOrder, Source, SourceCollection, SourceView,
    },
    names::Namespace,
    raw,
};

/// Bytes of a capped collection's documents that are sorted at once.
const STRETCH: u64 = 64 << 20;

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
            capped: c.capped() && !is_converted(c.options.as_bytes()),
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
        Ok(Box::new(Pieces(self.view.merge(collection, KeyRange::all()).await?)))
    }

    async fn open_in_order(&self, collection: CollectionId) -> Result<InOrder> {
        let merge = self.view.merge(collection, KeyRange::all()).await?;
        let limits = self.view.trim(collection)?;
        let order = NaturalOrder::learn(merge, limits.as_ref(), STRETCH).await?;
        let (documents, bytes) = (order.docs(), order.bytes());
        let stream = Stretches { view: Arc::clone(&self.view), collection, order };
        Ok(InOrder { documents, bytes, stream: Box::new(stream) })
    }
}

struct Pieces(Merge);

#[async_trait]
impl DocumentStream for Pieces {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        let Some(piece) = self.0.next().await? else { return Ok(None) };
        let count = piece.len() as u64;
        let documents = match piece {
            Piece::Leaf(_, leaf) => leaf.docs_bytes(),
            Piece::Docs(batch) => batch.into_docs().into(),
        };
        Ok(Some(Chunk { documents, count }))
    }
}

/// Each stretch is one pass over the collection.
struct Stretches {
    view: Arc<View>,
    collection: CollectionId,
    order: NaturalOrder,
}

#[async_trait]
impl DocumentStream for Stretches {
    async fn next(&mut self) -> Result<Option<Chunk>> {
        if self.order.windows_left() == 0 {
            return Ok(None);
        }
        let merge = self.view.merge(self.collection, KeyRange::all()).await?;
        let Some(documents) = self.order.next_window(merge).await? else { return Ok(None) };
        let count = raw::split(&documents).count() as u64;
        Ok(Some(Chunk { documents: documents.into(), count }))
    }
}
