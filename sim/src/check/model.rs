//! A view of the backup at a moment equals what the set held then: documents byte for byte,
//! catalogue, order of capped collections.

use std::{collections::BTreeMap, sync::Arc};

use bson::RawDocumentBuf;
use bygone_base::{CollectionId, Result};
use bygone_head::View;
use bygone_snapshot::Collection;
use bygone_tree::{KeyRange, capped::NaturalOrder, leaf::Docs};

use crate::replica::{Held, Moment};

/// Bytes of a capped collection that are sorted at once: so few that it takes several passes.
const WINDOW: u64 = 2000;

/// Reads a whole collection: documents in order of keys.
pub async fn read(view: &View, id: CollectionId) -> Result<Vec<Vec<u8>>> {
    let mut merge = view.merge(id, KeyRange::all()).await?;
    let mut docs = Vec::new();
    while let Some(piece) = merge.next().await? {
        docs.extend(piece.docs().map(<[u8]>::to_vec));
    }
    Ok(docs)
}

/// How the view differs from the truth.
pub async fn compare(view: &View, truth: &Moment) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let catalogue = &view.catalogue;
    let ours: Vec<_> = catalogue.collections.keys().collect();
    let theirs: Vec<_> = truth.collections.keys().collect();
    if ours != theirs {
        broken.push(format!("collections are {ours:?}, not {theirs:?}"));
    }
    let views: BTreeMap<&String, &RawDocumentBuf> =
        catalogue.views.iter().map(|(id, v)| (id, &v.doc)).collect();
    if !views.iter().map(|(id, doc)| (*id, *doc)).eq(truth.views.iter()) {
        broken.push(format!("views are {:?}, not {:?}", views.keys(), truth.views.keys()));
    }
    for (id, held) in &truth.collections {
        let Some(collection) = catalogue.collections.get(id) else { continue };
        let ns = held.meta.ns();
        broken.extend(catalogue_differs(collection, held).map(|what| format!("{ns}: {what}")));
        let differs = documents(view, *id, held).await?;
        broken.extend(differs.map(|what| format!("{ns} ({id}): {what}")));
    }
    broken.truncate(4);
    Ok(broken)
}

fn catalogue_differs(collection: &Collection, held: &Held) -> Option<String> {
    let meta = &held.meta;
    if collection.namespace() != meta.ns() {
        return Some(format!("is called {}", collection.namespace()));
    }
    if fields(&collection.options) != fields(&meta.options) {
        return Some(format!("has options {:?}, not {:?}", collection.options, meta.options));
    }
    let sorted = |indexes: &[RawDocumentBuf]| {
        let mut indexes: Vec<Vec<u8>> = indexes.iter().map(|i| i.as_bytes().to_vec()).collect();
        indexes.sort();
        indexes
    };
    if sorted(&collection.indexes) != sorted(&meta.indexes) {
        return Some(format!("has indexes {:?}, not {:?}", collection.indexes, meta.indexes));
    }
    None
}

/// The fields of a document whose order is of no interest.
fn fields(doc: &RawDocumentBuf) -> Vec<String> {
    let mut fields: Vec<String> = doc.iter().flatten().map(|field| format!("{field:?}")).collect();
    fields.sort();
    fields
}

async fn documents(view: &View, id: CollectionId, held: &Held) -> Result<Option<String>> {
    if !held.meta.capped() {
        return Ok(first_difference(&read(view, id).await?, &held.docs));
    }
    let merge = async || view.merge(id, KeyRange::all()).await;
    let limits = view.trim(id)?;
    let mut order = NaturalOrder::learn(merge().await?, limits.as_ref(), WINDOW).await?;
    let mut docs = Vec::new();
    while let Some(window) = order.next_window(merge().await?).await? {
        docs.extend(Docs::over(&window).map(<[u8]>::to_vec));
    }
    Ok(first_difference(&docs, &held.natural).map(|what| format!("in natural order, {what}")))
}

fn first_difference(ours: &[Vec<u8>], theirs: &[Arc<[u8]>]) -> Option<String> {
    let show = |doc: Option<&[u8]>| match doc {
        Some(doc) => {
            let mut text = format!("{:?}", bson::RawDocument::from_bytes(doc));
            text.truncate(200);
            text
        }
        None => "nothing".into(),
    };
    let n = ours.len().max(theirs.len());
    let at = (0..n).find(|i| ours.get(*i).map(Vec::as_slice) != theirs.get(*i).map(|d| &**d))?;
    Some(format!(
        "{} documents, not {}; number {at} is {}, not {}",
        ours.len(),
        theirs.len(),
        show(ours.get(at).map(Vec::as_slice)),
        show(theirs.get(at).map(|d| &**d))
    ))
}
