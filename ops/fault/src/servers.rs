//! The log's servers of a run: one nats-server, or three with a copy of everything each.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use waybill_log::NatsConfig;
use waybill_testkit::{NatsCluster, NatsServer};

/// Large enough for everything that a run stores, and small enough to be filled quickly. It is in
/// memory.
const SMALL_DISK_MIB: usize = 256;
/// Index of the node whose disk can be filled.
pub(crate) const ON_SMALL_DISK: usize = 0;
/// Bytes of each write that fills it.
const CHUNK: usize = 1024 * 1024;

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

/// A file system of a fixed size.
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
        let mounted = Command::new("mount")
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={SMALL_DISK_MIB}m"),
                "tmpfs",
            ])
            .arg(&folder)
            .output()?;
        // In a container even root may not mount.
        Ok(mounted.status.success().then_some(Self { folder }))
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Fills the disk to the last byte.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let chunk = vec![1; CHUNK];
        for size in [CHUNK, 4096, 1] {
            // More than fits, so the loop ends with an error when the disk is full.
            for _ in 0..=SMALL_DISK_MIB {
                if ballast.write_all(&chunk[..size]).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Frees the space again.
    pub(crate) fn empty(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }
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
