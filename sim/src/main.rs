//! Replays a seed and prints its trace, or runs many:
//! `bygone-sim --seed N [--steps M] [--count K] [--quiet]`.

#![allow(clippy::print_stdout, reason = "that is what it is for")]

use std::process::ExitCode;

use bygone_sim::run::{STEPS, run};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let number = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)?.parse::<u64>().ok()
    };
    let (seed, steps) = (number("--seed").unwrap_or(1), number("--steps").unwrap_or(STEPS));
    let count = number("--count").unwrap_or(1);
    let quiet = count > 1 || args.iter().any(|arg| arg == "--quiet");
    let mut failed = 0;
    for seed in seed..seed + count {
        let outcome = run(seed, steps, !quiet);
        if !quiet {
            outcome.lines.iter().for_each(|line| println!("{line}"));
        }
        println!(
            "seed {seed}: {} events, {}, {}",
            outcome.events,
            &outcome.hash.to_hex()[..16],
            outcome.summary
        );
        if !outcome.findings.is_empty() {
            failed += 1;
            println!("{}", outcome.complaint());
        }
    }
    if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
