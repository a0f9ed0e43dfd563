//! Parsing of catalogues: TOML in, a checked [`Catalogue`] out, or an error that names the place
//! and what would be right.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Catalogue, Guard, Plan, Policy, PolicyScope};
use crate::access::scope::Api;
use crate::event::task::{MAX_ANSWER_BYTES, USUAL_ANSWER_BYTES};

/// Limit of the name of a plan or policy, in characters.
const MAX_NAME_CHARS: usize = 32;
/// Limit of policies per plan or guard: every request checks each of them.
const MAX_POLICIES: usize = 8;
/// Range of a quota. Clients that read `X-RateLimit-Limit` into 32 bits must understand the
/// largest.
const QUOTA: RangeInclusive<u32> = 1..=1_000_000_000;
/// Range of a window's length in seconds. Counters are kept for two hours, and a window needs the
/// one before it.
const WINDOW_S: RangeInclusive<u32> = 1..=3_600;
/// Limit of a person's requests outside teams when a catalogue has no `edge.person`: enough for a
/// busy page.
const PERSON_QUOTA: NonZeroU32 = NonZeroU32::new(300).unwrap();
const PERSON_WINDOW_S: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Range of the longest wait of a task, in seconds.
const MAX_WAIT_S: RangeInclusive<u32> = 1..=3_600;
/// Range of the limits of keys, members, tokens and queues per team.
const COUNT: RangeInclusive<u32> = 1..=1_000_000;
/// Range of the stored response body in bytes: from what every plan stores up to what fits into the
/// log.
const ANSWER_BYTES: RangeInclusive<u32> = USUAL_ANSWER_BYTES..=MAX_ANSWER_BYTES;
/// Range of the weight of a team.
const WEIGHT: RangeInclusive<u32> = 1..=100;
/// Range of the longest lifetime of a key, in seconds: an hour to ten years.
const LIFETIME_S: RangeInclusive<u32> = 3_600..=315_360_000;

