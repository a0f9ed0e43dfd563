use super::*;
use crate::access::Aggregate;
use crate::access::grant::{GrantCommand, GrantFamily};
use crate::access::scope::Scope;
use crate::access::secret::ENTROPY_BYTES;
use crate::access::token::{Token, TokenKind};
use crate::id::{Environment, GrantId};

const NOW: Timestamp = Timestamp(1_000);
const PEPPER: &[u8] = b"pepper";

fn token(kind: TokenKind, number: u8) -> Token {
    let owner = GrantId::new(NOW, 2);
    Token::generate("wb", kind, owner.ulid(), &[number; ENTROPY_BYTES]).expect("a token")
}

fn mac(kind: TokenKind, number: u8) -> String {
    token(kind, number).mac(PEPPER).to_hex()
}

fn asked() -> Box<GrantAsked> {
    Box::new(GrantAsked {
        grant: GrantId::new(NOW, 2),
        app: AppId::new(NOW, 1),
        team: TeamId::new(NOW, 1),
        environment: Environment::Live,
        scopes: vec![Scope::TasksRead, Scope::TasksWrite],
        code_mac: mac(TokenKind::Code, 0),
        pepper_version: 1,
        expires_at: NOW.plus(DEVICE_LIFETIME),
        at: NOW,
    })
}

fn user() -> UserId {
    UserId::new(NOW, 1)
}

fn approve(scopes: &[Scope]) -> GrantCommand {
    GrantCommand::Approve {
        user: user(),
        team: TeamId::new(NOW, 9),
        scopes: scopes.iter().copied().collect(),
    }
}

fn redeem_as(app: u128, code: u8) -> GrantCommand {
    GrantCommand::RedeemDevice {
        app: AppId::new(NOW, app),
        code: Proof::new(&token(TokenKind::Code, code), [(1, PEPPER)].into_iter()),
        tokens: FreshTokens {
            token_mac: mac(TokenKind::Access, 1),
            refresh_mac: mac(TokenKind::GrantRefresh, 1),
            pepper_version: 1,
        },
    }
}

fn run(
    family: &mut GrantFamily,
    command: GrantCommand,
    by: &Actor,
    at: Timestamp,
) -> Result<usize, GrantRefusal> {
    let events = family.decide(command, by, &(), at)?;
    for event in &events {
        family.evolve(event);
    }
    Ok(events.len())
}

fn asking() -> (GrantFamily, Actor, Actor) {
    let (app, person) = (Actor::App(AppId::new(NOW, 1)), Actor::User(user()));
    let mut family = GrantFamily::default();
    assert_eq!(
        run(&mut family, GrantCommand::Ask(asked()), &app, NOW),
        Ok(1)
    );
    (family, app, person)
}

#[test]
fn a_device_gets_tokens_once_and_only_after_a_person_approved() {
    let (mut family, app, person) = asking();
    let again = run(&mut family, GrantCommand::Ask(asked()), &app, NOW);
    assert_eq!(again, Err(GrantRefusal::AlreadyGiven));
    let redeem = |family: &mut GrantFamily, command| run(family, command, &app, NOW);
    assert_eq!(
        redeem(&mut family, redeem_as(1, 0)),
        Err(GrantRefusal::Undecided)
    );
    // The application cannot decide by itself, and nobody gives more than was asked for.
    let by_app = run(&mut family, approve(&[Scope::TasksRead]), &app, NOW);
    assert_eq!(by_app, Err(GrantRefusal::NotYours));
    let wider = run(&mut family, approve(&[Scope::KeysWrite]), &person, NOW);
    assert_eq!(wider, Err(GrantRefusal::WiderThanGrant));
    assert_eq!(
        run(&mut family, approve(&[Scope::TasksRead]), &person, NOW),
        Ok(1)
    );
    let given = family.grant.given.clone().expect("given");
    assert_eq!(
        (given.scopes, given.team),
        (vec![Scope::TasksRead], TeamId::new(NOW, 9))
    );
    let second = run(&mut family, approve(&[Scope::TasksRead]), &person, NOW);
    assert_eq!(second, Err(GrantRefusal::Over));
    for (app, code) in [(2, 0), (1, 1)] {
        assert_eq!(
            redeem(&mut family, redeem_as(app, code)),
            Err(GrantRefusal::NotYours)
        );
    }
    assert_eq!(redeem(&mut family, redeem_as(1, 0)), Ok(1));
    assert!(family.grant.live_token(NOW).is_some());
    assert_eq!(redeem(&mut family, redeem_as(1, 0)), Ok(1));
    assert_eq!(family.grant.revoked, Some(GrantEnd::CodeReused));
    assert!(family.grant.live_token(NOW).is_none());
}

