use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::access::secret::ENTROPY_BYTES;
use crate::access::token::{Token, TokenKind};

const NOW: Timestamp = Timestamp(1_000);
const PEPPER: &[u8] = b"pepper";

fn email() -> Email {
    Email::parse("ann@example.com").expect("an address")
}

fn newcomer(number: u128) -> Newcomer {
    Newcomer {
        id: UserId::new(NOW, number),
        email: email(),
        email_hash: email().hash(b"k"),
    }
}

fn token(number: u8) -> Token {
    let owner = UserId::new(NOW, 1);
    Token::generate(
        "wb",
        TokenKind::Confirmation,
        owner.ulid(),
        &[number; ENTROPY_BYTES],
    )
    .expect("a token")
}

fn draft(number: u8) -> MailedDraft {
    MailedDraft {
        mac: token(number).mac(PEPPER).to_hex(),
        pepper_version: 1,
    }
}

fn proof(number: u8) -> Proof {
    Proof::new(&token(number), [(1, PEPPER)].into_iter())
}

fn run(user: &mut User, command: UserCommand, now: Timestamp) -> Result<usize, UserRefusal> {
    let events = user.decide(command, &Actor::System("test".into()), &(), now)?;
    for event in &events {
        user.evolve(event);
    }
    Ok(events.len())
}

fn sign_up(number: u8) -> UserCommand {
    UserCommand::SignUp {
        newcomer: newcomer(number.into()),
        token: draft(number),
    }
}

fn request_reset(number: u8) -> UserCommand {
    let Newcomer { id, email_hash, .. } = newcomer(1);
    UserCommand::RequestReset {
        user: id,
        email_hash,
        token: draft(number),
    }
}

fn confirm(number: u8, password: &str) -> UserCommand {
    UserCommand::Confirm {
        proof: proof(number),
        password: password.into(),
        name: "Ann".into(),
    }
}

fn from_outside(subject: &str) -> UserCommand {
    let account = OutsideAccount {
        issuer: "https://id".into(),
        subject: subject.into(),
    };
    UserCommand::ComeFromOutside {
        newcomer: newcomer(9),
        account,
        name: "Ann".into(),
    }
}

fn ann() -> User {
    let mut user = User::default();
    assert_eq!(run(&mut user, sign_up(1), NOW), Ok(1));
    assert_eq!(run(&mut user, confirm(1, "hash 1"), NOW), Ok(1));
    user
}

fn account(user: &User) -> &Account {
    user.account.as_ref().expect("confirmed")
}

#[test]
fn only_a_token_that_was_mailed_confirms_and_only_once() {
    let mut user = User::default();
    assert_eq!(
        run(&mut user, confirm(1, "x"), NOW),
        Err(UserRefusal::TokenRefused)
    );
    run(&mut user, sign_up(1), NOW).expect("asked");
    run(&mut user, sign_up(2), NOW).expect("asked again");
    assert_eq!(
        run(&mut user, confirm(4, "x"), NOW),
        Err(UserRefusal::TokenRefused)
    );
    let late = NOW.plus(CONFIRMATION_LIFETIME);
    assert_eq!(
        run(&mut user, confirm(2, "x"), late),
        Err(UserRefusal::TokenRefused)
    );
    assert_eq!(run(&mut user, confirm(2, "x"), NOW), Ok(1));
    assert_eq!(
        run(&mut user, confirm(2, "y"), NOW),
        Err(UserRefusal::TokenRefused)
    );
    assert_eq!(
        run(&mut user, sign_up(3), NOW),
        Err(UserRefusal::AlreadyConfirmed)
    );
    // The first request for the address determined the id.
    assert_eq!(
        user.confirmed().expect("confirmed").0.id,
        UserId::new(NOW, 1)
    );
}

