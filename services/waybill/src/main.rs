//! The binary: arguments, configuration and wiring. What the roles do is in their own crates.

mod access_at;
mod apart;
mod args;
mod audit;
mod backup;
mod beside;
mod config;
mod descriptors;
mod disk;
mod doctor;
mod keys;
mod log_admin;
mod nats_server;
mod operations;
mod people;
mod roles;
mod room;
mod schemas;
mod secrets;
mod signals;
mod signatures;
mod signing;
mod sink;
mod teams;
mod telemetry;
mod trace_ids;
mod up;
mod vault;

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::config::Config;

/// Measured on two cores: a quarter more tasks per second than with the C library's (`ops/bench/README.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // To `waybill audit` the usual code of a wrong command line, 2, already says something else.
        Err(error) if error.use_stderr() && std::env::args().any(|word| word == "audit") => {
            let _ = error.print();
            return ExitCode::from(audit::USAGE);
        }
        Err(error) => error.exit(),
    };
    let into_a_pipe = arguments.command.prints_its_result();
    match run(arguments) {
        Ok(code) => code,
        // `waybill replay ... | head`: whoever reads has seen enough.
        Err(error) if into_a_pipe && is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever closed standard error does not want to know.
            let _ = writeln!(std::io::stderr(), "waybill: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
    })
}

fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    // What needs neither configuration nor runtime.
    if let Command::Schemas(schemas) = &arguments.command {
        return schemas::run(schemas).map(|()| ExitCode::SUCCESS);
    }
    let mut config = Config::load(arguments.config.as_deref())?;
    descriptors::raise();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let done = match arguments.command {
            Command::Audit(command) => return audit::run(config, command).await,
            Command::Doctor(at) => return doctor::run(config, at).await,
            Command::Up(up) => {
                if let Some(data) = up.data {
                    config.data = data;
                }
                if let Some(listen) = up.listen {
                    config.gateway.listen = listen;
                }
                up::run(config).await
            }
            Command::Gateway => apart::gateway(config).await,
            Command::Worker => apart::worker(config).await,
            Command::Projector => apart::projector(config).await,
            Command::Sink(sink) => sink::run(&sink).await,
            Command::Keys(keys) => keys::run(config, keys).await,
            Command::SigningSecret(wanted) => signing::run(config, wanted).await,
            Command::Teams(command) => teams::run(config, command).await,
            Command::Vault(command) => vault::run(config, command).await,
            Command::Signatures(command) => signatures::run(config, command).await,
            Command::Log(command) => log_admin::run(config, command).await,
            Command::Replay(replay) => beside::replay(config, replay).await,
            Command::Rebuild(at) => beside::rebuild(config, at).await,
            Command::Verify(at) => beside::verify(config, at).await,
            Command::Backup(wanted) => backup::backup(config, wanted).await,
            Command::Restore(wanted) => backup::restore(config, wanted).await,
            Command::Config => beside::show(&config),
            Command::Schemas(schemas) => schemas::run(&schemas),
        };
        done.map(|()| ExitCode::SUCCESS)
    })
}
