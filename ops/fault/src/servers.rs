//! The log's servers of a run: one nats-server, or three with a copy of everything each.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::statvfs;
use waybill_log::NatsConfig;
use waybill_testkit::{NatsCluster, NatsServer};

/// More than a run of hours stores. The disk is in memory, of which it takes what is stored; a
/// server that starts reserves three quarters of what is free.
const DISK_BYTES: u64 = 16 << 30;
/// Index of the node whose disk can be filled.
pub(crate) const ON_SMALL_DISK: usize = 0;
/// How often its size is set to what is stored, while more is being stored.
const TRIES: usize = 100;

/// The servers. Dropping this stops them.
pub(crate) struct Servers {
    kind: Kind,
    /// Declared after the servers, because it must be dropped after them: they must have ended
    /// before it is unmounted.
    small_disk: Option<SmallDisk>,
}

enum Kind {
    One(Box<NatsServer>),
    Three(Box<NatsCluster>),
}

impl Servers {
    /// Starts one or three.
    pub(crate) async fn start(count: u16, folder: &Path) -> Result<Self> {
        if count == 1 {
            return Ok(Self {
                kind: Kind::One(Box::new(NatsServer::start().await?)),
                small_disk: None,
            });
        }
        let small_disk = SmallDisk::mount(folder)?;
        let mut stores = vec![None; ON_SMALL_DISK + 1];
        stores[ON_SMALL_DISK] = small_disk.as_ref().map(|disk| disk.folder.join("store"));
        let cluster = NatsCluster::start_with(&stores).await?;
        Ok(Self {
            kind: Kind::Three(Box::new(cluster)),
            small_disk,
        })
    }

    /// Copies of every stream.
    pub(crate) fn copies(&self) -> u16 {
        match &self.kind {
            Kind::One(_) => 1,
            Kind::Three(_) => 3,
        }
    }

    pub(crate) fn ports(&self) -> Vec<u16> {
        match &self.kind {
            Kind::One(server) => vec![server.port()],
            Kind::Three(cluster) => cluster.nodes.iter().map(NatsServer::port).collect(),
        }
    }

    /// The servers' URLs, separated by commas, not through the links.
    pub(crate) fn urls(&self) -> String {
        let urls: Vec<String> = self
            .ports()
            .into_iter()
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        urls.join(",")
    }

    pub(crate) fn node(&mut self, index: usize) -> Result<&mut NatsServer> {
        match &mut self.kind {
            Kind::One(server) => Ok(server.as_mut()),
            Kind::Three(cluster) => cluster.nodes.get_mut(index).context("there is such a node"),
        }
    }

    /// What they have printed.
    pub(crate) fn logs(&self) -> Vec<String> {
        match &self.kind {
            Kind::One(server) => vec![server.log()],
            Kind::Three(cluster) => cluster.nodes.iter().map(NatsServer::log).collect(),
        }
    }

    pub(crate) fn cluster(&self) -> Result<&NatsCluster> {
        match &self.kind {
            Kind::One(_) => anyhow::bail!("this needs three servers"),
            Kind::Three(cluster) => Ok(cluster.as_ref()),
        }
    }

    /// How the harness itself connects to them, not through the links.
    pub(crate) fn config(&self) -> NatsConfig {
        let mut config = NatsConfig {
            servers: self.urls().split(',').map(Into::into).collect(),
            connect_timeout_ms: 40_000,
            ..NatsConfig::default()
        };
        config.streams.replicas = self.copies();
        config
    }

    /// The disk that can be filled. An error if this process may not mount one.
    pub(crate) fn small_disk(&self) -> Result<&SmallDisk> {
        self.small_disk
            .as_ref()
            .context("only root can mount a small disk")
    }

    /// Whether there is a disk that can be filled.
    pub(crate) fn has_small_disk(&self) -> bool {
        self.small_disk.is_some()
    }
}

/// A file system whose size can be set to what it holds.
pub(crate) struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one. `None` if this process may not.
    fn mount(folder: &Path) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let folder = folder.join("small-disk");
        fs::create_dir_all(&folder)?;
        let mounted = mount(&["-t", "tmpfs", "-o", &size(DISK_BYTES), "tmpfs"], &folder)?;
        // In a container even root may not mount.
        Ok(mounted.then_some(Self { folder }))
    }

    /// Leaves no byte free.
    pub(crate) fn fill(&self) -> Result<()> {
        for _ in 0..TRIES {
            let state = statvfs(&self.folder)?;
            let stored = (state.f_blocks - state.f_bfree) * state.f_frsize;
            // Refused if more is stored by now.
            if self.resize(stored)? {
                return Ok(());
            }
        }
        bail!("more was stored each of {TRIES} times that the disk was to be full");
    }

    /// Frees the space again.
    pub(crate) fn empty(&self) -> Result<()> {
        ensure!(self.resize(DISK_BYTES)?, "the disk is not made larger");
        Ok(())
    }

    /// Whether it has that size now.
    fn resize(&self, bytes: u64) -> Result<bool> {
        mount(&["-o", &format!("remount,{}", size(bytes))], &self.folder)
    }
}

fn size(bytes: u64) -> String {
    format!("size={bytes}")
}

/// Whether the system mounts that.
fn mount(arguments: &[&str], folder: &Path) -> Result<bool> {
    let mut mount = Command::new("mount");
    Ok(mount.args(arguments).arg(folder).output()?.status.success())
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily (-l), because a server that is being killed may still have a file open for a
        // moment.
        let unmounted = Command::new("umount").arg("-l").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("waybill-fault: {} is still mounted", self.folder.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn a_disk_is_full_and_has_room_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let Some(disk) = SmallDisk::mount(folder.path()).expect("mount runs") else {
            eprintln!("not root, or in a container: no disk can be mounted");
            return;
        };
        let file = |name: &str| disk.folder.join(name);
        // More than the disk had before its size followed what it holds.
        fs::write(file("stored"), vec![1; 300 << 20]).expect("there is room");
        disk.fill().expect("filled");
        let refused = fs::write(file("more"), [1; 4096]).expect_err("no room");
        assert_eq!(refused.kind(), ErrorKind::StorageFull);
        disk.empty().expect("emptied");
        fs::write(file("more"), vec![1; 1 << 20]).expect("there is room again");
    }
}
