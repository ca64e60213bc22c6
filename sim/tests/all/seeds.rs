//! Fifty worlds.

use bygone_sim::run::{STEPS, run};

fn all_is_well(seeds: std::ops::Range<u64>) {
    let failed: Vec<String> = seeds
        .map(|seed| run(seed, STEPS, false))
        .filter(|outcome| !outcome.findings.is_empty())
        .map(|outcome| format!("{}\n{}", outcome.lines.join("\n"), outcome.complaint()))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_promise_is_kept_1() {
    all_is_well(1..26);
}

#[test]
fn every_promise_is_kept_2() {
    all_is_well(26..51);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [3, 17, 42] {
        let (one, two) = (run(seed, 120, true), run(seed, 120, true));
        let differs = one.lines.iter().zip(&two.lines).find(|(a, b)| a != b);
        assert!(differs.is_none(), "seed {seed}: {differs:?}");
        assert_eq!((one.events, one.hash), (two.events, two.hash), "seed {seed}");
    }
    assert_ne!(run(3, 20, true).hash, run(4, 20, true).hash);
}
