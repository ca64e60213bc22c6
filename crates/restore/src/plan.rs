//! What a restore will do, decided before it does anything: pure, from what the
//! store holds, what the target is and what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use bygone_base::{CollectionId, Error, Result, Ts};
use bygone_tree::capped::Limits;

use crate::{
    create::{self, Create},
    facts::{Kind, TargetFacts},
    features,
    indexes::{self, IndexPlan},
    model::{Contents, SourceCollection},
    names::{self, BUCKETS, NameRules, Namespace},
    raw,
    version::ServerVersion,
};

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// Which namespaces, and under which names.
    pub rules: NameRules,
    /// Drop what is in the way.
    pub drop: bool,
    /// Dropped in any case: what an earlier try of the same restore made.
    pub own: BTreeSet<Namespace>,
    /// Allow a target that looks like the source.
    pub onto_source: bool,
    /// The result will be proven.
    pub verify: bool,
}

/// How what was loaded is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// The target's own dbHash of documents in `_id` order.
    DbHash,
    /// The target's own dbHash, which takes a capped collection in natural order.
    DbHashNatural,
    /// Read back in natural order: a capped collection on servers that hash it in `_id` order.
    ReadNatural,
    /// Read back, whatever the order: servers hash a collection with a default
    /// collation in that collation's order.
    ReadAny,
}

/// One collection to restore.
#[derive(Debug, Clone)]
pub struct CollectionPlan {
    /// Its id on the source.
    pub id: CollectionId,
    /// Its name on the source.
    pub source: Namespace,
    /// Where documents are inserted: the bucket collection of a time-series.
    pub target: Namespace,
    /// How it is made.
    pub create: Create,
    /// Indexes to build.
    pub indexes: Vec<IndexPlan>,
    /// Limits of a capped collection, which is loaded in the order of its positions.
    pub capped: Option<Limits>,
    /// How the result is proven.
    pub method: Method,
    /// Documents, about.
    pub documents: u64,
    /// Their bytes, about.
    pub bytes: u64,
}

/// Something that is not restored, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name on the source.
    pub name: Namespace,
    /// Why.
    pub reason: &'static str,
}

/// What a restore will do, in this order.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    /// The moment.
    pub at: Ts,
    /// Namespaces of the target to drop.
    pub drops: Vec<Namespace>,
    /// Collections, the largest first.
    pub collections: Vec<CollectionPlan>,
    /// Views, each after what it reads.
    pub views: Vec<Create>,
    /// The collection that holds the roles, if they are restored.
    pub roles: Option<CollectionId>,
    /// The collection that holds the users, if they are restored.
    pub users: Option<CollectionId>,
    /// Users and roles of the target that the backup does not have are removed.
    pub replace_users: bool,
    /// What stays behind.
    pub skipped: Vec<Skipped>,
    /// What a person should know.
    pub warnings: Vec<String>,
    /// Operations to merge on the way.
    pub operations: u64,
}

impl RestorePlan {
    /// What it makes in the target, without the bucket collections of time-series.
    pub fn made(&self) -> BTreeSet<Namespace> {
        let collections = self.collections.iter().map(|collection| &collection.create.name);
        let names = collections.chain(self.views.iter().map(|view| &view.name));
        names.map(Namespace::without_buckets).collect()
    }
}

/// Why most of what stays behind does.
pub(crate) const NOT_SELECTED: &str = "not selected";

