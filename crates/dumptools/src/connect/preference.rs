//! Which members are read from: a mode, or `{mode, tagSets, maxStalenessSeconds}`. Pure.

use std::{collections::HashMap, time::Duration};

use bson::{Bson, Document};
use bygone_base::{Error, Result};
use mongodb::options::{ReadPreference, ReadPreferenceOptions};

use crate::extjson::{self, Strictness};

fn bad(what: &str) -> Error {
    Error::usage(format!("error parsing --readPreference: {what}"))
}

/// Reads what a flag says. What it cannot say is refused: else another member might be read than was meant.
pub(super) fn read_preference(text: &str) -> Result<ReadPreference> {
    if !text.trim_start().starts_with('{') {
        return mode(text.trim(), &Document::new());
    }
    let bytes = extjson::parse(text, Strictness::Relaxed).map_err(|e| bad(e.message()))?;
    let given = Document::from_reader(&bytes[..]).map_err(|e| bad(&e.to_string()))?;
    let name = given.get_str("mode").map_err(|_| bad("no 'mode' specified"))?;
    mode(name, &given)
}

fn mode(name: &str, given: &Document) -> Result<ReadPreference> {
    let mut options = ReadPreferenceOptions::default();
    options.tag_sets = tag_sets(given)?;
    options.max_staleness = staleness(given)?;
    let restricted = options.tag_sets.as_ref().is_some_and(|sets| !sets.is_empty())
        || options.max_staleness.is_some();
    let options = Some(options);
    match name.to_ascii_lowercase().as_str() {
        "primary" if restricted => {
            Err(bad("can not specify tags, max staleness, or hedge with mode primary"))
        }
        "primary" => Ok(ReadPreference::Primary),
        "primarypreferred" => Ok(ReadPreference::PrimaryPreferred { options }),
        "secondary" => Ok(ReadPreference::Secondary { options }),
        "secondarypreferred" => Ok(ReadPreference::SecondaryPreferred { options }),
        "nearest" => Ok(ReadPreference::Nearest { options }),
        _ => Err(bad(&format!("unknown read preference {name}"))),
    }
}

/// A list of sets, or one set under the old name.
fn tag_sets(given: &Document) -> Result<Option<Vec<HashMap<String, String>>>> {
    let one;
    let sets = match (given.get("tagSets"), given.get("tags")) {
        (None, None) => return Ok(None),
        (Some(Bson::Array(sets)), _) | (None, Some(Bson::Array(sets))) => sets,
        (None, Some(set @ Bson::Document(_))) => {
            one = vec![set.clone()];
            &one
        }
        _ => return Err(bad("tagSets must be an array of documents")),
    };
    let tag = |(name, value): (&String, &Bson)| match value {
        Bson::String(value) => Ok((name.clone(), value.clone())),
        _ => Err(bad("the value of a tag must be a string")),
    };
    let set = |set: &Bson| match set {
        Bson::Document(set) => set.iter().map(tag).collect(),
        _ => Err(bad("tagSets must be an array of documents")),
    };
    sets.iter().map(set).collect::<Result<_>>().map(Some)
}

fn staleness(given: &Document) -> Result<Option<Duration>> {
    let seconds = match given.get("maxStalenessSeconds") {
        None => return Ok(None),
        Some(Bson::Int32(n)) => u64::try_from(*n).ok(),
        Some(Bson::Int64(n)) => u64::try_from(*n).ok(),
        Some(_) => None,
    };
    let seconds =
        seconds.ok_or_else(|| bad("maxStalenessSeconds must be a non-negative integer"))?;
    Ok(Some(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_preferences_are_modes_or_documents() {
        assert!(matches!(read_preference("Nearest"), Ok(ReadPreference::Nearest { .. })));
        let text = "{mode: 'secondary', tagSets: [{a: 'b'}], maxStalenessSeconds: 123}";
        let Ok(ReadPreference::Secondary { options: Some(options) }) = read_preference(text) else {
            panic!("not read");
        };
        assert_eq!(options.max_staleness, Some(Duration::from_secs(123)));
        assert_eq!(options.tag_sets.unwrap()[0]["a"], "b");
        let one = read_preference("{mode: 'nearest', tags: {a: 'b'}}");
        assert!(
            matches!(one, Ok(ReadPreference::Nearest { options: Some(o) }) if o.tag_sets.is_some())
        );
        assert!(read_preference("{mode: 'primary', tagSets: []}").is_ok());
    }

    #[test]
    fn what_would_read_another_member_is_refused() {
        for text in [
            "fast",
            "{}",
            "{mode: 1}",
            "{mode: 'primary', tagSets: [{a: 'b'}]}",
            "{mode: 'primary', maxStalenessSeconds: 100}",
            "{mode: 'nearest', maxStalenessSeconds: '100'}",
            "{mode: 'nearest', maxStalenessSeconds: 100.5}",
            "{mode: 'nearest', maxStalenessSeconds: -1}",
            "{mode: 'nearest', tagSets: {a: 'b'}}",
            "{mode: 'nearest', tagSets: ['x']}",
            "{mode: 'nearest', tagSets: [{a: 1}]}",
        ] {
            assert!(read_preference(text).is_err(), "{text}");
        }
    }
}
