//! Labels by which a client finds tasks: tags and metadata.

use std::collections::BTreeMap;

use super::{MAX_METADATA_BYTES, MAX_TAG_CHARS, MAX_TAGS};
use crate::task::request::{Invalid, shortened};

pub(super) fn tags(tags: Vec<String>) -> Result<Vec<String>, Invalid> {
    let invalid = |why: String| Err(Invalid::new("tags", why));
    if tags.len() > MAX_TAGS {
        return invalid(format!(
            "tags must hold at most {MAX_TAGS}, not {}",
            tags.len()
        ));
    }
    let mut once: Vec<String> = Vec::with_capacity(tags.len());
    for tag in tags {
        let length = tag.chars().count();
        if !(1..=MAX_TAG_CHARS).contains(&length) || tag.chars().any(char::is_control) {
            return invalid(format!(
                "tags must have 1 to {MAX_TAG_CHARS} characters and no control characters, not {:?}",
                shortened(&tag)
            ));
        }
        if tag.contains(',') {
            return invalid(format!(
                "tags must have no comma, which separates them in filters, not {:?}",
                shortened(&tag)
            ));
        }
        if !once.contains(&tag) {
            once.push(tag);
        }
    }
    Ok(once)
}

pub(super) fn metadata(
    entries: Vec<(String, String)>,
) -> Result<BTreeMap<String, String>, Invalid> {
    let bytes: usize = entries
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > MAX_METADATA_BYTES {
        return Err(Invalid::new(
            "metadata",
            format!(
                "metadata must be at most {MAX_METADATA_BYTES} bytes, names and values together, not {bytes}"
            ),
        ));
    }
    if entries.iter().any(|(name, _)| name.is_empty()) {
        return Err(Invalid::new("metadata", "metadata: a name is empty"));
    }
    Ok(entries.into_iter().collect())
}
