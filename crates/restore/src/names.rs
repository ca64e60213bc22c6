//! Which namespaces are restored, and under which name: mongorestore's
//! `--nsInclude`, `--nsExclude`, `--nsFrom` and `--nsTo`.
//!
//! The rules, as the stock tool has them:
//!
//! - A pattern is matched against the whole `db.collection`; `*` stands for any
//!   run of characters, dots included; `\*` is a literal star, `\\` a backslash.
//! - Filters see the *source* name, a bucket collection under its time-series' name.
//! - A renaming pattern with `$name$` has variables and no wildcards: each variable
//!   once in `from`, any number of times in `to`. One without has wildcards, equally many on
//!   both sides, matched in order. Variables and wildcards take as little as they can.
//! - The rename given last wins; only one is applied.

use std::collections::BTreeMap;

use bygone_base::{Error, Result};

/// The prefix of a time-series collection's own storage.
pub const BUCKETS: &str = "system.buckets.";

/// A pattern cut into what it must find literally and what it captures.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern {
    /// `captures + 1` literals: before, between and after the captures.
    literals: Vec<String>,
}

impl Pattern {
    /// What each capture takes, or `None` when the name does not match. The
    /// first place of each literal is always as good as a later one, so there is no backtracking.
    fn captures<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let (first, rest) = self.literals.split_first()?;
        let mut name = name.strip_prefix(first.as_str())?;
        let mut captures = Vec::with_capacity(rest.len());
        let Some((last, middle)) = rest.split_last() else {
            return name.is_empty().then_some(captures);
        };
        for literal in middle {
            let at = name.find(literal.as_str())?;
            captures.push(&name[..at]);
            name = &name[at + literal.len()..];
        }
        captures.push(name.strip_suffix(last.as_str())?);
        Some(captures)
    }
}

/// Cuts at wildcards: stars that no backslash precedes.
fn cut_at_stars(pattern: &str) -> Pattern {
    let mut literals = vec![String::new()];
    let mut before = None;
    for c in pattern.chars() {
        if c == '*' && before != Some('\\') {
            literals.push(String::new());
        } else if let Some(last) = literals.last_mut() {
            last.push(c);
        }
        before = Some(c);
    }
    Pattern { literals: literals.iter().map(|l| unescape(l)).collect() }
}

/// `\\` is a backslash, `\*` a star, any other backslash nothing.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
        } else if let Some(escaped) = chars.next_if(|c| matches!(c, '\\' | '*')) {
            out.push(escaped);
        }
    }
    out
}

/// Cuts at `$name$`; also gives the names.
fn cut_at_variables(pattern: &str) -> Result<(Pattern, Vec<&str>)> {
    let parts: Vec<&str> = pattern.split('$').collect();
    if parts.len().is_multiple_of(2) {
        return Err(Error::usage(format!("pattern {pattern:?} has an odd number of $")));
    }
    let literals = parts.iter().step_by(2).map(|l| (*l).to_owned()).collect();
    let names = parts.into_iter().skip(1).step_by(2).collect();
    Ok((Pattern { literals }, names))
}

/// One `--nsFrom` with its `--nsTo`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rename {
    from: Pattern,
    to: Pattern,
    /// For each hole of `to`, the capture of `from` that fills it.
    holes: Vec<usize>,
}

impl Rename {
    fn new(from: &str, to: &str) -> Result<Self> {
        if from.contains('$') { Self::by_variables(from, to) } else { Self::by_stars(from, to) }
    }

    fn by_variables(from: &str, to: &str) -> Result<Self> {
        let (from_pattern, names) = cut_at_variables(from)?;
        let mut position = BTreeMap::new();
        for (index, name) in names.iter().enumerate() {
            if position.insert(*name, index).is_some() {
                return Err(Error::usage(format!("pattern {from:?} uses ${name}$ twice")));
            }
        }
        let (to_pattern, names) = cut_at_variables(to)?;
        let hole = |name: &&str| {
            position.get(name).copied().ok_or_else(|| {
                Error::usage(format!("pattern {to:?} uses ${name}$, which {from:?} does not have"))
            })
        };
        let holes = names.iter().map(hole).collect::<Result<_>>()?;
        Ok(Rename { from: from_pattern, to: to_pattern, holes })
    }

    fn by_stars(from: &str, to: &str) -> Result<Self> {
        if to.contains('$') {
            return Err(Error::usage(format!(
                "pattern {to:?} uses variables, and {from:?} has none"
            )));
        }
        let (from_pattern, to_pattern) = (cut_at_stars(from), cut_at_stars(to));
        if from_pattern.literals.len() != to_pattern.literals.len() {
            return Err(Error::usage(format!(
                "patterns {from:?} and {to:?} have different numbers of *"
            )));
        }
        let holes = (0..to_pattern.literals.len().saturating_sub(1)).collect();
        Ok(Rename { from: from_pattern, to: to_pattern, holes })
    }

