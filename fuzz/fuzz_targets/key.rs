#![no_main]
//! Any bytes as a document whose `_id` becomes a key.
libfuzzer_sys::fuzz_target!(|data: &[u8]| bygone_document::fuzzing::fuzz_key(data));