/// Why a catalogue is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogueError {
    #[error("the catalogue of plans is not TOML: {0}")]
    Syntax(String),
    /// A value is missing, unknown or invalid.
    #[error("{at}: {reason}")]
    Field {
        /// Path of the field, such as `plans.free.policies.team.q`.
        at: String,
        /// What is wrong, with the value, and what would be right.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    max_wait_s: u32,
    max_answer_bytes: Option<u32>,
    max_keys: Option<u32>,
    max_members: Option<u32>,
    max_tokens: Option<u32>,
    max_queues: Option<u32>,
    max_key_lifetime_s: Option<u32>,
    api_access: Option<bool>,
    api_faces: Option<Vec<String>>,
    policies: Vec<Value>,
    weight: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    name: String,
    scope: Option<RawScope>,
    q: u32,
    w: u32,
    smooth: Option<bool>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum RawScope {
    Team,
    Key,
    Ip,
    Account,
    AccountNetwork,
}

impl From<RawScope> for PolicyScope {
    fn from(raw: RawScope) -> Self {
        match raw {
            RawScope::Team => Self::Team,
            RawScope::Key => Self::Key,
            RawScope::Ip => Self::Ip,
            RawScope::Account => Self::Account,
            RawScope::AccountNetwork => Self::AccountNetwork,
        }
    }
}

pub(super) fn catalogue(toml: &str) -> Result<Catalogue, CatalogueError> {
    let mut top: Table = toml
        .parse()
        .map_err(|error: toml::de::Error| CatalogueError::Syntax(error.to_string()))?;
    let default: String = read("default", wanted(&mut top, "default")?)?;
    let raw_plans: Table = read("plans", wanted(&mut top, "plans")?)?;
    let mut edge: Table = read("edge", wanted(&mut top, "edge")?)?;
    nothing_else("", &top)?;

    let mut plans = BTreeMap::new();
    for (name, value) in raw_plans {
        let plan = plan(&name, value)?;
        plans.insert(Arc::clone(&plan.name), Arc::new(plan));
    }
    let Some(default) = plans.get(&*default).cloned() else {
        let names: Vec<&str> = plans.keys().map(|name| &**name).collect();
        let reason = format!("must be one of {}, not {default:?}", names.join(", "));
        return Err(wrong("default", reason));
    };

    let at = "edge.failures";
    let failures = wanted(&mut edge, "failures").map_err(|_| wrong(at, "is missing"))?;
    let failures = policy(at, failures, &[PolicyScope::Ip])?;
    let person = match edge.remove("person") {
        Some(value) => policy("edge.person", value, &[PolicyScope::Account])?,
        // Catalogues written before this limit existed do not have it.
        None => Policy {
            name: "person".into(),
            scope: PolicyScope::Account,
            quota: PERSON_QUOTA,
            window_s: PERSON_WINDOW_S,
            smooth: false,
        },
    };
    let guards = wanted(&mut edge, "guards").map_err(|_| wrong("edge.guards", "is missing"))?;
    let guards = self::guards(read("edge.guards", guards)?)?;
    nothing_else("edge.", &edge)?;
    Ok(Catalogue {
        plans,
        new_teams: default,
        failures: Arc::new(failures),
        person: Arc::new(person),
        guards,
    })
}

fn guards(mut table: Table) -> Result<BTreeMap<Guard, Vec<Arc<Policy>>>, CatalogueError> {
    let mut guards = BTreeMap::new();
    for guard in Guard::ALL {
        let at = format!("edge.guards.{}", guard.as_str());
        let Some(value) = table.remove(guard.as_str()) else {
            return Err(wrong(&at, "is missing"));
        };
        let scopes = [
            PolicyScope::Ip,
            PolicyScope::Account,
            PolicyScope::AccountNetwork,
            PolicyScope::Team,
        ];
        let policies = policies(&at, read(&at, value)?, &scopes)?;
        if policies.is_empty() {
            return Err(wrong(&at, "must have at least one policy"));
        }
        guards.insert(guard, policies);
    }
    nothing_else("edge.guards.", &table)?;
    Ok(guards)
}

fn plan(name: &str, value: Value) -> Result<Plan, CatalogueError> {
    let at = format!("plans.{name}");
    check_name(&at, name)?;
    let raw: RawPlan = read(&at, value)?;
    let field = |field: &str| format!("{at}.{field}");
    let optional = |name: &str, value: Option<u32>, range: &RangeInclusive<u32>| {
        value
            .map(|value| within(&field(name), value, range))
            .transpose()
    };
    let lifetime = optional("max_key_lifetime_s", raw.max_key_lifetime_s, &LIFETIME_S)?;
    Ok(Plan {
        name: name.into(),
        max_wait: seconds(within(&field("max_wait_s"), raw.max_wait_s, &MAX_WAIT_S)?),
        max_answer_bytes: optional("max_answer_bytes", raw.max_answer_bytes, &ANSWER_BYTES)?
            .unwrap_or(USUAL_ANSWER_BYTES),
        max_keys: optional("max_keys", raw.max_keys, &COUNT)?,
        max_members: optional("max_members", raw.max_members, &COUNT)?,
        max_tokens: optional("max_tokens", raw.max_tokens, &COUNT)?,
        max_queues: optional("max_queues", raw.max_queues, &COUNT)?,
        max_key_lifetime: lifetime.map(seconds),
        api_access: raw.api_access.unwrap_or(true),
        api_faces: api_faces(&field("api_faces"), raw.api_faces.as_deref())?,
        policies: policies(
            &field("policies"),
            raw.policies,
            &[PolicyScope::Team, PolicyScope::Key],
        )?,
        weight: optional("weight", raw.weight, &WEIGHT)?
            .and_then(|weight| u8::try_from(weight).ok())
            .unwrap_or(1),
    })
}

/// A catalogue without the field allows all APIs: older catalogues do not have it.
fn api_faces(at: &str, names: Option<&[String]>) -> Result<Vec<Api>, CatalogueError> {
    let Some(names) = names else {
        return Ok(Api::ALL.to_vec());
    };
    let read = |name: &String| {
        Api::parse(name).ok_or_else(|| {
            let all = Api::ALL.map(Api::as_str).join(", ");
            wrong(at, format!("must hold names of {all}, not {name:?}"))
        })
    };
    names.iter().map(read).collect()
}

fn policies(
    at: &str,
    values: Vec<Value>,
    scopes: &[PolicyScope],
) -> Result<Vec<Arc<Policy>>, CatalogueError> {
    if values.len() > MAX_POLICIES {
        let reason = format!(
            "must be at most {MAX_POLICIES} policies, not {}",
            values.len()
        );
        return Err(wrong(at, reason));
    }
    let mut policies: Vec<Arc<Policy>> = Vec::with_capacity(values.len());
    for (index, value) in values.into_iter().enumerate() {
        let name = value.get("name").and_then(Value::as_str);
        let at = match name {
            Some(name) => format!("{at}.{name}"),
            None => format!("{at}[{index}]"),
        };
        let policy = policy(&at, value, scopes)?;
        if policies.iter().any(|other| other.name == policy.name) {
            return Err(wrong(&at, "another policy here has the same name"));
        }
        policies.push(Arc::new(policy));
    }
    Ok(policies)
}

/// Parses a policy whose scope must be one of `scopes`; a single allowed scope is the default.
fn policy(at: &str, value: Value, scopes: &[PolicyScope]) -> Result<Policy, CatalogueError> {
    let raw: RawPolicy = read(at, value)?;
    check_name(&format!("{at}.name"), &raw.name)?;
    let scope = match (raw.scope.map(PolicyScope::from), scopes) {
        (Some(scope), _) if scopes.contains(&scope) => scope,
        (None, [only]) => *only,
        (given, _) => {
            let names: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
            let given = given.map_or("missing", PolicyScope::as_str);
            let reason = format!("must be one of {}, not {given}", names.join(", "));
            return Err(wrong(&format!("{at}.scope"), reason));
        }
    };
    let positive = |field: &str, value: u32, range: &RangeInclusive<u32>| {
        let at = format!("{at}.{field}");
        let value = within(&at, value, range)?;
        NonZeroU32::new(value).ok_or_else(|| wrong(&at, "must not be 0"))
    };
    Ok(Policy {
        name: raw.name.into(),
        scope,
        quota: positive("q", raw.q, &QUOTA)?,
        window_s: positive("w", raw.w, &WINDOW_S)?,
        smooth: raw.smooth.unwrap_or(false),
    })
}

/// Names appear unquoted in subjects of the log and in header fields.
fn check_name(at: &str, name: &str) -> Result<(), CatalogueError> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=MAX_NAME_CHARS).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let reason = format!("a name must be 1 to {MAX_NAME_CHARS} of a-z, 0-9 and -, not {name:?}");
    Err(wrong(at, reason))
}