#[test]
fn a_new_password_makes_another_generation() {
    let mut user = ann();
    let first = account(&user).generation;
    let change = |known: &str| UserCommand::ChangePassword {
        known: known.into(),
        password: "hash 2".into(),
    };
    assert_eq!(
        run(&mut user, change("stale"), NOW),
        Err(UserRefusal::PasswordMoved)
    );
    assert_eq!(run(&mut user, change("hash 1"), NOW), Ok(1));
    assert!(
        account(&user).generation > first,
        "even within the same millisecond"
    );
    let reset = |number| UserCommand::ResetPassword {
        proof: proof(number),
        password: "hash 3".into(),
    };
    assert_eq!(
        run(&mut user, reset(5), NOW),
        Err(UserRefusal::TokenRefused)
    );
    run(&mut user, request_reset(5), NOW).expect("asked");
    assert_eq!(
        run(&mut user, reset(6), NOW),
        Err(UserRefusal::TokenRefused)
    );
    assert_eq!(
        run(&mut user, reset(5), NOW.plus(RESET_LIFETIME)),
        Err(UserRefusal::TokenRefused)
    );
    assert_eq!(run(&mut user, reset(5), NOW), Ok(1));
    assert_eq!(
        run(&mut user, reset(5), NOW),
        Err(UserRefusal::TokenRefused)
    );
    assert_eq!(account(&user).password.as_deref(), Some("hash 3"));
}

#[test]
fn a_letter_that_is_under_way_stays_good_when_somebody_asks_again() {
    let mut user = ann();
    let asked = request_reset;
    for number in 5..8 {
        run(&mut user, asked(number), NOW).expect("asked");
    }
    for number in 5..8 {
        assert!(user.resets(&proof(number), NOW));
    }
    // A token requested an hour earlier has expired, and later events no longer list it.
    let later = NOW.plus(RESET_LIFETIME);
    let events = user
        .decide(asked(9), &Actor::System("test".into()), &(), later)
        .expect("decided");
    let [ControlEvent::UserResetRequested(event)] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(event.earlier.is_empty());
    // However often a token is requested, events stay small.
    for number in 10..60 {
        run(&mut user, asked(number), NOW).expect("asked");
    }
    assert_eq!(account(&user).resets.len(), MAX_LETTERS);
    assert!(user.resets(&proof(59), NOW) && !user.resets(&proof(5), NOW));

    let mut newcomer = User::default();
    for number in [1, 2] {
        run(&mut newcomer, sign_up(number), NOW).expect("asked");
    }
    assert!(newcomer.confirms(&proof(1), NOW) && newcomer.confirms(&proof(2), NOW));
}

#[test]
fn a_changed_password_voids_the_token_for_another_one() {
    let mut user = ann();
    run(&mut user, request_reset(5), NOW).expect("asked");
    let change = UserCommand::ChangePassword {
        known: "hash 1".into(),
        password: "hash 2".into(),
    };
    run(&mut user, change, NOW).expect("changed");
    let reset = UserCommand::ResetPassword {
        proof: proof(5),
        password: "thief's".into(),
    };
    assert_eq!(run(&mut user, reset, NOW), Err(UserRefusal::TokenRefused));
}

#[test]
fn rehashing_changes_nothing_but_the_hash() {
    let mut user = ann();
    let before = account(&user).generation;
    let rehash = |known: &str| UserCommand::Rehash {
        known: known.into(),
        password: "better".into(),
    };
    assert_eq!(run(&mut user, rehash("stale"), NOW), Ok(0));
    assert_eq!(run(&mut user, rehash("hash 1"), NOW), Ok(1));
    assert_eq!(
        (
            account(&user).password.as_deref(),
            account(&user).generation
        ),
        (Some("better"), before)
    );
}

#[test]
fn a_lock_ends_by_itself_and_is_told_once_an_hour() {
    let mut user = ann();
    let until = NOW.plus(Duration::from_secs(300));
    assert!(account(&user).notice_is_due(NOW));
    assert_eq!(run(&mut user, UserCommand::Lock { until }, NOW), Ok(1));
    assert_eq!(run(&mut user, UserCommand::Lock { until }, NOW), Ok(0));
    assert_eq!(account(&user).locked_until(NOW), Some(until));
    assert_eq!(account(&user).locked_until(until), None);
    assert!(!account(&user).notice_is_due(until));
    assert!(account(&user).notice_is_due(NOW.plus(NOTICE_PAUSE)));
}