#[test]
fn who_refuses_or_comes_too_late_gives_nothing() {
    let (mut family, app, person) = asking();
    assert_eq!(
        run(&mut family, GrantCommand::Deny, &app, NOW),
        Err(GrantRefusal::NotYours)
    );
    assert_eq!(run(&mut family, GrantCommand::Deny, &person, NOW), Ok(1));
    assert_eq!(
        run(&mut family, redeem_as(1, 0), &app, NOW),
        Err(GrantRefusal::Denied)
    );
    let late = run(&mut family, approve(&[Scope::TasksRead]), &person, NOW);
    assert_eq!(late, Err(GrantRefusal::Over));

    let (mut family, app, person) = asking();
    let end = NOW.plus(DEVICE_LIFETIME);
    assert_eq!(family.grant.lasts_until(), Some(end));
    assert_eq!(
        run(&mut family, redeem_as(1, 0), &app, end),
        Err(GrantRefusal::Expired)
    );
    let late = run(&mut family, approve(&[Scope::TasksRead]), &person, end);
    assert_eq!(late, Err(GrantRefusal::Over));

    // Whoever approves at the last moment leaves the device a minute to ask again.
    let (mut family, app, person) = asking();
    let last = Timestamp(end.0 - 1);
    assert_eq!(
        run(&mut family, approve(&[Scope::TasksRead]), &person, last),
        Ok(1)
    );
    let in_time = last.plus(CODE_LIFETIME - Duration::from_millis(1));
    assert_eq!(
        run(&mut family.clone(), redeem_as(1, 0), &app, in_time),
        Ok(1)
    );
    let late = run(&mut family, redeem_as(1, 0), &app, last.plus(CODE_LIFETIME));
    assert_eq!(late, Err(GrantRefusal::Expired));
}

#[test]
fn the_code_of_a_device_is_no_authorization_code_nor_the_other_way_round() {
    let (mut family, app, person) = asking();
    assert_eq!(
        run(&mut family, approve(&[Scope::TasksRead]), &person, NOW),
        Ok(1)
    );
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let redeem = GrantCommand::Redeem {
        app: AppId::new(NOW, 1),
        code: Proof::new(&token(TokenKind::Code, 0), [(1, PEPPER)].into_iter()),
        challenge: crate::access::pkce::Challenge::of(verifier).expect("a verifier"),
        redirect_uri: None,
        tokens: FreshTokens {
            token_mac: mac(TokenKind::Access, 1),
            refresh_mac: mac(TokenKind::GrantRefresh, 1),
            pepper_version: 1,
        },
    };
    assert_eq!(
        run(&mut family, redeem, &app, NOW),
        Err(GrantRefusal::WrongVerifier)
    );
    let mut other = GrantFamily::default();
    other.grant.given.clone_from(&family.grant.given);
    assert_eq!(
        run(&mut other, redeem_as(1, 0), &app, NOW),
        Err(GrantRefusal::NoSuchGrant)
    );
}

#[test]
fn codes_that_people_type_are_read_however_they_are_written() {
    for byte in 0..=255 {
        let code = user_code(&[byte; 16]);
        assert_eq!(code.len(), 9, "{code}");
        assert_eq!(typed_code(&code), Some(code.clone()));
        assert_eq!(
            typed_code(&code.to_lowercase().replace('-', " ")),
            Some(code)
        );
    }
    for wrong in [
        "",
        "BCDF-GHJ",
        "BCDF-GHJKL",
        "ACDF-GHJK",
        "BCDF-GHJ0",
        "BCDFGHJ\u{212a}",
    ] {
        assert_eq!(typed_code(wrong), None, "{wrong}");
    }
}
