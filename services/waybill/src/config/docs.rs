//! docs/configuration.md, written from the types of the configuration: their fields, defaults and texts.

use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Config;

/// What stands above the tables.
const HEAD: &str = "\
# Configuration

`waybill config` prints what is in effect, with secrets hidden. Settings come from `waybill.toml` (or `--config FILE`) and the environment, which goes before the file: `a.b` of the
file is `WAYBILL__A__B`. Lists are separated by commas there; lists of tables, such as `[[oidc]]`, can stand in the file only. `NATS_URL` sets `nats.servers`. What is wrong is refused at
the start, by name.

This page is generated from the types of the configuration (`services/waybill/src/config/sections.rs`) by `target/debug/waybill schemas`.
";

/// Variables that hold secrets or name their files: they have no place in the file. Name, who needs it, what it is.
const SECRETS: [(&str, &str, &str); 16] = [
    (
        "WAYBILL_PEPPER",
        "gateways, the command line",
        "API keys are hashed under it: at least 32 random bytes in hex",
    ),
    (
        "WAYBILL_WEBHOOK_MASTER",
        "workers; gateways that show signing secrets",
        "signing secrets of teams are derived from it: at least 32 random bytes in hex",
    ),
    (
        "WAYBILL_NOTARY_KEY",
        "projectors",
        "signs checkpoints of the activity log: exactly 32 random bytes in hex. Without it a projector signs none",
    ),
    (
        "WAYBILL_CONTROL_KEY",
        "gateways, the command line",
        "signs what decides about access ([signatures](../ops/ACCESS.md#signatures)): exactly 32 random bytes in hex",
    ),
    (
        "WAYBILL_WORKER_KEY",
        "workers",
        "the same for what workers may say: exactly 32 random bytes in hex",
    ),
    (
        "WAYBILL_SESSION_SECRET",
        "gateways",
        "keys of access tokens: at least 32 random bytes in hex. Unset: derived from the pepper",
    ),
    (
        "WAYBILL_MAIL_PASSWORD",
        "gateways",
        "password at the mail server; else `mail.password_file`",
    ),
    (
        "WAYBILL_OIDC_<NAME>_SECRET",
        "gateways",
        "client secret at the issuer of that name (upper case, dashes as underscores); else `client_secret_file`",
    ),
    (
        "WAYBILL_VAULT_SEAL",
        "gateways",
        "the ring that seals, from `waybill vault init`. Without it there is no vault",
    ),
    ("WAYBILL_VAULT_SEAL_FILE", "gateways", "file with that ring"),
    (
        "WAYBILL_VAULT_OPEN",
        "workers",
        "the ring that opens, from `waybill vault init`. Without it tasks that need the vault wait",
    ),
    ("WAYBILL_VAULT_OPEN_FILE", "workers", "file with that ring"),
    (
        "WAYBILL_BOOTSTRAP_KEY",
        "gateways",
        "installed as the first API key instead of a random one",
    ),
    ("WAYBILL__NATS__PASSWORD", "every role", "`nats.password`"),
    ("WAYBILL__NATS__TOKEN", "every role", "`nats.token`"),
    (
        "NATS_URL",
        "every role",
        "`nats.servers`; may hold a password, which is never shown",
    ),
];

/// One row of a table.
struct Setting {
    name: String,
    default: String,
    text: String,
}

/// One section of the file.
struct Section {
    /// As it stands in the file, such as `[nats.tls]`; empty for what stands above all sections.
    title: String,
    text: String,
    settings: Vec<Setting>,
}

pub(crate) fn page() -> String {
    let generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator();
    let schema = generator.into_root_schema_for::<Config>();
    let mut sections = Vec::new();
    if let Some(root) = schema.as_object() {
        collect(root, "", None, &mut sections);
    }
    let mut page = HEAD.to_owned();
    // Writing into a String cannot fail.
    for section in sections
        .iter()
        .filter(|section| !section.settings.is_empty())
    {
        if section.title.is_empty() {
            page.push('\n');
        } else {
            let _ = writeln!(page, "\n## `{}`\n\n{}\n", section.title, section.text);
        }
        page.push_str("| setting | default | |\n|---|---|---|\n");
        for Setting {
            name,
            default,
            text,
        } in &section.settings
        {
            let _ = writeln!(page, "| `{name}` | {default} | {text} |");
        }
    }
    page.push_str(
        "\n## Secrets\n\nSecrets stand in the environment, or in files. `waybill up` makes its own at the first start, in `data/secrets`.\n\n\
         | variable | needed by | |\n|---|---|---|\n",
    );
    for (variable, roles, text) in SECRETS {
        let _ = writeln!(page, "| `{variable}` | {roles} | {text} |");
    }
    page
}

