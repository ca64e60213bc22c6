//! The OpenAPI document, made of the routes themselves.

use serde_json::{Map, Value, json};

use crate::{
    failure::ErrorDocument,
    route::{Need, Param, Route, Style},
    schema::Book,
};

/// The document of these routes (OpenAPI 3.1).
pub(crate) fn document(routes: &[Route]) -> Value {
    let mut schemas = Book::default();
    let error = schemas.of::<ErrorDocument>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes {
        let operations = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(operations) = operations {
            let verb = route.method.as_str().to_ascii_lowercase();
            operations.insert(verb, operation(route, &mut schemas));
        }
    }
    let components = schemas.all();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "bygone",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Continuous backup for MongoDB. /api/public/v1.0 has the shapes of Ops Manager's public API for its backup resources; /api/v2 is bygone's own.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {
                "error": {
                    "description": "It was not done.",
                    "content": { "application/json": { "schema": error } },
                },
            },
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "digest",
                    "description": "The public half of an API key as the name, the private half as the password.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": bygone_access::COOKIE,
                    "description": "The dashboard's session; changes need its token in X-CSRF-Token.",
                },
            },
        },
    })
}

fn operation(route: &Route, schemas: &mut Book) -> Value {
    let mut parameters: Vec<Value> = path_names(route.path)
        .map(|name| {
            json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        })
        .collect();
    let manners = match route.style {
        Style::V1 => vec![
            Param { name: "pretty", about: "Indent.", kind: "boolean" },
            Param { name: "envelope", about: "The status in the body.", kind: "boolean" },
        ],
        Style::V2 => Vec::new(),
    };
    parameters.extend(route.query.iter().chain(&manners).map(|Param { name, about, kind }| {
        json!({ "name": name, "in": "query", "description": about, "schema": { "type": kind } })
    }));
    let security = match route.style {
        Style::V1 => json!([{ "key": [] }]),
        Style::V2 => json!([{ "key": [] }, { "session": [] }]),
    };
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.about,
        "tags": [match route.style { Style::V1 => "v1.0", Style::V2 => "v2" }],
        "x-needs": needs(route.need),
        "parameters": parameters,
        "security": security,
        "responses": responses(route, schemas),
    });
    if let (Some((schema, required)), Value::Object(operation)) = (&route.body, &mut operation) {
        let schema = schema(schemas);
        let body = json!({
            "required": required,
            "content": { "application/json": { "schema": schema } },
        });
        operation.insert("requestBody".to_owned(), body);
    }
    operation
}

/// What comes back. With Ops Manager's `envelope=true` that is a 200 in any case, with the status inside.
fn responses(route: &Route, schemas: &mut Book) -> Value {
    let done = |content: Value| json!({ "description": "It was done.", "content": content });
    let as_json = |schema: Value| json!({ "application/json": { "schema": schema } });
    let mut all = json!({ "default": { "$ref": "#/components/responses/error" } });
    match (route.gives, route.style) {
        (None, _) => {
            let stream = json!({ "text/event-stream": { "schema": { "type": "string" } } });
            all[route.status.to_string()] = done(stream);
        }
        (Some(schema), Style::V2) => {
            all[route.status.to_string()] = done(as_json(schema(schemas)));
        }
        (Some(schema), Style::V1) => {
            let schema = schema(schemas);
            let envelope = envelope(&schema, &schemas.of::<ErrorDocument>());
            if route.status == 200 {
                all["200"] = done(as_json(json!({ "anyOf": [schema, envelope] })));
            } else {
                all[route.status.to_string()] = done(as_json(schema));
                all["200"] =
                    json!({ "description": "With envelope=true.", "content": as_json(envelope) });
            }
        }
    }
    all
}

fn envelope(schema: &Value, error: &Value) -> Value {
    json!({
        "type": "object",
        "description": "With envelope=true.",
        "required": ["status", "content"],
        "properties": {
            "status": { "type": "integer" },
            "content": { "anyOf": [schema, error] },
        },
    })
}

fn needs(need: Need) -> String {
    match need {
        Need::Anyone => "any key".to_owned(),
        Need::Project(right) => format!("{right:?} in the project"),
        Need::Server(right) => format!("{right:?} everywhere"),
    }
}

/// The names in braces.
fn path_names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn operation_id(route: &Route) -> String {
    let words = route.path.split('/').filter(|word| !word.is_empty() && *word != "api");
    let plain = |word: &str| word.trim_matches(['{', '}']).replace('.', "_");
    let words: Vec<String> = words.map(plain).collect();
    format!("{}_{}", route.method.as_str().to_ascii_lowercase(), words.join("_"))
}
