//! All trees of the notary: each event of CONTROL is a leaf of one or two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use waybill_domain::audit::tree::team_of;
use waybill_domain::audit::{Covering, Growing, Leaf, Signed, TreeId};
use waybill_log::{AppendError, Checkpoints, Mark, Record, StreamSeq};

use super::{Interrupted, NotaryConfig, NotaryError};

/// The trees of one stream.
pub(super) struct Forest {
    /// Creation time of CONTROL, in nanoseconds since the epoch.
    pub(super) stream: i64,
    checkpoints: Arc<dyn Checkpoints>,
    config: Arc<NotaryConfig>,
    trees: BTreeMap<TreeId, Tree>,
    /// Trees with leaves that no checkpoint covers.
    grown: BTreeSet<TreeId>,
    /// The next sequence to read.
    next: StreamSeq,
    /// The last record that was read.
    mark: Option<Mark>,
    /// The last record that was read when something was last signed, or verified.
    signed_mark: Option<Mark>,
}

struct Tree {
    growing: Growing,
    /// Position of its newest checkpoint in AUDITCP.
    after: StreamSeq,
}

impl Forest {
    /// Trees without events, together with what was signed of all of CONTROL.
    pub(super) async fn plant(
        stream: i64,
        checkpoints: Arc<dyn Checkpoints>,
        config: Arc<NotaryConfig>,
    ) -> Result<Self, Interrupted> {
        let mut forest = Self {
            stream,
            checkpoints,
            config,
            trees: BTreeMap::new(),
            grown: BTreeSet::new(),
            next: StreamSeq(1),
            mark: None,
            signed_mark: None,
        };
        forest.tree(&TreeId::Control).await?;
        Ok(forest)
    }

    /// The next sequence to read.
    pub(super) fn next(&self) -> StreamSeq {
        self.next
    }

    /// The last record that was read.
    pub(super) fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// The last record that was read when something was last signed, or verified.
    pub(super) fn signed_mark(&self) -> Option<Mark> {
        self.signed_mark
    }

    /// Whether there are leaves that no checkpoint covers.
    pub(super) fn has_grown(&self) -> bool {
        !self.grown.is_empty()
    }

    /// The tree, loaded together with its newest checkpoint if necessary.
    async fn tree(&mut self, id: &TreeId) -> Result<&mut Tree, Interrupted> {
        if !self.trees.contains_key(id) {
            let stored = self.checkpoints.last_checkpoint(id).await?;
            let (last, after) = match stored {
                None => (None, StreamSeq(0)),
                Some(stored) => {
                    let tree = id.name().to_owned();
                    let covering = Covering::decode(&stored.value);
                    let covering =
                        covering.ok_or(NotaryError::Unreadable { tree: tree.clone() })?;
                    let signed = Signed::open(&covering.note, &self.config.trusted)
                        .map_err(|reason| NotaryError::Checkpoint { tree, reason })?;
                    (Some(signed), stored.seq)
                }
            };
            let growing = Growing::new(id.clone(), last);
            self.trees.insert(id.clone(), Tree { growing, after });
        }
        match self.trees.get_mut(id) {
            Some(tree) => Ok(tree),
            None => Err(NotaryError::Crashed("a tree that was just planted is gone".into()).into()),
        }
    }

    /// Adds the next events of CONTROL.
    pub(super) async fn append(&mut self, records: &[Record]) -> Result<(), Interrupted> {
        for record in records {
            if record.seq < self.next {
                continue;
            }
            if record.seq > self.next {
                let (expected, found) = (self.next, record.seq);
                return Err(NotaryError::Hole { expected, found }.into());
            }
            let stored = record.stored();
            let leaf = Leaf {
                hash: stored.leaf(self.stream),
                seq: stored.seq,
                time_ns: stored.time_ns,
            };
            let team = team_of(&stored).map(TreeId::Team);
            for id in [Some(TreeId::Control), team].into_iter().flatten() {
                let tree = self.tree(&id).await?;
                tree.growing.append(leaf).map_err(NotaryError::from)?;
                if tree.growing.uncovered().is_some() {
                    self.grown.insert(id);
                }
            }
            self.next = record.seq.next();
            self.mark = Some(Mark::of(record, self.stream));
        }
        Ok(())
    }

    /// Once everything in the log was added, checks that everything that was signed exists.
    pub(super) fn check(&mut self) -> Result<(), NotaryError> {
        for tree in self.trees.values() {
            tree.growing.check(self.stream)?;
        }
        self.signed_mark = self.mark;
        Ok(())
    }

    /// The newest checkpoint of a tree.
    pub(super) async fn last(&mut self, id: &TreeId) -> Result<Option<Signed>, Interrupted> {
        Ok(self.tree(id).await?.growing.last().cloned())
    }

    /// When the oldest event without a covering checkpoint was stored, in nanoseconds since the
    /// epoch.
    pub(super) fn oldest_uncovered(&self) -> Option<i64> {
        // Each of them is in the tree of all of CONTROL.
        let all = self.trees.get(&TreeId::Control)?;
        all.growing.uncovered().map(|leaf| leaf.time_ns)
    }

    /// Signs every tree that has grown.
    pub(super) async fn sign_grown(&mut self, now_ns: i64) -> Result<(), Interrupted> {
        while let Some(id) = self.grown.first().cloned() {
            self.sign(&id, now_ns).await?;
        }
        Ok(())
    }

    /// Signs a tree if it has grown.
    pub(super) async fn sign_if_grown(
        &mut self,
        id: &TreeId,
        now_ns: i64,
    ) -> Result<(), Interrupted> {
        while self.grown.contains(id) {
            self.sign(id, now_ns).await?;
        }
        Ok(())
    }

    /// Signs a tree in its current state.
    pub(super) async fn sign(&mut self, id: &TreeId, now_ns: i64) -> Result<(), Interrupted> {
        let (config, checkpoints) = (Arc::clone(&self.config), Arc::clone(&self.checkpoints));
        let stream = self.stream;
        let tree = self.tree(id).await?;
        let (signed, covering) = tree
            .growing
            .next(&config.deployment, stream, now_ns, &config.key);
        let value = covering.encode().into();
        match checkpoints.append_checkpoint(id, tree.after, value).await {
            Ok(seq) => {
                tree.after = seq;
                tree.growing.signed(signed);
                let is_covered = tree.growing.uncovered().is_none();
                metrics::counter!("waybill_notary_checkpoints_total").increment(1);
                if is_covered {
                    self.grown.remove(id);
                }
                self.signed_mark = self.mark;
                Ok(())
            }
            Err(AppendError::Conflict { .. }) => Err(Interrupted::Overtaken),
            // Stored or not: the next try finds out.
            Err(error) => Err(Interrupted::Away(waybill_log::ReadError::Unavailable {
                reason: error.to_string(),
            })),
        }
    }
}
