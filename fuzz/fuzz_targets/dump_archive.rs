#![no_main]
//! Any bytes as an archive of mongodump.
libfuzzer_sys::fuzz_target!(|data: &[u8]| bygone_dumptools::fuzzing::fuzz_archive(data));
