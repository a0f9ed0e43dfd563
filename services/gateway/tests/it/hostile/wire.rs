//! A connection in plain bytes: what no HTTP client would send.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use waybill_gateway::GatewayConfig;

use crate::world::{World, config};

/// How long a connection may be idle here.
const SOON_CLOSED: Duration = Duration::from_millis(800);
/// For the server to answer and to close.
const PATIENCE: Duration = Duration::from_secs(20);

/// All that comes back until the server closes.
pub(crate) struct Exchange {
    text: String,
}

impl Exchange {
    /// The status of each answer, in order. Bodies here are JSON and hold no status line.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let lines = self.text.split("HTTP/1.1 ").skip(1);
        lines
            .filter_map(|rest| rest.get(..3)?.parse().ok())
            .collect()
    }

    /// Everything, headers and bodies.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// A world whose idle connections are closed soon, so that [`send`] learns whether there is a further answer.
pub(crate) async fn world() -> Result<World> {
    World::start_with(GatewayConfig {
        header_read_timeout: SOON_CLOSED,
        body_read_timeout: SOON_CLOSED,
        ..config()
    })
    .await
}

/// Sends bytes on a connection of its own and reads until the server closes it.
pub(crate) async fn send(world: &World, bytes: impl AsRef<[u8]>) -> Result<Exchange> {
    let mut stream = TcpStream::connect(world.gateway.addr()).await?;
    let exchange = async {
        // The server may refuse and close while this is still being sent.
        let _ = stream.write_all(bytes.as_ref()).await;
        let mut answer = Vec::new();
        // A reset after the answer is how a server says that it did not want the rest.
        let _ = stream.read_to_end(&mut answer).await;
        answer
    };
    let answer = tokio::time::timeout(PATIENCE, exchange)
        .await
        .context("the connection ends")?;
    Ok(Exchange {
        text: String::from_utf8_lossy(&answer).into_owned(),
    })
}
