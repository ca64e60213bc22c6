use bson::{Bson, doc};

use super::*;
use crate::{MAX_DEPTH, MAX_DOCUMENT, write};

fn raw(doc: &bson::Document) -> Vec<u8> {
    doc.to_vec().unwrap()
}

/// A document around elements given as bytes.
fn around(elements: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = write::begin(&mut out);
    out.extend_from_slice(elements);
    write::end(&mut out, start).unwrap();
    out
}

fn sample() -> Vec<u8> {
    raw(&doc! {
        "i": 7, "l": 8_i64, "d": 2.5, "s": "text", "b": true, "n": Bson::Null,
        "o": {"x": 1}, "a": [1, "two"],
        "t": bson::Timestamp { time: 5, increment: 6 },
        "id": bson::oid::ObjectId::from_bytes([9; 12]),
        "when": bson::DateTime::from_millis(-3),
        "u": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![4; 16] },
        "dec": Bson::Decimal128(bson::Decimal128::from_bytes([1; 16])),
        "re": bson::Regex { pattern: "a".try_into().unwrap(), options: "i".try_into().unwrap() },
        "code": Bson::JavaScriptCode("f".into()),
        "cws": bson::JavaScriptCodeWithScope { code: "g".into(), scope: doc! {"y": 2} },
        "sym": Bson::Symbol("z".into()), "und": Bson::Undefined,
        "min": Bson::MinKey, "max": Bson::MaxKey,
    })
}

#[test]
fn typed_views_see_their_type_only() {
    let bytes = sample();
    let doc = Doc::new(&bytes).unwrap();
    let get = |name: &str| doc.require(name).unwrap();
    assert_eq!(get("i").as_i32(), Some(7));
    assert_eq!(get("i").as_i64(), None);
    assert_eq!(get("i").as_integer(), Some(7));
    assert_eq!(get("l").as_i64(), Some(8));
    assert_eq!(get("l").as_integer(), Some(8));
    assert_eq!(get("d").as_f64(), Some(2.5));
    assert_eq!(get("d").as_integer(), None);
    assert_eq!(get("s").as_str(), Some("text"));
    assert_eq!(get("sym").as_str(), None);
    assert_eq!(get("b").as_bool(), Some(true));
    assert_eq!(get("t").as_timestamp(), Some(bygone_base::Ts::new(5, 6)));
    assert_eq!(get("id").as_object_id(), Some([9; 12]));
    assert_eq!(get("when").as_date(), Some(-3));
    assert_eq!(get("u").as_uuid(), Some([4; 16]));
    assert_eq!(get("u").as_binary(), Some((4, &[4; 16][..])));
    assert_eq!(get("dec").as_decimal128(), Some([1; 16]));
    assert_eq!(get("o").as_doc().unwrap().require("x").unwrap().as_i32(), Some(1));
    assert_eq!(get("a").as_doc(), None);
    assert_eq!(get("a").as_array().unwrap().require("1").unwrap().as_str(), Some("two"));
    let (code, scope) = get("cws").as_code_with_scope().unwrap();
    assert_eq!((code, scope.require("y").unwrap().as_i32()), (&b"g"[..], Some(2)));
}

#[test]
fn elements_put_together_are_the_document() {
    let bytes = sample();
    let doc = Doc::new(&bytes).unwrap();
    let together: Vec<u8> = doc.elements().flat_map(|e| e.unwrap().raw().to_vec()).collect();
    assert_eq!(around(&together), bytes);
    assert_eq!(validate(&bytes), Ok(()));
}

#[test]
fn a_missing_or_wrong_field_is_named() {
    let bytes = sample();
    let doc = Doc::new(&bytes).unwrap();
    assert_eq!(doc.get("nope"), Ok(None));
    assert_eq!(doc.require("nope"), Err(Error::MissingField("nope".into())));
    let error = doc.require("s").unwrap().need(Element::as_i32, "int").unwrap_err();
    assert_eq!(error.to_string(), "field \"s\" is of type string, expected int");
}

