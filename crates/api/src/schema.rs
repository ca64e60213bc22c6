//! JSON Schema (2020-12, as OpenAPI 3.1 takes it) of what the API reads and writes.

use std::{any::type_name, collections::BTreeMap};

use serde_json::{Map, Value, json};

pub(crate) use bygone_shape::JsonSchema;

/// Something with a schema.
pub(crate) trait JsonSchema {
    /// Whether it has a place of its own in the document.
    fn named() -> bool {
        false
    }

    /// Its schema.
    fn schema(book: &mut Book) -> Value;
}

/// The schemas with names that were met.
#[derive(Debug, Default)]
pub(crate) struct Book {
    schemas: BTreeMap<String, Value>,
}

/// A field of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) schema: Value,
    pub(crate) required: bool,
}

impl Book {
    /// The schema of a type, or where it is to be found.
    pub(crate) fn of<T: JsonSchema>(&mut self) -> Value {
        if !T::named() {
            return T::schema(self);
        }
        let name = name(type_name::<T>());
        if !self.schemas.contains_key(&name) {
            // First a place: it may hold itself.
            self.schemas.insert(name.clone(), Value::Null);
            let schema = T::schema(self);
            self.schemas.insert(name.clone(), schema);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    /// All that were met, by name.
    pub(crate) fn all(self) -> Map<String, Value> {
        self.schemas.into_iter().collect()
    }
}

/// `bygone_api::v1::snapshots::Snapshot` is `V1SnapshotsSnapshot`: no two are alike.
fn name(path: &str) -> String {
    let words = path.split("::").skip(1).flat_map(|part| part.split('_'));
    let mut name = String::new();
    for word in words {
        let mut letters = word.chars().filter(char::is_ascii_alphanumeric);
        name.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        name.extend(letters);
    }
    name
}

/// A field that is always there.
pub(crate) fn field<T: JsonSchema>(
    book: &mut Book,
    name: &'static str,
    about: &'static str,
) -> Field {
    Field { name, about, schema: book.of::<T>(), required: true }
}

/// An object with these fields; `closed`: with no others.
pub(crate) fn object(about: &str, fields: Vec<Field>, closed: bool) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for Field { name, about, mut schema, required: must } in fields {
        if let (Value::Object(schema), false) = (&mut schema, about.is_empty()) {
            schema.insert("description".to_owned(), about.into());
        }
        properties.insert(name.to_owned(), schema);
        if must {
            required.push(name);
        }
    }
    let mut object = described(about);
    object.insert("type".to_owned(), "object".into());
    object.insert("properties".to_owned(), properties.into());
    if !required.is_empty() {
        object.insert("required".to_owned(), required.into());
    }
    if closed {
        object.insert("additionalProperties".to_owned(), false.into());
    }
    object.into()
}

/// One of these words.
pub(crate) fn words(about: &str, words: &[&str]) -> Value {
    let mut schema = described(about);
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), words.into());
    schema.into()
}

/// One of these.
pub(crate) fn either(about: &str, schemas: Vec<Value>) -> Value {
    let mut schema = described(about);
    schema.insert("anyOf".to_owned(), schemas.into());
    schema.into()
}

fn described(about: &str) -> Map<String, Value> {
    let about = Some(about).filter(|about| !about.is_empty());
    about.map(|about| ("description".to_owned(), about.into())).into_iter().collect()
}

macro_rules! plain {
    ($($ty:ty => $schema:expr),* $(,)?) => {$(
        impl JsonSchema for $ty {
            fn schema(_: &mut Book) -> Value {
                $schema
            }
        }
    )*};
}

plain! {
    String => json!({ "type": "string" }),
    &str => json!({ "type": "string" }),
    bool => json!({ "type": "boolean" }),
    Value => json!({}),
    u8 => json!({ "type": "integer", "minimum": 0, "maximum": u8::MAX }),
    u16 => json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX }),
    u32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
    u64 => json!({ "type": "integer", "minimum": 0 }),
    i8 => json!({ "type": "integer", "minimum": i8::MIN, "maximum": i8::MAX }),
    i64 => json!({ "type": "integer" }),
}

impl<T: JsonSchema> JsonSchema for Option<T> {
    fn schema(book: &mut Book) -> Value {
        match book.of::<T>() {
            Value::Object(mut schema) if schema.get("type").is_some_and(Value::is_string) => {
                if let Some(kind) = schema.remove("type") {
                    schema.insert("type".to_owned(), json!([kind, "null"]));
                }
                schema.into()
            }
            schema => json!({ "anyOf": [schema, { "type": "null" }] }),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Vec<T> {
    fn schema(book: &mut Book) -> Value {
        json!({ "type": "array", "items": book.of::<T>() })
    }
}
