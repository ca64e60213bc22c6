#![no_main]
//! Any bytes as an oplog slice.
use bygone_oplog::slice::Slice;
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(slice) = Slice::parse(bytes::Bytes::copy_from_slice(data)) {
        let _ = slice.decode();
    }
});
