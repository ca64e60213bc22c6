//! What a collMod does, and what listCollections and listIndexes show after it.
//!
//! Checked against real servers 8.2, 5.0 and 4.4 (the example `follow` does it).
//! Fields: MongoDB's `coll_mod.idl`.

use bson::{RawDocument, RawDocumentBuf};
use bygone_base::{Error, Result};

use crate::raw::{self, Builder, Element, types};

/// A BSON value by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    kind: u8,
    bytes: Vec<u8>,
}

impl Value {
    fn of(element: &Element<'_>) -> Self {
        Value { kind: element.kind, bytes: element.value.to_vec() }
    }

    fn number(value: i64) -> Self {
        let (kind, bytes) = raw::number(value);
        Value { kind, bytes }
    }

    fn string(text: &str) -> Self {
        let mut bytes = (text.len() as u32 + 1).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        Value { kind: types::STRING, bytes }
    }

    fn yes() -> Self {
        Value { kind: types::BOOL, bytes: vec![1] }
    }
}

/// Which index a collMod means.
#[derive(Debug, Clone, PartialEq)]
pub enum IndexSelector {
    /// By name.
    Name(String),
    /// By key pattern, which must be the only one of its kind.
    KeyPattern(RawDocumentBuf),
}

/// One thing that a collMod does.
#[derive(Debug, Clone, PartialEq)]
pub enum CollModEffect {
    /// An option has this value now.
    Option {
        /// Name in listCollections.
        name: &'static str,
        /// Value.
        value: Value,
    },
    /// An option is gone.
    NoOption {
        /// Name in listCollections.
        name: &'static str,
    },
    /// Fields within the option `timeseries` have these values now; `None` = gone.
    Timeseries {
        /// (field, value)
        fields: Vec<(&'static str, Option<Value>)>,
    },
    /// An index is modified; `None` = untouched.
    Index {
        /// Which.
        index: IndexSelector,
        /// `expireAfterSeconds`
        expire_after: Option<Value>,
        /// `hidden`
        hidden: Option<bool>,
        /// `unique: true`: the index is unique now.
        unique: bool,
        /// `prepareUnique`
        prepare_unique: Option<bool>,
        /// `forceNonUnique: true`: it no longer is.
        force_non_unique: bool,
    },
    /// Something internal that no listing shows.
    Internal {
        /// Its name.
        name: &'static str,
    },
}

fn unknown(what: &str, element: &Element<'_>) -> Error {
    let name = String::from_utf8_lossy(element.name);
    Error::unsupported(format!("{what} field {name:?} with type 0x{:02x}", element.kind))
        .hint("this version of bygone does not know it and stops rather than skip it; look for a newer version")
}

/// What the command `o` (`{collMod: name, ..}`) does. Unsupported when a field is not known.
pub fn effects(o: &[u8]) -> Result<Vec<CollModEffect>> {
    let mut out = Vec::new();
    let mut walk = raw::elements(o)?;
    walk.next()?;
    while let Some(element) = walk.next()? {
        let effect = effect(&element)?.ok_or_else(|| unknown("collMod", &element))?;
        out.push(effect);
    }
    Ok(out)
}

/// Options that a collMod replaces whole, under the name that listCollections gives them.
fn plain_option(name: &[u8]) -> Option<&'static str> {
    Some(match name {
        b"validator" => "validator",
        b"validationLevel" => "validationLevel",
        b"validationAction" => "validationAction",
        b"prepareConstraintValidationLevel" => "prepareConstraintValidationLevel",
        _ => return None,
    })
}

