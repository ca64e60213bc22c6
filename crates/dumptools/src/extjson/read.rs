//! Extended JSON, canonical or relaxed, as raw BSON. Fields stay in their order, doubles among them stay
//! two. The first form of the types that v1 of the format wrote is understood where old dumps hold it:
//! `{"$binary": "..", "$type": ".."}`, `{"$regex": "..", "$options": ".."}`, `{"$date": 0}`.

use bygone_base::{Error, Result};
use bygone_document::walk::types as tag;

use super::{base64, decimal, json, json::Json};

/// How JSON must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strictness {
    /// As the standard says.
    Strict,
    /// Names may stand without quotes, strings in single ones.
    Relaxed,
}

/// The document that `text` stands for.
///
/// # Errors
/// Usage: the text is no JSON object, or one of its `$` forms is malformed; the message says where.
pub fn parse(text: &str, strictness: Strictness) -> Result<Vec<u8>> {
    document(&json::parse(text, strictness == Strictness::Relaxed)?)
}

/// The document that `text` begins with; what stands behind it is passed over.
///
/// # Errors
/// As [`parse`] with [`Strictness::Strict`].
pub fn parse_first(text: &str) -> Result<Vec<u8>> {
    document(&json::parse_first(text)?)
}

fn document(json: &Json) -> Result<Vec<u8>> {
    let Json::Object(fields) = json else {
        return Err(Error::usage("the JSON text is not an object"));
    };
    let mut out = Vec::new();
    object(fields, &mut out)?;
    Ok(out)
}

fn bad(what: &str) -> Error {
    Error::usage(format!("invalid Extended JSON: {what}"))
}

/// Writes a document's length when it is complete.
fn close(out: &mut Vec<u8>, start: usize) -> Result<()> {
    out.push(0);
    let length = i32::try_from(out.len() - start).map_err(|_| bad("larger than 2 GiB"))?;
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_le_bytes());
    }
    Ok(())
}

fn object(fields: &[(String, Json)], out: &mut Vec<u8>) -> Result<()> {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    for (name, value) in fields {
        element(name, value, out)?;
    }
    close(out, start)
}

fn element(name: &str, value: &Json, out: &mut Vec<u8>) -> Result<()> {
    if name.contains('\0') {
        return Err(bad("a zero character in a name"));
    }
    let kind_at = out.len();
    out.push(0);
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    let kind = value_into(value, out)?;
    if let Some(byte) = out.get_mut(kind_at) {
        *byte = kind;
    }
    Ok(())
}

/// Appends the bytes of a value; gives its type.
fn value_into(value: &Json, out: &mut Vec<u8>) -> Result<u8> {
    match value {
        Json::Null => Ok(tag::NULL),
        Json::Bool(yes) => {
            out.push(u8::from(*yes));
            Ok(tag::BOOL)
        }
        Json::Number(text) => plain_number(text, out),
        Json::String(text) => {
            string(text, out)?;
            Ok(tag::STRING)
        }
        Json::Array(values) => {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            for (index, value) in values.iter().enumerate() {
                element(&index.to_string(), value, out)?;
            }
            close(out, start)?;
            Ok(tag::ARRAY)
        }
        Json::Object(fields) => {
            if let Some((name, first)) = fields.first()
                && name.starts_with('$')
                && let Some(kind) = extended(name, first, fields, out)?
            {
                return Ok(kind);
            }
            object(fields, out)?;
            Ok(tag::DOCUMENT)
        }
    }
}

fn string(text: &str, out: &mut Vec<u8>) -> Result<()> {
    let length = i32::try_from(text.len() + 1).map_err(|_| bad("a string of 2 GiB"))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    Ok(())
}

fn plain_number(text: &str, out: &mut Vec<u8>) -> Result<u8> {
    if let Ok(n) = text.parse::<i32>() {
        out.extend_from_slice(&n.to_le_bytes());
        return Ok(tag::INT32);
    }
    if let Ok(n) = text.parse::<i64>() {
        out.extend_from_slice(&n.to_le_bytes());
        return Ok(tag::INT64);
    }
    let x = text.parse::<f64>().map_err(|_| bad("a number"))?;
    out.extend_from_slice(&x.to_le_bytes());
    Ok(tag::DOUBLE)
}

fn find<'j>(fields: &'j [(String, Json)], name: &str) -> Option<&'j Json> {
    fields.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

