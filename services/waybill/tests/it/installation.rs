//! A data folder, the processes that work on it, and the secrets that none of them may print.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, test_kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use waybill_domain::access::key::{ApiKey, ENTROPY_BYTES};
use waybill_domain::id::Environment;
use waybill_testkit::nats;

use crate::process::{Ended, Output, PATIENCE, Process, Whom};
use waybill_testkit::http::Http;

/// A folder in which the binary runs.
pub(crate) struct Installation {
    folder: TempDir,
    environment: Vec<(String, String)>,
    secrets: Vec<String>,
    outputs: Vec<Output>,
}

/// A `waybill up` that has said where it listens.
pub(crate) struct Up {
    pub(crate) process: Process,
    pub(crate) url: String,
    /// The key that it printed, if it did.
    pub(crate) key: Option<String>,
}

impl Installation {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            folder: tempfile::Builder::new().prefix("waybill-e2e-").tempdir()?,
            environment: Vec::new(),
            secrets: Vec::new(),
            outputs: Vec::new(),
        })
    }

    /// One whose bootstrap key is known; it is a secret as any.
    pub(crate) fn with_key() -> Result<(Self, String)> {
        let mut installation = Self::new()?;
        let key = fresh_key()?;
        installation.set("WAYBILL_BOOTSTRAP_KEY", &key);
        installation.keep_secret(&key);
        Ok((installation, key))
    }

    /// The same folder, with all output so far forgotten.
    pub(crate) fn resuming(mut former: Self) -> Self {
        former.nothing_leaked();
        former.outputs.clear();
        former
    }

    /// Sets a variable for all processes started from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(set, _)| set != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.retain(|(set, _)| set != name);
    }

    /// No process may print this.
    pub(crate) fn keep_secret(&mut self, secret: &str) {
        self.secrets.push(secret.to_owned());
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_waybill"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("WAYBILL") || text.starts_with("NATS_") {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(self.path())
            .env("WAYBILL_NATS_SERVER", nats::binary()?)
            .env("WAYBILL__METRICS_LISTEN", "off")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .args(arguments);
        Ok(command)
    }

    /// Starts the binary.
    pub(crate) fn start(&mut self, arguments: &[&str]) -> Result<Process> {
        let process = Process::spawn(self.command(arguments)?)?;
        self.outputs.push(process.stdout.clone());
        self.outputs.push(process.stderr.clone());
        Ok(process)
    }

    /// Runs the binary to its end.
    pub(crate) async fn run(&mut self, arguments: &[&str]) -> Result<Ended> {
        self.start(arguments)?.ended().await
    }

    /// Runs the binary to its end with a standard output that nobody reads.
    pub(crate) async fn run_unread(&mut self, arguments: &[&str]) -> Result<std::process::Output> {
        let (reader, writer) = std::io::pipe()?;
        drop(reader);
        let mut command = self.command(arguments)?;
        command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(Stdio::piped());
        let child = command.kill_on_drop(true).spawn()?;
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        Ok(ended.with_context(|| format!("{arguments:?} does not end"))??)
    }

    /// `waybill up`, until it has said where it listens.
    pub(crate) async fn up(&mut self) -> Result<Up> {
        self.up_on("127.0.0.1:0").await
    }

    pub(crate) async fn up_on(&mut self, listen: &str) -> Result<Up> {
        let mut process = self.start(&["up", "--listen", listen])?;
        let (url, key) = process
            .says(|stdout, _| {
                // The curl line is the last that it prints.
                stdout
                    .find("\"targetUrl\"")
                    .and_then(|at| stdout[at..].find("}'\n"))?;
                let url = word_after(stdout, "listens on ")?;
                let key = word_after(stdout, "API key   ").filter(|word| word.contains("_live_"));
                Some((url, key))
            })
            .await?;
        // It changes at each start, and its file goes at the end.
        self.secrets.extend(self.nats_password());
        Ok(Up { process, url, key })
    }

    /// How the private nats-server is reached. Its password is a secret of this installation.
    pub(crate) fn nats_password(&self) -> Option<String> {
        let text = fs::read(self.data().join("nats/connection.json")).ok()?;
        let connection: Value = serde_json::from_slice(&text).ok()?;
        Some(connection["password"].as_str()?.to_owned())
    }

    /// The private nats-server's process, if there is one.
    pub(crate) fn nats_pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join("nats/nats.pid")).ok()?;
        Pid::from_raw(text.trim().parse().ok()?)
    }

    /// Searches what all processes have printed for what nobody may see.
    #[track_caller]
    pub(crate) fn nothing_leaked(&self) {
        let mut secrets = self.secrets.clone();
        secrets.extend(self.nats_password());
        for entry in fs::read_dir(self.data().join("secrets"))
            .into_iter()
            .flatten()
        {
            let entry = entry.expect("the folder of secrets can be read");
            let text = fs::read_to_string(entry.path()).expect("a secret is text");
            // The rings of the vault hold several.
            secrets.extend(text.split_whitespace().map(ToOwned::to_owned));
        }
        for output in &self.outputs {
            let text = output.text();
            for secret in &secrets {
                assert!(
                    !text.contains(secret.trim()),
                    "a secret was printed: {secret} in {text}"
                );
            }
        }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.nothing_leaked();
        }
    }
}

impl Up {
    pub(crate) fn http(&self, key: &str) -> Http {
        Http::new(&self.url, Some(key))
    }

    /// Ctrl-C in a terminal.
    pub(crate) async fn interrupt(self) -> Result<Ended> {
        self.process.end(Signal::INT, Whom::Group).await
    }

    /// Ends it as a crash would, with no chance to say goodbye.
    pub(crate) async fn kill(self) -> Result<()> {
        self.process.end(Signal::KILL, Whom::Process).await?;
        Ok(())
    }
}

/// Whether a process runs. One that is only waiting to be reaped does not.
pub(crate) fn runs(pid: Pid) -> bool {
    if test_kill_process(pid).is_err() {
        return false;
    }
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let state = stat
        .rsplit_once(") ")
        .map(|(_, rest)| rest.starts_with('Z'));
    state == Some(false)
}

pub(crate) fn word_after(text: &str, before: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_whitespace().next()?.to_owned())
}

pub(crate) fn fresh_key() -> Result<String> {
    let mut entropy = [0; ENTROPY_BYTES];
    getrandom::fill(&mut entropy).map_err(|error| anyhow::anyhow!("{error}"))?;
    let key = ApiKey::generate("wb", Environment::Live, &entropy).context("enough entropy")?;
    Ok(key.reveal().to_owned())
}

/// 32 bytes in hex, as peppers and masters are.
pub(crate) fn fresh_secret() -> Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(hex::encode(bytes))
}