#[test]
fn odd_documents_are_accepted() {
    // Duplicate names, an empty one, invalid UTF-8 in name and value, wrong array keys, DBPointer.
    let array = around(b"\x10x\0\x01\0\0\0\x0Ax\0");
    let mut elements = b"\x0Aa\0\x0Aa\0\x0A\0\x0A\xFF\0\x02s\0\x02\0\0\0\xFF\0\x04l\0".to_vec();
    elements.extend_from_slice(&array);
    elements.extend_from_slice(b"\x0Cp\0\x02\0\0\0n\0abcdefghijkl\x08b\0\x02");
    let bytes = around(&elements);
    assert_eq!(validate(&bytes), Ok(()));
    let doc = Doc::new(&bytes).unwrap();
    let names: Vec<_> = doc.elements().map(|e| e.unwrap().name()).collect();
    assert_eq!(names, [&b"a"[..], b"a", b"", b"\xFF", b"s", b"l", b"p", b"b"]);
    assert_eq!(doc.require("s").unwrap().as_str_bytes(), Some(&b"\xFF"[..]));
    assert_eq!(doc.require("s").unwrap().as_str(), None);
    assert_eq!(doc.require("b").unwrap().as_bool(), Some(true));
}

#[test]
fn broken_documents_are_refused() {
    let refused = |elements: &[u8]| {
        let bytes = around(elements);
        let doc = Doc::new(&bytes).unwrap();
        let mut all = doc.elements();
        assert!(all.any(|e| e.is_err()), "{elements:02x?}");
        assert!(all.next().is_none(), "goes on after an error");
        assert!(validate(&bytes).is_err());
    };
    for elements in [
        &b"\x10a"[..],                                   // name without end
        b"\x10a\0\x01\0\0",                              // int cut short
        b"\x14a\0",                                      // unknown type
        b"\x02a\0\0\0\0\0",                              // string of length 0
        b"\x02a\0\x02\0\0\0ab",                          // string without end
        b"\x02a\0\xFF\xFF\xFF\x7Fab\0",                  // huge string
        b"\x02a\0\xFF\xFF\xFF\xFFab\0",                  // negative string
        b"\x03a\0\x04\0\0\0\0",                          // document of length 4
        b"\x03a\0\x06\0\0\0\0\0\0",                      // fine frame, then rubbish
        b"\x03a\0\x05\0\0\0\x01",                        // document without end
        b"\x05a\0\xFF\xFF\xFF\x7F\0",                    // huge binary
        b"\x05a\0\xFF\xFF\xFF\xFF\0",                    // negative binary
        b"\x0Ba\0x\0",                                   // regex without flags
        b"\x0Fa\0\x0F\0\0\0\x02\0\0\0g\0\x05\0\0\0",     // scope cut short
        b"\x0Fa\0\x10\0\0\0\x02\0\0\0g\0\x05\0\0\0\0\0", // whole length wrong
    ] {
        refused(elements);
    }
}

#[test]
fn frames_are_checked() {
    let bytes = raw(&doc! {"a": 1});
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(Doc::new(&longer).is_err());
    assert_eq!(Doc::prefix(&longer).unwrap().1, [0]);
    for len in 0..bytes.len() {
        assert!(Doc::new(&bytes[..len]).is_err());
    }
    let mut open = bytes.clone();
    *open.last_mut().unwrap() = 1;
    assert!(Doc::new(&open).is_err());
    assert!(Doc::new(&[4, 0, 0, 0]).is_err());
    assert!(Doc::EMPTY.is_empty());
}

#[test]
fn a_stream_is_split_and_bounded() {
    let one = raw(&doc! {"a": 1});
    let two = raw(&doc! {"b": [1, 2]});
    let mut stream = [one.clone(), two.clone()].concat();
    let found: Vec<_> = split_stream(&stream).map(|d| d.unwrap().bytes().to_vec()).collect();
    assert_eq!(found, [one.clone(), two]);
    stream.extend_from_slice(&one[..6]);
    let found: Vec<_> = split_stream(&stream).collect();
    assert_eq!(found.len(), 3);
    assert!(found[2].is_err());
    let len = MAX_DOCUMENT + 1;
    let mut big = vec![0; len];
    big[..4].copy_from_slice(&i32::try_from(len).unwrap().to_le_bytes());
    assert_eq!(split_stream(&big).next(), Some(Err(Error::TooLarge { len })));
}

#[test]
fn depth_is_bounded() {
    let nested = |levels: usize| {
        let mut bytes = Doc::EMPTY.bytes().to_vec();
        for _ in 1..levels {
            let mut element = b"\x03a\0".to_vec();
            element.extend_from_slice(&bytes);
            bytes = around(&element);
        }
        bytes
    };
    assert_eq!(validate(&nested(MAX_DEPTH)), Ok(()));
    assert_eq!(validate(&nested(MAX_DEPTH + 1)), Err(Error::TooDeep));
}
