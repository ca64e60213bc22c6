//! Bodies of the fuzz targets: each takes any bytes and must neither panic nor
//! run away. Debug builds also check what must hold for accepted input.

use crate::{Doc, Element, apply, classify, id_key, split_stream, validate, value_key};

/// Walks the bytes as one document and as a stream of documents.
pub fn fuzz_walk(bytes: &[u8]) {
    let valid = validate(bytes).is_ok();
    if let Ok(doc) = Doc::new(bytes) {
        let walked = walk(doc, 0);
        debug_assert!(!valid || walked, "validated, but a walk fails");
    }
    let mut split = split_stream(bytes);
    let whole: usize = split.by_ref().flatten().map(|doc| doc.bytes().len()).sum();
    debug_assert!(whole <= bytes.len());
}

/// Visits everything down to a level beyond any that a server stores.
fn walk(doc: Doc<'_>, level: usize) -> bool {
    doc.elements().all(|element| {
        element.is_ok_and(|element| {
            views(element);
            level > crate::MAX_DEPTH || element.nested().is_none_or(|doc| walk(doc, level + 1))
        })
    })
}

fn views(element: Element<'_>) {
    std::hint::black_box((
        (element.as_i32(), element.as_i64(), element.as_f64(), element.as_integer()),
        (element.as_bool(), element.as_str(), element.as_binary(), element.as_uuid()),
        (element.as_timestamp(), element.as_date(), element.as_object_id()),
        (element.as_decimal128(), element.as_code_with_scope(), element.name().len()),
    ));
}

/// Makes keys of the `_id` and of every value.
pub fn fuzz_key(bytes: &[u8]) {
    let _ = id_key(bytes);
    let Ok(doc) = Doc::new(bytes) else { return };
    for element in doc.elements().flatten() {
        if let Ok(key) = value_key(element) {
            // A number may take hundreds of digits to be told from its neighbours.
            debug_assert!(!key.is_empty() && key.len() <= 48 * element.value().len() + 400);
        }
    }
}

/// Takes the bytes for a pre-image and the `o` of an update behind it.
pub fn fuzz_update(bytes: &[u8]) {
    let mut parts = split_stream(bytes);
    let (Some(Ok(pre)), Some(Ok(o))) = (parts.next(), parts.next()) else {
        let _ = classify(bytes);
        return;
    };
    let mut out = b"kept".to_vec();
    let applied = apply(pre.bytes(), o.bytes(), &mut out);
    debug_assert!(out.starts_with(b"kept"));
    match applied {
        Err(_) => debug_assert_eq!(out.len(), 4),
        Ok(_) => {
            let post = out.get(4..).unwrap_or_default();
            debug_assert!(Doc::new(post).is_ok());
            let clean = validate(pre.bytes()).is_ok() && validate(o.bytes()).is_ok();
            // A result may nest as deep as both together.
            debug_assert!(!clean || frames(post), "clean input, broken result");
        }
    }
}

fn frames(post: &[u8]) -> bool {
    matches!(validate(post), Ok(()) | Err(crate::Error::TooDeep))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        corpus,
        key::model::{Value, document},
    };

    fn all(bytes: &[u8]) {
        fuzz_walk(bytes);
        fuzz_key(bytes);
        fuzz_update(bytes);
    }

    /// A pre-image and an update behind it, of every form.
    fn seeds() -> Vec<Vec<u8>> {
        let text = |t: &str| t.as_bytes().to_vec();
        let doc = |fields: Vec<(&str, Value)>| {
            Value::Document(fields.into_iter().map(|(n, v)| (text(n), v)).collect())
        };
        let list = Value::Array(vec![(text("0"), Value::Int(1)), (text("7"), Value::Null)]);
        let column = Value::Binary(7, text("abcd"));
        let pre = vec![
            (text("_id"), Value::Int(1)),
            (text("a"), list),
            (text("o"), doc(vec![("x", Value::Text(text("y")))])),
            (text("b"), column.clone()),
        ];
        let array = doc(vec![
            ("a", Value::Bool(true)),
            ("l", Value::Int(9)),
            ("s1", doc(vec![("u", doc(vec![("q", Value::Int(1))]))])),
            ("u3", Value::Null),
        ]);
        let binary = doc(vec![("o", Value::Int(2)), ("d", column)]);
        let diff = doc(vec![
            ("d", doc(vec![("zz", Value::Bool(false))])),
            ("u", doc(vec![("n", Value::Int(5))])),
            ("i", doc(vec![("m", Value::Int(5))])),
            ("b", doc(vec![("b", binary)])),
            ("sa", array),
            ("so", doc(vec![("u", doc(vec![("x", Value::MaxKey)]))])),
        ]);
        let sets =
            doc(vec![("a.5.k", Value::Int(1)), ("o.x", Value::Null), ("p.q", Value::Int(2))]);
        let unsets = doc(vec![("a.0", Value::Bool(true)), ("o.z", Value::Bool(true))]);
        let updates = [
            vec![(text("$v"), Value::Int(2)), (text("diff"), diff)],
            vec![(text("$v"), Value::Int(1)), (text("$set"), sets), (text("$unset"), unsets)],
            vec![(text("q"), Value::Int(2)), (text("_id"), Value::Int(1))],
        ];
        updates.iter().map(|o| [document(&pre), document(o)].concat()).collect()
    }

    #[test]
    fn the_seeds_are_applied() {
        for seed in seeds() {
            let mut parts = split_stream(&seed).flatten();
            let (pre, o) = (parts.next().unwrap(), parts.next().unwrap());
            assert!(apply(pre.bytes(), o.bytes(), &mut Vec::new()).is_ok());
            all(&seed);
        }
    }

    #[test]
    fn every_single_byte_changed_in_the_seeds() {
        for seed in seeds() {
            for at in 0..seed.len() {
                for value in [0, 1, 2, 4, 7, 0x7F, 0x80, 0xFF, seed[at].wrapping_add(1)] {
                    let mut changed = seed.clone();
                    changed[at] = value;
                    all(&changed);
                    all(&changed[..at]);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..Default::default() })]

        #[test]
        fn random_bytes(bytes in vec(any::<u8>(), 0..200)) {
            all(&bytes);
            // The same behind a right frame.
            let mut framed = (bytes.len() as u32 + 5).to_le_bytes().to_vec();
            framed.extend_from_slice(&bytes);
            framed.push(0);
            all(&framed);
        }

        #[test]
        fn mutated_documents(
            pick in any::<prop::sample::Index>(),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let small = corpus::ids().into_iter().filter(|doc| doc.len() < 400);
            let all_seeds: Vec<_> = small.chain(seeds()).collect();
            let mut bytes = pick.get(&all_seeds).clone();
            for (at, value) in changes {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            all(&bytes);
            all(&bytes[..cut.index(bytes.len())]);
        }
    }
}
