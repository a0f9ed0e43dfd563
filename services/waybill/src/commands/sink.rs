//! `waybill sink`: prints what it receives.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use waybill_sink::{Received, SinkOptions};

use crate::args::Sink;

/// Listens until it is interrupted.
pub(crate) async fn run(arguments: &Sink) -> anyhow::Result<()> {
    let brief = arguments.brief;
    let print = move |received: &Received| {
        let mut out = std::io::stdout().lock();
        // A closed output is no reason to stop answering.
        let _ = if brief {
            writeln!(out, "{}", received.to_log_line())
        } else {
            writeln!(out, "{}\n", received.describe())
        };
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let options = SinkOptions {
        on_receive: Some(Arc::new(print)),
        ..SinkOptions::default()
    };
    let sink = waybill_sink::Sink::start(address, options)
        .await
        .with_context(|| format!("--port: cannot listen on {address}"))?;
    writeln!(
        std::io::stdout(),
        "The sink listens on {}\n  200: any path   a status: /status/503   two failures a task: ?fail=2   a stall: /delay/2s/... or /hang\n",
        sink.url("/")
    )?;
    // The process ends after either branch. Requests in flight are dropped: the sink stands for targets that may do that.
    tokio::select! {
        () = sink.serve_forever() => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    Ok(())
}
