//! A real but minimal mail server on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Bound of the queue of mails that a test has not read yet.
const MOST_WAITING: usize = 64;
/// Deadline for a mail to arrive on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// The server's reply after `DATA`, by the number of the attempt.
pub type Verdict = fn(usize) -> &'static str;

/// A received mail.
#[derive(Debug)]
pub struct Received {
    /// SMTP commands of the conversation.
    pub commands: Vec<String>,
    /// Headers and body, as transmitted.
    pub content: String,
}

impl Received {
    /// The content with soft line breaks removed (RFC 2045, 6.7), as a mail program would show it.
    #[must_use]
    pub fn unfolded(&self) -> String {
        self.content.replace("=\n", "")
    }
}

/// A mail server without TLS. Dropping it stops it.
#[derive(Debug)]
pub struct SmtpServer {
    /// Port on 127.0.0.1.
    pub port: u16,
    received: mpsc::Receiver<Received>,
    _tasks: JoinSet<()>,
}

impl SmtpServer {
    /// Starts a server that gives each mail that verdict.
    pub async fn start(verdict: Verdict) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (sender, received) = mpsc::channel(MOST_WAITING);
        let attempts = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut talks = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                talks.spawn(talk(socket, verdict, Arc::clone(&attempts), sender.clone()));
            }
        });
        Ok(Self {
            port,
            received,
            _tasks: tasks,
        })
    }

    /// The next accepted mail.
    pub async fn next(&mut self) -> Result<Received> {
        self.next_within(SOON).await
    }

    /// The next accepted mail, if it comes within that time.
    pub async fn next_within(&mut self, limit: Duration) -> Result<Received> {
        let next = tokio::time::timeout(limit, self.received.recv()).await;
        next.context("no mail came")?.context("the server ended")
    }
}

async fn talk(
    socket: TcpStream,
    verdict: Verdict,
    attempts: Arc<AtomicUsize>,
    sender: mpsc::Sender<Received>,
) {
    let (reader, mut writer) = socket.into_split();
    let mut lines = BufReader::new(reader).lines();
    let mut received = Received {
        commands: Vec::new(),
        content: String::new(),
    };
    let mut answer = "220 test".to_owned();
    loop {
        if writer
            .write_all(format!("{answer}\r\n").as_bytes())
            .await
            .is_err()
        {
            return;
        }
        let Ok(Some(command)) = lines.next_line().await else {
            return;
        };
        answer = match command.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-test\r\n250 8BITMIME".into(),
            "DATA" => {
                if writer.write_all(b"354 go on\r\n").await.is_err() {
                    return;
                }
                while let Ok(Some(line)) = lines.next_line().await {
                    if line == "." {
                        break;
                    }
                    received.content += &line;
                    received.content.push('\n');
                }
                let said = verdict(attempts.fetch_add(1, Ordering::SeqCst));
                if said.starts_with('2') {
                    let whole = Received {
                        commands: received.commands.clone(),
                        content: std::mem::take(&mut received.content),
                    };
                    if sender.send(whole).await.is_err() {
                        return;
                    }
                }
                said.into()
            }
            "QUIT" => return,
            _ => "250 fine".into(),
        };
        received.commands.push(command);
    }
}
