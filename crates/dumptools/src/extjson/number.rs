//! Numbers as text, the way Go's `%G` and `%d` write them.

use std::io::Write as _;

/// Appends a whole number.
pub(super) fn integer(n: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = n.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if n < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends a double with the fewest digits that tell it from all others.
pub(super) fn double(x: f64, out: &mut Vec<u8>) {
    if x.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if x.is_infinite() {
        return out.extend_from_slice(if x < 0.0 { b"-Infinity" } else { b"Infinity" });
    }
    // `-d.ddde-ddd` is at most 24 bytes long.
    let mut text = [0_u8; 40];
    let mut free = &mut text[..];
    let written = write!(free, "{x:e}");
    let used = 40 - free.len();
    let text = text.get(..used).filter(|_| written.is_ok()).unwrap_or(b"0e0");
    let e = text.iter().position(|b| *b == b'e').unwrap_or(text.len());
    let exponent = text.get(e + 1..).and_then(|t| std::str::from_utf8(t).ok()?.parse::<i32>().ok());
    let exponent = exponent.unwrap_or_default();
    let (sign, digits) = match text.get(..e).unwrap_or_default() {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if sign {
        out.push(b'-');
    }
    // Go's %G with the shortest digits takes the exponent form outside of these.
    if (-4..6).contains(&exponent) {
        plain(digits, exponent, out);
    } else {
        out.extend_from_slice(digits);
        out.extend_from_slice(if exponent < 0 { b"E-" } else { b"E+" });
        if exponent.abs() < 10 {
            out.push(b'0');
        }
        integer(i64::from(exponent.abs()), out);
    }
}

/// `d.ddd` times ten to the `exponent`, without an exponent; at least one digit behind the point.
fn plain(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    let digits = digits.iter().copied().filter(|b| *b != b'.');
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', exponent.unsigned_abs() as usize - 1));
        out.extend(digits);
        return;
    }
    let whole = exponent.unsigned_abs() as usize + 1;
    let mut count = 0;
    for digit in digits {
        if count == whole {
            out.push(b'.');
        }
        out.push(digit);
        count += 1;
    }
    if count <= whole {
        out.extend(std::iter::repeat_n(b'0', whole - count));
        out.extend_from_slice(b".0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(x: f64) -> String {
        let mut out = Vec::new();
        double(x, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// What bsondump 100.13 writes.
    #[test]
    fn doubles_look_as_the_stock_tools_write_them() {
        let seen = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (1.5, "1.5"),
            (1e-4, "0.0001"),
            (9.9e-5, "9.9E-05"),
            (2.6e-5, "2.6E-05"),
            (1e20, "1E+20"),
            (1.5e21, "1.5E+21"),
            (123_456_789_012_345_680_000.0, "1.2345678901234568E+20"),
            (5e-324, "5E-324"),
            (f64::MAX, "1.7976931348623157E+308"),
            (100.0, "100.0"),
            (123_456.0, "123456.0"),
            (1e6, "1E+06"),
            (123_456_789.0, "1.23456789E+08"),
            (12_345_678.9, "1.23456789E+07"),
            (-2.5e-7, "-2.5E-07"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ];
        for (x, text) in seen {
            assert_eq!(shown(x), text);
        }
    }

    #[test]
    fn whole_numbers_have_all_their_digits() {
        for n in [0, 7, -1, 10, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            integer(n, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), n.to_string());
        }
    }
}
