#![no_main]
//! Any bytes as the body of each ingest route.
libfuzzer_sys::fuzz_target!(|data: &[u8]| bygone_ingest::fuzzing::fuzz_request(data));
