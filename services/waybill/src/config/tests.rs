//! The configuration as files give it: what is accepted, and how a wrong setting is named.

use super::*;
use waybill_domain::audit::NotaryKey;

pub(super) fn parsed(text: &str) -> Result<Config, ConfigError> {
    let built = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .build()?;
    let config: Config = built.try_deserialize()?;
    config.check()?;
    Ok(config)
}

/// As `main` prints it: an error and what it comes from, each once.
fn said(error: ConfigError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

#[test]
fn nothing_needs_to_be_set() {
    assert_eq!(
        parsed("").expect("the defaults are fine"),
        Config::default()
    );
}

#[test]
fn what_is_wrong_is_named() {
    let message = |text: &str| said(parsed(text).expect_err("refused"));
    assert!(message("[gateway]\nlisten = 'nowhere'").contains("gateway.listen"));
    assert!(
        message("[worker]\nslots = 0")
            .contains("worker.slots: must be between 1 and 100000, not 0")
    );
    assert!(message("[worker]\nslot = 1").contains("slot"));
    // A setting is named as such, never by the type that reads it.
    let section = message("gateway = 3");
    assert!(section.contains("a table of settings"), "{section}");
    assert!(section.contains("`gateway`"), "{section}");
    for (text, once) in [
        ("gateway = 3", "a table of settings"),
        ("[nats]\ntls = 1", "a table of settings"),
        ("oidc = [3]", "a table of settings"),
        ("[worker]\nslots = 'many'", "many"),
    ] {
        let said = message(text);
        assert!(
            !said.contains("struct") && !said.contains("Section"),
            "{said}"
        );
        assert_eq!(said.matches(once).count(), 1, "said once: {said}");
    }
    assert!(
        message("[worker]\nslots_per_host = 0")
            .contains("worker.slots_per_host: must be between 1 and 100000, not 0")
    );
    assert!(message("metrics_listen = 'x'").contains("metrics_listen: must be ADDR:PORT or off"));
    assert!(message("[worker]\nallow_targets = ['10.0.0.0/99']").contains("worker.allow_targets"));
    assert!(message("[audit]\ndeployment = 'Eu 1'").contains("audit.deployment: must be 1 to 63"));
    for endpoint in ["localhost:4318", "https://collector", "http://"] {
        let text = format!("[telemetry]\notlp_endpoint = '{endpoint}'");
        assert!(message(&text).contains("telemetry.otlp_endpoint: must be an http:// URL"));
    }
    assert!(message("[nats.streams]\npartitions = 5000").contains("nats.streams.partitions"));
}

#[test]
fn teams_begin_without_limits_unless_plans_are_written_or_one_is_named() {
    let begins = |text: &str| {
        let plans = parsed(text).expect("fine").plans()?;
        Ok::<_, ConfigError>(plans.plan_of_new_teams().name.to_string())
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plans.toml");
    let plans = include_str!("../../../../ops/plans/plans.toml");
    std::fs::write(&file, plans).expect("ours");
    let written = format!("[gateway]\nplans_file = '{}'\n", file.display());
    assert_eq!(begins("").expect("built in"), "enterprise");
    assert_eq!(begins(&written).expect("a file"), "free");
    let named = "[plans]\ndefault = 'pro'\n";
    assert_eq!(begins(named).expect("built in"), "pro");
    assert_eq!(begins(&format!("{written}{named}")).expect("a file"), "pro");
    let error = begins("[plans]\ndefault = 'enterprize'").expect_err("no such plan");
    let told =
        "plans.default: must be one of enterprise, free, pro, starter, team, not \"enterprize\"";
    assert!(error.to_string().contains(told), "{error}");
}

#[test]
fn keys_that_signed_before_are_read_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys");
    let text = format!("[audit]\nolder_keys = '{}'", file.display());
    let config = parsed(&text).expect("fine");
    let error = config.older_notary_keys().expect_err("no such file");
    assert!(error.to_string().contains("audit.older_keys"), "{error}");
    std::fs::write(&file, "nonsense\n").expect("ours");
    let error = config.older_notary_keys().expect_err("no keys");
    assert!(error.to_string().contains("line 1"), "{error}");
    let key = NotaryKey::new("waybill/default", &[7; 32]).expect("a key");
    let line = format!("{} - 2026-11-21T00:00:00Z\n", key.public());
    std::fs::write(&file, line).expect("ours");
    assert_eq!(config.older_notary_keys().expect("keys").all().len(), 1);
    let none = parsed("").expect("fine").older_notary_keys();
    assert!(none.expect("none").all().is_empty());
}

#[test]
fn secrets_are_hidden_when_it_is_shown() {
    let config = parsed("[nats]\nservers = ['nats://u:hunter2@h:4222']\npassword = 'hunter2'")
        .expect("fine");
    let shown = toml::to_string(&config).expect("plain data") + &format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
