//! Numbers of all four types as one exact, order-preserving text of decimal digits.
//!
//! Every finite value is a finite decimal fraction: ints and decimals are by
//! nature, and a double `m * 2^-k` is `m * 5^k / 10^k`. So a value has exactly
//! one form `±d.ddd * 10^e` with a first digit that is not 0 and no trailing 0,
//! and two values are equal when their forms are.
//!
//! ```text
//! order:u16 =  0000 NaN   0001 -infinity   8000 zero   FFFF infinity
//!              A000 + e  for positive values        6000 - e  for negative ones
//! digits    =  two to a byte from the first one on: 2 * pair + (1 if more follow);
//!              an odd last digit counts as d0; all bits turned for negative values
//! ```
//!
//! `e` lies between -6176 (decimals) and 6144, so the ranges do not meet. A
//! number that ends sorts before one that goes on, because its last byte is
//! even. Zero has no digits. A decimal takes at most 19 bytes, a long 12; the
//! longest is a double near 1e-308 with 767 digits.

/// Largest number of decimal digits of a finite double, with some room.
const MAX_DIGITS: usize = LIMBS * LIMB_DIGITS;
const LIMBS: usize = 46;
const LIMB_DIGITS: usize = 18;
const LIMB: u128 = 1_000_000_000_000_000_000;

/// 5^25 and 2^59: the largest powers by which a limb can be multiplied at once.
const FIVES: (u32, u128) = (25, 298_023_223_876_953_125);
const TWOS: (u32, u128) = (59, 1 << 59);

pub(super) const NAN: u16 = 0x0000;
pub(super) const NEGATIVE_INFINITY: u16 = 0x0001;
pub(super) const ZERO: u16 = 0x8000;
pub(super) const INFINITY: u16 = 0xFFFF;
const POSITIVE: u16 = 0xA000;
const NEGATIVE: u16 = 0x6000;

pub(super) fn special(order: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&order.to_be_bytes());
}

pub(super) fn int(value: i64, out: &mut Vec<u8>) {
    whole(value < 0, value.unsigned_abs(), 0, out);
}

/// `±value * 10^scale`; `scale` within what a decimal can have.
pub(super) fn whole(negative: bool, value: u64, scale: i16, out: &mut Vec<u8>) {
    if value == 0 {
        return special(ZERO, out);
    }
    let mut digits = [0; 20];
    let start = digits_of(u128::from(value), &mut digits);
    finite(negative, scale, digits.get(start..).unwrap_or_default(), out);
}

/// As [`whole`] for values beyond 64 bits.
pub(super) fn wide(negative: bool, value: u128, scale: i16, out: &mut Vec<u8>) {
    if value == 0 {
        return special(ZERO, out);
    }
    let mut digits = [0; 39];
    let start = digits_of(value, &mut digits);
    finite(negative, scale, digits.get(start..).unwrap_or_default(), out);
}

/// Writes the digits (0 to 9) of `value` to the end of `digits`; returns where
/// they start.
fn digits_of(value: u128, digits: &mut [u8]) -> usize {
    let mut start = digits.len();
    let mut high = value;
    while let Some(mut low) = next_limb(&mut high) {
        let inner = high > 0;
        for _ in 0..LIMB_DIGITS / 2 {
            if !inner && low < 10 {
                break;
            }
            start = start.saturating_sub(2);
            if let Some([tens, ones, ..]) = digits.get_mut(start..) {
                let pair = (low % 100) as u8;
                (*tens, *ones) = (pair / 10, pair % 10);
            }
            low /= 100;
        }
        if low > 0 {
            start = start.saturating_sub(1);
            if let Some(digit) = digits.get_mut(start) {
                *digit = low as u8;
            }
        }
    }
    start
}

/// Takes the lowest 18 digits off a non-zero value.
fn next_limb(value: &mut u128) -> Option<u64> {
    if *value == 0 {
        return None;
    }
    if let Ok(small) = u64::try_from(*value)
        && u128::from(small) < LIMB
    {
        *value = 0;
        return Some(small);
    }
    let low = *value % LIMB;
    *value /= LIMB;
    u64::try_from(low).ok()
}