#[test]
fn somebody_from_outside_is_the_person_with_that_address() {
    let mut user = ann();
    assert_eq!(run(&mut user, from_outside("4711"), NOW), Ok(1));
    assert_eq!(run(&mut user, from_outside("4711"), NOW), Ok(0));
    assert_eq!(account(&user).password.as_deref(), Some("hash 1"));
    // A person without an account gets one, and a pending sign-up is void.
    let mut user = User::default();
    run(&mut user, sign_up(1), NOW).expect("asked");
    assert_eq!(run(&mut user, from_outside("4711"), NOW), Ok(2));
    assert_eq!(account(&user).password, None);
    assert_eq!(
        run(&mut user, confirm(1, "x"), NOW),
        Err(UserRefusal::TokenRefused)
    );
    for number in 1..MAX_ACCOUNTS {
        run(&mut user, from_outside(&number.to_string()), NOW).expect("another one");
    }
    assert_eq!(
        run(&mut user, from_outside("one more"), NOW),
        Err(UserRefusal::TooManyAccounts)
    );
}

#[test]
fn a_reset_for_an_address_without_an_account_is_stored_and_changes_nothing() {
    for signed_up in [false, true] {
        let mut user = User::default();
        if signed_up {
            run(&mut user, sign_up(1), NOW).expect("asked");
        }
        let before = user.clone();
        assert_eq!(run(&mut user, request_reset(5), NOW), Ok(1));
        assert_eq!(user, before);
        assert!(!user.resets(&proof(5), NOW) && user.confirmed().is_none());
    }
}

#[test]
fn nobody_can_do_nothing() {
    let mut user = User::default();
    run(&mut user, sign_up(1), NOW).expect("asked");
    for command in [
        UserCommand::Lock {
            until: Timestamp::MAX,
        },
        UserCommand::Rename { name: "x".into() },
    ] {
        assert_eq!(run(&mut user, command, NOW), Err(UserRefusal::Nobody));
    }
    let mut user = ann();
    for name in ["", "  ", "a\u{7}", &"x".repeat(101)] {
        let rename = UserCommand::Rename { name: name.into() };
        assert_eq!(run(&mut user, rename, NOW), Err(UserRefusal::InvalidName));
    }
}

fn any_command() -> impl Strategy<Value = UserCommand> {
    (0..9_u8, 0..4_u8).prop_map(|(which, n)| match which {
        0 => sign_up(n),
        1 => confirm(n, &format!("hash {n}")),
        2 => from_outside(&n.to_string()),
        3 => UserCommand::ChangePassword {
            known: format!("hash {n}"),
            password: format!("hash {}", n + 1),
        },
        4 => request_reset(n),
        5 => UserCommand::ResetPassword {
            proof: proof(n),
            password: format!("hash {n}"),
        },
        6 => UserCommand::Rehash {
            known: format!("hash {n}"),
            password: format!("hash {}", n + 1),
        },
        7 => UserCommand::Lock {
            until: NOW.plus(Duration::from_secs(u64::from(n) * 100)),
        },
        _ => UserCommand::Rename {
            name: format!("name {n}"),
        },
    })
}

proptest! {
    #[test]
    fn the_latest_event_of_each_type_tells_all(commands in proptest::collection::vec(any_command(), 0..40)) {
        let mut user = User::default();
        let mut latest: BTreeMap<&'static str, (usize, ControlEvent)> = BTreeMap::new();
        let mut seq = 0;
        for command in commands {
            let now = NOW.plus(Duration::from_secs(seq as u64));
            for event in user.decide(command, &Actor::System("test".into()), &(), now).unwrap_or_default() {
                user.evolve(&event);
                seq += 1;
                latest.insert(event.name(), (seq, event));
            }
        }
        let mut rows: Vec<_> = latest.into_values().collect();
        rows.sort_by_key(|(seq, _)| *seq);
        let mut restored = User::default();
        for (_, event) in &rows {
            restored.evolve(event);
        }
        prop_assert_eq!(restored, user);
    }
}
