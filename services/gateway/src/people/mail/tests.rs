//! Mail through a real, very small mail server on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_domain::access::email::Email;

use super::*;

/// What the server says after `DATA`, by the number of the attempt.
type Verdict = fn(usize) -> &'static str;

/// A mail as it came over the wire: envelope commands and content.
struct Received {
    commands: Vec<String>,
    content: String,
}

struct SmtpServer {
    port: u16,
    received: mpsc::Receiver<Received>,
    _tasks: JoinSet<()>,
}

impl SmtpServer {
    async fn start(verdict: Verdict) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (sender, received) = mpsc::channel(64);
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

    fn mailer(&self) -> SmtpMailer {
        SmtpMailer::new(SmtpConfig {
            port: Some(self.port),
            ..config()
        })
        .expect("a fine configuration")
    }

    async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(Duration::from_secs(10), self.received.recv()).await;
        next.expect("in time").expect("the server runs")
    }
}

fn config() -> SmtpConfig {
    SmtpConfig {
        host: "127.0.0.1".into(),
        port: None,
        tls: SmtpTls::None,
        extra_ca_pem: Vec::new(),
        login: None,
        from: "Waybill <waybill@example.com>".into(),
        timeout: Duration::from_secs(5),
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

fn letter(subject: &str) -> Letter {
    let to = Email::parse("ann@example.com").expect("an address");
    let occasion = Occasion::ResetPassword {
        token: "wb_reset_0123".into(),
    };
    Letter {
        subject: subject.into(),
        ..Letter::about(&occasion, &to, &Links::default())
    }
}

fn quick() -> OutboxTimes {
    OutboxTimes {
        attempts: 3,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        drain: Duration::from_secs(5),
    }
}

#[tokio::test]
async fn a_letter_arrives_as_written() -> anyhow::Result<()> {
    let mut server = SmtpServer::start(|_| "250 taken").await?;
    server.mailer().send(&letter("Ein schöner Tag")).await?;
    let mail = server.next().await;
    let commands = mail.commands.join("\n");
    assert!(
        commands.contains("MAIL FROM:<waybill@example.com>"),
        "{commands}"
    );
    assert!(commands.contains("RCPT TO:<ann@example.com>"), "{commands}");
    for part in [
        "From: Waybill <waybill@example.com>\n",
        "To: ann@example.com\n",
        "Auto-Submitted: auto-generated\n",
        "Date: ",
        "Message-ID: <",
        "    wb_reset_0123\n",
    ] {
        assert!(mail.content.contains(part), "{part:?} in\n{}", mail.content);
    }
    assert!(
        mail.content.contains("Subject: =?utf-8?")
            || mail.content.contains("Subject: Ein =?utf-8?")
    );
    Ok(())
}

#[tokio::test]
async fn no_header_can_be_smuggled_in() -> anyhow::Result<()> {
    let mut server = SmtpServer::start(|_| "250 taken").await?;
    server
        .mailer()
        .send(&letter("Hello\r\nBcc: evil@example.com\r\n\r\nBody"))
        .await?;
    let mail = server.next().await;
    let headers = mail.content.split("\n\n").next().expect("headers");
    assert!(
        !headers.lines().any(|line| line.starts_with("Bcc")),
        "{headers}"
    );
    assert_eq!(
        mail.commands
            .iter()
            .filter(|c| c.starts_with("RCPT"))
            .count(),
        1
    );
    Ok(())
}

#[tokio::test]
async fn what_is_refused_for_now_is_tried_again() -> anyhow::Result<()> {
    let mut server = SmtpServer::start(|attempt| {
        if attempt < 2 {
            "451 later"
        } else {
            "250 taken"
        }
    })
    .await?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let outbox = Outbox::start(Arc::new(server.mailer()), quick(), &tasks, stop.clone());
    outbox.reserve()?.post(letter("Again"));
    assert!(server.next().await.content.contains("Subject: Again"));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Counts what it is asked to send.
struct Counting(AtomicUsize, NotSent);

#[async_trait]
impl Mailer for Counting {
    async fn send(&self, _: &Letter) -> Result<(), NotSent> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(self.1.clone())
    }
}

#[tokio::test]
async fn what_is_refused_for_ever_is_given_up_and_so_is_the_rest_in_the_end() -> anyhow::Result<()>
{
    for (refusal, expected) in [
        (NotSent::ForEver("no".into()), 1),
        (NotSent::ForNow("no".into()), 3),
    ] {
        let mailer = Arc::new(Counting(AtomicUsize::new(0), refusal));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let outbox = Outbox::start(mailer.clone(), quick(), &tasks, stop.clone());
        outbox.reserve()?.post(letter("No"));
        // The task ends by itself when nobody can post any more and all is done.
        waybill_testkit::eventually(Duration::from_secs(10), async || {
            mailer.0.load(Ordering::SeqCst) == expected
        })
        .await?;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        assert_eq!(mailer.0.load(Ordering::SeqCst), expected);
    }
    let server = SmtpServer::start(|_| "550 no such user").await?;
    let refused = server.mailer().send(&letter("x")).await;
    assert!(matches!(refused, Err(NotSent::ForEver(_))), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn letters_that_wait_leave_before_a_stop() -> anyhow::Result<()> {
    let mut server = SmtpServer::start(|_| "250 taken").await?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let outbox = Outbox::start(Arc::new(server.mailer()), quick(), &tasks, stop.clone());
    for _ in 0..8 {
        outbox.reserve()?.post(letter("Last"));
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    for _ in 0..8 {
        server.next().await;
    }
    Ok(())
}

#[tokio::test]
async fn a_full_outbox_says_so() {
    struct Stuck;
    #[async_trait]
    impl Mailer for Stuck {
        async fn send(&self, _: &Letter) -> Result<(), NotSent> {
            std::future::pending().await
        }
    }
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let times = OutboxTimes {
        drain: Duration::ZERO,
        ..quick()
    };
    let outbox = Outbox::start(Arc::new(Stuck), times, &tasks, stop.clone());
    let mut posted = 0;
    while let Ok(place) = outbox.reserve() {
        place.post(letter("x"));
        posted += 1;
        tokio::task::yield_now().await;
        assert!(posted < 10_000);
    }
    assert_eq!(outbox.reserve().err(), Some(OutboxFull));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn secrets_do_not_travel_in_the_clear() {
    let refused = SmtpMailer::new(SmtpConfig {
        host: "mail.example.com".into(),
        ..config()
    });
    assert!(matches!(refused, Err(SmtpRefused::Clear(_))));
    let refused = SmtpMailer::new(SmtpConfig {
        from: "nobody".into(),
        ..config()
    });
    assert!(matches!(refused, Err(SmtpRefused::From(_))));
    // A server that does not offer STARTTLS gets nothing.
    let server = SmtpServer::start(|_| "250 taken").await.expect("a port");
    let careful = SmtpConfig {
        tls: SmtpTls::Starttls,
        port: Some(server.port),
        ..config()
    };
    let sent = SmtpMailer::new(careful)
        .expect("fine")
        .send(&letter("x"))
        .await;
    assert!(sent.is_err());
}
