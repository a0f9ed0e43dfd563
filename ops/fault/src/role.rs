//! One role as a separate process that can be started, killed and frozen, and whose output is kept.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use waybill_testkit::descriptors::limit_descriptors;

/// A role that can be restarted. Dropping it kills the process.
pub(crate) struct Role {
    pub(crate) name: String,
    program: PathBuf,
    role: &'static str,
    environment: Vec<(String, String)>,
    folder: PathBuf,
    child: Option<Child>,
}

impl Role {
    /// Starts it with a data folder and an output file of its own.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        role: &'static str,
        folder: &Path,
        environment: Vec<(String, String)>,
    ) -> Result<Self> {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let mut started = Self {
            name: name.to_owned(),
            program: program.to_owned(),
            role,
            environment,
            folder,
            child: None,
        };
        started.launch()?;
        Ok(started)
    }

    /// Changes a variable of its environment from its next start on. `None` takes it away.
    pub(crate) fn set(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(known, _)| known != name);
        let value = value.map(|value| (name.to_owned(), value.to_owned()));
        self.environment.extend(value);
    }

    /// Starts it again after [`Self::kill9`].
    pub(crate) fn launch(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let output = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.output_file())?;
        let child = Command::new(&self.program)
            .arg(self.role)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("WAYBILL__DATA", self.folder.join("data"))
            .env("WAYBILL__METRICS_LISTEN", "off")
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Kills it (SIGKILL), as a crash would.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if the process has already ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to shut down (SIGTERM), as for a planned restart.
    pub(crate) fn ask_to_end(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Whether it has ended since [`Self::ask_to_end`]. Anything but success is an error.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        let Some(child) = self.child.as_mut() else {
            return Ok(true);
        };
        let Some(status) = child.try_wait()? else {
            return Ok(false);
        };
        self.child = None;
        ensure!(status.success(), "{}: {status} after SIGTERM", self.name);
        Ok(true)
    }

    /// Sets the limit of open descriptors, and returns the previous limit.
    pub(crate) fn limit_descriptors(&self, to: u64) -> Result<u64> {
        limit_descriptors(self.pid()?, to)
    }

    /// Freezes it (SIGSTOP).
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Resumes it (SIGCONT).
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid()?, signal).with_context(|| self.name.clone())
    }

    fn pid(&self) -> Result<Pid> {
        self.child
            .as_ref()
            .and_then(|child| i32::try_from(child.id()).ok())
            .and_then(Pid::from_raw)
            .with_context(|| format!("{} does not run", self.name))
    }

    /// How it ended, if it has ended unexpectedly.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(format!("{} ended by itself: {status}", self.name))
    }

    /// Everything that it has printed, over all restarts.
    pub(crate) fn output(&self) -> String {
        self.output_after(0)
    }

    /// What it has printed after so many bytes.
    pub(crate) fn output_after(&self, bytes: u64) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(self.output_file())?;
            file.seek(SeekFrom::Start(bytes))?;
            let mut rest = Vec::new();
            file.read_to_end(&mut rest)?;
            Ok(rest)
        };
        read().map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// How many bytes it has printed.
    pub(crate) fn printed(&self) -> u64 {
        fs::metadata(self.output_file()).map_or(0, |file| file.len())
    }

    fn output_file(&self) -> PathBuf {
        self.folder.join("output.log")
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill9();
    }
}