/// What becomes of a collection of the source.
enum Fate {
    Restore,
    Users,
    Roles,
    Skip(&'static str),
}

fn fate(collection: &SourceCollection, rules: &NameRules) -> Fate {
    let (db, coll) = (collection.name.db.as_str(), collection.name.coll.as_str());
    if !rules.covers(&collection.name) {
        return Fate::Skip(NOT_SELECTED);
    }
    match (db, coll) {
        ("local", _) => Fate::Skip("belongs to one server"),
        ("admin", "system.users") => Fate::Users,
        ("admin", "system.roles") => Fate::Roles,
        ("admin", "system.version") => Fate::Skip("the target has its own"),
        ("config", c) if c.starts_with("system.") => Fate::Skip("the server's bookkeeping"),
        ("config", _) if !rules.names_database("config") => Fate::Skip("the server's bookkeeping"),
        (_, "system.js") => Fate::Restore,
        (_, "system.profile") => Fate::Skip("profiling data"),
        (_, "system.views") => Fate::Skip("views are made anew"),
        (_, c) if c.starts_with(BUCKETS) => Fate::Restore,
        (_, c) if c.starts_with("system.") => Fate::Skip("the server's own"),
        _ if raw::is_true(collection.options.as_bytes(), "temp") => {
            Fate::Skip("temporary: a server removes it when it starts")
        }
        _ => Fate::Restore,
    }
}

/// Decides what to do, or says why not.
pub fn plan(
    contents: &Contents,
    facts: &TargetFacts,
    options: &PlanOptions,
) -> Result<RestorePlan> {
    refuse_source(contents, facts, options)?;
    let mut plan = RestorePlan {
        at: contents.at,
        drops: Vec::new(),
        collections: Vec::new(),
        views: Vec::new(),
        roles: None,
        users: None,
        replace_users: options.drop,
        skipped: Vec::new(),
        warnings: Vec::new(),
        operations: contents.operations,
    };
    let mut chosen = Vec::new();
    for collection in &contents.collections {
        match fate(collection, &options.rules) {
            Fate::Restore => chosen.push((collection, options.rules.target(&collection.name)?)),
            Fate::Users => plan.users = Some(collection.id),
            Fate::Roles => plan.roles = Some(collection.id),
            Fate::Skip(reason) => {
                plan.skipped.push(Skipped { name: collection.name.clone(), reason });
            }
        }
    }
    features::check(contents, chosen.iter().map(|(c, n)| (*c, n)), facts.fcv)?;
    let views: BTreeSet<&Namespace> = contents.views.iter().map(|v| &v.name).collect();
    for (collection, target) in &chosen {
        let series = collection.name.without_buckets();
        let alone = series != collection.name && !views.contains(&series);
        plan.collections.push(collection_plan(collection, target, alone, facts.version)?);
    }
    plan.collections.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.source.cmp(&b.source)));
    let views = chosen_views(contents, options, &mut plan)?;
    let pairs = chosen.iter().map(|(c, n)| (&c.name, n));
    names::check_conflicts(pairs.chain(views.iter().map(|(source, view)| (source, &view.name))))?;
    plan.views = in_order(views.into_iter().map(|(_, view)| view).collect());
    warn(contents, &mut plan);
    make_room(facts, options, &mut plan)?;
    check_privileges(facts, options, &plan)?;
    Ok(plan)
}

/// What a capped collection may hold, as its options say.
fn limits(options: &[u8]) -> Limits {
    let limit = |name| raw::get(options, name).and_then(|f| f.number()).filter(|n| *n > 0.0);
    Limits {
        max_bytes: limit("size").map_or(u64::MAX, |n| n as u64),
        max_docs: limit("max").map(|n| n as u64),
    }
}

fn collection_plan(
    source: &SourceCollection,
    target: &Namespace,
    alone: bool,
    version: ServerVersion,
) -> Result<CollectionPlan> {
    let options = source.options.as_bytes();
    let capped = source.capped.then(|| limits(options));
    // Server-facts: natural order on 8.2, _id order on 4.4 and 5.0; others were not seen.
    let method = match (source.capped, create::default_collation(options)) {
        (true, _) if version >= ServerVersion::new(8, 2) => Method::DbHashNatural,
        (true, _) => Method::ReadNatural,
        (false, Some(_)) => Method::ReadAny,
        (false, None) => Method::DbHash,
    };
    Ok(CollectionPlan {
        id: source.id,
        source: source.name.clone(),
        target: target.clone(),
        create: create::collection(source, target, alone, version)?,
        indexes: indexes::plan(source)?,
        capped,
        method,
        documents: source.documents,
        bytes: source.bytes,
    })
}

/// Target and source share collections: a UUID is never made twice.
fn refuse_source(contents: &Contents, facts: &TargetFacts, options: &PlanOptions) -> Result<()> {
    let ids: BTreeSet<_> = contents.collections.iter().map(|c| c.id).collect();
    let shared = facts.namespaces.iter().find(|(_, e)| e.id.is_some_and(|id| ids.contains(&id)));
    match shared {
        Some((name, _)) if !options.onto_source => Err(Error::usage(format!(
            "the target is the source of this backup, or a copy of it: both have the same {name}"
        ))
        .hint("restore to another server, or give --allow-source-as-target")),
        _ => Ok(()),
    }
}

type NamedView = (Namespace, Create);

fn chosen_views(
    contents: &Contents,
    options: &PlanOptions,
    plan: &mut RestorePlan,
) -> Result<Vec<NamedView>> {
    let mut views = Vec::new();
    for source in &contents.views {
        let skip = match source.name.db.as_str() {
            _ if !options.rules.covers(&source.name) => Some(NOT_SELECTED),
            "local" | "config" => Some("belongs to one server"),
            _ => None,
        };
        if let Some(reason) = skip {
            plan.skipped.push(Skipped { name: source.name.clone(), reason });
            continue;
        }
        if let Some(view) = create::view(source, &options.rules.target(&source.name)?)? {
            views.push((source.name.clone(), view));
        }
    }
    Ok(views)
}

