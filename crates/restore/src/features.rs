//! What the data needs that an older server does not have. A target is measured by
//! its feature compatibility version; the first thing that it lacks is named.

use bygone_base::{Error, Result};

use crate::{
    model::{Contents, SourceCollection},
    names::Namespace,
    raw,
    version::ServerVersion,
};

/// Collection options and the first version that has them.
const OPTIONS: [(&str, ServerVersion, &str); 4] = [
    ("timeseries", ServerVersion::new(5, 0), "a time-series"),
    ("clusteredIndex", ServerVersion::new(5, 3), "a clustered collection"),
    ("changeStreamPreAndPostImages", ServerVersion::new(6, 0), "pre- and post-images"),
    ("encryptedFields", ServerVersion::new(6, 0), "encrypted fields"),
];

/// What `collection` needs, as (what, since).
fn needs(collection: &SourceCollection) -> Vec<(String, ServerVersion)> {
    let options = collection.options.as_bytes();
    let series = raw::get(options, "timeseries").is_some();
    let mut needs = Vec::new();
    for (option, since, what) in OPTIONS {
        // Buckets are clustered since they exist.
        let implied = series && option == "clusteredIndex";
        if raw::get(options, option).is_some() && !implied {
            needs.push((what.to_owned(), since));
        }
    }
    for index in &collection.indexes {
        let index = index.as_bytes();
        let name = raw::text(index, "name").unwrap_or_default();
        if raw::is_true(index, "prepareUnique") {
            needs.push((format!("index {name} with prepareUnique"), ServerVersion::new(6, 0)));
        }
        let key = raw::get(index, "key").and_then(|f| f.doc()).unwrap_or_default();
        let names: Vec<_> = raw::fields(key).map_while(Result::ok).map(|f| f.name).collect();
        if names.len() > 1 && names.iter().any(|n| n.ends_with(b"$**")) {
            needs.push((format!("compound wildcard index {name}"), ServerVersion::new(7, 0)));
        }
    }
    needs
}

/// What a newer server does not have any more.
fn gone(collection: &SourceCollection, target: ServerVersion) -> Option<String> {
    let haystack = |index: &&bson::RawDocumentBuf| {
        let key = raw::get(index.as_bytes(), "key").and_then(|f| f.doc()).unwrap_or_default();
        raw::fields(key).map_while(Result::ok).any(|f| f.text() == Some("geoHaystack"))
    };
    let found = collection.indexes.iter().any(|i| haystack(&i));
    (found && target >= ServerVersion::new(5, 0)).then(|| "a geoHaystack index".to_owned())
}

/// Refuses a target of feature compatibility `fcv` when one of the collections
/// needs more; `chosen` are the collections to restore.
pub fn check<'a>(
    contents: &Contents,
    chosen: impl IntoIterator<Item = (&'a SourceCollection, &'a Namespace)>,
    fcv: ServerVersion,
) -> Result<()> {
    for (collection, _) in chosen {
        let name = &collection.name;
        for (what, since) in needs(collection) {
            if fcv < since {
                return Err(Error::unsupported(format!(
                    "{name} has {what}, which needs MongoDB {since}; the target is {fcv}"
                ))
                .hint("restore to a newer server, or leave it out with --ns-exclude"));
            }
        }
        if let Some(what) = gone(collection, fcv) {
            return Err(Error::unsupported(format!(
                "{name} has {what}, which MongoDB {fcv} does not know any more"
            ))
            .hint("restore to MongoDB 4.4, or leave it out with --ns-exclude"));
        }
        let series = raw::get(collection.options.as_bytes(), "timeseries").is_some();
        if series && !name.coll.starts_with(crate::names::BUCKETS) {
            return Err(Error::unsupported(format!("{name} is a time-series without buckets")));
        }
        if series && fcv < contents.source.fcv {
            return Err(Error::unsupported(format!(
                "{name} holds time-series buckets of MongoDB {}; the target is {fcv}",
                contents.source.fcv
            ))
            .hint("restore to a server as new as the source, or leave it out with --ns-exclude"));
        }
    }
    Ok(())
}
