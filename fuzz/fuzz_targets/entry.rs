#![no_main]
//! Any bytes as an oplog entry, decoded to what it does.
use bygone_oplog::{assemble::Assembler, filter::Filter};
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut assembler = Assembler::new(Default::default(), Filter::all());
    let _ = assembler.push(data, |_| Ok(()));
});
