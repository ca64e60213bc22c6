//! Ranges are honest: every moment inside a reported range opens and shows the truth, and just
//! outside nothing does.

use std::sync::Arc;

use bygone_base::{Clock, ErrorKind, OpTime, Result, Ts, When};
use bygone_head::{Choice, View, ViewOptions, choose, overview};
use bygone_snapshot::{PartStore, ranges::Range};

use super::{entries, last_at, model};
use crate::{dice::Dice, replica::Moment, world::World};

/// Moments tried of each range besides its ends.
const TRIED: usize = 3;

fn options(dice: &Dice) -> ViewOptions {
    let memory = if dice.hits(300) { 4 << 10 } else { 64 << 20 };
    ViewOptions { memory, ..ViewOptions::default() }
}

/// Snapshots come and go while they are looked at; so often it is tried again.
const AGAIN: usize = 4;

/// What is wrong with the reported ranges. Looked at again where a snapshot came or went meanwhile: what goes with it is
/// then gone at once in worlds without a delay, and nobody holds a lease here.
pub async fn check(world: &World, part: &PartStore) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for _ in 0..AGAIN {
        let before = part.snapshot_ids().await?;
        broken = look(world, part).await?;
        if broken.is_empty() || part.snapshot_ids().await? == before {
            break;
        }
    }
    Ok(broken)
}

async fn look(world: &World, part: &PartStore) -> Result<Vec<String>> {
    let all: Vec<Range> = overview(part, part).await?.ranges.into_iter().flatten().collect();
    let mut broken = Vec::new();
    let moments = world.set.moments();
    for range in &all {
        let mut tried = vec![range.from, range.to];
        let inside: Vec<Ts> =
            moments.iter().copied().filter(|ts| range.from < *ts && *ts < range.to).collect();
        tried.extend((0..TRIED).filter_map(|_| world.dice.pick(&inside).copied()));
        // Between two entries is a moment too.
        tried.extend(world.dice.pick(&inside).map(|ts| Ts(ts.0 + 1)));
        for at in tried {
            broken.extend(
                moment(world, part, at).await?.map(|what| format!("at {at} in {range:?}: {what}")),
            );
        }
        for at in [range.from.prev(), Ts(range.to.0 + 1)] {
            let reported = all.iter().any(|r| r.from <= at && at <= r.to);
            if !reported && opens(world, part, at).await? && !is_reported(part, at).await? {
                broken.push(format!("{at} opens, but is in none of {all:?}"));
            }
        }
        if broken.len() > 2 {
            break;
        }
    }
    if !all.is_empty() {
        let latest =
            View::open(part, part, &When::Latest, options(&world.dice), clock(world)).await;
        broken.extend(latest.err().map(|e| format!("latest: {e}")));
    }
    Ok(broken)
}

/// Looked at again: a slice may have been stored in between.
async fn is_reported(part: &PartStore, at: Ts) -> Result<bool> {
    let all = overview(part, part).await?.ranges;
    Ok(all.into_iter().flatten().any(|range| range.from <= at && at <= range.to))
}

fn clock(world: &World) -> Arc<dyn Clock> {
    world.clock.clone()
}

async fn opens(world: &World, part: &PartStore, at: Ts) -> Result<bool> {
    let when = When::Including(at);
    match View::open(part, part, &when, options(&world.dice), clock(world)).await {
        Ok(_) => Ok(true),
        Err(e) if e.kind() == ErrorKind::NotCovered => Ok(false),
        Err(e) => Err(e),
    }
}

/// What is wrong with the view of one moment inside a range.
pub async fn moment(world: &World, part: &PartStore, at: Ts) -> Result<Option<String>> {
    let choice = match choose(part, part, &When::Including(at)).await {
        Ok(choice) => choice,
        Err(e) => return Ok(Some(format!("cannot be chosen: {e}"))),
    };
    let truth = truth(world, part, &choice).await?;
    let from = choice.manifest.at.ts;
    let view = match View::of(part, part, choice, options(&world.dice), clock(world)).await {
        Ok(view) => view,
        Err(e) if e.to_string().contains("undecided") => return Ok(None),
        Err(e) => return Ok(Some(format!("does not open: {:?} {e}", e.kind()))),
    };
    let Some(truth) = truth else { return Ok(None) };
    match model::compare(&view, &truth).await {
        Ok(broken) if broken.is_empty() => Ok(None),
        Ok(broken) => Ok(Some(format!("from the snapshot at {from}: {}", broken.join("; ")))),
        Err(e) => Ok(Some(format!("from the snapshot at {from}: {:?} {e}", e.kind()))),
    }
}

/// What the set held at the moment of a choice; `None` where two histories could be meant and
/// the slices that would tell are gone.
pub async fn truth(world: &World, part: &PartStore, choice: &Choice) -> Result<Option<Moment>> {
    let from = choice.manifest.replay_from;
    let stored = match entries(part, &choice.history, from).await {
        Ok(stored) => stored,
        Err(_) if choice.at == choice.manifest.at.ts => Vec::new(),
        Err(e) => return Err(e),
    };
    let entry: OpTime = match last_at(&stored, choice.at) {
        Some(entry) => entry,
        None if world.set.lock().left.is_empty() || from.ts == choice.at => from,
        None => return Ok(None),
    };
    // An entry after the moment may have decided it: the history is the one that holds all that is stored.
    let newest = stored.last().map_or(entry, |(at, _)| (*at).max(entry));
    Ok(world.set.log_with(newest).map(|log| log.model.at(choice.at)))
}