fn effect(e: &Element<'_>) -> Result<Option<CollModEffect>> {
    // An empty validator is none.
    if e.name == b"validator" && e.doc().is_some_and(|doc| doc.len() == 5) {
        return Ok(Some(CollModEffect::NoOption { name: "validator" }));
    }
    if let Some(name) = plain_option(e.name) {
        return Ok(Some(CollModEffect::Option { name, value: Value::of(e) }));
    }
    let set = |name, value| CollModEffect::Option { name, value: Value::number(value) };
    let switch = |name, on| match on {
        true => CollModEffect::Option { name, value: Value::of(e) },
        false => CollModEffect::NoOption { name },
    };
    Ok(match e.name {
        b"index" => e.doc().map(index).transpose()?,
        b"timeseries" => e.doc().map(timeseries).transpose()?,
        b"expireAfterSeconds" if e.str() == Some("off") => {
            Some(switch("expireAfterSeconds", false))
        }
        b"expireAfterSeconds" => e.int().map(|_| switch("expireAfterSeconds", true)),
        b"cappedSize" => e.int().map(|size| set("size", size)),
        // Zero and less mean no limit, which is listed as the largest number.
        b"cappedMax" => {
            e.int().map(|max| set("max", if max > 0 { max } else { i64::from(i32::MAX) }))
        }
        b"recordPreImages" => e.bool().map(|on| switch("recordPreImages", on)),
        b"recordIdsReplicated" => match e.bool() {
            Some(false) => Some(switch("recordIdsReplicated", false)),
            _ => None,
        },
        b"changeStreamPreAndPostImages" => {
            pre_images(e)?.map(|on| switch("changeStreamPreAndPostImages", on))
        }
        b"timeseriesBucketsMayHaveMixedSchemaData" => {
            Some(CollModEffect::Internal { name: "timeseriesBucketsMayHaveMixedSchemaData" })
        }
        b"_removeLegacyTimeseriesBucketingParametersHaveChanged" => Some(CollModEffect::Internal {
            name: "_removeLegacyTimeseriesBucketingParametersHaveChanged",
        }),
        // Storage hints of servers long gone that collMod still takes.
        b"noPadding" => Some(CollModEffect::Internal { name: "noPadding" }),
        b"usePowerOf2Sizes" => Some(CollModEffect::Internal { name: "usePowerOf2Sizes" }),
        b"isTimeseriesNamespace" => Some(CollModEffect::Internal { name: "isTimeseriesNamespace" }),
        _ => None,
    })
}

/// `{enabled: bool}`; nothing else is known.
fn pre_images(e: &Element<'_>) -> Result<Option<bool>> {
    let Some(doc) = e.doc() else { return Ok(None) };
    let mut walk = raw::elements(doc)?;
    let mut on = None;
    while let Some(field) = walk.next()? {
        match field.name {
            b"enabled" => on = field.bool(),
            _ => return Err(unknown("changeStreamPreAndPostImages", &field)),
        }
    }
    Ok(on)
}

fn index(doc: &[u8]) -> Result<CollModEffect> {
    let (mut index, mut expire_after, mut hidden) = (None, None, None);
    let (mut unique, mut prepare_unique, mut force_non_unique) = (false, None, false);
    let mut walk = raw::elements(doc)?;
    while let Some(e) = walk.next()? {
        let bad = || unknown("collMod index", &e);
        match e.name {
            b"name" => index = Some(IndexSelector::Name(e.str().ok_or_else(bad)?.to_owned())),
            b"keyPattern" => {
                let pattern = raw::owned(e.doc().ok_or_else(bad)?)?;
                index = index.or(Some(IndexSelector::KeyPattern(pattern)));
            }
            b"expireAfterSeconds" => expire_after = Some(Value::number(e.int().ok_or_else(bad)?)),
            b"hidden" => hidden = Some(e.bool().ok_or_else(bad)?),
            b"unique" => unique = e.bool().ok_or_else(bad)?,
            b"prepareUnique" => prepare_unique = Some(e.bool().ok_or_else(bad)?),
            b"forceNonUnique" => force_non_unique = e.bool().ok_or_else(bad)?,
            _ => return Err(bad()),
        }
    }
    let index = index
        .ok_or_else(|| Error::unsupported("collMod of an index without name and keyPattern"))?;
    Ok(CollModEffect::Index {
        index,
        expire_after,
        hidden,
        unique,
        prepare_unique,
        force_non_unique,
    })
}

