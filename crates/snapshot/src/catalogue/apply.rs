//! DDL entries applied to a catalogue.

use bson::{RawDocument, RawDocumentBuf};
use bygone_base::{CollectionId, Error, ErrorKind, Result, Ts};
use bygone_oplog::{
    change::Ddl,
    ddl::{CollModEffect, apply_coll_mod, options_before},
};

use super::{Catalogue, Collection, TreeInfo, ViewDef};

/// The option of 4.4 and 5.0 by which old images of documents are logged.
const PRE_IMAGES: &str = "recordPreImages";

/// How strict to be about a collection that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Inside the initial sync's window: the listing may be newer than the entry.
    Fuzzy,
    /// After it: a missing collection means the backup is not complete.
    Exact,
}

impl Catalogue {
    /// Applies one entry decided at `ts`. Entries on namespaces outside the filter must
    /// not be given.
    ///
    /// # Errors
    /// ResyncRequired (after the window) when the entry concerns a collection that the catalogue does
    /// not have: the backup is not complete.
    pub fn apply(&mut self, ts: Ts, ddl: &Ddl, window: Window) -> Result<()> {
        match ddl {
            Ddl::Create { coll, db, name, options, id_index } => {
                self.create(ts, *coll, db, name, options, id_index.as_deref())
            }
            Ddl::Drop { coll, .. } => match self.collections.remove(coll) {
                None if window == Window::Exact => Err(unknown(ts, *coll, "drop")),
                _ => Ok(()),
            },
            Ddl::ViewsDropped { db } => {
                self.views.retain(|_, v| v.db != *db);
                Ok(())
            }
            Ddl::DropDatabase { db } => {
                self.collections.retain(|_, c| c.db != *db);
                self.views.retain(|_, v| v.db != *db);
                Ok(())
            }
            Ddl::Rename { coll, to, drop_target, stay_temp, .. } => {
                if let Some(target) = drop_target {
                    self.collections.remove(target);
                }
                self.change(ts, *coll, window, |c| {
                    (c.db, c.name) = to.clone();
                    if !stay_temp {
                        c.options = without(&c.options, "temp")?;
                    }
                    Ok(())
                })
            }
            Ddl::CollMod { coll, effects, o2, .. } => {
                // Seen on 5.0.3: each one that does not name it turns it off.
                let turns_off = self.fcv == "5.0" && !effects.iter().any(names_pre_images);
                self.change(ts, *coll, window, |c| {
                    // What the entry says was there before may hold what left no other trace.
                    if let Some(before) = o2.as_deref().map(options_before).transpose()?.flatten() {
                        c.options = before;
                    }
                    if turns_off {
                        c.options = without(&c.options, PRE_IMAGES)?;
                    }
                    coll_mod(c, effects, window)
                })
            }
            Ddl::Truncate { coll } => self.change(ts, *coll, window, |c| {
                c.truncated = Some(ts);
                Ok(())
            }),
            Ddl::IndexesBuilt { coll, specs, .. } => self.change(ts, *coll, window, |c| {
                specs.iter().try_for_each(|spec| put_index(&mut c.indexes, spec))
            }),
            Ddl::IndexDropped { coll, index, .. } => self.change(ts, *coll, window, |c| {
                c.indexes.retain(|i| index_name(i) != Some(index.as_str()));
                Ok(())
            }),
            Ddl::ViewPut { db, doc } => self.put_view(db, doc.clone()),
            Ddl::ViewUpdate { db, o, o2 } => self.update_view(ts, db, o, o2, window),
            Ddl::ViewDelete { db: _, id } => {
                self.views.remove(id);
                Ok(())
            }
            Ddl::FcvChanged { version, .. } => {
                self.fcv = version.as_ref().unwrap_or(&self.fcv).clone();
                Ok(())
            }
        }
    }

    fn create(
        &mut self,
        ts: Ts,
        id: CollectionId,
        db: &str,
        name: &str,
        options: &RawDocument,
        id_index: Option<&RawDocument>,
    ) -> Result<()> {
        let known = self.collections.remove(&id);
        let tree = known.map_or_else(
            // The cut is fixed by the first fold, which knows the documents.
            || TreeInfo::empty(0, ts.prev()),
            |c| c.tree,
        );
        let mut indexes = Vec::new();
        if let Some(spec) = id_index {
            put_index(&mut indexes, spec)?;
        }
        let collection = Collection {
            id,
            db: db.to_owned(),
            name: name.to_owned(),
            options: options.to_owned(),
            indexes,
            tree,
            truncated: None,
        };
        self.collections.insert(id, collection);
        Ok(())
    }

