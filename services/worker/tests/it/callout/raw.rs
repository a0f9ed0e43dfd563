//! A target that sends bytes, not HTTP.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Passes each connection, numbered from 0, to a function. Stops when dropped.
pub(super) struct RawTarget {
    pub(super) addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl RawTarget {
    pub(super) async fn start<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream, number));
            }
        });
        Self {
            addr,
            connections,
            _tasks: tasks,
        }
    }

    /// Answers the first request of every connection with these bytes, then closes.
    pub(super) async fn saying(answer: &'static [u8]) -> Self {
        Self::start(move |mut stream, _| async move {
            read_head(&mut stream).await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
        })
        .await
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads up to the empty line after the headers and the five bytes of body that the tests send;
/// returns whether there was a request.
pub(super) async fn read_head(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nhello") {
        match stream.read_u8().await {
            Ok(byte) => seen.push(byte),
            Err(_) => return false,
        }
    }
    true
}
