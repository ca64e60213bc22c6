#![no_main]
//! Any bytes as a file of documents, shown as Extended JSON.
libfuzzer_sys::fuzz_target!(|data: &[u8]| bygone_dumptools::fuzzing::fuzz_frames(data));
