//! The binary: arguments, configuration and wiring. What the roles do is in their own crates.

mod args;
mod commands;
mod config;
mod descriptors;
mod disk;
mod free_port;
mod nats_server;
mod operations;
mod output;
mod ownership;
mod people;
mod rings;
mod roles;
mod roll_call;
mod room;
mod running_server;
mod secrets;
mod sign_in_link;
mod signals;
mod signatures;
mod supervise;
mod telemetry;
mod trace_ids;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::commands::{
    apart, audit, backup, dashboard, doctor, keys, log, read_model, replay, schemas,
    signing_secret, sink, teams, up, vault,
};
use crate::config::Config;

/// Measured on two cores: a quarter more tasks per second than with the C library's (`ops/bench/README.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // For `waybill audit`, 2, the usual code of a wrong command line, has another meaning.
        Err(error) if error.use_stderr() && std::env::args().any(|word| word == "audit") => {
            // A closed standard error changes nothing about the exit code.
            let _ = error.print();
            return ExitCode::from(audit::USAGE);
        }
        Err(error) => error.exit(),
    };
    let shows_once = arguments.command.shows_once();
    match run(arguments) {
        Ok(code) => code,
        // `waybill replay ... | head`: the reader has seen enough; an error only if the output is shown just once.
        Err(error) if !shows_once && output::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error is no reason to fail: its reader does not want to know.
            let _ = writeln!(std::io::stderr(), "waybill: {error:#}");
            ExitCode::FAILURE
        }
    }
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
                config.dashboard_from = up.dashboard_from;
                up::run(config).await
            }
            Command::Gateway => apart::gateway(config).await,
            Command::Worker => apart::worker(config).await,
            Command::Projector => apart::projector(config).await,
            Command::Sink(sink) => sink::run(&sink).await,
            Command::Keys(keys) => keys::run(config, keys).await,
            Command::SigningSecret(wanted) => signing_secret::run(config, wanted).await,
            Command::Teams(command) => teams::run(config, command).await,
            Command::Vault(command) => vault::run(config, command).await,
            Command::Signatures(command) => commands::signatures::run(config, command).await,
            Command::Log(command) => log::run(config, command).await,
            Command::Replay(replay) => replay::run(config, replay).await,
            Command::Rebuild(at) => read_model::rebuild(config, at).await,
            Command::Verify(at) => read_model::verify(config, at).await,
            Command::Backup(wanted) => backup::backup(config, wanted).await,
            Command::Restore(wanted) => backup::restore(config, wanted).await,
            Command::Dashboard(at) => dashboard::run(config, at).await,
            Command::Config => config::show(&config),
            Command::Schemas(schemas) => schemas::run(&schemas),
        };
        done.map(|()| ExitCode::SUCCESS)
    })
}
