//! Bodies as clients of Ops Manager send them: numbers as text, whole documents sent back, fields that mean something to
//! Ops Manager only.

use std::{fmt, marker::PhantomData};

use axum::http::{Method, StatusCode};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned, de::Error as _};
use serde_json::{Map, Value, json};

use crate::{
    call::Call,
    failure::Failure,
    route::{Need, Route, with},
    schema::{Book, JsonSchema},
};

/// A body, and what may stand in it beside what is read.
pub(crate) trait Known: DeserializeOwned + JsonSchema + Send + 'static {
    /// Fields of answers, which clients send back. They are not read.
    const ECHOED: &'static [&'static str] = &[];
    /// Fields that mean nothing here.
    const IDLE: &'static [Idle] = &[];
}

/// A field that means nothing here: these values say what is so anyhow and change nothing, others are refused.
pub(crate) struct Idle {
    pub(crate) name: &'static str,
    /// As text, also where they are numbers or yes and no. Empty: any.
    pub(crate) good: &'static [&'static str],
    pub(crate) code: &'static str,
    pub(crate) why: &'static str,
}

impl Idle {
    fn allows(&self, value: &Value) -> bool {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Array(list) if list.is_empty() => String::new(),
            other => other.to_string(),
        };
        self.good.is_empty() || self.good.iter().any(|good| good.eq_ignore_ascii_case(&text))
    }
}

/// A body that was sent. What is null counts as left out.
pub(crate) struct Sent<B>(Map<String, Value>, PhantomData<fn() -> B>);

impl<B> fmt::Debug for Sent<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may hold secrets.
        write!(f, "Sent with {} fields", self.0.len())
    }
}

impl<'de, B> Deserialize<'de> for Sent<B> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(|map| Sent(map, PhantomData))
    }
}

impl<B: Known> JsonSchema for Sent<B> {
    fn schema(book: &mut Book) -> Value {
        let mut schema = B::schema(book);
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            for name in B::ECHOED {
                let about = "As in answers; not read.";
                properties.insert((*name).to_owned(), json!({ "description": about }));
            }
            for Idle { name, good, why, .. } in B::IDLE {
                let words: Vec<String> = good.iter().map(|word| format!("{word:?}")).collect();
                let only = match words.is_empty() {
                    true => String::new(),
                    false => format!(" ({} only)", words.join(" or ")),
                };
                let about = format!("Means nothing here{only}: {why}.");
                properties.insert((*name).to_owned(), json!({ "description": about }));
            }
        }
        schema
    }
}

impl<B: Known> Sent<B> {
    /// What was meant.
    ///
    /// # Errors
    /// A field that means nothing here has a value that would; a field is not known, or not what it should be.
    pub(crate) fn read(self) -> Result<B, Failure> {
        let Sent(mut map, _) = self;
        map.retain(|_, value| !value.is_null());
        for name in B::ECHOED {
            map.remove(*name);
        }
        for idle in B::IDLE {
            if map.remove(idle.name).is_some_and(|value| !idle.allows(&value)) {
                return Err(Failure::conflict(idle.code, idle.why).about(idle.name));
            }
        }
        serde_json::from_value(Value::Object(map)).map_err(|e| {
            let why = format!("the body is not understood: {e}");
            Failure::new(StatusCode::BAD_REQUEST, "INVALID_ATTRIBUTE", why)
        })
    }
}

/// A route that reads such a body.
pub(crate) fn reads<B, R, F, Fut>(
    method: Method,
    path: &'static str,
    need: Need,
    about: &'static str,
    run: F,
) -> Route
where
    B: Known,
    R: Serialize + JsonSchema + Send,
    F: Fn(Call, B) -> Fut + Copy + Send + Sync + 'static,
    Fut: Future<Output = Result<R, Failure>> + Send + 'static,
{
    with(method, path, need, about, move |call: Call, sent: Sent<B>| async move {
        let body = sent.read()?;
        run(call, body).await
    })
}

/// A whole number, also as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Num<T>(pub(crate) T);

impl<'de, T: TryFrom<i64>> Deserialize<'de> for Num<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Number(number) => number.as_i64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.and_then(|number| T::try_from(number).ok());
        let bad = || D::Error::custom(format!("{value} is not a number that is possible here"));
        number.map(Num).ok_or_else(bad)
    }
}

/// Some clients keep milliseconds as floating point.
fn whole(number: f64) -> Option<i64> {
    // Beyond 2^53 it is not exact any more.
    let exact = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    exact.then_some(number as i64)
}

impl<T> JsonSchema for Num<T> {
    fn schema(_: &mut Book) -> Value {
        json!({ "anyOf": [{ "type": "integer" }, { "type": "string" }] })
    }
}

/// Yes or no, also as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match (&value, value.as_str()) {
            (Value::Bool(flag), _) => Ok(Flag(*flag)),
            (_, Some("true")) => Ok(Flag(true)),
            (_, Some("false")) => Ok(Flag(false)),
            _ => Err(D::Error::custom(format!("{value} is neither true nor false"))),
        }
    }
}

impl JsonSchema for Flag {
    fn schema(_: &mut Book) -> Value {
        json!({ "anyOf": [{ "type": "boolean" }, { "type": "string" }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Thing {
        how_many: Option<Num<u32>>,
        sure: Option<Flag>,
    }

    impl Known for Thing {
        const ECHOED: &'static [&'static str] = &["links"];
        const IDLE: &'static [Idle] = &[
            Idle { name: "size", good: &["0"], code: "NO_SIZE", why: "it has none" },
            Idle { name: "any", good: &[], code: "", why: "it is all the same" },
            Idle { name: "list", good: &[""], code: "NO_LIST", why: "it has none" },
        ];
    }

    fn read(json: &str) -> Result<Thing, String> {
        let sent: Sent<Thing> = serde_json::from_str(json).unwrap();
        sent.read().map_err(|f| serde_json::to_value(f.document()).unwrap().to_string())
    }

    #[test]
    fn numbers_may_be_text_and_documents_come_back() {
        let four = Thing { how_many: Some(Num(4)), sure: None };
        for good in [
            r#"{"howMany":4}"#,
            r#"{"howMany":"4","size":0,"links":[{}],"any":{"x":1}}"#,
            r#"{"howMany":4.0,"size":"0","sure":null,"list":[]}"#,
        ] {
            assert_eq!(read(good).as_ref(), Ok(&four), "{good}");
        }
        assert_eq!(read(r#"{"sure":"true"}"#).unwrap().sure, Some(Flag(true)));
        for (bad, word) in [
            (r#"{"howMany":-1}"#, "INVALID_ATTRIBUTE"),
            (r#"{"howMany":"x"}"#, "INVALID_ATTRIBUTE"),
            (r#"{"howMany":4.5}"#, "INVALID_ATTRIBUTE"),
            (r#"{"howMany":1e300}"#, "INVALID_ATTRIBUTE"),
            (r#"{"sure":1}"#, "INVALID_ATTRIBUTE"),
            (r#"{"size":1}"#, "NO_SIZE"),
            (r#"{"list":["x"]}"#, "NO_LIST"),
            (r#"{"other":1}"#, "other"),
        ] {
            assert!(read(bad).unwrap_err().contains(word), "{bad}");
        }
        let millis: Num<i64> = serde_json::from_str("1.536e12").unwrap();
        assert_eq!(millis, Num(1_536_000_000_000));
    }
}
