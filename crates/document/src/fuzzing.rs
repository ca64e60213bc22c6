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
            debug_assert!(!key.is_empty() && key.len() <= 2 * element.value().len() + 400);
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
