//! Extended JSON, canonical or relaxed, as raw BSON. Fields stay in their order, doubles among them stay
//! two. The first form of the types that v1 of the format wrote is understood where old dumps hold it:
//! `{"$binary": "..", "$type": ".."}`, `{"$date": 0}`; not `{"$regex": "..", "$options": ".."}`, which is an operator of
//! the query language and stays a document.

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
    let x = text.parse::<f64>().ok().filter(|x| x.is_finite());
    let x = x.ok_or_else(|| bad(&format!("the number {text}")))?;
    out.extend_from_slice(&x.to_le_bytes());
    Ok(tag::DOUBLE)
}

fn find<'j>(fields: &'j [(String, Json)], name: &str) -> Option<&'j Json> {
    fields.iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

/// Names that stand alone in an object and make a value of it.
const ALONE: [&str; 14] = [
    "$date",
    "$dbPointer",
    "$maxKey",
    "$minKey",
    "$numberDecimal",
    "$numberDouble",
    "$numberInt",
    "$numberLong",
    "$oid",
    "$regularExpression",
    "$symbol",
    "$timestamp",
    "$undefined",
    "$uuid",
];

/// A value written as an object that begins with a `$` name; `None` when it is an
/// object after all, such as a query operator.
fn extended(
    name: &str,
    first: &Json,
    fields: &[(String, Json)],
    out: &mut Vec<u8>,
) -> Result<Option<u8>> {
    let known = ALONE.contains(&name);
    if known && fields.len() != 1 {
        return Err(bad(&format!("something beside {name}")));
    }
    let kind = match (name, first) {
        ("$oid", Json::String(text)) => {
            out.extend_from_slice(&object_id(text).ok_or_else(|| bad("$oid needs 24 hex digits"))?);
            tag::OBJECT_ID
        }
        ("$numberInt" | "$numberLong" | "$numberDouble" | "$numberDecimal", Json::String(text)) => {
            number(name, text, out)?
        }
        ("$date", first) => {
            out.extend_from_slice(&date(first)?.to_le_bytes());
            tag::DATE
        }
        ("$binary" | "$uuid", first) => return binary(name, first, fields, out),
        ("$timestamp", Json::Object(parts)) => timestamp(parts, out)?,
        ("$regularExpression", Json::Object(parts)) => regex(parts, out)?,
        ("$code" | "$scope", _) => return code(fields, out),
        ("$symbol", Json::String(text)) => {
            string(text, out)?;
            tag::SYMBOL
        }
        ("$undefined", Json::Bool(true)) => tag::UNDEFINED,
        ("$minKey", Json::Number(one)) if one == "1" => tag::MIN_KEY,
        ("$maxKey", Json::Number(one)) if one == "1" => tag::MAX_KEY,
        ("$dbPointer", Json::Object(parts)) => {
            let name = find(parts, "$ref").and_then(Json::text);
            string(name.ok_or_else(|| bad("$dbPointer without $ref"))?, out)?;
            let id = find(parts, "$id").and_then(Json::object).and_then(|id| find(id, "$oid"));
            let id = id.and_then(Json::text).and_then(object_id);
            out.extend_from_slice(&id.ok_or_else(|| bad("$dbPointer without $id"))?);
            tag::DB_POINTER
        }
        _ if known => return Err(bad(&format!("a wrong value of {name}"))),
        _ => return Ok(None),
    };
    Ok(Some(kind))
}

fn object_id(text: &str) -> Option<Vec<u8>> {
    hex::decode(text).ok().filter(|id| id.len() == 12)
}

