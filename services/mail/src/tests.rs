//! Mail through a real, very small mail server on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_domain::access::email::Email;
use waybill_testkit::smtp::SmtpServer;

use super::*;

fn mailer(server: &SmtpServer) -> SmtpMailer {
    SmtpMailer::new(SmtpConfig {
        port: Some(server.port),
        ..config()
    })
    .expect("a fine configuration")
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
    mailer(&server).send(&letter("Ein schöner Tag")).await?;
    let mail = server.next().await?;
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
    mailer(&server)
        .send(&letter("Hello\r\nBcc: evil@example.com\r\n\r\nBody"))
        .await?;
    let mail = server.next().await?;
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
    let outbox = Outbox::start(Arc::new(mailer(&server)), quick(), &tasks, stop.clone());
    outbox.reserve()?.post(letter("Again"));
    assert!(server.next().await?.content.contains("Subject: Again"));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(())
}

/// Counts what it is asked to send.
struct Counting(AtomicUsize, SendError);

#[async_trait]
impl Mailer for Counting {
    async fn send(&self, _: &Letter) -> Result<(), SendError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(self.1.clone())
    }
}

#[tokio::test]
async fn what_is_refused_for_ever_is_given_up_and_so_is_the_rest_in_the_end() -> anyhow::Result<()>
{
    for (refusal, expected) in [
        (SendError::Permanent("no".into()), 1),
        (SendError::Temporary("no".into()), 3),
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
    let refused = mailer(&server).send(&letter("x")).await;
    assert!(
        matches!(refused, Err(SendError::Permanent(_))),
        "{refused:?}"
    );
    Ok(())
}

#[tokio::test]
async fn letters_that_wait_leave_before_a_stop() -> anyhow::Result<()> {
    let mut server = SmtpServer::start(|_| "250 taken").await?;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let outbox = Outbox::start(Arc::new(mailer(&server)), quick(), &tasks, stop.clone());
    for _ in 0..8 {
        outbox.reserve()?.post(letter("Last"));
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    for _ in 0..8 {
        server.next().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_full_outbox_says_so() {
    struct Stuck;
    #[async_trait]
    impl Mailer for Stuck {
        async fn send(&self, _: &Letter) -> Result<(), SendError> {
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
    assert_eq!(outbox.reserve().err(), Some(OutboxRefusal::Full));
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

#[tokio::test]
async fn an_outbox_without_a_mail_server_takes_no_letters() {
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let outbox = Outbox::start(Arc::new(NoMailer), quick(), &tasks, stop.clone());
    assert_eq!(outbox.reserve().err(), Some(OutboxRefusal::MailOff));
    outbox.post_or_lose(letter("a notice"));
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
