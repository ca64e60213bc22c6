//! `bygone groom`.

use std::process::ExitCode;

use bygone_base::Result;
use bygone_groom::{GroomOptions, groom};
use serde_json::json;

use crate::{access, args::GroomArgs, output::Output};

/// Frees what nothing needs, or says what it would free.
pub async fn run(args: GroomArgs, output: &Output) -> Result<ExitCode> {
    let repository = access::repository(&args.store, access::clock(), false).await?;
    let options = GroomOptions {
        delay_ms: i64::try_from(args.delay.as_millis()).unwrap_or(i64::MAX),
        dry_run: args.dry_run,
    };
    let done = groom(&repository, &[], options).await?;
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