fn number(name: &str, text: &str, out: &mut Vec<u8>) -> Result<u8> {
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
            let x = text.parse::<f64>().map_err(|_| wrong())?;
            // Infinity by its name, not by too many digits.
            if x.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
                return Err(wrong());
            }
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
        Json::Object(fields) if fields.len() == 1 => {
            find(fields, "$numberLong").and_then(Json::text).and_then(|t| t.parse().ok())
        }
        Json::Number(text) => text.parse().ok(),
        Json::String(text) if has_time(text) => {
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

/// `2020-01-01T00:00:00` and more: other forms of an instant the stock tools do not take.
fn has_time(text: &str) -> bool {
    let shape = b"0000-00-00T00:00:00";
    let digit = |b: u8| if b.is_ascii_digit() { b'0' } else { b };
    text.len() > shape.len()
        && text.bytes().map(digit).zip(shape).all(|(given, wanted)| given == *wanted)
        && !text.ends_with('z')
}

fn binary(
    name: &str,
    first: &Json,
    fields: &[(String, Json)],
    out: &mut Vec<u8>,
) -> Result<Option<u8>> {
    let (bytes, subtype) = match (name, first) {
        ("$uuid", Json::String(text)) => (uuid(text), Some(4)),
        ("$uuid", _) => (None, None),
        ("$binary", Json::Object(parts)) if fields.len() == 1 && parts.len() == 2 => {
            let text = find(parts, "base64").and_then(Json::text);
            let subtype = find(parts, "subType").and_then(Json::text);
            (text.and_then(base64::decode), subtype.and_then(|s| u8::from_str_radix(s, 16).ok()))
        }
        ("$binary", Json::Object(_)) => (None, None),
        ("$binary", Json::String(text)) if fields.len() == 2 => {
            let subtype = find(fields, "$type").and_then(Json::text);
            (base64::decode(text), subtype.and_then(|s| u8::from_str_radix(s, 16).ok()))
        }
        _ => return Ok(None),
    };
    let (Some(bytes), Some(subtype)) = (bytes, subtype) else {
        return Err(bad(match name {
            "$uuid" => "$uuid needs hex digits with hyphens as RFC 4122 has them",
            _ => "$binary needs base64 and a subType of two hex digits",
        }));
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

fn uuid(text: &str) -> Option<Vec<u8>> {
    let hyphens = |(index, byte): (usize, u8)| (byte == b'-') == matches!(index, 8 | 13 | 18 | 23);
    let formed = text.len() == 36 && text.bytes().enumerate().all(hyphens);
    formed.then(|| hex::decode(text.replace('-', "")).ok()).flatten()
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

fn regex(parts: &[(String, Json)], out: &mut Vec<u8>) -> Result<u8> {
    let text = |name: &str| find(parts, name).and_then(Json::text).map(str::to_owned);
    let (Some(pattern), Some(flags)) = (text("pattern"), text("options")) else {
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
        let text = r#"{"a":{"$gt":{"$numberInt":"1"}},"b":{"$regex":"x"},"c":{"$type":"int"},"d":{"$regex":"x","$options":"i"},"e":{"$options":"","$regex":"x"}}"#;
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
            // Each refused by the stock mongodump in a query.
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":+1}"#,
            r#"{"a":1e400}"#,
            r#"{"a":{"$uuid":"0123456789abcdef0123456789abcdef"}}"#,
            r#"{"a":{"$numberLong":1}}"#,
            r#"{"a":{"$numberDouble":"1e400"}}"#,
            r#"{"a":{"$date":"2020-01-01"}}"#,
            r#"{"a":{"$date":"2020-01-01T00:00Z"}}"#,
            r#"{"a":{"$date":"2020-01-01t00:00:00z"}}"#,
            r#"{"a":{"$date":{"$numberLong":1}}}"#,
            r#"{"a":{"$binary":{"base64":"aa","subType":"0"}}}"#,
            r#"{"a":{"$binary":{"base64":"aGk=","subType":"00","x":1}}}"#,
            r#"{"a":{"$timestamp":{"t":1.0,"i":1}}}"#,
            r#"{"a":{"$minKey":2}}"#,
            r#"{"a":{"$undefined":false}}"#,
            r#"{"a":{"$oid":"0123456789abcdef01234567","x":1}}"#,
            r#"{"a":"\'"}"#,
        ] {
            assert!(parse(text, Strictness::Strict).is_err(), "{text}");
        }
        assert!(parse(&"{\"a\":".repeat(5000), Strictness::Strict).is_err());
    }

    /// Each taken by the stock mongodump in a query.
    #[test]
    fn odd_values_are_taken() {
        for text in [
            r#"{"a":-0}"#,
            r#"{"a":1E+5}"#,
            r#"{"a":9223372036854775808}"#,
            r#"{"a":{"$numberDouble":"inf"}}"#,
            r#"{"a":{"$numberLong":"01"}}"#,
            r#"{"a":{"$date":"2020-01-01T00:00:00+0100"}}"#,
            r#"{"a":{"$date":"2020-01-01T00:00:00.123456789+01:00"}}"#,
            r#"{"a":{"$date":0}}"#,
            r#"{"a":{"$binary":"aa==","$type":"00"}}"#,
            r#"{"a":{"x":1,"$oid":"0123456789abcdef01234567"}}"#,
            "{\"a\":\"\t\"}",
        ] {
            parse(text, Strictness::Strict).unwrap();
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[\\[\\]{}:,\"\\\\$a-z0-9.]{0,60}") {
            let _ = parse(&text, Strictness::Relaxed);
        }
    }
}
