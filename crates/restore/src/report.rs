//! The plan for people and for machines.

use std::fmt;

use bygone_base::ByteSize;

use crate::plan::RestorePlan;

impl RestorePlan {
    /// Documents to load, about.
    pub fn documents(&self) -> u64 {
        self.collections.iter().map(|c| c.documents).sum()
    }

    /// Bytes of documents to load, about.
    pub fn bytes(&self) -> u64 {
        self.collections.iter().map(|c| c.bytes).sum()
    }

    /// For machines.
    pub fn to_json(&self) -> serde_json::Value {
        let collections = self.collections.iter().map(|c| {
            serde_json::json!({
                "source": c.source.to_string(), "target": c.create.name.to_string(),
                "documents": c.documents, "bytes": c.bytes, "indexes": c.indexes.len(),
            })
        });
        let skipped = self
            .skipped
            .iter()
            .map(|s| serde_json::json!({"source": s.name.to_string(), "reason": s.reason}));
        serde_json::json!({
            "at": self.at.to_string(),
            "documents": self.documents(),
            "bytes": self.bytes(),
            "operations": self.operations,
            "collections": collections.collect::<Vec<_>>(),
            "views": self.views.iter().map(|v| v.name.to_string()).collect::<Vec<_>>(),
            "users": self.users.is_some(),
            "roles": self.roles.is_some(),
            "drops": self.drops.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "skipped": skipped.collect::<Vec<_>>(),
            "warnings": self.warnings,
        })
    }
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "state at {} ({})", self.at, self.at.to_rfc3339())?;
        for name in &self.drops {
            writeln!(f, "drop {name}")?;
        }
        for c in &self.collections {
            write!(f, "load {}", c.create.name)?;
            if c.source != c.target {
                write!(f, " from {}", c.source.without_buckets())?;
            }
            let (bytes, indexes) = (ByteSize(c.bytes), c.indexes.len());
            writeln!(f, ": about {} documents, {bytes}, {indexes} indexes", c.documents)?;
        }
        for view in &self.views {
            writeln!(f, "view {}", view.name)?;
        }
        for (what, there) in [("roles", self.roles), ("users", self.users)] {
            if there.is_some() {
                writeln!(f, "{what}")?;
            }
        }
        // What was not asked for needs no line each.
        let (unselected, skipped): (Vec<_>, Vec<_>) =
            self.skipped.iter().partition(|s| s.reason == crate::plan::NOT_SELECTED);
        for s in skipped {
            writeln!(f, "skip {}: {}", s.name, s.reason)?;
        }
        if !unselected.is_empty() {
            writeln!(f, "skip {} not selected", unselected.len())?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        write!(
            f,
            "{} collections, {} views, about {} documents and {}, {} oplog operations to merge",
            self.collections.len(),
            self.views.len(),
            self.documents(),
            ByteSize(self.bytes()),
            self.operations
        )
    }
}
