use std::time::Duration;

use super::*;
use crate::access::secret::ENTROPY_BYTES;
use crate::access::token::{Token, TokenKind};
use crate::id::{SessionId, UserId};

const NOW: Timestamp = Timestamp(1_000);
const PEPPER: &[u8] = b"pepper";
const GRACE: Duration = Duration::from_secs(10);

fn token(number: u8) -> Token {
    let owner = SessionId::new(NOW, 2);
    Token::generate(
        "wb",
        TokenKind::SessionRefresh,
        owner.ulid(),
        &[number; ENTROPY_BYTES],
    )
    .expect("a token")
}

fn mac(number: u8) -> String {
    token(number).mac(PEPPER).to_hex()
}

fn in_days(days: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(days * 86_400))
}

fn start() -> SessionCommand {
    SessionCommand::Start(Box::new(SessionStarted {
        session: SessionId::new(NOW, 2),
        user: UserId::new(NOW, 1),
        generation: 1,
        method: "password".into(),
        refresh_mac: mac(0),
        pepper_version: 1,
        idle_until: in_days(14),
        expires_at: in_days(30),
        source: "192.0.2.7".into(),
        agent: None,
        at: NOW,
    }))
}

fn refresh(with: u8, next: u8, now: Timestamp) -> SessionCommand {
    SessionCommand::Refresh {
        proof: Proof::new(&token(with), [(1, PEPPER)].into_iter()),
        successors: vec![Successor {
            mac: mac(next),
            pepper_version: 1,
        }],
        grace: GRACE,
        idle_until: now.plus(Duration::from_secs(14 * 86_400)),
    }
}

fn run(
    family: &mut SessionFamily,
    command: SessionCommand,
    now: Timestamp,
) -> Result<usize, SessionRefusal> {
    let events = family.decide(command, &Actor::System("test".into()), &(), now)?;
    for event in &events {
        family.evolve(event);
    }
    Ok(events.len())
}

fn started() -> SessionFamily {
    let mut family = SessionFamily::default();
    assert_eq!(run(&mut family, start(), NOW), Ok(1));
    family
}

#[test]
fn a_refresh_token_is_good_once() {
    let mut family = started();
    for n in 0..5 {
        assert_eq!(run(&mut family, refresh(n, n + 1, NOW), NOW), Ok(1));
        assert!(family.session.live(NOW).is_some());
    }
}

#[test]
fn any_used_token_ends_the_whole_family() {
    for used in 0..3 {
        let mut family = started();
        for n in 0..3 {
            run(&mut family, refresh(n, n + 1, NOW), NOW).expect("refreshed");
        }
        assert_eq!(run(&mut family, refresh(used, 9, NOW), NOW), Ok(1));
        assert_eq!(family.session.ended, Some(SessionEnd::Reused));
        // The token that was valid a moment ago is void too.
        assert_eq!(
            run(&mut family, refresh(3, 9, NOW), NOW),
            Err(SessionRefusal::Over)
        );
    }
}

#[test]
fn two_uses_within_a_moment_get_the_same_successor_and_later_ones_end_the_family() {
    let soon = NOW.plus(GRACE - Duration::from_millis(1));
    let late = NOW.plus(GRACE);
    let used = |n| Proof::new(&token(n), [(1, PEPPER)].into_iter());
    let mut family = started();
    // Two tabs, and one of them refreshes again before the other has asked.
    for n in 0..2 {
        assert_eq!(run(&mut family, refresh(n, n + 1, NOW), NOW), Ok(1));
    }
    for n in 0..2 {
        assert_eq!(run(&mut family, refresh(n, n + 1, soon), soon), Ok(0));
        let successor = family.successor_of(&used(n)).map(|next| next.mac.clone());
        assert_eq!(successor, Some(mac(n + 1)));
    }
    assert!(family.session.live(soon).is_some());
    assert_eq!(run(&mut family, refresh(1, 2, late), late), Ok(1));
    assert_eq!(family.session.ended, Some(SessionEnd::Reused));
}

#[test]
fn a_made_up_token_ends_nothing() {
    let mut family = started();
    assert_eq!(
        run(&mut family, refresh(7, 1, NOW), NOW),
        Err(SessionRefusal::TokenRefused)
    );
    assert!(family.session.live(NOW).is_some());
    let nobodys = &mut SessionFamily::default();
    assert_eq!(
        run(nobodys, refresh(0, 1, NOW), NOW),
        Err(SessionRefusal::NoSuchSession)
    );
}

#[test]
fn a_session_ends_when_idle_and_at_last_in_any_case() {
    let mut family = started();
    assert!(family.session.live(in_days(13)).is_some());
    assert!(family.session.live(in_days(14)).is_none());
    assert_eq!(
        run(&mut family, refresh(0, 1, in_days(14)), in_days(14)),
        Err(SessionRefusal::Over)
    );
    run(&mut family, refresh(0, 1, in_days(13)), in_days(13)).expect("refreshed");
    run(&mut family, refresh(1, 2, in_days(26)), in_days(26)).expect("refreshed");
    assert!(family.session.live(in_days(29)).is_some());
    assert!(family.session.live(in_days(30)).is_none() && family.session.is_history(in_days(30)));
}

#[test]
fn ending_twice_is_one_event() {
    let mut family = started();
    let end = || SessionCommand::End {
        reason: SessionEnd::LoggedOut,
    };
    assert_eq!(run(&mut family, end(), NOW), Ok(1));
    assert_eq!(run(&mut family, end(), NOW), Ok(0));
    assert!(family.session.live(NOW).is_none());
}

#[test]
fn the_latest_event_of_each_type_tells_all_of_a_session() {
    let mut family = SessionFamily::default();
    let mut latest = std::collections::BTreeMap::new();
    let end = SessionCommand::End {
        reason: SessionEnd::Ended,
    };
    let commands = [start(), refresh(0, 1, NOW), refresh(1, 2, in_days(1)), end];
    for (seq, command) in commands.into_iter().enumerate() {
        let events = family
            .decide(command, &Actor::System("test".into()), &(), NOW)
            .expect("decided");
        for event in events {
            family.evolve(&event);
            latest.insert(event.name(), (seq, event));
        }
    }
    let mut rows: Vec<_> = latest.into_values().collect();
    rows.sort_by_key(|(seq, _)| *seq);
    let mut restored = Session::default();
    for (_, event) in &rows {
        restored.evolve(event);
    }
    assert_eq!(restored, family.session);
}
