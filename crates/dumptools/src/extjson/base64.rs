//! Base64 with the standard alphabet and padding.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};

/// Bits that mean nothing may be set, as for the stock tools.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Appends `bytes` as base64.
pub(crate) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let free = out.get_mut(start..).unwrap_or_default();
    // The room is exactly what is needed.
    let written = ENGINE.encode_slice(bytes, free).unwrap_or_default();
    out.truncate(start + written);
}

/// The bytes of a text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    ENGINE.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back() {
        for length in 0..20_u8 {
            let bytes: Vec<u8> = (0..length).map(|n| n.wrapping_mul(91)).collect();
            let mut text = b"x".to_vec();
            encode(&bytes, &mut text);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(decode(&text[1..]), Some(bytes));
        }
        assert_eq!((decode("YWI="), decode("YWI")), (Some(b"ab".to_vec()), None));
        assert_eq!(decode("aa=="), Some(b"i".to_vec()));
        assert_eq!(decode("*"), None);
    }
}
