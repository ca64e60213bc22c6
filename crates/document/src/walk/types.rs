//! BSON's type bytes (<https://bsonspec.org/spec.html>).

/// 64-bit IEEE 754 double.
pub const DOUBLE: u8 = 0x01;
/// UTF-8 string (servers also store invalid UTF-8).
pub const STRING: u8 = 0x02;
/// Embedded document.
pub const DOCUMENT: u8 = 0x03;
/// Array: a document whose names are `0`, `1` and so on (or should be).
pub const ARRAY: u8 = 0x04;
/// Binary data with a subtype.
pub const BINARY: u8 = 0x05;
/// Undefined (deprecated).
pub const UNDEFINED: u8 = 0x06;
/// ObjectId.
pub const OBJECT_ID: u8 = 0x07;
/// Boolean.
pub const BOOL: u8 = 0x08;
/// Milliseconds since 1970, signed.
pub const DATE: u8 = 0x09;
/// Null.
pub const NULL: u8 = 0x0A;
/// Regular expression.
pub const REGEX: u8 = 0x0B;
/// DBPointer (deprecated).
pub const DB_POINTER: u8 = 0x0C;
/// JavaScript code.
pub const CODE: u8 = 0x0D;
/// Symbol (deprecated).
pub const SYMBOL: u8 = 0x0E;
/// JavaScript code with scope (deprecated).
pub const CODE_WITH_SCOPE: u8 = 0x0F;
/// 32-bit integer.
pub const INT32: u8 = 0x10;
/// Timestamp: seconds and increment.
pub const TIMESTAMP: u8 = 0x11;
/// 64-bit integer.
pub const INT64: u8 = 0x12;
/// 128-bit decimal.
pub const DECIMAL128: u8 = 0x13;
/// Before every other value.
pub const MIN_KEY: u8 = 0xFF;
/// After every other value.
pub const MAX_KEY: u8 = 0x7F;

/// The name of a type, for messages.
pub fn name(tag: u8) -> &'static str {
    match tag {
        DOUBLE => "double",
        STRING => "string",
        DOCUMENT => "document",
        ARRAY => "array",
        BINARY => "binary",
        UNDEFINED => "undefined",
        OBJECT_ID => "ObjectId",
        BOOL => "bool",
        DATE => "date",
        NULL => "null",
        REGEX => "regex",
        DB_POINTER => "DBPointer",
        CODE => "code",
        SYMBOL => "symbol",
        CODE_WITH_SCOPE => "code with scope",
        INT32 => "int",
        TIMESTAMP => "timestamp",
        INT64 => "long",
        DECIMAL128 => "decimal",
        MIN_KEY => "MinKey",
        MAX_KEY => "MaxKey",
        _ => "unknown type",
    }
}
