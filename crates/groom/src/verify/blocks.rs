//! What a snapshot reaches: exactly which nodes and leaves are good, so that one damaged block
//! does not make snapshots bad that do not need it.

use std::sync::Arc;

use bygone_base::{Error, Result};
use bygone_blockstore::BlockRef;
use bygone_snapshot::{Manifest, catalogue};
use bygone_tree::node::Node;

use super::{Depth, Run, Suspect, finding};
use crate::mark::short;

impl Run {
    /// What is wrong with anything that a manifest names, if something is.
    pub(super) async fn reaches(&mut self, manifest: &Manifest) -> Result<Option<String>> {
        let expected = self.part.repository().expect_id(manifest.repository);
        if let Err(other) = expected {
            return Ok(Some(other.to_string()));
        }
        let mut roots: Vec<(BlockRef, u8)> =
            manifest.runs.iter().map(|r| (r.root, r.level)).collect();
        if let Some((block, level)) = manifest.catalogue {
            if let Some(why) = self.below(block, level).await? {
                return Ok(Some(why.to_string()));
            }
            match finding(catalogue::load(&self.reader, manifest.catalogue).await)? {
                Ok(catalogue) => {
                    let trees = catalogue.collections.values();
                    let trees = trees.filter_map(|c| c.tree.root.as_ref());
                    roots.extend(trees.map(|root| (root.block, root.level)));
                }
                Err(what) => {
                    self.damage(format!("snapshot {}: {what}", manifest.id));
                    return Ok(Some(what));
                }
            }
        }
        let mut first = None;
        for (block, level) in roots {
            let why = self.below(block, level).await?;
            first = first.or(why);
        }
        Ok(first.map(|why| why.to_string()))
    }

    /// What is wrong with a block of `level` or below it.
    async fn below(&mut self, block: BlockRef, level: u8) -> Result<Option<Arc<str>>> {
        if level == 0 {
            return self.leaf(block).await;
        }
        if let Some(known) = self.nodes.get(&block) {
            return Ok(known.clone());
        }
        let mut first = None;
        match finding(self.node(block, level).await)? {
            Ok(node) => {
                for entry in node.entries {
                    let why = Box::pin(self.below(entry.block, level - 1)).await?;
                    first = first.or(why);
                }
            }
            Err(what) => first = Some(self.bad_block(block, what)),
        }
        self.nodes.insert(block, first.clone());
        Ok(first)
    }

    async fn node(&mut self, block: BlockRef, level: u8) -> Result<Node> {
        self.located(block).await?;
        let node = Node::parse(&self.reader.read(&block).await?)?;
        if node.level != level {
            return Err(Error::damaged(format!(
                "a node of level {} stands where level {level} belongs",
                node.level
            )));
        }
        Ok(node)
    }

    async fn leaf(&mut self, block: BlockRef) -> Result<Option<Arc<str>>> {
        let key = (block.pack, short(block.id));
        if self.leaves.contains(&key) {
            return Ok(None);
        }
        let there = self.depth == Depth::Quick
            && self.present.contains_key(&block.pack)
            && self.broken.iter().all(|suspect| suspect.pack != block.pack);
        if there {
            self.needed.insert(block.pack);
        }
        if !there && let Err(what) = finding(self.located(block).await)? {
            return Ok(Some(self.bad_block(block, what)));
        }
        self.leaves.insert(key);
        Ok(None)
    }

    /// Finds the pack that has the block now; the block there must be good.
    async fn located(&mut self, block: BlockRef) -> Result<()> {
        if self.present.contains_key(&block.pack) {
            self.needed.insert(block.pack);
        }
        let pack = self.reader.locate(&block).await?;
        self.needed.insert(pack);
        if self.broken.contains(&Suspect { pack, block: Some(block.id) }) {
            return Err(Error::damaged(format!("block {} of pack {pack} is damaged", block.id)));
        }
        Ok(())
    }

    fn bad_block(&mut self, block: BlockRef, what: String) -> Arc<str> {
        let known = |suspect: &Suspect| suspect.block == Some(block.id);
        let reported = self.told && self.broken.iter().any(known);
        if !reported {
            self.damage(format!("{block}: {what}"));
        }
        what.into()
    }
}