    fn change(
        &mut self,
        ts: Ts,
        id: CollectionId,
        window: Window,
        edit: impl FnOnce(&mut Collection) -> Result<()>,
    ) -> Result<()> {
        match self.collections.get_mut(&id) {
            Some(collection) => edit(collection),
            None if window == Window::Fuzzy => Ok(()),
            None => Err(unknown(ts, id, "change")),
        }
    }

    fn put_view(&mut self, db: &str, doc: RawDocumentBuf) -> Result<()> {
        let id = doc
            .get_str("_id")
            .map_err(|e| Error::damaged(format!("a view of {db} has no string _id")).source(e))?;
        // A view's _id is "db.name"; the database's own name may contain no dot.
        let name = id.strip_prefix(db).and_then(|rest| rest.strip_prefix('.')).unwrap_or(id);
        let view = ViewDef { db: db.to_owned(), name: name.to_owned(), doc: doc.clone() };
        self.views.insert(id.to_owned(), view);
        Ok(())
    }

    fn update_view(
        &mut self,
        ts: Ts,
        db: &str,
        o: &RawDocument,
        o2: &RawDocument,
        window: Window,
    ) -> Result<()> {
        let id = o2
            .get_str("_id")
            .map_err(|e| Error::damaged(format!("a view update of {db} has no _id")).source(e))?;
        let Some(view) = self.views.get(id) else {
            let replacement = matches!(o.get("_id"), Ok(Some(_)));
            return match window {
                _ if replacement => self.put_view(db, o.to_owned()),
                Window::Fuzzy => Ok(()),
                Window::Exact => Err(Error::damaged(format!(
                    "the update at {ts} concerns view {id:?}, which the backup does not have"
                ))),
            };
        };
        let mut out = Vec::new();
        bygone_document::update::apply(view.doc.as_bytes(), o.as_bytes(), &mut out)?;
        let doc = RawDocumentBuf::from_bytes(out).map_err(|e| {
            Error::damaged(format!("view {id:?} after its update at {ts}")).source(e)
        })?;
        self.put_view(db, doc)
    }
}

fn unknown(ts: Ts, id: CollectionId, what: &str) -> Error {
    Error::new(
        ErrorKind::ResyncRequired,
        format!("the oplog entry at {ts} wants to {what} collection {id}, which the backup does not have"),
    )
    .hint("the backup requires a resync")
}

fn names_pre_images(effect: &CollModEffect) -> bool {
    matches!(effect, CollModEffect::Option { name, .. } | CollModEffect::NoOption { name } if *name == PRE_IMAGES)
}

fn index_name(spec: &RawDocument) -> Option<&str> {
    spec.get_str("name").ok()
}

/// Effects one by one: inside the window the listing may be newer, and an index that an entry modifies
/// dropped since; after it, that is damage.
fn coll_mod(c: &mut Collection, effects: &[CollModEffect], window: Window) -> Result<()> {
    if window == Window::Exact {
        (c.options, c.indexes) = apply_coll_mod(&c.options, &c.indexes, effects)?;
        return Ok(());
    }
    for effect in effects.chunks(1) {
        match apply_coll_mod(&c.options, &c.indexes, effect) {
            Ok(changed) => (c.options, c.indexes) = changed,
            Err(e) if e.kind() == ErrorKind::Damaged => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Adds a specification or replaces the one of the same name, without `ns`.
fn put_index(indexes: &mut Vec<RawDocumentBuf>, spec: &RawDocument) -> Result<()> {
    let clean = without(spec, "ns")?;
    match indexes.iter_mut().find(|i| index_name(i) == index_name(&clean)) {
        Some(old) => *old = clean,
        None => indexes.push(clean),
    }
    Ok(())
}

/// The document without one top-level field.
fn without(doc: &RawDocument, field: &str) -> Result<RawDocumentBuf> {
    let mut clean = RawDocumentBuf::new();
    for element in doc {
        let (name, value) =
            element.map_err(|e| Error::damaged("a specification is not BSON").source(e))?;
        if name.as_str() != field {
            clean.append(name, value.to_owned());
        }
    }
    Ok(clean)
}

#[cfg(test)]
mod tests;
