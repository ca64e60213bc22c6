#![no_main]
//! Any bytes as a node block.
libfuzzer_sys::fuzz_target!(|data: &[u8]| bygone_tree::fuzzing::fuzz_node(data));
