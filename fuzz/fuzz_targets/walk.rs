#![no_main]
//! Any bytes as a BSON document.
libfuzzer_sys::fuzz_target!(|data: &[u8]| bygone_document::fuzzing::fuzz_walk(data));
