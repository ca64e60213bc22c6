#![no_main]
//! Any bytes as a block of a sync slice.
libfuzzer_sys::fuzz_target!(|data: &[u8]| bygone_ingest::fuzzing::fuzz_sync_block(data));
