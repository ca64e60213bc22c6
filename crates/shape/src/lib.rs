//! `#[derive(JsonSchema)]` for the API's bodies: JSON Schema from the same fields, names and comments that serde uses, so
//! that the OpenAPI document says what is read and written.
//!
//! ```text
//! struct, enum ──attributes──▶ Item: names as serde writes them ──text──▶ impl crate::schema::JsonSchema
//! ```
//!
//! Invariants:
//! 1. What of serde's attributes is not known here does not compile: a schema never says something else than serde does.
//!
//! (Libraries that do this change features of serde itself, and so the whole tree that is built.)
//!
//! Not here: the trait and the document (api).

mod attributes;
mod text;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `crate::schema::JsonSchema`.
///
/// Of a field, `#[schema(with = "Type")]` names another type whose schema it has.
#[proc_macro_derive(JsonSchema, attributes(schema, serde))]
pub fn derive_json_schema(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let made = text::implementation(&input).and_then(|text| {
        let odd = |_| syn::Error::new(input.ident.span(), "no schema can be made of this");
        text.parse().map_err(odd)
    });
    made.unwrap_or_else(|error: syn::Error| error.to_compile_error().into())
}