/// The bucket span that goes with a granularity, in seconds.
fn span(granularity: &str) -> Option<i64> {
    Some(match granularity {
        "seconds" => 3_600,
        "minutes" => 86_400,
        "hours" => 2_592_000,
        _ => return None,
    })
}

fn timeseries(doc: &[u8]) -> Result<CollModEffect> {
    let mut fields = Vec::new();
    let mut walk = raw::elements(doc)?;
    while let Some(e) = walk.next()? {
        let bad = || unknown("collMod timeseries", &e);
        match e.name {
            b"granularity" => {
                let span = e.str().and_then(span).ok_or_else(bad)?;
                fields.push(("granularity", Some(Value::of(&e))));
                fields.push(("bucketMaxSpanSeconds", Some(Value::number(span))));
                fields.push(("bucketRoundingSeconds", None));
            }
            b"bucketMaxSpanSeconds" | b"bucketRoundingSeconds" => {
                let name = match e.name {
                    b"bucketMaxSpanSeconds" => "bucketMaxSpanSeconds",
                    _ => "bucketRoundingSeconds",
                };
                e.int().ok_or_else(bad)?;
                fields.push(("granularity", None));
                fields.push((name, Some(Value::of(&e))));
            }
            _ => return Err(bad()),
        }
    }
    Ok(CollModEffect::Timeseries { fields })
}

/// What listCollections (`options`, without uuid) and listIndexes (`indexes`) show after `effects`.
/// Damaged when an index is modified that is not among them.
pub fn apply_coll_mod(
    options: &RawDocument,
    indexes: &[RawDocumentBuf],
    effects: &[CollModEffect],
) -> Result<(RawDocumentBuf, Vec<RawDocumentBuf>)> {
    let mut options = options.to_owned();
    let mut indexes = indexes.to_vec();
    for effect in effects {
        match effect {
            CollModEffect::Option { name, value } => {
                options = with(&options, name, Some(value))?;
                let shown = raw::get(options.as_bytes(), name)?.and_then(|e| e.int());
                clustered_expiry(name, shown, &mut indexes)?;
            }
            CollModEffect::NoOption { name } => {
                options = with(&options, name, None)?;
                clustered_expiry(name, None, &mut indexes)?;
            }
            CollModEffect::Timeseries { fields } => options = with_timeseries(&options, fields)?,
            CollModEffect::Internal { .. } => {}
            CollModEffect::Index { index, .. } => {
                let at = find(&indexes, index)?;
                indexes[at] = with_index(&indexes[at], effect)?;
            }
        }
    }
    if effects.iter().any(is_validation) {
        options = validation_defaults(options)?;
    }
    Ok((options, indexes))
}

/// The options that the collection had before the collMod, as its `o2` tells
/// them; in listCollections' form, without the UUID.
///
/// They are worth more than what was put together from earlier entries: setting
/// `timeseriesBucketsMayHaveMixedSchemaData` leaves no trace in the oplog but here
/// (8.2 logs an empty collMod and lists a changed `storageEngine`).
pub fn options_before(o2: &RawDocument) -> Result<Option<RawDocumentBuf>> {
    let old = raw::get(o2.as_bytes(), "collectionOptions_old")?.and_then(|e| e.doc());
    old.map(|old| {
        let mut out = Builder::new();
        let mut walk = raw::elements(old)?;
        while let Some(element) = walk.next()? {
            if element.name != b"uuid" {
                out.push(&element);
            }
        }
        out.finish()
    })
    .transpose()
}

fn is_validation(effect: &CollModEffect) -> bool {
    let (CollModEffect::Option { name, .. } | CollModEffect::NoOption { name }) = effect else {
        return false;
    };
    matches!(*name, "validator" | "validationLevel" | "validationAction")
}

/// A collMod of any of the three writes the defaults of the others down.
fn validation_defaults(mut options: RawDocumentBuf) -> Result<RawDocumentBuf> {
    for (name, default) in [("validationLevel", "strict"), ("validationAction", "error")] {
        if raw::get(options.as_bytes(), name)?.is_none() {
            options = with(&options, name, Some(&Value::string(default)))?;
        }
    }
    Ok(options)
}

