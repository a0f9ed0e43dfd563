//! Mail through a real, very small mail server on loopback.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use waybill_commands::{Pepper, entropy};
use waybill_domain::access::email::Email;
use waybill_log::MailQueue as _;
use waybill_log::mail::HOLD;
use waybill_log::memory::MemoryMail;
use waybill_testkit::smtp::SmtpServer;

use super::*;

/// For something to become true on a busy machine.
const SOON: Duration = Duration::from_secs(20);

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
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        drain: Duration::ZERO,
    }
}

/// A gateway as far as mail is concerned. Several may share a queue.
struct Gateway {
    outbox: Outbox,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Gateway {
    fn start(mailer: impl Mailer, queue: &MemoryMail) -> Self {
        Self::with_pepper(mailer, queue, 1)
    }

    fn with_pepper(mailer: impl Mailer, queue: &MemoryMail, version: u32) -> Self {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let byte = u8::try_from(version).expect("small");
        let pepper = Pepper::new(version, vec![byte; 32]).expect("long enough");
        let parts = OutboxParts {
            mailer: Arc::new(mailer),
            queue: Arc::new(queue.clone()),
            pepper: Arc::new(pepper),
            times: quick(),
        };
        let outbox = Outbox::start(parts, &tasks, &stop);
        Self {
            outbox,
            tasks,
            stop,
        }
    }

    async fn post(&self, letter: Option<&Letter>) -> Result<(), OutboxRefusal> {
        self.outbox.letter_box()?.post(letter).await
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Counts what it is asked to send, and answers so after some time.
#[derive(Clone)]
struct Counting {
    asked: Arc<AtomicUsize>,
    takes: Duration,
    answer: Result<(), SendError>,
}

impl Counting {
    fn answering(answer: Result<(), SendError>) -> Self {
        Self {
            asked: Arc::default(),
            takes: Duration::ZERO,
            answer,
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Mailer for Counting {
    async fn send(&self, _: &Letter) -> Result<(), SendError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.takes).await;
        self.answer.clone()
    }
}

async fn all_gone(queue: &MemoryMail) -> anyhow::Result<()> {
    Ok(waybill_testkit::eventually(SOON, async || queue.stored().is_empty()).await?)
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
async fn what_is_refused_for_now_is_tried_again_under_the_same_id() -> anyhow::Result<()> {
    let mut server = SmtpServer::start(|attempt| {
        if attempt < 2 {
            "451 later"
        } else {
            "250 taken"
        }
    })
    .await?;
    let queue = MemoryMail::default();
    let gateway = Gateway::start(mailer(&server), &queue);
    let letter = letter("Again");
    gateway.post(Some(&letter)).await?;
    let content = server.next().await?.content;
    assert!(content.contains("Subject: Again"));
    let id = format!("Message-ID: <{}@example.com>", letter.id);
    assert!(content.contains(&id), "{content}");
    all_gone(&queue).await?;
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn what_is_refused_for_ever_is_given_up_and_so_is_what_has_expired() -> anyhow::Result<()> {
    let (later, never) = (
        SendError::Temporary("later".into()),
        SendError::Permanent("never".into()),
    );
    for (answer, good_for, attempts) in [
        (never, 60_000, 1..=1),
        (later.clone(), 50, 2..=50),
        (later, -1, 0..=0),
    ] {
        let queue = MemoryMail::default();
        let mailer = Counting::answering(Err(answer));
        let gateway = Gateway::start(mailer.clone(), &queue);
        let mut letter = letter("No");
        letter.until = Timestamp(entropy::now().0 + good_for);
        gateway.post(Some(&letter)).await?;
        all_gone(&queue).await?;
        assert!(attempts.contains(&mailer.asked()), "{}", mailer.asked());
        gateway.stop().await;
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
async fn a_gateway_that_stops_leaves_its_letters_to_the_next_one() -> anyhow::Result<()> {
    let queue = MemoryMail::default();
    let stuck = Counting {
        takes: Duration::from_secs(3_600),
        ..Counting::answering(Ok(()))
    };
    let first = Gateway::start(stuck.clone(), &queue);
    for _ in 0..8 {
        first.post(Some(&letter("Left"))).await?;
    }
    waybill_testkit::eventually(SOON, async || stuck.asked() == 4).await?;
    first.stop().await;
    assert_eq!(queue.stored().len(), 8);
    let mut server = SmtpServer::start(|_| "250 taken").await?;
    let next = Gateway::start(mailer(&server), &queue);
    for _ in 0..8 {
        let content = server.next().await?.content;
        assert!(content.contains("wb_reset_0123"), "{content}");
    }
    all_gone(&queue).await?;
    next.stop().await;
    Ok(())
}

/// Time is tokio's here, which passes while everybody waits.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_dies_leaves_its_letters_to_another() -> anyhow::Result<()> {
    let queue = MemoryMail::default();
    let off = Gateway::start(Counting::answering(Ok(())), &queue);
    off.stop.cancel();
    off.post(Some(&letter("Left"))).await?;
    // Taken by a gateway that says nothing about it ever after.
    queue.take(Duration::ZERO).await?.expect("a letter");
    let mailer = Counting::answering(Ok(()));
    let another = Gateway::start(mailer.clone(), &queue);
    tokio::time::sleep(HOLD - Duration::from_secs(1)).await;
    assert_eq!(mailer.asked(), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!((mailer.asked(), queue.stored().len()), (1, 0));
    another.stop().await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_slow_mail_server_is_sent_a_letter_once() -> anyhow::Result<()> {
    let queue = MemoryMail::default();
    let slow = Counting {
        takes: HOLD * 5,
        ..Counting::answering(Ok(()))
    };
    let gateways = [(); 2].map(|()| Gateway::start(slow.clone(), &queue));
    gateways[0].post(Some(&letter("Slow"))).await?;
    tokio::time::sleep(HOLD * 6).await;
    assert_eq!((slow.asked(), queue.stored().len()), (1, 0));
    for gateway in gateways {
        gateway.stop().await;
    }
    Ok(())
}

#[tokio::test]
async fn what_stands_in_for_no_letter_looks_like_one_and_is_not_sent() -> anyhow::Result<()> {
    let queue = MemoryMail::default();
    let mailer = Counting::answering(Ok(()));
    let gateway = Gateway::start(mailer.clone(), &queue);
    gateway.stop.cancel();
    gateway.tasks.close();
    gateway.tasks.wait().await;
    gateway.post(Some(&letter("Yes"))).await?;
    gateway.post(None).await?;
    let sizes: Vec<usize> = queue.stored().iter().map(bytes::Bytes::len).collect();
    assert_eq!(sizes, [4096, 4096]);
    let another = Gateway::start(mailer.clone(), &queue);
    all_gone(&queue).await?;
    another.stop().await;
    assert_eq!(mailer.asked(), 1);
    Ok(())
}

#[tokio::test]
async fn a_stored_letter_that_nobody_can_open_is_dropped() -> anyhow::Result<()> {
    let queue = MemoryMail::default();
    let mailer = Counting::answering(Ok(()));
    // Sealed under the pepper that is here, as it says.
    let forged = [&[1, 0, 0, 0, 1][..], &[7; 4091]].concat();
    // Under one that another gateway may have.
    let foreign = [&[1, 0, 0, 0, 9][..], &[7; 4091]].concat();
    for stored in [Vec::new(), forged, foreign.clone()] {
        queue.post(stored.into()).await?;
    }
    let gateway = Gateway::start(mailer.clone(), &queue);
    waybill_testkit::eventually(SOON, async || queue.stored() == [foreign.clone()]).await?;
    gateway.stop().await;
    assert_eq!(mailer.asked(), 0);
    Ok(())
}

/// While the pepper is being changed, gateways know different versions of it.
#[tokio::test]
async fn a_letter_under_another_pepper_is_left_to_who_has_it() -> anyhow::Result<()> {
    let queue = MemoryMail::default();
    let mailer = Counting::answering(Ok(()));
    let stopping = Gateway::with_pepper(mailer.clone(), &queue, 2);
    stopping.stop.cancel();
    stopping.post(Some(&letter("New"))).await?;
    stopping.stop().await;
    let old = Gateway::start(mailer.clone(), &queue);
    tokio::time::sleep(Duration::from_millis(50)).await;
    old.stop().await;
    assert_eq!((mailer.asked(), queue.stored().len()), (0, 1));
    let new = Gateway::with_pepper(mailer.clone(), &queue, 2);
    all_gone(&queue).await?;
    new.stop().await;
    assert_eq!(mailer.asked(), 1);
    Ok(())
}

#[tokio::test]
async fn an_outbox_without_room_or_without_its_log_says_so() {
    let queue = MemoryMail::default();
    queue.set_room(0);
    let gateway = Gateway::start(Counting::answering(Ok(())), &queue);
    for letter in [None, Some(&letter("x"))] {
        assert_eq!(gateway.post(letter).await, Err(OutboxRefusal::Full));
    }
    queue.set_away(true);
    let away = gateway.post(None).await;
    assert!(
        matches!(away, Err(OutboxRefusal::NotStored { .. })),
        "{away:?}"
    );
    gateway.stop().await;
}

#[tokio::test]
async fn a_notice_is_stored_once_the_log_is_back() -> anyhow::Result<()> {
    let queue = MemoryMail::default();
    let mailer = Counting::answering(Ok(()));
    queue.set_away(true);
    let gateway = Gateway::start(mailer.clone(), &queue);
    for _ in 0..3 {
        gateway.outbox.post_or_lose(letter("a notice"));
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    queue.set_away(false);
    waybill_testkit::eventually(SOON, async || mailer.asked() == 3).await?;
    gateway.stop().await;
    Ok(())
}

#[tokio::test]
async fn a_gateway_without_a_mail_server_neither_stores_letters_nor_takes_any() -> anyhow::Result<()>
{
    let queue = MemoryMail::default();
    queue.post("somebody else's".into()).await?;
    let gateway = Gateway::start(NoMailer, &queue);
    assert_eq!(gateway.post(None).await, Err(OutboxRefusal::MailOff));
    gateway.outbox.post_or_lose(letter("a notice"));
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(queue.stored().len(), 1);
    gateway.stop().await;
    Ok(())
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
