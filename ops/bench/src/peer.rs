//! The products that Waybill is measured beside: how each is started on an empty folder and how it takes a task.
//!
//! Each is durable before it answers, as Waybill is: Redis with an append-only file and fsync for
//! every write, Restate as it is shipped (its log server syncs). The programs around them (an HTTP
//! front and a worker for BullMQ, a handler for Restate) lie in `ops/bench/peers`.

use std::fmt;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::{Child, Command};
use tokio::time::sleep;
use waybill_testkit::nats::free_port;

use crate::http1::Connection;

/// Jobs that the worker of BullMQ runs at once: as many as a worker of Waybill has slots.
const SLOTS: &str = "512";
/// Restate provisions a cluster of one at its first start.
const START_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Waybill,
    BullMq,
    Restate,
}

impl Product {
    pub(crate) const ALL: [Self; 3] = [Self::Waybill, Self::BullMq, Self::Restate];

    /// Where a task is posted to.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Waybill => "/v1/tasks",
            Self::BullMq => "/tasks",
            Self::Restate => "/bench/deliver/send",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waybill => "Waybill",
            Self::BullMq => "BullMQ",
            Self::Restate => "Restate",
        })
    }
}

/// A product that runs.
pub(crate) struct Started {
    /// In the order in which they were started.
    pub(crate) children: Vec<Child>,
    /// Where tasks are posted to.
    pub(crate) address: SocketAddr,
}

/// Starts another product than Waybill. `programs` is the folder that `ops/bench/peers/run` has filled.
pub(crate) async fn start(product: Product, programs: &Path, data: &Path) -> Result<Started> {
    let programs = fs::canonicalize(programs).with_context(|| {
        format!(
            "{} is not there: ops/bench/peers/run installs the other products",
            programs.display()
        )
    })?;
    let start = Start {
        programs,
        data: data.to_owned(),
        children: Vec::new(),
    };
    match product {
        Product::Waybill => bail!("Waybill is no peer of itself"),
        Product::BullMq => start.bullmq().await,
        Product::Restate => start.restate().await,
    }
}

struct Start {
    programs: PathBuf,
    data: PathBuf,
    children: Vec<Child>,
}

impl Start {
    async fn bullmq(mut self) -> Result<Started> {
        let (redis, front) = (free_address()?, free_address()?);
        let configuration = self.programs.join("redis.conf");
        let data = self.data.clone();
        let mut server = Command::new("redis-server");
        server
            .arg(configuration)
            .arg("--port")
            .arg(redis.port().to_string())
            .arg("--dir")
            .arg(&data);
        self.spawn("redis", server)?;
        self.wait_for(redis).await?;
        let redis_port = redis.port().to_string();
        self.node("bullmq-worker.mjs", &[&redis_port, SLOTS])?;
        self.node(
            "bullmq-front.mjs",
            &[&front.port().to_string(), &redis_port],
        )?;
        self.wait_for(front).await?;
        Ok(self.started(front))
    }

    async fn restate(mut self) -> Result<Started> {
        let (ingress, admin, node, service) = (
            free_address()?,
            free_address()?,
            free_address()?,
            free_address()?,
        );
        self.node("restate-service.mjs", &[&service.port().to_string()])?;
        let configuration = self.data.join("restate.toml");
        let text = format!(
            r#"bind-ip = "127.0.0.1"
bind-port = {}
listen-mode = "tcp"
base-dir = "{}"
disable-telemetry = true
log-filter = "warn"
[ingress]
bind-port = {}
[admin]
bind-port = {}
disable-web-ui = true
"#,
            node.port(),
            self.data.join("restate").display(),
            ingress.port(),
            admin.port()
        );
        fs::write(&configuration, text)?;
        let mut server = Command::new(self.restate_server()?);
        server.arg("--no-logo").arg("-c").arg(configuration);
        self.spawn("restate", server)?;
        self.wait_for(service).await?;
        self.register(admin, service).await?;
        self.wait_for(ingress).await?;
        Ok(self.started(ingress))
    }

    /// The program of this machine's kind: npm installs that one only.
    fn restate_server(&self) -> Result<PathBuf> {
        let installed = self.programs.join("node_modules/@restatedev");
        for entry in fs::read_dir(&installed).with_context(|| installed.display().to_string())? {
            let program = entry?.path().join("bin/restate-server");
            if program.is_file() {
                return Ok(program);
            }
        }
        bail!("there is no restate-server below {}", installed.display())
    }

    /// Tells Restate where its handler is, as soon as it listens.
    async fn register(&mut self, admin: SocketAddr, service: SocketAddr) -> Result<()> {
        let json = format!(r#"{{"uri":"http://{service}"}}"#);
        let request = format!(
            "POST /deployments HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        let give_up = Instant::now() + START_DEADLINE;
        loop {
            self.all_run()?;
            if let Ok(mut connection) = Connection::open(admin).await
                && let Ok(answer) = connection.exchange(request.as_bytes()).await
                && answer.status == 201
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < give_up,
                "Restate does not know its handler within {START_DEADLINE:?}: {}",
                self.log("restate")
            );
            sleep(POLL).await;
        }
    }

    fn node(&mut self, script: &str, arguments: &[&str]) -> Result<()> {
        let mut node = Command::new("node");
        node.arg(self.programs.join(script)).args(arguments);
        self.spawn(script, node)
    }

    fn spawn(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = File::create(self.data.join(format!("{name}.log")))?;
        let child = command
            .current_dir(&self.data)
            .env("NODE_ENV", "production")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        self.children.push(child);
        Ok(())
    }

    /// Until something listens there.
    async fn wait_for(&mut self, address: SocketAddr) -> Result<()> {
        let give_up = Instant::now() + START_DEADLINE;
        while Connection::open(address).await.is_err() {
            self.all_run()?;
            ensure!(
                Instant::now() < give_up,
                "nothing listens on {address} within {START_DEADLINE:?}"
            );
            sleep(POLL).await;
        }
        Ok(())
    }

    fn all_run(&mut self) -> Result<()> {
        for child in &mut self.children {
            if let Some(status) = child.try_wait()? {
                bail!(
                    "a process ended at its start ({status}); its log is among these: {}",
                    ["redis", "restate", "bullmq-front.mjs", "bullmq-worker.mjs"]
                        .map(|name| self.data.join(format!("{name}.log")))
                        .iter()
                        .filter_map(|path| fs::read_to_string(path).ok())
                        .collect::<String>()
                );
            }
        }
        Ok(())
    }

    fn log(&self, name: &str) -> String {
        // Only for a message: a log that cannot be read says nothing.
        fs::read_to_string(self.data.join(format!("{name}.log"))).unwrap_or_default()
    }

    fn started(self, address: SocketAddr) -> Started {
        Started {
            children: self.children,
            address,
        }
    }
}

/// A port for a server that may be restarted on it.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?)))
}