/// The listing of a clustered collection repeats its expiry in the index that stands for the clustering.
fn clustered_expiry(name: &str, secs: Option<i64>, indexes: &mut [RawDocumentBuf]) -> Result<()> {
    if name != "expireAfterSeconds" {
        return Ok(());
    }
    for spec in indexes {
        if raw::get(spec.as_bytes(), "clustered")?.is_some() {
            *spec = with(spec, name, secs.map(Value::number).as_ref())?;
        }
    }
    Ok(())
}

/// `doc` with the field at its place replaced, appended, or (`None`) left out.
fn with(doc: &RawDocument, name: &str, value: Option<&Value>) -> Result<RawDocumentBuf> {
    let mut out = Builder::new();
    let mut walk = raw::elements(doc.as_bytes())?;
    let mut pending = value;
    while let Some(element) = walk.next()? {
        if element.name != name.as_bytes() {
            out.push(&element);
        } else if let Some(value) = pending.take() {
            out.put(value.kind, name.as_bytes(), &value.bytes);
        }
    }
    if let Some(value) = pending {
        out.put(value.kind, name.as_bytes(), &value.bytes);
    }
    out.finish()
}

fn with_timeseries(
    options: &RawDocument,
    fields: &[(&'static str, Option<Value>)],
) -> Result<RawDocumentBuf> {
    let old = raw::get(options.as_bytes(), "timeseries")?.and_then(|e| e.doc());
    let old =
        old.ok_or_else(|| Error::damaged("collMod timeseries of a collection that is none"))?;
    let mut new = raw::owned(old)?;
    for (name, value) in fields {
        new = with(&new, name, value.as_ref())?;
    }
    // Order counts within a document, and the server writes them in this one.
    for name in ["granularity", "bucketRoundingSeconds", "bucketMaxSpanSeconds"] {
        let value = raw::get(new.as_bytes(), name)?.map(|e| Value::of(&e));
        new = with(&with(&new, name, None)?, name, value.as_ref())?;
    }
    let value = Value { kind: types::DOCUMENT, bytes: new.into_bytes() };
    with(options, "timeseries", Some(&value))
}

fn find(indexes: &[RawDocumentBuf], selector: &IndexSelector) -> Result<usize> {
    for (at, spec) in indexes.iter().enumerate() {
        let hit = match selector {
            IndexSelector::Name(name) => {
                raw::get(spec.as_bytes(), "name")?.and_then(|e| e.str()) == Some(name)
            }
            IndexSelector::KeyPattern(pattern) => {
                raw::get(spec.as_bytes(), "key")?.and_then(|e| e.doc()) == Some(pattern.as_bytes())
            }
        };
        if hit {
            return Ok(at);
        }
    }
    Err(Error::damaged(format!("collMod of an index that does not exist: {selector:?}")))
}

fn with_index(spec: &RawDocument, effect: &CollModEffect) -> Result<RawDocumentBuf> {
    let CollModEffect::Index {
        expire_after, hidden, unique, prepare_unique, force_non_unique, ..
    } = effect
    else {
        return Ok(spec.to_owned());
    };
    let mut spec = spec.to_owned();
    let yes = Value::yes();
    let flag = |on: bool| on.then_some(&yes);
    if let Some(value) = expire_after {
        spec = with(&spec, "expireAfterSeconds", Some(value))?;
    }
    if let Some(hidden) = hidden {
        spec = with(&spec, "hidden", flag(*hidden))?;
    }
    if let Some(prepare) = prepare_unique {
        spec = with(&spec, "prepareUnique", flag(*prepare))?;
    }
    if *unique {
        spec = with(&with(&spec, "prepareUnique", None)?, "unique", Some(&yes))?;
    }
    if *force_non_unique {
        spec = with(&spec, "unique", None)?;
    }
    Ok(spec)
}

#[cfg(test)]
mod tests;
