//! A change of some fields of a record.

use std::{fmt, marker::PhantomData};

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    failure::Failure,
    schema::{Book, JsonSchema},
};

/// The fields that change; what is left out stays.
#[derive(Clone)]
pub(crate) struct Patch<T>(Map<String, Value>, PhantomData<fn() -> T>);

impl<T> Default for Patch<T> {
    fn default() -> Self {
        Patch(Map::new(), PhantomData)
    }
}

impl<T> fmt::Debug for Patch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Patch of {} fields", self.0.len())
    }
}

impl<'de, T> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::deserialize(deserializer).map(|map| Patch(map, PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Patch<T> {
    fn schema(book: &mut Book) -> Value {
        let mut schema = T::schema(book);
        if let Value::Object(schema) = &mut schema {
            schema.remove("required");
            schema.insert("additionalProperties".to_owned(), false.into());
        }
        schema
    }
}

impl<T: Serialize + DeserializeOwned> Patch<T> {
    /// The record with the changes.
    ///
    /// # Errors
    /// A field is not known, or not what it should be.
    pub(crate) fn onto(&self, old: &T) -> Result<T, Failure> {
        let odd = |e| bygone_base::Error::internal("a record cannot be written").source(e);
        let mut all = serde_json::to_value(old).map_err(odd)?;
        for (name, value) in &self.0 {
            let field = all.as_object_mut().and_then(|fields| fields.get_mut(name));
            let unknown = || Failure::invalid(name, format!("unknown field {name:?}"));
            field.ok_or_else(unknown)?.clone_from(value);
        }
        serde_json::from_value(all)
            .map_err(|e| Failure::invalid("body", format!("the body is not understood: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use bygone_catalog::record::Thresholds;

    use super::*;

    #[test]
    fn what_is_left_out_stays() {
        let old = Thresholds { clock_skew_secs: 7, ..Thresholds::default() };
        let patch = |json: &str| {
            serde_json::from_str::<Patch<Thresholds>>(json).unwrap().onto(&old).map_err(|f| {
                serde_json::to_value(f.document()).unwrap()["detail"].as_str().unwrap().to_owned()
            })
        };
        assert_eq!(patch("{}").unwrap(), old);
        let changed = patch(r#"{"agent_down_secs":9}"#).unwrap();
        assert_eq!((changed.agent_down_secs, changed.clock_skew_secs), (9, 7));
        assert!(patch(r#"{"agent_dwn":9}"#).unwrap_err().contains("agent_dwn"));
        assert!(patch(r#"{"agent_down_secs":"x"}"#).is_err());
        assert!(patch(r#"{"agent_down_secs":null}"#).is_err());
    }
}
