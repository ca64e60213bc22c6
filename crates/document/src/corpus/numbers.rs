//! Numbers of all four types.

use super::Value;
use crate::tag;

fn int(value: i32) -> Value {
    (tag::INT32, value.to_le_bytes().to_vec())
}

fn long(value: i64) -> Value {
    (tag::INT64, value.to_le_bytes().to_vec())
}

fn double(value: f64) -> Value {
    (tag::DOUBLE, value.to_le_bytes().to_vec())
}

fn double_bits(bits: u64) -> Value {
    (tag::DOUBLE, bits.to_le_bytes().to_vec())
}

/// `coefficient * 10^exponent`
fn dec(coefficient: i128, exponent: i16) -> Value {
    let sign = u128::from(coefficient < 0) << 127;
    let biased = u128::from(exponent.saturating_add(6176).unsigned_abs());
    dec_bits(sign | biased << 113 | coefficient.unsigned_abs())
}

fn dec_bits(bits: u128) -> Value {
    (tag::DECIMAL128, bits.to_le_bytes().to_vec())
}

const NEGATIVE: u128 = 1 << 127;
const INFINITY: u128 = 0b11110 << 122;
const NAN: u128 = 0b11111 << 122;
/// The form of coefficients above the maximum.
const LARGE: u128 = 0b11 << 125;
const BIAS: u128 = 6176 << 113;
const NINES: i128 = 9_999_999_999_999_999_999_999_999_999_999_999;

/// The same whole number in all four types.
fn every(value: i32) -> Vec<Value> {
    let v = i128::from(value);
    let mut all = vec![int(value), long(value.into()), double(value.into()), dec(v, 0)];
    all.extend([dec(v * 10, -1), dec(v * 100, -2)]);
    all
}

pub(super) fn groups() -> Vec<Vec<Value>> {
    let mut groups = vec![
        vec![
            double(f64::NAN),
            double_bits(0x7FF8_0000_DEAD_BEEF),
            double_bits(0xFFF8_0000_0000_0000),
            double_bits(0x7FF0_0000_0000_0001),
            dec_bits(NAN),
            dec_bits(NAN | NEGATIVE),
            dec_bits(NAN | 1 << 121),
            dec_bits(NAN | 12345),
        ],
        vec![double(f64::NEG_INFINITY), dec_bits(INFINITY | NEGATIVE)],
    ];
    groups.extend(negative());
    groups.push(vec![
        int(0),
        long(0),
        double(0.0),
        double(-0.0),
        dec(0, 0),
        dec_bits(NEGATIVE | BIAS),
        dec(0, -6000),
        dec(0, 6111),
        dec_bits(NEGATIVE),
        // Coefficients above 10^34 - 1 stand for zero.
        dec(NINES + 1, 0),
        dec_bits(LARGE | 77),
    ]);
    groups.extend(tiny());
    groups.extend(middle());
    groups.extend(large());
    groups.push(vec![double(f64::INFINITY), dec_bits(INFINITY), dec_bits(INFINITY | 99)]);
    groups
}

fn negative() -> Vec<Vec<Value>> {
    vec![
        vec![dec(-NINES, 6111)],
        vec![double(f64::MIN)],
        vec![long(i64::MIN), double(-9_223_372_036_854_775_808.0), dec(i64::MIN.into(), 0)],
        vec![long(-9_007_199_254_740_993), dec(-9_007_199_254_740_993, 0)],
        vec![long(-9_007_199_254_740_992), double(-9_007_199_254_740_992.0)],
        every(i32::MIN),
        every(-100),
        vec![double(-99.5), dec(-995, -1)],
        every(-99),
        every(-10),
        every(-2),
        vec![double(-1.5), dec(-15, -1), dec(-1500, -3)],
        every(-1),
        vec![double(-0.1)],
        vec![dec(-1, -1)],
        vec![double(-f64::MIN_POSITIVE)],
        vec![double(-5e-324)],
        vec![dec(-NINES, -6176)],
        vec![dec(-1, -6176)],
    ]
}

/// Around the smallest doubles. 2^-1074 = 4.940656458412465441765687928682213723..e-324.
fn tiny() -> Vec<Vec<Value>> {
    vec![
        vec![dec(1, -6176)],
        vec![dec(10, -6176), dec(1, -6175)],
        vec![dec(1, -324)],
        vec![dec(4_940_656_458_412_465_441_765_687_928_682_213, -357)],
        vec![double(5e-324)],
        vec![dec(4_940_656_458_412_465_441_765_687_928_682_214, -357)],
        vec![double_bits(0x000F_FFFF_FFFF_FFFF)],
        vec![double(f64::MIN_POSITIVE)],
        vec![dec(1, -300)],
        vec![double(1e-300)],
    ]
}

fn middle() -> Vec<Vec<Value>> {
    vec![
        vec![dec(1, -1), dec(10, -2)],
        vec![double(0.1)],
        vec![double(0.25), dec(25, -2), dec(2500, -4)],
        vec![double(0.3)],
        vec![dec(3, -1)],
        every(1),
        // 1 + 2^-52 = 1.00000000000000022204460492503130808..
        vec![dec(1_000_000_000_000_000_222_044_604_925_031_308, -33)],
        vec![double(1.000_000_000_000_000_2)],
        vec![dec(1_000_000_000_000_000_222_044_604_925_031_309, -33)],
        vec![double(1.5), dec(15, -1)],
        every(5),
        every(9),
        vec![int(10), dec(1, 1)],
        every(11),
        every(99),
        vec![double(100.0), long(100), dec(1, 2)],
        every(101),
        vec![dec(12_345_678, -4)],
        vec![double(1234.5678)],
        every(i32::MAX),
        vec![long(2_147_483_648), double(2_147_483_648.0)],
    ]
}

fn large() -> Vec<Vec<Value>> {
    vec![
        vec![long(9_007_199_254_740_991), double(9_007_199_254_740_991.0)],
        vec![
            long(9_007_199_254_740_992),
            double(9_007_199_254_740_992.0),
            dec(9_007_199_254_740_992, 0),
        ],
        vec![long(9_007_199_254_740_993), dec(9_007_199_254_740_993, 0)],
        vec![long(9_007_199_254_740_994), double(9_007_199_254_740_994.0)],
        vec![long(1_234_567_890_123_456_789)],
        vec![long(i64::MAX), dec(i64::MAX.into(), 0)],
        vec![double(9_223_372_036_854_775_808.0), dec(9_223_372_036_854_775_808, 0)],
        vec![double(18_446_744_073_709_551_616.0), dec(18_446_744_073_709_551_616, 0)],
        vec![double(1e22), dec(1, 22)],
        vec![double(1e23)],
        vec![dec(1, 23)],
        vec![dec(NINES, 0)],
        vec![dec(1, 34)],
        // f64::MAX = 1.7976931348623157081452742373170435679..e308
        vec![dec(1_797_693_134_862_315_708_145_274_237_317_043, 275)],
        vec![double(f64::MAX)],
        vec![dec(1_797_693_134_862_315_708_145_274_237_317_044, 275)],
        vec![dec(1, 309)],
        vec![dec(1_000_000_000_000_000_000_000_000_000_000_000, 6111)],
        vec![dec(NINES, 6111)],
    ]
}
