//! Where rows are kept.

use std::fmt;

use async_trait::async_trait;
use bygone_base::Result;

/// What a row is. The word is the name in the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub &'static str);

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Unique among those of its kind.
    pub id: String,
    /// What it belongs to: a project's id, or empty.
    pub scope: String,
    /// Grows by one with every change, from 1.
    pub version: u64,
    /// JSON.
    pub body: String,
}

/// Which rows of a kind are wanted, in the order of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Only those of this scope.
    pub scope: Option<String>,
    /// Newest (largest id) first.
    pub newest_first: bool,
    /// Only those beyond this id, in that order.
    pub after: Option<String>,
    /// At most so many; `None` is all.
    pub limit: Option<u32>,
}

/// Rows with conditional updates. One row at a time: what a MongoDB document update could do too.
#[async_trait]
pub trait Backend: fmt::Debug + Send + Sync {
    /// The row, if there is one.
    async fn get(&self, kind: Kind, id: &str) -> Result<Option<Stored>>;

    /// Adds a row as version 1.
    ///
    /// # Errors
    /// Conflict: there is one already.
    async fn insert(&self, kind: Kind, id: &str, scope: &str, body: String) -> Result<()>;

    /// Replaces the body where the row still has `version`.
    ///
    /// # Errors
    /// Conflict: it has another one, or is gone.
    async fn update(&self, kind: Kind, id: &str, version: u64, body: String) -> Result<()>;

    /// Deletes the row where it still has `version`.
    ///
    /// # Errors
    /// Conflict: it has another one, or is gone.
    async fn delete(&self, kind: Kind, id: &str, version: u64) -> Result<()>;

    /// Rows of a kind.
    async fn list(&self, kind: Kind, page: &Page) -> Result<Vec<Stored>>;

    /// How many rows of a kind there are.
    async fn count(&self, kind: Kind, scope: Option<&str>) -> Result<u64>;

    /// Writes a copy of everything to a file, whole and as of one moment.
    async fn copy_to(&self, file: &std::path::Path) -> Result<()>;
}
