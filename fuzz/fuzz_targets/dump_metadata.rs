#![no_main]
//! Any bytes as the text of a metadata file, and as a query.
libfuzzer_sys::fuzz_target!(|data: &[u8]| bygone_dumptools::fuzzing::fuzz_metadata(data));
