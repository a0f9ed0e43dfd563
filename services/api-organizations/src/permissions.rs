//! Permissions of keys: six scopes, in the words of this API.

use waybill_domain::access::scope::{Scope, ScopeSet};
use waybill_domain::id::QueueName;
use waybill_edge::error::ApiError;
use waybill_edge::error::rules::broken;

const ALL: [Scope; 6] = [
    Scope::JobsRead,
    Scope::JobsWrite,
    Scope::QueuesRead,
    Scope::QueuesWrite,
    Scope::DlqRead,
    Scope::DlqWrite,
];

/// The permissions that a key's scopes amount to.
pub(crate) fn words(scopes: ScopeSet) -> Vec<&'static str> {
    let held = ALL.into_iter().filter(|scope| scopes.contains(*scope));
    held.map(Scope::as_str).collect()
}

/// The scopes of named permissions.
pub(crate) fn read(named: &[String]) -> Result<ScopeSet, ApiError> {
    if named.is_empty() {
        let text = "must name at least one; without it the key has all of them";
        return Err(broken("permissions", text, "length"));
    }
    let scope = |name: &String| {
        let found = ALL.into_iter().find(|scope| scope.as_str() == name);
        found.ok_or_else(|| {
            let all = ALL.map(Scope::as_str).join(", ");
            let name: String = name.chars().take(40).collect();
            let text = format!("must be of {all}, not {name:?}");
            broken("permissions", text, "invalid")
        })
    };
    named.iter().map(scope).collect()
}

/// The queues of a list; empty, or with `*` in it, it is no limit.
pub(crate) fn queues(named: &[String]) -> Result<Vec<QueueName>, ApiError> {
    if named.iter().any(|name| name == "*") {
        return Ok(Vec::new());
    }
    let queue = |name: &String| {
        QueueName::parse(name).map_err(|_| {
            let text = "must hold names of 1 to 100 letters, digits, - and _, or *";
            broken("queues", text, "pattern")
        })
    };
    let mut queues = named.iter().map(queue).collect::<Result<Vec<_>, _>>()?;
    queues.sort();
    queues.dedup();
    Ok(queues)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_six_words_are_scopes_and_others_are_refused() {
        let six: Vec<String> = ALL.iter().map(|scope| scope.as_str().to_owned()).collect();
        assert_eq!(words(read(&six).expect("known")), six);
        assert_eq!(words(ScopeSet::all()), six);
        for wrong in [vec![], vec!["keys:write".to_owned()], vec!["*".to_owned()]] {
            let error = read(&wrong).expect_err("refused");
            assert_eq!(
                error.body.field.as_deref(),
                Some("permissions"),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_star_or_nothing_means_all_queues() {
        let list = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            queues(&names).map(|found| found.len())
        };
        assert_eq!(list(&[]).ok(), Some(0));
        assert_eq!(list(&["a", "*"]).ok(), Some(0));
        assert_eq!(list(&["a", "b", "a"]).ok(), Some(2));
        assert!(list(&["a b"]).is_err());
    }
}