/// A value written as an object that begins with a `$` name; `None` when it is an
/// object after all, such as a query operator.
fn extended(
    name: &str,
    first: &Json,
    fields: &[(String, Json)],
    out: &mut Vec<u8>,
) -> Result<Option<u8>> {
    let alone = fields.len() == 1;
    let kind = match (name, first) {
        ("$oid", Json::String(text)) if alone => {
            let id = hex::decode(text).ok().filter(|id| id.len() == 12);
            out.extend_from_slice(&id.ok_or_else(|| bad("$oid needs 24 hex digits"))?);
            tag::OBJECT_ID
        }
        ("$numberInt" | "$numberLong" | "$numberDouble" | "$numberDecimal", first) if alone => {
            number(name, first, out)?
        }
        ("$date", first) if alone => {
            out.extend_from_slice(&date(first)?.to_le_bytes());
            tag::DATE
        }
        ("$binary" | "$uuid", first) => return binary(name, first, fields, out),
        ("$timestamp", Json::Object(parts)) if alone => timestamp(parts, out)?,
        ("$regularExpression", Json::Object(parts)) if alone => {
            regex(find(parts, "pattern"), find(parts, "options"), out)?
        }
        ("$regex" | "$options", Json::String(_)) if fields.len() == 2 => {
            let (pattern, flags) = (find(fields, "$regex"), find(fields, "$options"));
            if pattern.is_none() || flags.is_none() {
                return Ok(None);
            }
            regex(pattern, flags, out)?
        }
        ("$code" | "$scope", _) => return code(fields, out),
        ("$symbol", Json::String(text)) if alone => {
            string(text, out)?;
            tag::SYMBOL
        }
        ("$undefined", Json::Bool(true)) if alone => tag::UNDEFINED,
        ("$minKey", _) if alone => tag::MIN_KEY,
        ("$maxKey", _) if alone => tag::MAX_KEY,
        ("$dbPointer", Json::Object(parts)) if alone => {
            let name = find(parts, "$ref").and_then(Json::text);
            string(name.ok_or_else(|| bad("$dbPointer without $ref"))?, out)?;
            let id = find(parts, "$id").and_then(Json::object).and_then(|id| find(id, "$oid"));
            let id = id.and_then(Json::text).and_then(|id| hex::decode(id).ok());
            let id = id.filter(|id| id.len() == 12);
            out.extend_from_slice(&id.ok_or_else(|| bad("$dbPointer without $id"))?);
            tag::DB_POINTER
        }
        _ => return Ok(None),
    };
    Ok(Some(kind))
}

fn number(name: &str, value: &Json, out: &mut Vec<u8>) -> Result<u8> {
    let text = match value {
        Json::String(text) | Json::Number(text) => text,
        _ => return Err(bad(&format!("{name} needs a string"))),
    };
    let wrong = || bad(&format!("{name} cannot be {text:?}"));
    match name {
        "$numberInt" => {
            out.extend_from_slice(&text.parse::<i32>().map_err(|_| wrong())?.to_le_bytes());
            Ok(tag::INT32)
        }
        "$numberLong" => {
            out.extend_from_slice(&text.parse::<i64>().map_err(|_| wrong())?.to_le_bytes());
            Ok(tag::INT64)
        }
        "$numberDouble" => {
            let x = match text.as_str() {
                "Infinity" => f64::INFINITY,
                "-Infinity" => f64::NEG_INFINITY,
                text => text.parse::<f64>().map_err(|_| wrong())?,
            };
            out.extend_from_slice(&x.to_le_bytes());
            Ok(tag::DOUBLE)
        }
        _ => {
            out.extend_from_slice(&decimal::parse(text).ok_or_else(wrong)?);
            Ok(tag::DECIMAL128)
        }
    }
}

/// Milliseconds since 1970.
fn date(value: &Json) -> Result<i64> {
    let millis = match value {
        Json::Object(fields) => {
            find(fields, "$numberLong").and_then(Json::text).and_then(|t| t.parse().ok())
        }
        Json::Number(text) => text.parse().ok(),
        Json::String(text) => {
            let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
                // Go's parser also takes offsets without a colon: +0100.
                jiff::fmt::strtime::parse("%Y-%m-%dT%H:%M:%S%.f%z", text).ok()?.to_timestamp().ok()
            });
            instant.map(jiff::Timestamp::as_millisecond)
        }
        _ => None,
    };
    millis.ok_or_else(|| bad("$date needs milliseconds or an RFC 3339 instant"))
}

fn binary(
    name: &str,
    first: &Json,
    fields: &[(String, Json)],
    out: &mut Vec<u8>,
) -> Result<Option<u8>> {
    let (bytes, subtype) = match (name, first) {
        ("$uuid", Json::String(text)) if fields.len() == 1 => {
            (hex::decode(text.replace('-', "")).ok().filter(|b| b.len() == 16), Some(4))
        }
        ("$binary", Json::Object(parts)) if fields.len() == 1 => {
            let text = find(parts, "base64").and_then(Json::text);
            let subtype = find(parts, "subType").and_then(Json::text);
            (text.and_then(base64::decode), subtype.and_then(|s| u8::from_str_radix(s, 16).ok()))
        }
        ("$binary", Json::String(text)) if fields.len() == 2 => {
            let subtype = find(fields, "$type").and_then(Json::text);
            (base64::decode(text), subtype.and_then(|s| u8::from_str_radix(s, 16).ok()))
        }
        _ => return Ok(None),
    };
    let (Some(bytes), Some(subtype)) = (bytes, subtype) else {
        return Err(bad("$binary needs base64 and a subType of two hex digits"));
    };
    let length = |n: usize| i32::try_from(n).map_err(|_| bad("2 GiB of binary data"));
    if subtype == 2 {
        out.extend_from_slice(&length(bytes.len() + 4)?.to_le_bytes());
        out.push(subtype);
    }
    out.extend_from_slice(&length(bytes.len())?.to_le_bytes());
    if subtype != 2 {
        out.push(subtype);
    }
    out.extend_from_slice(&bytes);
    Ok(Some(tag::BINARY))
}

