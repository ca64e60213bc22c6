//! In whose name something is done.

use bygone_catalog::record::Actor;

/// Who asks, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// His address.
    pub address: Option<String>,
}

impl By {
    /// The server itself.
    pub fn system() -> By {
        By { actor: Actor::System, address: None }
    }
}
