//! What is being seen to in this process: the same thing is not done twice at once, and nothing waits for another.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The names of what is being seen to.
#[derive(Debug, Default)]
pub(crate) struct Attended(Mutex<HashSet<String>>);

/// Held while it is seen to.
#[derive(Debug)]
pub(crate) struct Attending<'a> {
    of: &'a Attended,
    name: String,
}

impl Attended {
    /// Begins with something; `None`: somebody is at it.
    pub(crate) fn begin(&self, name: String) -> Option<Attending<'_>> {
        let new = self.names().insert(name.clone());
        new.then_some(Attending { of: self, name })
    }

    fn names(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Attending<'_> {
    fn drop(&mut self) {
        self.of.names().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_twice_at_once() {
        let all = Attended::default();
        let first = all.begin("a".to_owned());
        assert!(first.is_some() && all.begin("a".to_owned()).is_none());
        assert!(all.begin("b".to_owned()).is_some());
        drop(first);
        assert!(all.begin("a".to_owned()).is_some());
    }
}
