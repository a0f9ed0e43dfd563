//! The most common passwords: those of at least eight characters from the heads of published lists of leaked ones.

use std::collections::HashSet;
use std::sync::LazyLock;

static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common.txt").lines().collect());

/// Whether a password is among them, whatever its case.
pub(super) fn is_common(password: &str) -> bool {
    COMMON.contains(password.to_lowercase().as_str()) || is_one_character(password)
}

fn is_one_character(password: &str) -> bool {
    let mut characters = password.chars();
    characters
        .next()
        .is_none_or(|first| characters.all(|c| c == first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_lower_case_and_long_enough_to_matter() {
        assert!(COMMON.len() > 500);
        assert!(
            COMMON
                .iter()
                .all(|word| word.to_lowercase() == **word && word.len() >= 8)
        );
        assert!(is_common("PASSWORD123") && is_common("ззззззззз") && !is_common("quiet lake 7"));
    }
}