/// `digits` (0 to 9, the first not 0) times `10^scale`.
fn finite(negative: bool, scale: i16, digits: &[u8], out: &mut Vec<u8>) {
    let exponent = i32::from(scale) + digits.len() as i32 - 1;
    let order =
        if negative { i32::from(NEGATIVE) - exponent } else { i32::from(POSITIVE) + exponent };
    out.extend_from_slice(&(order as u16).to_be_bytes());
    let used = digits.iter().rposition(|d| *d != 0).map_or(0, |last| last + 1);
    let turn = if negative { 0xFF } else { 0 };
    let mut pairs = digits.get(..used).unwrap_or_default().chunks(2).peekable();
    while let Some(pair) = pairs.next() {
        let value = match pair {
            [tens, ones] => tens * 10 + ones,
            [tens] => tens * 10,
            _ => 0,
        };
        let more = u8::from(pairs.peek().is_some());
        out.push((value * 2 + more) ^ turn);
    }
}

pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    const MANTISSA: u64 = (1 << 52) - 1;
    if value.is_nan() {
        return special(NAN, out);
    }
    let negative = value.is_sign_negative();
    if value.is_infinite() {
        return special(if negative { NEGATIVE_INFINITY } else { INFINITY }, out);
    }
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7FF) as i32;
    let (mantissa, exponent) = match exponent {
        0 => (bits & MANTISSA, -1074),
        _ => ((bits & MANTISSA) | (1 << 52), exponent - 1075),
    };
    if mantissa == 0 {
        return special(ZERO, out);
    }
    let zeros = mantissa.trailing_zeros();
    binary(negative, mantissa >> zeros, exponent + zeros as i32, out);
}

/// `±mantissa * 2^exponent`, the mantissa odd and below 2^53.
fn binary(negative: bool, mantissa: u64, exponent: i32, out: &mut Vec<u8>) {
    match exponent {
        0..=11 => whole(negative, mantissa << exponent, 0, out),
        // 2^53 * 5^32 is below 2^128.
        -32..=-1 => {
            let fives = 5_u128.pow(exponent.unsigned_abs());
            wide(negative, u128::from(mantissa) * fives, exponent as i16, out);
        }
        12.. => big(negative, mantissa, exponent.unsigned_abs(), TWOS, 2, 0, out),
        _ => {
            let fives = exponent.unsigned_abs();
            big(negative, mantissa, fives, FIVES, 5, exponent as i16, out);
        }
    }
}

/// `±mantissa * base^power * 10^scale` in limbs of 18 decimal digits.
fn big(
    negative: bool,
    mantissa: u64,
    power: u32,
    (step, factor): (u32, u128),
    base: u128,
    scale: i16,
    out: &mut Vec<u8>,
) {
    let mut limbs = [0_u64; LIMBS];
    if let Some(first) = limbs.first_mut() {
        *first = mantissa;
    }
    let mut used = 1;
    for _ in 0..power / step {
        used = multiply(&mut limbs, used, factor);
    }
    used = multiply(&mut limbs, used, base.pow(power % step));
    let mut digits = [0; MAX_DIGITS];
    for (limb, place) in limbs.iter().take(used).zip(digits.rchunks_exact_mut(LIMB_DIGITS)) {
        let mut rest = *limb;
        for digit in place.iter_mut().rev() {
            *digit = (rest % 10) as u8;
            rest /= 10;
        }
    }
    let start = digits.iter().position(|d| *d != 0).unwrap_or(MAX_DIGITS);
    finite(negative, scale, digits.get(start..).unwrap_or_default(), out);
}

/// Multiplies the lowest `used` limbs; returns how many are used then.
fn multiply(limbs: &mut [u64; LIMBS], used: usize, factor: u128) -> usize {
    let mut carry = 0_u128;
    for limb in limbs.iter_mut().take(used) {
        let product = u128::from(*limb) * factor + carry;
        *limb = (product % LIMB) as u64;
        carry = product / LIMB;
    }
    match limbs.get_mut(used) {
        Some(next) if carry > 0 => {
            *next = carry as u64;
            used + 1
        }
        _ => used,
    }
}
