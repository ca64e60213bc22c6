//! Bodies of fuzz targets: each takes any bytes and must return.

use bytes::Bytes;

use crate::http::{Call, Request};

/// The body of a request; the first byte chooses the call.
pub fn fuzz_request(bytes: &[u8]) {
    let Some((first, body)) = bytes.split_first() else { return };
    let at = usize::from(*first) % Call::ALL.len();
    if let Some((_, call)) = Call::ALL.get(at) {
        let _ = Request::decode(*call, &Bytes::copy_from_slice(body));
    }
}

/// The checks of a sync slice's blocks: the body of a request, as an agent sends it.
pub fn fuzz_sync_block(bytes: &[u8]) {
    crate::sync::fuzz_block(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        #[test]
        fn any_request_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
            fuzz_request(&bytes);
            fuzz_sync_block(&bytes);
        }
    }
}
