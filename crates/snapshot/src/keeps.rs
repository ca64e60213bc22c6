//! Until when single snapshots are kept, whatever the policy says: what a schedule gave them when they were
//! taken, or an operator since.

use std::collections::BTreeMap;

use bygone_base::{Error, ErrorKind, Result, SnapshotId};
use bygone_blockstore::{ObjectKind, Put};
use futures::StreamExt as _;

use crate::{
    fields::{Fields, long},
    list::{AT_ONCE, PartStore, TRIES},
};

/// One snapshot's own retention. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The moment for which a schedule took it; `None`: nobody's.
    pub due: Option<u64>,
    /// It is kept until then; `None`: for ever.
    pub until: Option<u64>,
}

impl Keep {
    /// The object's plain bytes (docs/format.md, section 9).
    pub fn to_bson(&self) -> Vec<u8> {
        let mut doc = bson::RawDocumentBuf::new();
        for (name, value) in [(bson::cstr!("due"), self.due), (bson::cstr!("until"), self.until)] {
            match value {
                Some(secs) => doc.append(name, long(secs)),
                None => doc.append(name, bson::RawBson::Null),
            }
        }
        doc.into_bytes()
    }

    /// Reads the object's plain bytes.
    ///
    /// # Errors
    /// Damaged, naming the field.
    pub fn from_bson(bytes: &[u8]) -> Result<Keep> {
        let f = Fields::new(bytes, "retention of a snapshot")?;
        let optional = |name| match f.optional(name)? {
            None => Ok(None),
            Some(_) => f.count(name).map(Some),
        };
        Ok(Keep { due: optional("due")?, until: optional("until")? })
    }
}

impl PartStore {
    /// What single snapshots are given, the newest record of each.
    ///
    /// # Errors
    /// Damaged, when a record is.
    pub async fn keeps(&self) -> Result<BTreeMap<SnapshotId, Keep>> {
        let newest = self.keep_numbers().await?;
        let read = |(id, number)| async move {
            let name = self.keep_name(&id, number);
            let bytes = self.repository().get_object(ObjectKind::Policy, &name).await;
            (id, bytes.and_then(|b| Keep::from_bson(&b)).map_err(|e| e.within(&name)))
        };
        let mut reads = futures::stream::iter(newest).map(read).buffered(AT_ONCE);
        let mut keeps = BTreeMap::new();
        while let Some((id, keep)) = reads.next().await {
            match keep {
                Ok(keep) => drop(keeps.insert(id, keep)),
                // Its snapshot has just expired.
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(keeps)
    }

    /// Gives a snapshot its own retention, in the place of what it was given before.
    ///
    /// # Errors
    /// Unavailable when others write the same all the time.
    pub async fn set_keep(&self, id: &SnapshotId, keep: &Keep) -> Result<()> {
        let bytes = keep.to_bson();
        for _ in 0..TRIES {
            let number = self.keep_numbers().await?.get(id).map_or(0, |n| n.saturating_add(1));
            let name = self.keep_name(id, number);
            let put = self.repository().put_object(ObjectKind::Policy, &name, &bytes).await?;
            if put == Put::Created {
                return Ok(());
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("{id} is given another retention all the time"),
        ))
    }

    /// Forgets what a snapshot that is gone was given.
    pub(crate) async fn forget_keep(&self, id: &SnapshotId) -> Result<()> {
        for leaf in self.leaf_names("keeps/").await? {
            if leaf.split_once('.').is_some_and(|(of, _)| of == id.as_str()) {
                self.repository().store().delete(&self.name(&format!("keeps/{leaf}"))).await?;
            }
        }
        Ok(())
    }

    fn keep_name(&self, id: &SnapshotId, number: u32) -> String {
        self.name(&format!("keeps/{id}.{number:08}"))
    }

    /// The number of each snapshot's newest record.
    async fn keep_numbers(&self) -> Result<BTreeMap<SnapshotId, u32>> {
        let mut newest = BTreeMap::new();
        for leaf in self.leaf_names("keeps/").await? {
            let parts = leaf.split_once('.');
            let parts = parts.and_then(|(id, n)| Some((id.parse().ok()?, n.parse().ok()?)));
            // In ascending order: the last one of a snapshot counts.
            let (id, number): (SnapshotId, u32) =
                parts.ok_or_else(|| self.strange("keeps/", &leaf))?;
            newest.insert(id, number);
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keep_reads_back_and_damage_is_named() {
        for keep in [
            Keep { due: None, until: None },
            Keep { due: Some(1_795_000_000), until: Some(1_796_000_000) },
        ] {
            assert_eq!(Keep::from_bson(&keep.to_bson()).unwrap(), keep);
        }
        let bad = bson::rawdoc! { "due": "soon", "until": 1_i64 };
        assert!(Keep::from_bson(bad.as_bytes()).unwrap_err().to_string().contains("due"));
        assert!(Keep::from_bson(b"").is_err());
    }
}
