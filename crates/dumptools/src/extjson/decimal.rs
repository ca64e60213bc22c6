//! Decimal128 (IEEE 754-2008, binary integer coefficient) as text and back, by the rules of the BSON
//! specification (<https://github.com/mongodb/specifications/blob/master/source/bson-decimal128/decimal128.md>).

const BIAS: i32 = 6176;
const MAX_EXPONENT: i32 = 6111;
/// The largest coefficient, 34 nines.
const MAX: u128 = 9_999_999_999_999_999_999_999_999_999_999_999;
const SIGN: u128 = 1 << 127;
const NAN: u128 = 0x7c << 120;
const INFINITY: u128 = 0x78 << 120;

/// Appends the value of 16 little-endian bytes.
pub(super) fn format(bytes: [u8; 16], out: &mut Vec<u8>) {
    let bits = u128::from_le_bytes(bytes);
    let top = (bits >> 122) & 31;
    if top == 31 {
        return out.extend_from_slice(b"NaN");
    }
    if bits & SIGN != 0 {
        out.push(b'-');
    }
    if top == 30 {
        return out.extend_from_slice(b"Infinity");
    }
    let (exponent, coefficient) = if (bits >> 125) & 3 == 3 {
        // The other layout holds only coefficients above the largest: zero.
        ((bits >> 111) & 0x3fff, 0)
    } else {
        ((bits >> 113) & 0x3fff, bits & ((1 << 113) - 1))
    };
    let exponent = exponent as i32 - BIAS;
    let digits = coefficient.to_string();
    let digits = digits.as_bytes();
    let count = digits.len() as i32;
    let adjusted = exponent + count - 1;
    if exponent > 0 || adjusted < -6 {
        let (first, rest) = digits.split_at(1);
        out.extend_from_slice(first);
        if !rest.is_empty() {
            out.push(b'.');
            out.extend_from_slice(rest);
        }
        out.push(b'E');
        if adjusted >= 0 {
            out.push(b'+');
        }
        return super::number::integer(i64::from(adjusted), out);
    }
    let point = count + exponent;
    if exponent == 0 {
        out.extend_from_slice(digits);
    } else if point > 0 {
        let (whole, rest) = digits.split_at(point as usize);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(rest);
    } else {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
        out.extend_from_slice(digits);
    }
}

/// The 16 little-endian bytes of a text; `None` when it is no decimal that fits exactly.
pub(super) fn parse(text: &str) -> Option<[u8; 16]> {
    let (sign, rest) = match text.as_bytes().first()? {
        b'-' => (SIGN, text.get(1..)?),
        b'+' => (0, text.get(1..)?),
        _ => (0, text),
    };
    let special = match rest.to_ascii_lowercase().as_str() {
        "nan" => Some(NAN),
        "inf" | "infinity" => Some(INFINITY | sign),
        _ => None,
    };
    if let Some(bits) = special {
        return Some(bits.to_le_bytes());
    }
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && part.is_empty() {
        return None;
    }
    let mut exponent = exponent.checked_sub(i32::try_from(part.len()).ok()?)?;
    let mut coefficient: u128 = 0;
    for digit in whole.bytes().chain(part.bytes()) {
        let digit = digit.is_ascii_digit().then(|| u128::from(digit - b'0'))?;
        coefficient = coefficient.checked_mul(10)?.checked_add(digit)?;
    }
    while coefficient > MAX || exponent < -BIAS {
        if !coefficient.is_multiple_of(10) {
            return None;
        }
        if coefficient == 0 {
            exponent = -BIAS;
            break;
        }
        coefficient /= 10;
        exponent += 1;
    }
    if coefficient == 0 {
        exponent = exponent.min(MAX_EXPONENT);
    }
    while exponent > MAX_EXPONENT {
        coefficient = coefficient.checked_mul(10).filter(|c| *c <= MAX)?;
        exponent -= 1;
    }
    let biased = u128::try_from(exponent + BIAS).ok()?;
    Some((sign | biased << 113 | coefficient).to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back() {
        for text in [
            "0",
            "-0",
            "1",
            "1.5",
            "Infinity",
            "-Infinity",
            "NaN",
            "1E+6111",
            "1E-6176",
            "1.2E+10",
            "1.2E-10",
            "9999999999999999999999999999999999",
            "1E-7",
            "0.000001",
            "0.00000123",
            "0.00",
            "123.456",
            "0E+3",
            "0E-10",
        ] {
            let mut out = Vec::new();
            format(parse(text).unwrap(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in ["", ".", "x", "1e", "12345678901234567890123456789012345", "1E+6145", "--1"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