fn within(at: &str, value: u32, range: &RangeInclusive<u32>) -> Result<u32, CatalogueError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most) = (range.start(), range.end());
    let reason = format!("must be between {least} and {most}, not {value}");
    Err(wrong(at, reason))
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

fn wanted(table: &mut Table, field: &str) -> Result<Value, CatalogueError> {
    table
        .remove(field)
        .ok_or_else(|| wrong(field, "is missing"))
}

fn nothing_else(before: &str, table: &Table) -> Result<(), CatalogueError> {
    match table.keys().next() {
        None => Ok(()),
        Some(field) => Err(wrong(&format!("{before}{field}"), "is not a known field")),
    }
}

fn read<T: DeserializeOwned>(at: &str, value: Value) -> Result<T, CatalogueError> {
    // toml's message names the field in its second line.
    value
        .try_into()
        .map_err(|error: toml::de::Error| wrong(at, error.to_string().trim().replace('\n', " ")))
}

fn wrong(at: &str, reason: impl Into<String>) -> CatalogueError {
    CatalogueError::Field {
        at: at.to_owned(),
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../../../../ops/plans/plans.toml");
    const TIERS: &str = include_str!("../../../../../ops/plans/tiers.toml");

    fn error_of(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        match Catalogue::parse(&GOOD.replacen(from, to, 1)) {
            Ok(_) => "no error".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_example_with_tiers_has_bursts_and_budgets_of_keys() {
        let catalogue = Catalogue::parse(TIERS).expect("valid");
        let pro = catalogue.plan("pro");
        let policies: Vec<(&str, PolicyScope, u64, u64)> = pro
            .policies
            .iter()
            .map(|p| (&*p.name, p.scope, p.q(), p.window().as_secs()))
            .collect();
        assert_eq!(
            policies,
            [
                ("sustained", PolicyScope::Team, 1000, 60),
                ("burst", PolicyScope::Team, 100, 1),
                ("key", PolicyScope::Key, 60, 60),
            ]
        );
        assert!(pro.policies[0].smooth);
        let free = catalogue.plan("free");
        assert_eq!(free.max_key_lifetime, Some(Duration::from_secs(31_536_000)));
        assert!(!catalogue.plan("viewer").api_access);
    }

    #[test]
    fn errors_name_the_place_and_what_would_be_right() {
        let cases = [
            (
                "q = 60, w = 60 }]\n\n# Between free",
                "q = 0, w = 60 }]\n\n# Between free",
                "plans.free.policies.team.q: must be between 1 and 1000000000, not 0",
            ),
            (
                "q = 600, w = 60",
                "q = 600, w = 3601",
                "plans.pro.policies.team.w: must be between 1 and 3600, not 3601",
            ),
            (
                "scope = \"team\", q = 600",
                "scope = \"ip\", q = 600",
                "plans.pro.policies.team.scope: must be one of team, key, not ip",
            ),
            (
                "scope = \"team\", q = 600",
                "q = 600",
                "plans.pro.policies.team.scope: must be one of team, key, not missing",
            ),
            (
                "default = \"free\"",
                "default = \"gold\"",
                "default: must be one of enterprise, free, pro, starter, team, not \"gold\"",
            ),
            (
                "[plans.pro]",
                "[plans.Pro]",
                "plans.Pro: a name must be 1 to 32 of a-z, 0-9 and -, not \"Pro\"",
            ),
            (
                "leak-report = [{ name = \"leak-report\", scope = \"ip\", q = 60, w = 60 }]",
                "leak-report = []",
                "edge.guards.leak-report: must have at least one policy",
            ),
            (
                "name = \"reset-account\"",
                "name = \"reset\"",
                "edge.guards.reset.reset: another policy here has the same name",
            ),
            (
                "[edge.guards]",
                "[edge.guards]\ncoffee = []",
                "edge.guards.coffee: is not a known field",
            ),
            ("failures = {", "faults = {", "edge.failures: is missing"),
        ];
        for (from, to, error) in cases {
            assert_eq!(error_of(from, to), error);
        }
    }

    #[test]
    fn errors_of_types_and_unknown_fields_name_plan_and_field() {
        for (from, to, words) in [
            (
                "max_keys = 1",
                "max_keys = \"one\"",
                ["plans.free", "max_keys", "expected u32"],
            ),
            (
                "max_keys = 1",
                "max_keyz = 1",
                ["plans.free", "max_keyz", "expected one of"],
            ),
            (
                "max_wait_s = 120\n",
                "",
                ["plans.pro", "max_wait_s", "missing"],
            ),
            ("smooth = true:", "\nsmooth = true", ["smooth", "", "not"]),
        ] {
            let error = error_of(from, to);
            for word in words {
                assert!(error.contains(word), "{error:?} does not say {word:?}");
            }
        }
        assert!(matches!(
            Catalogue::parse("default = "),
            Err(CatalogueError::Syntax(_))
        ));
    }
}
