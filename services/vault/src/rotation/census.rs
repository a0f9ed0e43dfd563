//! Counts stored keys by KEK, which shows whether an old KEK may be destroyed.

use std::collections::BTreeMap;

use waybill_log::vault_keys::MAX_LISTED;
use waybill_log::{KeysOf, ReadError, StreamSeq, VaultKeys};

use super::retry::with_retries;
use crate::keys::KekId;
use crate::wrapped::WrappedKey;

/// Stored keys by their KEK, in messages. An older message that is not erased yet counts too, since
/// it can still be opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Census {
    /// Messages under each KEK.
    pub by_kek: BTreeMap<KekId, u64>,
    /// Messages that are not wrapped keys.
    pub malformed: u64,
}

impl Census {
    /// Messages under that KEK.
    pub fn under(&self, kek: KekId) -> u64 {
        self.by_kek.get(&kek).copied().unwrap_or_default()
    }

    pub fn total(&self) -> u64 {
        self.by_kek.values().sum::<u64>() + self.malformed
    }
}

/// Counts all stored keys. Keys that are added or erased meanwhile may or may not be counted.
pub async fn census(keys: &dyn VaultKeys) -> Result<Census, ReadError> {
    let mut census = Census::default();
    let mut after = StreamSeq(0);
    loop {
        let page = with_retries(|| keys.list(&KeysOf::All, after, MAX_LISTED)).await?;
        // A page may skip messages that are not keys, so only an empty page is the end.
        let Some(last) = page.last() else {
            return Ok(census);
        };
        after = last.key.seq;
        for listed in page {
            match WrappedKey::parse(&listed.key.value) {
                Ok(wrapped) => *census.by_kek.entry(wrapped.kek()).or_default() += 1,
                Err(_) => census.malformed += 1,
            }
        }
    }
}