fn timestamp(parts: &[(String, Json)], out: &mut Vec<u8>) -> Result<u8> {
    let part = |name: &str| match find(parts, name) {
        Some(Json::Number(text)) => text.parse::<u32>().ok(),
        _ => None,
    };
    let (Some(t), Some(i)) = (part("t"), part("i")) else {
        return Err(bad("$timestamp needs the numbers t and i"));
    };
    out.extend_from_slice(&i.to_le_bytes());
    out.extend_from_slice(&t.to_le_bytes());
    Ok(tag::TIMESTAMP)
}

fn regex(pattern: Option<&Json>, flags: Option<&Json>, out: &mut Vec<u8>) -> Result<u8> {
    let text = |json: Option<&Json>| json.and_then(Json::text).map(str::to_owned);
    let (Some(pattern), Some(flags)) = (text(pattern), text(flags)) else {
        return Err(bad("a regular expression needs a pattern and options"));
    };
    if pattern.contains('\0') || flags.contains('\0') {
        return Err(bad("a zero character in a regular expression"));
    }
    let mut flags = flags.into_bytes();
    flags.sort_unstable();
    out.extend_from_slice(pattern.as_bytes());
    out.push(0);
    out.extend_from_slice(&flags);
    out.push(0);
    Ok(tag::REGEX)
}

fn code(fields: &[(String, Json)], out: &mut Vec<u8>) -> Result<Option<u8>> {
    let Some(text) = find(fields, "$code").and_then(Json::text) else { return Ok(None) };
    match (fields.len(), find(fields, "$scope")) {
        (1, _) => {
            string(text, out)?;
            Ok(Some(tag::CODE))
        }
        (2, Some(Json::Object(scope))) => {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            string(text, out)?;
            object(scope, out)?;
            let length = i32::try_from(out.len() - start).map_err(|_| bad("2 GiB of code"))?;
            if let Some(field) = out.get_mut(start..start + 4) {
                field.copy_from_slice(&length.to_le_bytes());
            }
            Ok(Some(tag::CODE_WITH_SCOPE))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use bygone_document::corpus;
    use proptest::prelude::*;

    use super::*;
    use crate::extjson::to_text;

    /// What JSON cannot say: bytes that are no text, numbers with hidden bits, wrong array keys.
    fn is_told_whole(doc: &[u8]) -> bool {
        let again = to_text(doc).ok().and_then(|text| parse(&text, Strictness::Strict).ok());
        again.is_some_and(|again| again == doc)
    }

    #[test]
    fn most_of_the_corpus_comes_back() {
        let ids = corpus::ids();
        let whole = ids.iter().filter(|doc| is_told_whole(doc)).count();
        // Seen: NaNs with a payload, invalid UTF-8, array keys that count wrong, -0 of decimals, ..
        assert!(whole * 10 > ids.len() * 8, "{whole} of {}", ids.len());
        for doc in &ids {
            // What JSON cannot say is lost once, and then nothing more.
            let again = parse(&to_text(doc).unwrap(), Strictness::Strict).unwrap();
            assert!(is_told_whole(&again), "{}", to_text(doc).unwrap());
        }
    }

    #[test]
    fn operators_stay_objects() {
        let text = r#"{"a":{"$gt":{"$numberInt":"1"}},"b":{"$regex":"x"},"c":{"$type":"int"}}"#;
        let doc = parse(text, Strictness::Strict).unwrap();
        assert_eq!(to_text(&doc).unwrap(), text);
    }

    #[test]
    fn what_people_write_is_read() {
        let doc = parse("{mode: 'nearest', tagSets: [{a: \"b\"}], n: 1.5}", Strictness::Relaxed);
        assert_eq!(
            to_text(&doc.unwrap()).unwrap(),
            r#"{"mode":"nearest","tagSets":[{"a":"b"}],"n":{"$numberDouble":"1.5"}}"#
        );
        assert!(parse("{mode: 1}", Strictness::Strict).is_err());
        let day = parse(r#"{"d":{"$date":"1970-01-01T00:00:01.5Z"}}"#, Strictness::Strict).unwrap();
        assert_eq!(to_text(&day).unwrap(), r#"{"d":{"$date":{"$numberLong":"1500"}}}"#);
    }

    #[test]
    fn malformed_values_are_refused() {
        for text in [
            r#"{"a":{"$oid":"12"}}"#,
            r#"{"a":{"$numberInt":"2147483648"}}"#,
            r#"{"a":{"$timestamp":{"t":1}}}"#,
            r#"{"a":1"#,
            r#"[1]"#,
            r#"{"a":1}x"#,
            r#"{"a":01x}"#,
        ] {
            assert!(parse(text, Strictness::Strict).is_err(), "{text}");
        }
        assert!(parse(&"{\"a\":".repeat(5000), Strictness::Strict).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}:,\"\\\\$a-z0-9.]{0,60}") {
            let _ = parse(&text, Strictness::Relaxed);
        }
    }
}