    fn apply(&self, name: &str) -> Option<String> {
        let captures = self.from.captures(name)?;
        let mut out = String::new();
        for (index, literal) in self.to.literals.iter().enumerate() {
            out.push_str(literal);
            if let Some(hole) = self.holes.get(index) {
                out.push_str(captures.get(*hole).copied().unwrap_or_default());
            }
        }
        Some(out)
    }
}

/// A namespace: database and collection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    /// Database.
    pub db: String,
    /// Collection, which may contain dots.
    pub coll: String,
}

impl Namespace {
    /// From its two parts.
    pub fn new(db: impl Into<String>, coll: impl Into<String>) -> Self {
        Namespace { db: db.into(), coll: coll.into() }
    }

    /// The time-series' name where this is its bucket collection.
    pub fn without_buckets(&self) -> Namespace {
        let coll = self.coll.strip_prefix(BUCKETS).unwrap_or(&self.coll);
        Namespace::new(self.db.clone(), coll)
    }

    /// The bucket collection of a time-series of this name.
    pub fn buckets(&self) -> Namespace {
        Namespace::new(self.db.clone(), format!("{BUCKETS}{}", self.coll))
    }
}

impl std::fmt::Display for Namespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.db, self.coll)
    }
}

impl std::str::FromStr for Namespace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('.') {
            Some((db, coll)) if !db.is_empty() && !coll.is_empty() => Ok(Namespace::new(db, coll)),
            _ => Err(Error::usage(format!("{text:?} is not db.collection"))),
        }
    }
}

/// What is restored and under which names.
#[derive(Debug, Clone, Default)]
pub struct NameRules {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    renames: Vec<Rename>,
}

impl NameRules {
    /// Rules from the command line; `renames` are `(from, to)`. Without an
    /// include pattern everything is included.
    pub fn new<S: AsRef<str>>(
        include: &[S],
        exclude: &[S],
        renames: &[(S, S)],
    ) -> Result<NameRules> {
        let filter = |patterns: &[S]| {
            let cut = |pattern: &S| match pattern.as_ref() {
                text if text.contains('$') => Err(Error::usage(format!(
                    "pattern {text:?}: $ is not allowed in include and exclude patterns"
                ))),
                text => Ok(cut_at_stars(text)),
            };
            patterns.iter().map(cut).collect::<Result<Vec<_>>>()
        };
        let renames = renames
            .iter()
            .map(|(from, to)| Rename::new(from.as_ref(), to.as_ref()))
            .collect::<Result<_>>()?;
        Ok(NameRules { include: filter(include)?, exclude: filter(exclude)?, renames })
    }

    /// Whether only what matches a pattern is meant.
    pub fn names_some(&self) -> bool {
        !self.include.is_empty()
    }

    /// Whether a source namespace is restored.
    pub fn covers(&self, source: &Namespace) -> bool {
        let name = source.without_buckets().to_string();
        let hit = |patterns: &[Pattern]| patterns.iter().any(|p| p.captures(&name).is_some());
        (self.include.is_empty() || hit(&self.include)) && !hit(&self.exclude)
    }

    /// Whether an include pattern names this database literally (`config.*`, not `*`).
    pub fn names_database(&self, db: &str) -> bool {
        let prefix = format!("{db}.");
        self.include.iter().any(|p| p.literals.first().is_some_and(|l| l.starts_with(&prefix)))
    }

    /// The name on the target. A bucket collection goes with its time-series.
    pub fn target(&self, source: &Namespace) -> Result<Namespace> {
        let plain = source.without_buckets();
        let name = plain.to_string();
        let renamed = self.renames.iter().rev().find_map(|rename| rename.apply(&name));
        let Some(renamed) = renamed else { return Ok(source.clone()) };
        let to: Namespace =
            renamed.parse().map_err(|e: Error| e.within(format!("rename {name}")))?;
        check_name(&to)?;
        Ok(if plain == *source { to } else { to.buckets() })
    }
}

/// What a server refuses in a name that a rename made up.
fn check_name(name: &Namespace) -> Result<()> {
    let bad_db = |c: char| matches!(c, '/' | '\\' | ' ' | '"' | '$' | '\0');
    if name.db.len() > 63 || name.db.contains(bad_db) {
        return Err(Error::usage(format!("{:?} is not a database name", name.db)));
    }
    if name.coll.contains('\0') || name.coll.starts_with("system.") && name.coll != "system.js" {
        return Err(Error::usage(format!(
            "{:?} is not a collection name to restore to",
            name.coll
        )));
    }
    Ok(())
}

/// Refuses two sources that would become one namespace.
pub fn check_conflicts<'a>(
    pairs: impl IntoIterator<Item = (&'a Namespace, &'a Namespace)>,
) -> Result<()> {
    let mut taken: BTreeMap<&Namespace, &Namespace> = BTreeMap::new();
    for (source, target) in pairs {
        if let Some(other) = taken.insert(target, source) {
            return Err(Error::usage(format!(
                "conflicting destinations: {other} and {source} would both become {target}"
            ))
            .hint("change the nsFrom and nsTo patterns, or exclude one"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
