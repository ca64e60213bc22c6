//! Which namespaces a backup holds.

use bson::{RawArrayBuf, RawDocumentBuf, cstr};
use bygone_base::{Error, Result};

use crate::{
    entry::{Entry, Kind},
    raw,
};

/// How the patterns of a [`Filter`] count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Everything; patterns do not count.
    #[default]
    All,
    /// Everything but what a pattern names.
    Deny,
    /// Only what a pattern names.
    Allow,
}

/// A filter of namespaces. Patterns: `*`, `db.*`, `db.coll`; the database ends at the first dot.
///
/// Whatever the mode: `local` and the servers' bookkeeping are never covered,
/// users, roles and versions (`admin.system.*`) always are. The buckets of a time-series
/// collection go with its name, and temporary collections (`$out`, renames
/// across databases, convertToCapped) with their database, because they are renamed into place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    mode: Mode,
    patterns: Vec<String>,
}

impl Filter {
    /// Covers everything.
    pub fn all() -> Self {
        Filter::default()
    }

    /// A filter of this mode. Usage when a pattern has no database or asks for more than a trailing `*`.
    pub fn new(mode: Mode, patterns: Vec<String>) -> Result<Self> {
        for pattern in &patterns {
            check(pattern)?;
        }
        if mode == Mode::Allow && patterns.is_empty() {
            return Err(Error::usage("a filter that allows nothing")
                .hint("name at least one database or collection"));
        }
        Ok(Filter { mode, patterns })
    }

    /// The filter that people ask for by two lists of patterns, one of them empty; with both empty, everything.
    ///
    /// # Errors
    /// Usage: both are given; and what [`Filter::new`] gives.
    pub fn of(include: &[String], exclude: &[String]) -> Result<Self> {
        match (include, exclude) {
            ([], []) => Ok(Filter::all()),
            ([], exclude) => Filter::new(Mode::Deny, exclude.to_vec()),
            (include, []) => Filter::new(Mode::Allow, include.to_vec()),
            _ => Err(Error::usage("either included or excluded namespaces can be given, not both")),
        }
    }

    /// How the patterns count.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether the namespace is part of the backup.
    pub fn covers(&self, db: &str, coll: &str) -> bool {
        if let Some(fixed) = fixed(db, coll) {
            return fixed;
        }
        let base = coll.strip_prefix("system.buckets.").unwrap_or(coll);
        let hit = |p: &String| matches(p, db, coll) || matches(p, db, base);
        match self.mode {
            Mode::All => true,
            Mode::Deny if temporary(coll) => !self.patterns.iter().any(|p| whole(p, db)),
            Mode::Deny => !self.patterns.iter().any(hit),
            Mode::Allow if temporary(coll) => self.patterns.iter().any(|p| touches(p, db)),
            Mode::Allow => self.patterns.iter().any(hit),
        }
    }

    /// Whether no filter ever covers the namespace.
    pub fn never(db: &str, coll: &str) -> bool {
        fixed(db, coll) == Some(false)
    }

    /// Whether an agent has to hand on the entry: everything but no-ops and
    /// plain writes to namespaces that are not covered. The last entry of a slice stays in any case.
    pub fn keeps(&self, entry: &Entry<'_>) -> bool {
        match entry.kind {
            Kind::Noop => false,
            Kind::Insert { .. } | Kind::Update { .. } | Kind::Delete { .. } => {
                entry.ns.coll == "system.views" || self.covers(entry.ns.db, entry.ns.coll)
            }
            Kind::Command(_) | Kind::Unknown { .. } => true,
        }
    }

    /// `{mode, patterns}` as docs/format.md has it.
    pub fn to_bson(&self) -> RawDocumentBuf {
        let mode = match self.mode {
            Mode::All => "all",
            Mode::Deny => "deny",
            Mode::Allow => "allow",
        };
        let mut patterns = RawArrayBuf::new();
        for pattern in &self.patterns {
            patterns.push(pattern.as_str());
        }
        let mut doc = RawDocumentBuf::new();
        doc.append(cstr!("mode"), mode);
        doc.append(cstr!("patterns"), patterns);
        doc
    }