fn reads(view: &Create) -> Option<Namespace> {
    let on = raw::text(&view.expected, "viewOn")?;
    Some(Namespace::new(view.name.db.clone(), on))
}

/// Views, each after the view that it reads. A cycle, which no server allows,
/// comes in any order and is refused by the target.
fn in_order(views: Vec<Create>) -> Vec<Create> {
    let mut left: BTreeMap<Namespace, Create> =
        views.into_iter().map(|view| (view.name.clone(), view)).collect();
    let mut ordered = Vec::with_capacity(left.len());
    while let Some(start) = left.keys().next().cloned() {
        let mut chain = Vec::new();
        let mut next = Some(start);
        while let Some(view) = next.and_then(|name| left.remove(&name)) {
            next = reads(&view);
            chain.push(view);
        }
        ordered.extend(chain.into_iter().rev());
    }
    ordered
}

fn warn(contents: &Contents, plan: &mut RestorePlan) {
    for collection in &plan.collections {
        plan.warnings.extend(collection.create.left_out.iter().cloned());
    }
    let there: BTreeSet<_> = plan
        .collections
        .iter()
        .map(|c| &c.create.name)
        .chain(plan.views.iter().map(|v| &v.name))
        .collect();
    for view in &plan.views {
        if let Some(on) = reads(view).filter(|on| !there.contains(on)) {
            let name = &view.name;
            plan.warnings.push(format!("view {name} reads {on}, which is not restored"));
        }
    }
    let had_users = |db: &str| contents.collections.iter().any(|c| c.name.db == db);
    if plan.users.is_none() && had_users("admin") && plan.roles.is_some() {
        plan.warnings.push("roles are restored without users".to_owned());
    }
}

/// Finds what is in the way; refuses it, or plans to drop it.
fn make_room(facts: &TargetFacts, options: &PlanOptions, plan: &mut RestorePlan) -> Result<()> {
    let kind = |name: &Namespace| facts.namespaces.get(name).map(|e| e.kind);
    let mut in_the_way = BTreeSet::new();
    let names = plan.collections.iter().map(|c| &c.create.name);
    for name in names.chain(plan.views.iter().map(|v| &v.name)) {
        if facts.namespaces.contains_key(name) {
            in_the_way.insert(name.clone());
            // Buckets alone: dropped with the time-series that the target has of them.
            let series = name.without_buckets();
            in_the_way.extend(Some(series).filter(|s| kind(s) == Some(Kind::TimeSeries)));
        } else if facts.namespaces.contains_key(&name.buckets()) {
            in_the_way.insert(name.buckets());
        }
    }
    let own = |name: &Namespace| options.own.contains(&name.without_buckets());
    let foreign: Vec<_> = in_the_way.iter().filter(|name| !own(name)).collect();
    if !foreign.is_empty() && !options.drop {
        let shown: Vec<_> = foreign.iter().take(10).map(|name| name.to_string()).collect();
        let more = foreign.len() - shown.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(Error::usage(format!("the target already has {}{more}", shown.join(", ")))
            .hint("give --drop to replace them, or restore under other names"));
    }
    plan.drops = in_the_way.into_iter().collect();
    plan.drops.sort_by_key(|name| match kind(name) {
        Some(Kind::View) => 0,
        Some(Kind::TimeSeries) => 1,
        _ => 2,
    });
    Ok(())
}

fn check_privileges(facts: &TargetFacts, options: &PlanOptions, plan: &RestorePlan) -> Result<()> {
    for collection in &plan.collections {
        let name = &collection.target;
        let system = name.coll.starts_with("system.");
        let writes: &[&str] = match system {
            true => &["insert"],
            false => &[
                "createCollection",
                "createIndex",
                "insert",
                "bypassDocumentValidation",
                "collMod",
            ],
        };
        facts.require(writes, name, "restore")?;
        if options.verify && !system {
            facts.require(&["find", "dbHash"], name, "readAnyDatabase")?;
        }
    }
    for name in &plan.drops {
        facts.require(&["dropCollection"], name, "restore")?;
    }
    for (id, coll) in [(plan.users, "system.users"), (plan.roles, "system.roles")] {
        if id.is_some() {
            let actions: &[&str] = if coll == "system.users" { &["insert"] } else { &[] };
            facts.require(actions, &Namespace::new("admin", coll), "restore")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