/// Adds a section, and behind it those within it. `list`: it is one entry of a list of tables.
fn collect(
    schema: &Map<String, Value>,
    path: &str,
    entry: Option<&str>,
    sections: &mut Vec<Section>,
) {
    let mut own = Section {
        title: match (path, entry) {
            ("", _) => String::new(),
            (path, Some(_)) => format!("[[{path}]]"),
            (path, None) => format!("[{path}]"),
        },
        text: entry.map_or_else(|| text_of(schema), str::to_owned),
        settings: Vec::new(),
    };
    let mut inner = Vec::new();
    let required: Vec<_> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    for (name, field) in properties(schema) {
        let full = if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        };
        if field.contains_key("properties") {
            collect(field, &full, None, &mut inner);
        } else if let Some(item) = tables(field) {
            let text = [text_of(field), text_of(item)];
            let text = text.iter().filter(|text| !text.is_empty());
            let text = text.map(String::as_str).collect::<Vec<_>>().join(" ");
            collect(item, &full, Some(&text), &mut inner);
        } else {
            own.settings.push(Setting {
                name: full,
                default: if required.contains(&name) {
                    "required".into()
                } else {
                    default_of(field)
                },
                text: text_of(field),
            });
        }
    }
    sections.push(own);
    sections.extend(inner);
}

fn properties(schema: &Map<String, Value>) -> impl Iterator<Item = (&str, &Map<String, Value>)> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let all = properties.into_iter().flatten();
    all.filter_map(|(name, field)| Some((name.as_str(), field.as_object()?)))
}

/// What one entry of a list of tables holds.
fn tables(field: &Map<String, Value>) -> Option<&Map<String, Value>> {
    let items = field.get("items")?.as_object()?;
    items.contains_key("properties").then_some(items)
}

/// The text of a field or section, on one line.
fn text_of(schema: &Map<String, Value>) -> String {
    let text = schema.get("description").and_then(Value::as_str);
    let words = text.unwrap_or_default().split_whitespace();
    words.collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn default_of(field: &Map<String, Value>) -> String {
    match field.get("default") {
        None | Some(Value::Null) => "unset".into(),
        Some(Value::Array(entries)) if entries.is_empty() => "none".into(),
        Some(Value::Array(entries)) => {
            let entries: Vec<_> = entries.iter().map(code).collect();
            entries.join(", ")
        }
        Some(Value::String(text)) if text.is_empty() => "unset".into(),
        Some(value) => code(value),
    }
}

fn code(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        other => format!("`{other}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each setting that `waybill config` shows, by its path.
    fn shown(table: &toml::Table, path: &str, names: &mut Vec<String>) {
        for (name, value) in table {
            let full = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            match value {
                toml::Value::Table(table) => shown(table, &full, names),
                _ => names.push(full),
            }
        }
    }

    #[test]
    fn every_setting_has_a_row_with_a_text() {
        let page = page();
        let rows: Vec<_> = page
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        for row in &rows {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
            assert!(cells.len() == 3 && !cells[2].trim().is_empty(), "{row}");
        }
        let table = toml::Table::try_from(Config::default()).expect("plain data");
        let mut names = Vec::new();
        shown(&table, "", &mut names);
        assert!(names.len() > 40, "{names:?}");
        // Lists of tables are sections: their entries have the rows.
        for name in names
            .iter()
            .filter(|name| !["oidc", "gateway.key_reporters"].contains(&name.as_str()))
        {
            assert!(
                rows.iter()
                    .any(|row| row.starts_with(&format!("| `{name}` |"))),
                "{name}"
            );
        }
        for section in [
            "## `[[oidc]]`",
            "## `[[gateway.key_reporters]]`",
            "## `[nats.tls]`",
        ] {
            assert!(page.contains(section), "{section}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_code() {
        let page = page();
        for row in [
            "| `worker.slots` | `512` |",
            "| `gateway.listen` | `127.0.0.1:8080` |",
            "| `worker.allow_targets` | none |",
            "| `worker.name` | unset |",
            "| `oidc.issuer` | required |",
        ] {
            assert!(page.contains(row), "{row}");
        }
    }
}
