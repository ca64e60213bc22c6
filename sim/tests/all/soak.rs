//! As many worlds as BYGONE_SIM_SEEDS says, from a seed that BYGONE_SIM_FIRST names.

use bygone_sim::run::{STEPS, run};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn thousands_of_seeds() {
    let (first, count) = (number("BYGONE_SIM_FIRST", 1000), number("BYGONE_SIM_SEEDS", 5));
    let mut failed = Vec::new();
    for seed in first..first + count {
        let outcome = run(seed, STEPS, false);
        if !outcome.findings.is_empty() {
            println!("{}", outcome.complaint());
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "{} of {count} seeds failed: {failed:?}", failed.len());
}
