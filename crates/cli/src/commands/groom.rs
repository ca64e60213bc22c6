//! `bygone groom`.

use std::{process::ExitCode, time::Duration};

use bygone_base::Result;
use bygone_groom::{GroomOptions, groom_in};
use serde_json::json;

use crate::{access, args::GroomArgs, output::Output};

/// Below this, a snapshot or a restore may take longer than the groom waits.
const SAFE: Duration = Duration::from_secs(3600);

/// Frees what nothing needs, or says what it would free.
pub async fn run(args: GroomArgs, output: &Output) -> Result<ExitCode> {
    let clock = access::clock();
    let stores = access::open(&args.store, clock.clone(), false).await?;
    if args.delay < SAFE && !args.dry_run {
        output.event(
            "warning",
            "warning: with so short a delay, what is being written or read now may be deleted",
            json!({"warning": "short delay"}),
        );
    }
    let options = GroomOptions {
        delay_ms: i64::try_from(args.delay.as_millis()).unwrap_or(i64::MAX),
        dry_run: args.dry_run.then(|| clock.now()),
    };
    let done = groom_in(&stores.into(), &[], options).await?;
    output.result(
        &done,
        &json!({
            "dry_run": args.dry_run, "packs": done.packs, "bytes": done.bytes,
            "living_bytes": done.living, "deleted": done.deleted, "freed_bytes": done.freed,
            "rewritten": done.rewritten, "waiting_bytes": done.waiting, "readers": done.readers,
        }),
    );
    Ok(ExitCode::SUCCESS)
}
