//! PURE decisions of the ingest that are about plans and filters.

use std::collections::HashSet;

use bygone_base::{Error, OpTime, Result, SyncId};
use bygone_document::key::id_key;
use bygone_oplog::{
    filter::{Filter, Mode},
    uplink::{Hello, SyncPlan},
};

/// Whether an agent with filter `now` needs another initial sync than the one
/// made with filter `then`. A wider filter does, because what it adds was never
/// scanned; a narrower one does too, because what it leaves out would stay in
/// later snapshots as it was, and would have a hole if the filter became wide again.
fn is_other(then: &Filter, now: &Filter) -> bool {
    let set = |filter: &Filter| -> HashSet<String> {
        match filter.mode() {
            Mode::All => HashSet::new(),
            _ => filter.patterns().iter().cloned().collect(),
        }
    };
    then.mode() != now.mode() || set(then) != set(now)
}

/// Why an agent cannot go on with what an initial sync with this plan began; `None`: it can.
pub(crate) fn needs_sync(then: &SyncPlan, now: &Hello) -> Option<String> {
    if is_other(&then.filter, &now.filter) {
        return Some("other namespaces are to be backed up than so far".to_owned());
    }
    // Names can be had twice, and so can the times of entries: two idle sets write theirs in step.
    match (then.source.identity, now.identity) {
        (Some(then), Some(other)) if then != other => Some(format!(
            "this is another replica set of the name {} than the one backed up so far",
            now.key.part
        )),
        _ => None,
    }
}

/// Refuses an agent whose id could not be told from its host in a record.
pub(crate) fn check_agent(hello: &Hello) -> Result<()> {
    let good = |text: &str| (1..=256).contains(&text.len()) && !text.contains(char::is_control);
    if good(&hello.agent) && good(&hello.host) && !hello.agent.contains('@') {
        return Ok(());
    }
    Err(Error::usage("the agent's id or host name is empty, too long, or has odd characters"))
}

/// Refuses a plan that does not hold together.
pub(crate) fn check_plan(plan: &SyncPlan, sync: SyncId, start: OpTime) -> Result<()> {
    let bad = |what: String| Err(Error::usage(format!("plan of the initial sync: {what}")));
    if plan.sync != sync || plan.start != start {
        return bad(format!(
            "it is for sync {} from {}, not {sync} from {start}",
            plan.sync, plan.start
        ));
    }
    let mut seen = HashSet::new();
    for coll in &plan.collections {
        let name = format!("{}.{}", coll.db, coll.name);
        if !seen.insert(coll.coll) {
            return bad(format!("the uuid of {name} occurs twice"));
        }
        if coll.ranges.len() != coll.bounds.len() {
            return bad(format!(
                "{name} has {} keys and {} bounds",
                coll.ranges.len(),
                coll.bounds.len()
            ));
        }
        for (key, bound) in coll.ranges.iter().zip(&coll.bounds) {
            if id_key(bound.as_bytes()).ok().as_ref() != Some(key) {
                return bad(format!("a bound of {name} is not that of its key"));
            }
        }
        if coll.ranges.is_sorted_by(|a, b| a < b) {
            continue;
        }
        return bad(format!("the ranges of {name} do not ascend"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(mode: Mode, patterns: &[&str]) -> Filter {
        Filter::new(mode, patterns.iter().map(|p| (*p).to_owned()).collect()).unwrap()
    }

    #[test]
    fn only_another_filter_needs_a_new_sync() {
        let deny = filter(Mode::Deny, &["a.*", "b.c"]);
        assert!(!is_other(&Filter::all(), &Filter::all()));
        assert!(!is_other(&deny, &filter(Mode::Deny, &["b.c", "a.*"])));
        assert!(is_other(&deny, &filter(Mode::Deny, &["a.*"])));
        assert!(is_other(&deny, &filter(Mode::Allow, &["a.*", "b.c"])));
        assert!(is_other(&Filter::all(), &deny));
    }
}
