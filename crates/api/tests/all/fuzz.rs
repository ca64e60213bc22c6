//! Requests made from the document, mostly right and often wrong: whatever is asked, nothing breaks and nothing leaks.

use axum::http::Method;
use bygone_base::{Rng as _, SeededRng};
use serde_json::{Map, Value, json};

use crate::world::World;

const ROUNDS: usize = 25;

/// Texts that found mistakes elsewhere.
const TEXTS: [&str; 21] = [
    "",
    " ",
    "x",
    "ü\u{202e}\u{0}",
    "../..",
    "000000000000000000000000",
    "20261120T103000Z-1a2b3c4d",
    "2027-01-01T00:00:00Z",
    "-9999-01-01T00:00:00Z",
    "1795170600:1",
    "99999999999999999999:1",
    "latest",
    "mongodb://user:pw@h1:27017,h2/?replicaSet=r",
    "mongodb://",
    "db.*",
    "a.b",
    "$1",
    "+0200",
    "Europe/Berlin",
    "smtp://mail.example",
    "a@b",
];
const NUMBERS: [i64; 12] = [0, 1, -1, 2, 6, 24, 60, 300, 86_400, 1 << 31, i64::MAX, i64::MIN];

struct Maker {
    rng: SeededRng,
    document: Value,
    /// Ids that there are.
    known: Vec<String>,
}

impl Maker {
    fn below(&self, n: usize) -> usize {
        usize::try_from(self.rng.next_u64() % n as u64).unwrap()
    }

    fn one_in(&self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn text(&self) -> String {
        match self.below(10) {
            // Several in one URL still fit into the header that proves it.
            0 => "y".repeat(self.below(1000)),
            1..=3 => self.known[self.below(self.known.len())].clone(),
            _ => TEXTS[self.below(TEXTS.len())].to_owned(),
        }
    }

    fn junk(&self) -> Value {
        match self.below(7) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(NUMBERS[self.below(NUMBERS.len())]),
            3 => json!(0.5),
            4 => json!([]),
            5 => json!({ "x": 1 }),
            _ => json!(self.text()),
        }
    }

    fn value(&self, schema: &Value, depth: usize) -> Value {
        if self.one_in(12) || depth > 8 {
            return self.junk();
        }
        if let Some(target) = schema["$ref"].as_str() {
            let pointer = target.strip_prefix('#').unwrap();
            return self.value(self.document.pointer(pointer).unwrap(), depth + 1);
        }
        if let Some(fixed) = schema.get("const") {
            return fixed.clone();
        }
        for list in ["anyOf", "enum"] {
            if let Some(choices) = schema[list].as_array() {
                let choice = &choices[self.below(choices.len())];
                return if list == "enum" { choice.clone() } else { self.value(choice, depth + 1) };
            }
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => kinds[self.below(kinds.len())].as_str().unwrap(),
            kind => kind.as_str().unwrap_or("any"),
        };
        match kind {
            "string" => json!(self.text()),
            "integer" => json!(NUMBERS[self.below(NUMBERS.len())]),
            "boolean" => json!(self.one_in(2)),
            "null" => Value::Null,
            "array" => {
                let items = 0..self.below(3);
                items.map(|_| self.value(&schema["items"], depth + 1)).collect()
            }
            "object" => self.object(schema, depth),
            _ => self.junk(),
        }
    }

    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let mut object = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let must = required.iter().any(|required| required == name);
            if if must { !self.one_in(15) } else { self.one_in(2) } {
                object.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        Value::Object(object)
    }

    /// A path with values in it, and perhaps a query.
    fn path(&self, path: &str, operation: &Value, values: &[(&str, String)]) -> String {
        let mut made = path.to_owned();
        for (name, value) in values {
            let value = if self.one_in(8) { self.text() } else { value.clone() };
            let value: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
            made = made.replace(&format!("{{{name}}}"), &value);
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] == "query" && self.one_in(3) {
                let value = match self.one_in(2) {
                    true => self.text(),
                    false => NUMBERS[self.below(NUMBERS.len())].to_string(),
                };
                query.append_pair(parameter["name"].as_str().unwrap(), &value);
            }
        }
        let query = query.finish();
        if query.is_empty() { made } else { format!("{made}?{query}") }
    }
}

/// What would reach out of this process: stores in the net, and events without end.
fn reaches_out(method: &Method, path: &str) -> bool {
    let changes = *method == Method::POST || *method == Method::PUT;
    path.ends_with("/stream") || path.contains("s3Configs") && changes
}

#[tokio::test]
async fn whatever_is_asked_nothing_breaks_and_nothing_leaks() {
    let world = World::new().await;
    let owner = world.owner().await;
    let project = world.project("p").await;
    let job = owner.job(&project, "c").await;
    let document: Value = serde_json::from_str(&bygone_api::openapi()).unwrap();
    let known = vec![project.to_string(), job.clone(), "main".to_owned()];
    let maker = Maker { rng: SeededRng::new(7), document: document.clone(), known };
    let mut values: Vec<(&str, String)> =
        ["project", "groupId"].map(|name| (name, project.to_string())).into();
    values.extend(["job", "clusterId"].map(|name| (name, job.clone())));
    values.extend(["store", "id"].map(|name| (name, "main".to_owned())));
    let others = [
        "snapshot",
        "snapshotId",
        "checkpointId",
        "jobId",
        "restore",
        "alert",
        "alertId",
        "eventId",
        "hostId",
        "agentType",
        "name",
        "user",
        "key",
        "orgId",
        "alertConfigId",
        "host",
        "head",
    ];
    values.extend(others.map(|name| (name, "0".repeat(24))));
    let mut done = 0;
    for round in 0..ROUNDS {
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (verb, operation) in operations.as_object().unwrap() {
                let method: Method = verb.to_uppercase().parse().unwrap();
                if reaches_out(&method, path) {
                    continue;
                }
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                let body = match schema {
                    Value::Null => String::new(),
                    _ if maker.one_in(20) => maker.text(),
                    schema => maker.value(schema, 0).to_string(),
                };
                let path = maker.path(path, operation, &values);
                let answer = owner.say(&method, &path, &body, None).await;
                let said = format!("round {round}: {method} {path} {body}: {}", answer.text);
                assert!(answer.status.as_u16() < 500, "{said}");
                assert_ne!(answer.status, 401, "{said}");
                assert!(!answer.text.contains("topsecret"), "{said}");
                let fails = answer.status.as_u16() >= 400;
                assert_eq!(answer.json().get("errorCode").is_some(), fails, "{said}");
                done += usize::from(!fails);
            }
        }
    }
    // Not all was nonsense.
    assert!(done > 10 * ROUNDS, "{done}");
}
