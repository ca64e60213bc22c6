use bygone_base::UnixMillis;
use serde::{Deserialize, Serialize};

use crate::{Id, Kind, Record};

/// A name that is taken: written before the record that has it, as the one thing of which there can be only one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// What it names, a slash, and the name; the id.
    pub name: String,
    /// The record that has it, or is about to.
    pub holder: Id,
    /// Since when.
    pub since: UnixMillis,
}

impl Record for Name {
    const KIND: Kind = Kind("name");

    fn id(&self) -> &str {
        &self.name
    }
}
