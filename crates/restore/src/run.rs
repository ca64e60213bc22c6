//! A whole restore, from the plan to the proof.

use std::{sync::Arc, time::Duration};

use bygone_base::Result;
use tokio::sync::watch;

use crate::{
    build,
    facts::TargetFacts,
    load::{self, Loaded, Shared},
    model::Documents,
    names::Namespace,
    plan::RestorePlan,
    progress::{Meter, Phase, Progress},
    proof::{self, Proof},
    target::Target,
    users,
};

/// How to restore.
#[derive(Debug, Clone, Copy)]
pub struct RunOptions {
    /// Connections that insert at once.
    pub connections: usize,
    /// Prove the result.
    pub verify: bool,
}

impl Default for RunOptions {
    fn default() -> Self {
        // Measured: 2 beat 1, 4 and collections side by side.
        RunOptions { connections: 2, verify: false }
    }
}

/// What a restore did.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Documents inserted.
    pub documents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it took, without the proof.
    pub elapsed: Duration,
    /// Per collection of the plan, by its name on the target.
    pub collections: Vec<(Namespace, Loaded)>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// The proof, where one was asked for.
    pub proof: Option<Proof>,
}

/// Carries out `plan`, which was made from the same `documents` and `facts`. Progress goes to
/// `progress`. After a failure the same restore can be repeated with `drop`.
pub async fn run(
    documents: Arc<dyn Documents>,
    target: &Target,
    facts: &TargetFacts,
    plan: RestorePlan,
    options: RunOptions,
    progress: watch::Sender<Progress>,
) -> Result<Restored> {
    let shared = Shared {
        target: target.clone(),
        plan: Arc::new(plan),
        documents,
        meter: Arc::new(Meter::new(progress)),
        version: facts.version,
        connections: options.connections.max(1),
        hash: options.verify,
        start: target.clock().monotonic(),
    };
    let mut warnings = prepare(&shared).await?;
    enter(&shared, Phase::Loading);
    let (loaded, more) = load::load(&shared).await?;
    warnings.extend(more);
    enter(&shared, Phase::Completing);
    for view in &shared.plan.views {
        build::create(&shared.target, view).await?;
    }
    warnings.extend(users::restore(&shared, facts).await?);
    let mut proving = Duration::ZERO;
    let mut proof = None;
    if options.verify {
        let (found, took) = timed(&shared, proof::documents(&shared, &loaded)).await?;
        (proof, proving) = (Some(found), took);
    }
    warnings.extend(finish(&shared).await?);
    if let Some(proof) = &mut proof {
        let ((), took) = timed(&shared, proof::catalogue(&shared, facts, proof)).await?;
        proving += took;
    }
    enter(&shared, Phase::Done);
    let total = shared.target.clock().monotonic().saturating_sub(shared.start);
    let names = shared.plan.collections.iter().map(|c| c.create.name.clone());
    Ok(Restored {
        documents: loaded.iter().map(|l| l.documents).sum(),
        bytes: loaded.iter().map(|l| l.bytes).sum(),
        elapsed: total.saturating_sub(proving),
        collections: names.zip(loaded).collect(),
        warnings,
        proof,
    })
}

fn enter(shared: &Shared, phase: Phase) {
    let elapsed = shared.target.clock().monotonic().saturating_sub(shared.start);
    shared.meter.change(|p| (p.phase, p.elapsed) = (phase, elapsed));
}

async fn timed<T>(
    shared: &Shared,
    proving: impl Future<Output = Result<T>>,
) -> Result<(T, Duration)> {
    enter(shared, Phase::Proving);
    let start = shared.target.clock().monotonic();
    let done = proving.await?;
    Ok((done, shared.target.clock().monotonic().saturating_sub(start)))
}

/// Drops what is in the way and makes all collections, so that what the target
/// refuses shows before hours of loading.
async fn prepare(shared: &Shared) -> Result<Vec<String>> {
    let plan = &shared.plan;
    shared.meter.change(|p| {
        p.collections_total = plan.collections.len() as u64;
        p.documents_total = plan.collections.iter().map(|c| c.documents).sum();
        p.bytes_total = plan.collections.iter().map(|c| c.bytes).sum();
        p.indexes_total = plan.collections.iter().map(|c| c.indexes.len() as u64).sum();
    });
    for name in &plan.drops {
        build::drop(&shared.target, name).await?;
    }
    let mut warnings = Vec::new();
    for collection in &plan.collections {
        build::create(&shared.target, &collection.create).await?;
        if collection.target.without_buckets() != collection.target {
            let left = build::drop_made_indexes(&shared.target, &collection.target).await?;
            let strange = left.iter().filter(|n| collection.indexes.iter().all(|i| i.name != **n));
            warnings.extend(strange.map(|name| {
                let series = &collection.create.name;
                format!("{series} has index {name}, which the source did not have: it may not be dropped")
            }));
        }
    }
    Ok(warnings)
}

/// What lets documents expire comes last.
async fn finish(shared: &Shared) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for collection in &shared.plan.collections {
        warnings.extend(build::indexes(&shared.target, collection, true, &shared.meter).await?);
        if let Some(command) = &collection.create.finish {
            let what = format!("set the expiry of {}", collection.create.name);
            shared.target.run(&what, command).await?;
        }
    }
    Ok(warnings)
}
