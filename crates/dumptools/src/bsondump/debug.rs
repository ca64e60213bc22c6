//! What documents are made of: names, type numbers, sizes.

use std::io::Write as _;

use bygone_document::{Doc, Error, MAX_DEPTH, Result, walk::types as tag};

/// Appends the structure of `document`; of a damaged one what comes before the damage.
pub(super) fn write(document: &[u8], out: &mut Vec<u8>) -> Result<()> {
    line(out, 0, "--- new object ---");
    line(out, 1, &format!("size : {}", document.len()));
    elements(Doc::new(document)?, 0, out)
}

fn elements(doc: Doc<'_>, depth: usize, out: &mut Vec<u8>) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::TooDeep);
    }
    let indent = depth * 3;
    for element in doc.elements() {
        let element = element?;
        tabs(out, indent + 2);
        out.extend_from_slice(element.name());
        out.push(b'\n');
        // Go prints the type byte as a signed one: MinKey is -1.
        let kind = i8::from_le_bytes([element.kind()]);
        line(out, indent + 3, &format!("type: {kind:4} size: {}", element.raw().len()));
        let inner = match element.kind() {
            tag::DOCUMENT => element.as_doc(),
            tag::ARRAY => element.as_array(),
            _ => None,
        };
        if let Some(inner) = inner {
            line(out, indent + 3, "--- new object ---");
            line(out, indent + 4, &format!("size : {}", inner.bytes().len()));
            elements(inner, depth + 1, out)?;
        }
    }
    Ok(())
}

fn tabs(out: &mut Vec<u8>, count: usize) {
    out.resize(out.len() + count, b'\t');
}

fn line(out: &mut Vec<u8>, indent: usize, text: &str) {
    tabs(out, indent);
    // Writing to a vector does not fail.
    let _ = writeln!(out, "{text}");
}
