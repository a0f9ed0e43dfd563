//! Guessing passwords.

use anyhow::Result;
use waybill_testkit::eventually;

use super::stage::{PASSWORD, Stage};
use crate::owner::now;
use crate::world::SOON;

/// Seconds of the window that log-ins are counted in, and what this test may take of it.
const WINDOW_S: i64 = 300;
const ROOM_S: i64 = 15;

#[tokio::test(flavor = "multi_thread")]
async fn guessing_is_stopped_told_and_written_down_alike_for_all_addresses() -> Result<()> {
    use waybill_log::{Log as _, Stream};
    let stage = Stage::start().await?;
    let ann = stage.person("ann@example.com").await?;
    let left = || WINDOW_S - now().as_secs() % WINDOW_S;
    eventually(SOON, async || left() > ROOM_S).await?;
    let mut outcomes = Vec::new();
    for email in ["ann@example.com", "nobody@example.com"] {
        let mut statuses = Vec::new();
        for _ in 0..12 {
            let answer = stage.log_in(email, "not the password").await?;
            statuses.push(answer.status.as_u16());
            if answer.status == 429 {
                assert!(answer.header("retry-after").is_some());
                assert_eq!(answer.code(), "rate_limit_exceeded");
            }
        }
        assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
        outcomes.push(statuses);
    }
    assert_eq!(outcomes[0], outcomes[1], "known or not");
    // The right password does not help now, and the session that was there goes on.
    assert_eq!(stage.log_in("ann@example.com", PASSWORD).await?.status, 429);
    assert_eq!(stage.me(&ann).await?.status, 200);
    let notice = stage.mailbox.letter("ann@example.com", 2).await?;
    assert_eq!(notice.subject, "Sign-in to your account is paused");
    let written = stage
        .world
        .log
        .last(Stream::Control, "control._.user.>")
        .await?;
    assert_eq!(
        written.map(|record| record.event),
        Some("user.locked.v1".into())
    );
    // One notice, however long it goes on.
    stage.log_in("ann@example.com", PASSWORD).await?;
    assert_eq!(stage.mailbox.all("ann@example.com").len(), 2);
    stage.stop().await
}
