//! The OpenAPI document.

use std::path::Path;

use serde_json::Value;

fn committed() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    // To write it anew: BYGONE_WRITE=1.
    if std::env::var_os("BYGONE_WRITE").is_some() {
        std::fs::write(&file, bygone_api::openapi()).unwrap();
    }
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn the_committed_document_is_that_of_the_routes() {
    assert!(
        committed() == bygone_api::openapi(),
        "docs/openapi.json is old: run this test with BYGONE_WRITE=1"
    );
}

fn refs(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get("$ref") {
                found.push(target.clone());
            }
            object.values().for_each(|value| refs(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| refs(value, found)),
        _ => {}
    }
}

#[test]
fn every_route_says_what_it_needs_and_every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(&bygone_api::openapi()).unwrap();
    let mut found = Vec::new();
    refs(&document, &mut found);
    found.sort();
    found.dedup();
    assert!(found.len() > 50, "{}", found.len());
    for target in &found {
        let pointer = target.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some_and(Value::is_object), "{target}");
    }
    let mut ids = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            let needs = operation["x-needs"].as_str().unwrap();
            let within = path.contains("{project}") || path.contains("{groupId}");
            assert_eq!(within, needs.ends_with("in the project"), "{path}");
            assert!(!operation["security"].as_array().unwrap().is_empty(), "{path}");
            assert!(operation["summary"].as_str().is_some_and(|s| s.ends_with('.')), "{path}");
            ids.push(operation["operationId"].as_str().unwrap().to_owned());
        }
    }
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}
