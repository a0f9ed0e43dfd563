//! A TCP proxy that can be cut, stalled and restored: the network between a process and NATS.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// State of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// Bytes are forwarded.
    Up,
    /// Connections stay open, but bytes are held back until the link is up again, and then all of
    /// them arrive.
    Stalled,
    /// As stalled, but only towards the client: its requests arrive, and no answers come back.
    Deaf,
    /// Closes open and new connections.
    Cut,
}

#[derive(Debug, Clone, Copy)]
struct State {
    link: Link,
    /// Number of cuts so far. A connection ends at the first cut after its start, even if the link
    /// is restored at once.
    cuts: u64,
}

/// A proxy on a free loopback port. Dropping it closes all connections.
pub struct Proxy {
    address: SocketAddr,
    link: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy for an address such as `127.0.0.1:4222`.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(target: String) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (link, state) = watch::channel(State {
            link: Link::Up,
            cuts: 0,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, state));
        Ok(Self {
            address,
            link,
            _tasks: tasks,
        })
    }

    /// Address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address as a NATS URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Closes every connection, and new ones as soon as they are opened.
    pub fn cut(&self) {
        self.link.send_modify(|state| {
            state.link = Link::Cut;
            state.cuts += 1;
        });
    }

    /// Holds back all bytes with connections open, like a lost route.
    pub fn stall(&self) {
        self.link.send_modify(|state| state.link = Link::Stalled);
    }

    /// Holds back what the server sends, while client data still arrives: a lost acknowledgement.
    /// Followed by [`Self::cut`], it is lost for good.
    pub fn deafen(&self) {
        self.link.send_modify(|state| state.link = Link::Deaf);
    }

    /// Forwards again.
    pub fn heal(&self) {
        self.link.send_modify(|state| state.link = Link::Up);
    }
}

async fn accept(listener: TcpListener, target: String, link: watch::Receiver<State>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((inside, _)) = listener.accept().await else {
            continue;
        };
        if link.borrow().link == Link::Cut {
            continue;
        }
        let (target, link) = (target.clone(), link.clone());
        connections.spawn(async move {
            if let Ok(outside) = TcpStream::connect(target).await {
                forward(inside, outside, link).await;
            }
        });
    }
}

async fn forward(inside: TcpStream, outside: TcpStream, mut link: watch::Receiver<State>) {
    let cuts = link.borrow().cuts;
    // Both fail only on a closed socket, which copying detects.
    let _ = inside.set_nodelay(true);
    let _ = outside.set_nodelay(true);
    let (from_inside, to_inside) = inside.into_split();
    let (from_outside, to_outside) = outside.into_split();
    let there = copy(
        from_inside,
        to_outside,
        link.clone(),
        &[Link::Up, Link::Deaf],
    );
    let back = copy(from_outside, to_inside, link.clone(), &[Link::Up]);
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = link.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut link: watch::Receiver<State>,
    open: &[Link],
) {
    let cuts = link.borrow().cuts;
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 {
            return;
        }
        match link.wait_for(|state| open.contains(&state.link)).await {
            Ok(state) if state.cuts == cuts => {}
            _ => return,
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
