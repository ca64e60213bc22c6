//! `bygone verify`.

use std::{fmt::Write as _, process::ExitCode, sync::Arc};

use bygone_base::{ByteSize, Clock, Result};
use bygone_groom::{
    Report, lease,
    verify::{Depth, verify},
};
use bygone_snapshot::{Parts, Stores};
use serde_json::json;

use crate::{access, args::VerifyArgs, output::Output};

/// Reads everything and says what is wrong; fails when something is.
pub async fn run(args: VerifyArgs, output: &Output) -> Result<ExitCode> {
    let clock = access::clock();
    let stores = access::open(&args.store, clock.clone(), false).await?;
    // What is looked at must not be taken away meanwhile.
    let lease = lease::hold(&stores.blocks, clock.clone(), "a verification").await?;
    let verified = verify_parts(&args, &stores, &clock, output).await;
    if let Some(lease) = lease {
        lease.release().await;
    }
    verified
}

async fn verify_parts(
    args: &VerifyArgs,
    stores: &Stores,
    clock: &Arc<dyn Clock>,
    output: &Output,
) -> Result<ExitCode> {
    let depth = if args.quick { Depth::Quick } else { Depth::Full };
    let mut clean = true;
    for Parts { snapshots, oplog } in access::parts_of(stores, args.job.job.as_deref()).await? {
        let bar = output.bar();
        let report = verify(&snapshots, &oplog, depth, clock.clone(), |what, done, total| {
            bar.set_message(format!("verifying {what}"));
            bar.set_length(total);
            bar.set_position(done);
        })
        .await?;
        bar.finish_and_clear();
        clean &= report.is_clean();
        output.result(text(&report), &value(&report));
    }
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for damage in &report.damage {
        let _ = writeln!(text, "DAMAGED {damage}");
    }
    for (id, why) in &report.bad {
        let _ = writeln!(text, "LOST snapshot {id}: {why}");
    }
    let _ = writeln!(
        text,
        "{}: read {} packs of {}, {} blocks in use, {} other objects, {} operations applied",
        if report.is_clean() { "WHOLE" } else { "NOT WHOLE" },
        report.packs,
        ByteSize(report.bytes),
        report.blocks,
        report.objects,
        report.operations
    );
    let _ = writeln!(
        text,
        "{} of {} snapshots restore",
        report.good.len(),
        report.good.len() + report.bad.len()
    );
    for range in &report.ranges {
        let _ = writeln!(text, "restorable: {range}");
    }
    text
}

fn value(report: &Report) -> serde_json::Value {
    json!({
        "whole": report.is_clean(), "packs": report.packs, "bytes": report.bytes,
        "blocks": report.blocks, "objects": report.objects, "operations": report.operations,
        "damage": report.damage, "ranges": report.ranges,
        "good": report.good.iter().map(|id| id.as_str()).collect::<Vec<_>>(),
        "bad": report.bad.iter().map(|(id, why)| json!({"snapshot": id.as_str(), "why": why})).collect::<Vec<_>>(),
    })
}
