#![no_main]
//! Any bytes as a document and an update of it.
libfuzzer_sys::fuzz_target!(|data: &[u8]| bygone_document::fuzzing::fuzz_update(data));
