//! Decimal128 in its binary integer encoding
//! (<https://github.com/mongodb/specifications/blob/master/source/bson-decimal128/decimal128.md>).

use super::number;

/// The largest coefficient, 10^34 - 1; a larger one stands for zero.
const MAX_COEFFICIENT: u128 = 9_999_999_999_999_999_999_999_999_999_999_999;
const BIAS: i16 = 6176;

/// Appends the number's key; the bytes are in little-endian order as in BSON.
pub(super) fn decimal(bytes: [u8; 16], out: &mut Vec<u8>) {
    let bits = u128::from_le_bytes(bytes);
    let negative = bits >> 127 == 1;
    let combination = (bits >> 122) & 0x1F;
    match combination {
        0b11111 => number::special(number::NAN, out),
        0b11110 if negative => number::special(number::NEGATIVE_INFINITY, out),
        0b11110 => number::special(number::INFINITY, out),
        // The form for coefficients of 2^113 and more: all above the maximum.
        0b11000..=0b11101 => number::special(number::ZERO, out),
        _ => {
            let exponent = ((bits >> 113) & 0x3FFF) as i16 - BIAS;
            let coefficient = bits & ((1 << 113) - 1);
            if coefficient > MAX_COEFFICIENT {
                return number::special(number::ZERO, out);
            }
            number::wide(negative, coefficient, exponent, out);
        }
    }
}