    /// Reads what [`Filter::to_bson`] wrote.
    pub fn from_bson(doc: &[u8]) -> Result<Self> {
        let bad = || Error::damaged("filter: not {mode, patterns}");
        let mode = raw::get(doc, "mode")?.and_then(|e| e.str()).ok_or_else(bad)?;
        let mode = match mode {
            "all" => Mode::All,
            "deny" => Mode::Deny,
            "allow" => Mode::Allow,
            other => return Err(Error::unsupported(format!("filter mode {other:?}"))),
        };
        let mut patterns = Vec::new();
        let list = raw::get(doc, "patterns")?.and_then(|e| e.array()).ok_or_else(bad)?;
        let mut walk = raw::elements(list)?;
        while let Some(element) = walk.next()? {
            patterns.push(element.str().ok_or_else(bad)?.to_owned());
        }
        Filter::new(mode, patterns)
    }
}

fn check(pattern: &str) -> Result<()> {
    let good = match pattern.split_once('.') {
        Some((db, coll)) => {
            !db.is_empty()
                && !coll.is_empty()
                && !db.contains('*')
                && (coll == "*" || !coll.contains('*'))
        }
        None => pattern == "*",
    };
    if good {
        return Ok(());
    }
    Err(Error::usage(format!("{pattern:?} is not a namespace pattern"))
        .hint("use *, database.* or database.collection"))
}

fn matches(pattern: &str, db: &str, coll: &str) -> bool {
    match pattern.split_once('.') {
        Some((d, c)) => d == db && (c == "*" || c == coll),
        None => true,
    }
}

/// The pattern takes in the whole database.
fn whole(pattern: &str, db: &str) -> bool {
    pattern.split_once('.').is_none_or(|(d, c)| d == db && c == "*")
}

/// The pattern takes in something of the database.
fn touches(pattern: &str, db: &str) -> bool {
    pattern.split_once('.').is_none_or(|(d, _)| d == db)
}

/// Namespaces that no pattern decides.
fn fixed(db: &str, coll: &str) -> Option<bool> {
    match db {
        "local" => Some(false),
        "config" if bookkeeping(coll) => Some(false),
        "admin" => match coll {
            "system.users" | "system.roles" | "system.version" => Some(true),
            // The keys of the members' signatures: secret, unreadable, and renewed by themselves.
            "system.keys" => Some(false),
            "system.profile" => Some(false),
            _ => None,
        },
        // Each member's own measurements; not replicated.
        _ if coll == "system.profile" => Some(false),
        _ => None,
    }
}

/// Whether a collection of `config` is the server's own note of what it is
/// doing: sessions, index builds, retry and change-stream images, caches of
/// routing, coordinators. A restored server makes its own.
pub fn bookkeeping(coll: &str) -> bool {
    const NAMES: [&str; 20] = [
        "actionlog",
        "analyzeShardKeySplitPoints",
        "changelog",
        "collection_critical_sections",
        "external_validation_keys",
        "image_collection",
        "lockpings",
        "locks",
        "migrationCoordinators",
        "mongos",
        "queryAnalyzers",
        "rangeDeletions",
        "rangeDeletionsForRename",
        "sampledQueries",
        "sampledQueriesDiff",
        "tenantMigrationDonors",
        "tenantMigrationRecipients",
        "transaction_coordinators",
        "transactions",
        "vectorClock",
    ];
    const PREFIXES: [&str; 3] = ["system.", "cache.", "localResharding"];
    NAMES.contains(&coll) || PREFIXES.iter().any(|p| coll.starts_with(p))
}

/// A collection that the server makes on the way to another: `$out` and `$merge`
/// (`tmp.agg_out.UUID`), renames across databases (`tmpXXXXX.renameCollection`),
/// `tmpXXXXX.convertToCapped.NAME`, and mapReduce (`tmp.mr.NAME_N`).
fn temporary(coll: &str) -> bool {
    let coll = coll.strip_prefix("system.buckets.").unwrap_or(coll);
    let Some(rest) = coll.strip_prefix("tmp") else { return false };
    let Some((random, rest)) = rest.split_once('.') else { return false };
    random.len() <= 5
        && random.bytes().all(|b| b.is_ascii_alphanumeric())
        && (rest.starts_with("agg_out.")
            || rest.starts_with("mr.")
            || rest == "renameCollection"
            || rest.starts_with("convertToCapped."))
}

#[cfg(test)]
mod tests;
