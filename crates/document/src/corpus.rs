//! `_id` values of every type and the odd ones among them, in the order of the
//! server's `_id` index and grouped by its equality. Real servers are checked
//! against this list, and this crate's keys are: whoever changes one looks at
//! the other.

mod numbers;
mod values;

use crate::{tag, write};

/// One value: type byte and the bytes of the value.
type Value = (u8, Vec<u8>);

/// All documents `{_id: x}` of [`id_groups`] in order; those of one group stand
/// next to each other.
pub fn ids() -> Vec<Vec<u8>> {
    id_groups().into_iter().flatten().collect()
}

/// Documents `{_id: x}` in ascending order. The members of a group are equal
/// for the server: of each group a collection can hold one. All of them are
/// accepted as `_id` by servers 4.4 to 8.2.
pub fn id_groups() -> Vec<Vec<Vec<u8>>> {
    let mut groups = vec![vec![(tag::MIN_KEY, Vec::new())], vec![(tag::NULL, Vec::new())]];
    groups.extend(numbers::groups());
    groups.extend(values::strings());
    groups.extend(values::documents());
    groups.extend(values::others());
    groups.push(vec![(tag::MAX_KEY, Vec::new())]);
    let wrap = |(kind, value): Value| document(&[("_id", (kind, value))]);
    groups.into_iter().map(|group| group.into_iter().map(wrap).collect()).collect()
}

/// A document of a few small fields.
fn document(fields: &[(&str, Value)]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = write::begin(&mut out);
    for (name, (kind, value)) in fields {
        write::element(&mut out, *kind, name.as_bytes(), value);
    }
    // The corpus is small by construction; `tests` validates every document.
    let _ = write::end(&mut out, start);
    out
}

fn length(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id_key, validate};

    #[test]
    fn keys_are_in_the_order_of_the_corpus() {
        let groups = id_groups();
        let mut last: Vec<u8> = Vec::new();
        for (n, group) in groups.iter().enumerate() {
            let keys: Vec<_> = group.iter().map(|doc| id_key(doc).unwrap()).collect();
            assert!(keys.iter().all(|key| *key == keys[0]), "group {n}: {group:02x?}");
            assert!(last < keys[0], "group {n} is not above the one before: {group:02x?}");
            assert!(!keys[0].starts_with(&last) || last.is_empty(), "prefix in group {n}");
            last = keys[0].clone();
        }
    }

    #[test]
    fn every_document_is_valid() {
        let ids = ids();
        assert!(ids.len() >= 150, "{}", ids.len());
        assert!(ids.iter().all(|doc| validate(doc).is_ok()));
    }
}
