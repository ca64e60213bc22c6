//! `bygone restore`.

use std::{process::ExitCode, sync::Arc};

use bygone_base::{ByteSize, Error, Result, When};
use bygone_groom::lease;
use bygone_head::{Scratch, View, ViewOptions};
use bygone_restore::{
    Documents as _, NameRules, Phase, PlanOptions, Progress, Restored, RunOptions, Target,
    ViewDocuments, plan,
};
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};

use crate::{access, args::RestoreArgs, output::Output};

/// Plans, and unless only the plan is wanted, restores.
pub async fn run(args: RestoreArgs, output: &Output) -> Result<ExitCode> {
    let when: When = args.at.parse()?;
    let options = plan_options(&args)?;
    let uri = access::uri(
        "to",
        args.to.as_deref(),
        "BYGONE_TO",
        args.to_file.as_deref(),
        args.password_file.as_deref(),
    )?;
    let clock = access::clock();
    let stores = access::open(&args.store, clock.clone(), false).await?;
    let part = access::only_part(&stores, args.job.job.as_deref()).await?;
    let lease = lease::hold(&stores.blocks, clock.clone(), "a restore").await?;
    let mut tasks = JoinSet::new();
    let shutdown = super::on_signal(&mut tasks);
    let scratch = args.data.as_deref().map(Scratch::within).transpose()?;
    let view_options =
        ViewOptions { scratch: scratch.as_ref().map(Scratch::url), ..ViewOptions::default() };
    let restored = async {
        let target = Target::connect(uri.expose(), clock.clone()).await?;
        let facts = target.facts().await?;
        let view = View::open(&part.snapshots, &part.oplog, &when, view_options, clock).await?;
        let documents = Arc::new(ViewDocuments::new(view)?);
        let plan = plan(documents.contents(), &facts, &options)?;
        if args.dry_run {
            output.result(&plan, &plan.to_json());
            return Ok(None);
        }
        output.event("plan", plan.to_string().trim_end(), plan.to_json());
        let (sender, progress) = watch::channel(Progress::default());
        let out = *output;
        tasks.spawn(async move { report(out, progress).await });
        let run_options =
            RunOptions { connections: args.connections.clamp(1, 16), verify: args.verify };
        let done =
            bygone_restore::run(documents, &target, &facts, plan, run_options, sender).await?;
        Ok::<_, Error>(Some(done))
    };
    let restored = tokio::select! {
        done = restored => done,
        () = shutdown.cancelled() => Err(super::cancelled()
            .hint("the target holds a part of the data: restore again with --drop")),
    };
    if let Some(lease) = lease {
        lease.release().await;
    }
    drop(scratch);
    match restored? {
        Some(restored) => Ok(show(&restored, output)),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn plan_options(args: &RestoreArgs) -> Result<PlanOptions> {
    if args.ns_from.len() != args.ns_to.len() {
        return Err(Error::usage("--ns-from and --ns-to must be given equally often"));
    }
    let renames: Vec<(String, String)> =
        args.ns_from.iter().cloned().zip(args.ns_to.iter().cloned()).collect();
    Ok(PlanOptions {
        rules: NameRules::new(&args.ns_include, &args.ns_exclude, &renames)?,
        drop: args.drop,
        onto_source: args.allow_source_as_target,
        verify: args.verify,
        ..PlanOptions::default()
    })
}

async fn report(output: Output, mut progress: watch::Receiver<Progress>) {
    let bar = output.bar();
    let mut phase = None;
    while progress.changed().await.is_ok() {
        let now = *progress.borrow();
        bar.set_length(now.bytes_total.max(now.bytes));
        bar.set_position(now.bytes);
        bar.set_message(format!("{} of {} collections", now.collections, now.collections_total));
        if phase != Some(now.phase) {
            phase = Some(now.phase);
            let word = match now.phase {
                Phase::Preparing => "preparing",
                Phase::Loading => "loading",
                Phase::Completing => "completing indexes, views and users",
                Phase::Proving => "proving",
                Phase::Done => "done",
            };
            bar.suspend(|| {
                output.event("restore", format!("restore: {word}"), json!({"phase": word}));
            });
        }
    }
    bar.finish_and_clear();
}

fn show(restored: &Restored, output: &Output) -> ExitCode {
    for warning in &restored.warnings {
        output.event("warning", format!("warning: {warning}"), json!({"warning": warning}));
    }
    let seconds = restored.elapsed.as_secs_f64();
    let mut text = format!(
        "restored {} documents, {} in {seconds:.1} s ({})",
        restored.documents,
        ByteSize(restored.bytes),
        crate::output::rate(restored.bytes as f64 / seconds.max(0.001))
    );
    if let Some(proof) = &restored.proof {
        text += &format!("\n{proof}");
    }
    let value = json!({
        "documents": restored.documents, "bytes": restored.bytes, "seconds": seconds,
        "proof": restored.proof.as_ref().map(bygone_restore::Proof::to_json),
    });
    output.result(text, &value);
    match &restored.proof {
        Some(proof) if !proof.holds() => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
