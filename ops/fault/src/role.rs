//! One role as a process of its own: started, killed, frozen, and everything it prints kept.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

/// A role that can be started again and again. Dropping it kills the process.
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

    /// Ends it as a crash would.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end in order (SIGTERM), as for a restart that somebody planned.
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

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> Result<u64> {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid()?.as_raw_nonzero()))?;
        Ok(open.count() as u64)
    }

    /// How many descriptors it may have open, from now on; what was there before.
    pub(crate) fn limit_descriptors(&self, to: u64) -> Result<u64> {
        let pid = Some(self.pid()?);
        let before = prlimit(
            pid,
            Resource::Nofile,
            Rlimit {
                current: Some(to),
                // The hard limit stays, since only root could raise it again.
                maximum: getrlimit(Resource::Nofile).maximum,
            },
        )?;
        Ok(before.current.unwrap_or(u64::MAX))
    }

    /// Freezes it (SIGSTOP).
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
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

    /// How it ended, when it did so by itself.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(format!("{} ended by itself: {status}", self.name))
    }

    /// All that it has printed, over all its lives.
    pub(crate) fn output(&self) -> String {
        fs::read(self.output_file()).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
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
