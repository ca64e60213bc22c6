//! What writes wait for: `--writeConcern`, else what the connection string says, else the majority.

use bygone_base::{Error, Result};
use bygone_restore::raw::{self, Build, Field, kind};
use mongodb::options::{Acknowledgment, WriteConcern};

use crate::extjson::{self, Strictness};

/// A number, a name or a document, of which only `w`, `j` and `wtimeout` are looked at.
///
/// # Errors
/// Usage: it is none.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    let bad = |what: String| Error::usage(format!("error parsing write concern: {what}"));
    let text = text.trim();
    if !text.starts_with('{') {
        return w_of_text(text).map(Build::finish).map_err(bad);
    }
    let given =
        extjson::parse(text, Strictness::Relaxed).map_err(|e| bad(e.message().to_owned()))?;
    let mut concern = match raw::get(&given, "w") {
        Some(w) => w_of(&w).map_err(bad)?,
        None => Build::new().str("w", "majority"),
    };
    if let Some(j) = raw::get(&given, "j") {
        concern = concern.bool("j", j.is_true());
    }
    if let Some(wait) = raw::get(&given, "wtimeout") {
        let number = wait.number().filter(|n| *n >= 0.0);
        let number = number.ok_or_else(|| bad("invalid 'wtimeout' argument".to_owned()))?;
        concern = millis(concern, number as i64);
    }
    Ok(concern.finish())
}

/// Of a connection string, where it says anything.
pub fn of_uri(given: Option<&WriteConcern>) -> Vec<u8> {
    let mut concern = match given.and_then(|given| given.w.as_ref()) {
        Some(Acknowledgment::Nodes(n)) => number(*n),
        Some(Acknowledgment::Custom(name)) => Build::new().str("w", name),
        _ => Build::new().str("w", "majority"),
    };
    if let Some(j) = given.and_then(|given| given.journal) {
        concern = concern.bool("j", j);
    }
    if let Some(wait) = given.and_then(|given| given.w_timeout) {
        concern = millis(concern, i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
    }
    concern.finish()
}

fn w_of(w: &Field<'_>) -> Result<Build, String> {
    match (w.number(), w.text()) {
        (Some(n), _) if n >= 0.0 && n <= f64::from(i32::MAX) => Ok(number(n as u32)),
        (Some(n), _) => Err(format!("invalid 'w' argument: {n}")),
        (None, Some(text)) => w_of_text(text),
        (None, None) => Err("invalid 'w' argument type".to_owned()),
    }
}

fn w_of_text(text: &str) -> Result<Build, String> {
    match text.parse::<i32>().map(u32::try_from) {
        Ok(Ok(n)) => Ok(number(n)),
        Ok(Err(_)) => Err(format!("invalid 'w' argument: {text}")),
        Err(_) => Ok(Build::new().str("w", if text.is_empty() { "majority" } else { text })),
    }
}

fn number(n: u32) -> Build {
    Build::new().element(kind::INT32, b"w", &n.to_le_bytes())
}

fn millis(concern: Build, n: i64) -> Build {
    concern.element(kind::INT64, b"wtimeout", &n.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(concern: &[u8]) -> String {
        extjson::to_text(concern).unwrap()
    }

    #[test]
    fn they_are_numbers_names_or_documents() {
        let parsed = |given| text(&parse(given).unwrap());
        assert_eq!(parsed("majority"), r#"{"w":"majority"}"#);
        assert_eq!(parsed("2"), r#"{"w":{"$numberInt":"2"}}"#);
        assert_eq!(parsed("{w: 1, j: true}"), r#"{"w":{"$numberInt":"1"},"j":true}"#);
        assert_eq!(parsed("{w: '3', fsync: true, foo: 2}"), r#"{"w":{"$numberInt":"3"}}"#);
        let timed = r#"{"w":"majority","wtimeout":{"$numberLong":"500"}}"#;
        assert_eq!(parsed("{wtimeout: 500}"), timed);
        for bad in ["{", "-1", "{w: -1}", "{w: true}", "{w: 1, wtimeout: 'x'}"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_connection_string_says_it_too() {
        assert_eq!(text(&of_uri(None)), r#"{"w":"majority"}"#);
        let given = WriteConcern::builder()
            .w(Acknowledgment::Nodes(5))
            .w_timeout(Duration::from_millis(500))
            .build();
        let want = r#"{"w":{"$numberInt":"5"},"wtimeout":{"$numberLong":"500"}}"#;
        assert_eq!(text(&of_uri(Some(&given))), want);
    }
}
