//! What a change changed, in words for events. Pure.

use serde_json::Value;

/// Letters of an event's message at most.
const LONGEST: usize = 500;

/// `name: from → to` of every field that differs; those of objects within as `outer.name`.
pub(crate) fn between(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect("", old, new, &mut found);
    found
}

fn collect(name: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    if old == new {
        return;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        found.push(format!("{name}: {} → {}", word(old), word(new)));
        return;
    };
    let added = after.keys().filter(|key| !before.contains_key(*key));
    for key in before.keys().chain(added) {
        let inner = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        let of = |object: &serde_json::Map<String, Value>| object.get(key).cloned();
        let (was, is) = (of(before).unwrap_or_default(), of(after).unwrap_or_default());
        collect(&inner, &was, &is, found);
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) => list.iter().map(word).collect::<Vec<_>>().join(" "),
        Value::Object(fields) => {
            let pairs = fields.iter().map(|(name, value)| format!("{name} {}", word(value)));
            pairs.collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// An event's message: what was changed, and how.
pub(crate) fn message(what: &str, changes: &[String]) -> String {
    let text = format!("{what}: {}", changes.join("; "));
    if text.chars().count() <= LONGEST {
        return text;
    }
    let cut: String = text.chars().take(LONGEST - 1).collect();
    cut + "…"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_differs_is_said() {
        let old = json!({ "a": 1, "b": { "c": "x", "d": ["y"] }, "e": null });
        let new = json!({ "a": 2, "b": { "c": "x", "d": [] }, "e": { "f": 3 }, "g": true });
        let said = between(&old, &new);
        assert_eq!(said, ["a: 1 → 2", "b.d: y → none", "e: none → f 3", "g: none → true"]);
        assert!(between(&old, &old).is_empty());
        assert_eq!(message("settings", &said[..1]), "settings: a: 1 → 2");
        assert_eq!(message("x", &["y".repeat(900)]).chars().count(), LONGEST);
    }
}
