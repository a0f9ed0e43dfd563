//! Files that are shipped, and what operators rely on in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Result;

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What answers there has no authentication and names every connection and subject.
#[test]
fn the_monitoring_port_of_nats_answers_only_on_its_own_machine() -> Result<()> {
    for file in ["single.conf", "cluster.conf"] {
        let text = fs::read_to_string(tree().join("nats").join(file))?;
        let monitoring: Vec<_> = text
            .lines()
            .map(str::trim_start)
            .filter(|line| {
                let names = ["http", "https", "http_port", "https_port", "monitor_port"];
                let name = line.split([':', ' ', '=']).next().unwrap_or_default();
                names.contains(&name)
            })
            .collect();
        assert_eq!(monitoring, ["http: \"127.0.0.1:8222\""], "{file}");
    }
    Ok(())
}

/// Services of a compose file that publish ports, with what they publish.
fn published(text: &str) -> Vec<(String, String)> {
    let mut service = String::new();
    let mut ports_at = None;
    let mut published = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        let word = line.trim();
        if indent == 2 && word.ends_with(':') {
            service = word.trim_end_matches(':').to_owned();
        }
        if ports_at.is_some_and(|at| indent <= at && !word.starts_with("- ")) {
            ports_at = None;
        }
        if word.starts_with("ports:") {
            ports_at = Some(indent);
            published.push((service.clone(), word.to_owned()));
        } else if ports_at.is_some() {
            published.push((service.clone(), word.to_owned()));
        }
    }
    published
}

#[test]
fn no_compose_file_publishes_a_port_of_nats() -> Result<()> {
    let mut seen = 0;
    for file in ["docker-compose.yml", "docker-compose.cluster.yml"] {
        let text = fs::read_to_string(tree().join(file))?;
        assert!(!text.contains("network_mode: host"), "{file}");
        for (service, port) in published(&text) {
            assert!(!service.contains("nats"), "{file}: {service} {port}");
            for of_nats in ["4222", "6222", "8222"] {
                assert!(!port.contains(of_nats), "{file}: {service} {port}");
            }
            seen += 1;
        }
    }
    assert!(seen > 3, "the ports of other services are found: {seen}");
    Ok(())
}

/// Checks a file of settings as a pipeline does that deploys a single node.
fn check_images(folder: &Path, name: &str, lines: &str) -> Result<Output> {
    let file = folder.join(name);
    fs::write(&file, lines)?;
    let script = tree().join("ops/pin-images");
    Ok(Command::new(script).arg("--check").arg(&file).output()?)
}

#[test]
fn images_by_tag_are_refused_where_somebody_checks_and_digests_are_accepted() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let variables = [
        "DEBIAN_IMAGE",
        "RUST_IMAGE",
        "PROMETHEUS_IMAGE",
        "GRAFANA_IMAGE",
    ];
    let digest = "0123456789abcdef".repeat(4);
    let by_tag = |variable: &str| format!("{variable}=registry.example/image:1\n");
    let by_digest =
        |variable: &str| format!("{variable}=registry.example/image:1@sha256:{digest}\n");
    let tags = check_images(folder.path(), "tags.env", &variables.map(by_tag).concat())?;
    let said = String::from_utf8_lossy(&tags.stderr).into_owned();
    assert!(!tags.status.success(), "{said}");
    assert!(
        variables.iter().all(|variable| said.contains(variable)),
        "{said}"
    );
    let digests = variables.map(by_digest).concat();
    let pinned = check_images(folder.path(), "digests.env", &digests)?;
    let said = String::from_utf8_lossy(&pinned.stderr).into_owned();
    assert!(pinned.status.success(), "{said}");
    // One that is missing is as bad as a tag.
    let most = variables[1..].iter().map(|variable| by_digest(variable));
    let most = check_images(folder.path(), "most.env", &most.collect::<String>())?;
    let said = String::from_utf8_lossy(&most.stderr).into_owned();
    assert!(
        !most.status.success() && said.contains("DEBIAN_IMAGE"),
        "{said}"
    );
    Ok(())
}
