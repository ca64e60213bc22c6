use bygone_base::ErrorKind;
use proptest::prelude::*;

use super::*;
use crate::testing::{at, insert};

fn build(prev: u64, stamps: &[u64]) -> Bytes {
    let mut builder = SliceBuilder::new(at(prev));
    for ts in stamps {
        builder.push(&insert(*ts, *ts as i32), at(*ts)).unwrap();
    }
    builder.finish(3).unwrap()
}

fn decode(bytes: Bytes) -> Result<DecodedSlice> {
    Slice::parse(bytes)?.decode()
}

fn stamps(slice: &DecodedSlice) -> Vec<u64> {
    slice.entries().map(|(at, _)| at.ts.0).collect()
}

#[test]
fn every_flip_and_every_cut_is_detected() {
    let good = build(4, &[5, 6, 9]);
    assert!(decode(good.clone()).is_ok());
    for i in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.to_vec();
            bad[i] ^= 1 << bit;
            assert!(decode(bad.into()).is_err(), "byte {i} bit {bit}");
        }
        assert!(decode(good.slice(..i)).is_err(), "cut at {i}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    assert!(decode(longer.into()).is_err());
}

#[test]
fn what_cannot_be_a_slice_is_refused_when_built() {
    let mut builder = SliceBuilder::new(at(4));
    assert_eq!(builder.push(&insert(4, 1), at(4)).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(builder.push(b"abc", at(5)).unwrap_err().kind(), ErrorKind::Damaged);
    assert_eq!(builder.finish(3).unwrap_err().kind(), ErrorKind::Usage);
}

/// A slice whose header says whatever it likes, with a hash that fits.
fn forge(change: impl Fn(&mut Vec<u8>)) -> Bytes {
    let mut bytes = build(4, &[5, 6, 9]).to_vec();
    change(&mut bytes);
    let fresh = hash(&bytes[..64], &bytes[80..]);
    bytes[64..80].copy_from_slice(&fresh);
    bytes.into()
}

#[test]
fn a_header_that_its_entries_belie_is_refused() {
    let put = |at: usize, value: u64| {
        move |b: &mut Vec<u8>| b[at..at + 8].copy_from_slice(&value.to_le_bytes())
    };
    assert!(decode(forge(|_| ())).is_ok());
    let forged = [
        forge(put(8, 5)),               // prev not before first
        forge(put(24, 6)),              // first
        forge(put(32, 10)),             // last
        forge(put(40, 2)),              // last term
        forge(put(52, 1 << 40)),        // raw length
        forge(put(52, 60)),             // raw length
        forge(|b| b[48] = 2),           // entries
        forge(|b| b[48..52].fill(255)), // entries
        forge(|b| b[5] = 2),            // flags
        forge(|b| b[60] = 1),           // reserved
        forge(|b| b.truncate(80)),      // payload
    ];
    for (i, bytes) in forged.into_iter().enumerate() {
        assert_eq!(decode(bytes).unwrap_err().kind(), ErrorKind::Damaged, "forgery {i}");
    }
    assert_eq!(decode(forge(|b| b[4] = 2)).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn entries_after_a_position_that_is_not_there_are_refused() {
    let slice = decode(build(4, &[5, 6, 9])).unwrap();
    let after =
        |from| slice.entries_after(from).map(|e| e.map(|(at, _)| at.ts.0).collect::<Vec<_>>());
    assert_eq!(after(at(4)).unwrap(), vec![5, 6, 9]);
    assert_eq!(after(at(6)).unwrap(), vec![9]);
    assert_eq!(after(at(9)).unwrap(), Vec::<u64>::new());
    assert!(after(at(7)).is_err());
    assert!(after(OpTime::new(Ts(6), 2)).is_err());
    assert!(after(at(3)).is_err());
}

#[test]
fn merging_keeps_every_entry_and_the_chain() {
    let parts =
        [build(4, &[5, 6]), build(6, &[7]), build(7, &[20, 30])].map(|b| decode(b).unwrap());
    let merged = decode(merge(&parts, 3).unwrap()).unwrap();
    assert!(merged.header().compacted);
    assert_eq!((merged.header().prev, merged.header().last), (at(4), at(30)));
    assert_eq!(stamps(&merged), vec![5, 6, 7, 20, 30]);
    assert!(merge(&[parts[0].clone(), parts[2].clone()], 3).is_err());
    assert!(merge(&[], 3).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_goes_in_comes_out(gaps in prop::collection::vec(1..5u64, 1..50), prev in 0..1000u64, level in 1..6i32) {
        let mut builder = SliceBuilder::new(at(prev));
        let (mut ts, mut entries) = (prev, Vec::new());
        for gap in gaps {
            ts += gap;
            let entry = insert(ts, ts as i32);
            builder.push(&entry, at(ts)).unwrap();
            entries.push((at(ts), entry));
        }
        let slice = decode(builder.finish(level).unwrap()).unwrap();
        let out: Vec<_> = slice.entries().map(|(at, bytes)| (at, bytes.to_vec())).collect();
        prop_assert_eq!(slice.entries().len(), entries.len());
        prop_assert_eq!(out, entries);
        prop_assert_eq!(slice.header().prev, at(prev));
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = build(1, &[2])[..8].to_vec();
        bytes.extend_from_slice(&noise);
        prop_assert!(decode(bytes.into()).is_err());
        prop_assert!(decode(noise.into()).is_err());
    }
}
