use proptest::prelude::*;

use super::*;
use crate::access::scope::Scope;
use crate::access::secret::ENTROPY_BYTES;
use crate::access::token::{Token, TokenKind};
use crate::id::{Environment, GrantId, TeamId, UserId};

const NOW: Timestamp = Timestamp(1_000);
const PEPPER: &[u8] = b"pepper";
const GRACE: Duration = Duration::from_secs(10);
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const REDIRECT: &str = "https://app.example.com/cb";

fn in_(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn app(number: u128) -> AppId {
    AppId::new(NOW, number)
}

fn token(kind: TokenKind, number: u8) -> Token {
    let owner = GrantId::new(NOW, 2);
    Token::generate("wb", kind, owner.ulid(), &[number; ENTROPY_BYTES]).expect("a token")
}

fn mac(kind: TokenKind, number: u8) -> String {
    token(kind, number).mac(PEPPER).to_hex()
}

fn proof(kind: TokenKind, number: u8) -> Proof {
    Proof::new(&token(kind, number), [(1, PEPPER)].into_iter())
}

fn given() -> GrantGiven {
    GrantGiven {
        grant: GrantId::new(NOW, 2),
        app: app(1),
        team: TeamId::new(NOW, 1),
        environment: Environment::Live,
        user: Some(UserId::new(NOW, 1)),
        scopes: vec![Scope::TasksRead, Scope::TasksWrite],
        code_mac: Some(mac(TokenKind::Code, 0)),
        challenge: Challenge::of(VERIFIER).map(|c| c.as_str().to_owned()),
        redirect_uri: Some(REDIRECT.into()),
        code_expires_at: Some(NOW.plus(CODE_LIFETIME)),
        token_mac: None,
        token_expires_at: None,
        pepper_version: 1,
        expires_at: NOW.plus(GRANT_LIFETIME),
        at: NOW,
    }
}

fn own() -> GrantGiven {
    GrantGiven {
        user: None,
        code_mac: None,
        challenge: None,
        redirect_uri: None,
        code_expires_at: None,
        token_mac: Some(mac(TokenKind::Access, 0)),
        token_expires_at: Some(NOW.plus(TOKEN_LIFETIME)),
        expires_at: NOW.plus(TOKEN_LIFETIME),
        ..given()
    }
}

fn tokens(number: u8) -> FreshTokens {
    FreshTokens {
        token_mac: mac(TokenKind::Access, number),
        refresh_mac: mac(TokenKind::GrantRefresh, number),
        pepper_version: 1,
    }
}

fn redeem_as(by: u128, verifier: &str, redirect: Option<&str>) -> GrantCommand {
    GrantCommand::Redeem {
        app: app(by),
        code: proof(TokenKind::Code, 0),
        challenge: Challenge::of(verifier).expect("a verifier"),
        redirect_uri: redirect.map(str::to_owned),
        tokens: tokens(1),
    }
}

fn redeem() -> GrantCommand {
    redeem_as(1, VERIFIER, Some(REDIRECT))
}

fn refresh(with: u8, next: u8) -> GrantCommand {
    GrantCommand::Refresh {
        app: app(1),
        refresh: proof(TokenKind::GrantRefresh, with),
        scopes: None,
        tokens: vec![tokens(next)],
        grace: GRACE,
    }
}

fn run(
    family: &mut GrantFamily,
    command: GrantCommand,
    now: Timestamp,
) -> Result<usize, GrantRefusal> {
    let events = family.decide(command, &Actor::System("test".into()), &(), now)?;
    for event in &events {
        family.evolve(event);
    }
    Ok(events.len())
}

fn given_to(given: GrantGiven) -> GrantFamily {
    let mut family = GrantFamily::default();
    let give = GrantCommand::Give(Box::new(given));
    assert_eq!(run(&mut family, give.clone(), NOW), Ok(1));
    assert_eq!(run(&mut family, give, NOW), Err(GrantRefusal::AlreadyGiven));
    family
}

fn redeemed() -> GrantFamily {
    let mut family = given_to(given());
    assert_eq!(run(&mut family, redeem(), NOW), Ok(1));
    family
}

fn is_good(family: &GrantFamily, number: u8, now: Timestamp) -> bool {
    let token = family.grant.live_token(now);
    token.is_some_and(|(_, token)| token.stored.is(&proof(TokenKind::Access, number)))
}

#[test]
fn a_code_is_good_for_its_client_its_verifier_and_its_redirect() {
    for (command, why) in [
        (
            redeem_as(2, VERIFIER, Some(REDIRECT)),
            GrantRefusal::NotYours,
        ),
        (
            redeem_as(1, &"a".repeat(43), Some(REDIRECT)),
            GrantRefusal::WrongVerifier,
        ),
        (
            redeem_as(1, VERIFIER, Some("https://app.example.com/cb/")),
            GrantRefusal::WrongRedirect,
        ),
    ] {
        let mut family = given_to(given());
        assert_eq!(run(&mut family, command, NOW), Err(why));
        assert_eq!(family.grant.token, None);
    }
    let mut family = given_to(given());
    assert_eq!(run(&mut family, redeem_as(1, VERIFIER, None), NOW), Ok(1));
    assert!(is_good(&family, 1, NOW));
}

#[test]
fn a_code_is_good_for_a_minute() {
    let mut family = given_to(given());
    assert!(family.grant.live(in_(59)).is_some());
    assert_eq!(run(&mut family, redeem(), in_(60)), Err(GrantRefusal::Over));
    assert_eq!(run(&mut family, redeem(), in_(59)), Ok(1));
}

#[test]
fn a_code_presented_again_ends_everything_that_came_from_it() {
    for again in [redeem(), redeem_as(1, &"a".repeat(43), None)] {
        let mut family = redeemed();
        run(&mut family, refresh(1, 2), in_(10)).expect("refreshed");
        assert_eq!(run(&mut family, again, in_(4_000)), Ok(1));
        assert_eq!(family.grant.revoked, Some(GrantEnd::CodeReused));
        assert!(!is_good(&family, 2, in_(11)));
        assert_eq!(
            run(&mut family, refresh(2, 3), in_(12)),
            Err(GrantRefusal::Over)
        );
    }
    // A stranger who saw the code cannot end the grant.
    let mut family = redeemed();
    assert_eq!(
        run(&mut family, redeem_as(2, VERIFIER, None), NOW),
        Err(GrantRefusal::NotYours)
    );
    assert!(is_good(&family, 1, NOW));
}

#[test]
fn a_refresh_token_is_good_once_and_its_access_token_takes_the_place_of_the_one_before() {
    let mut family = redeemed();
    for n in 1..5 {
        assert!(is_good(&family, n, in_(1)));
        assert_eq!(run(&mut family, refresh(n, n + 1), in_(1)), Ok(1));
        assert!(!is_good(&family, n, in_(1)) && is_good(&family, n + 1, in_(1)));
    }
    for used in 1..5 {
        let mut family = family.clone();
        assert_eq!(run(&mut family, refresh(used, 9), in_(2)), Ok(1));
        assert_eq!(family.grant.revoked, Some(GrantEnd::RefreshReused));
        assert_eq!(
            run(&mut family, refresh(5, 9), in_(2)),
            Err(GrantRefusal::Over)
        );
    }
    assert_eq!(
        run(&mut family, refresh(77, 9), in_(2)),
        Err(GrantRefusal::NotYours)
    );
    assert!(is_good(&family, 5, in_(2)));
}

#[test]
fn a_refresh_narrows_one_token_and_never_widens() {
    let mut family = redeemed();
    let with = |with, next, scopes: &[Scope]| GrantCommand::Refresh {
        app: app(1),
        refresh: proof(TokenKind::GrantRefresh, with),
        scopes: Some(scopes.iter().copied().collect()),
        tokens: vec![tokens(next)],
        grace: GRACE,
    };
    let wider = with(1, 2, &[Scope::TasksRead, Scope::KeysRead]);
    assert_eq!(
        run(&mut family, wider, NOW),
        Err(GrantRefusal::WiderThanGrant)
    );
    run(&mut family, with(1, 2, &[Scope::TasksRead]), NOW).expect("narrowed");
    let scopes =
        |family: &GrantFamily| family.grant.token.as_ref().map(|t| t.scopes.iter().count());
    assert_eq!(scopes(&family), Some(1));
    run(&mut family, refresh(2, 3), NOW).expect("as wide as the grant");
    assert_eq!(scopes(&family), Some(2));
}

#[test]
fn another_client_cannot_refresh() {
    let mut family = redeemed();
    let theirs = GrantCommand::Refresh {
        app: app(2),
        refresh: proof(TokenKind::GrantRefresh, 1),
        scopes: None,
        tokens: vec![tokens(2)],
        grace: GRACE,
    };
    assert_eq!(run(&mut family, theirs, NOW), Err(GrantRefusal::NotYours));
    assert!(is_good(&family, 1, NOW));
}

#[test]
fn access_tokens_last_an_hour_and_grants_while_they_are_refreshed() {
    let mut family = redeemed();
    assert!(is_good(&family, 1, in_(3_599)) && !is_good(&family, 1, in_(3_600)));
    let days = |days: u64| in_(days * 86_400);
    assert!(family.grant.live(days(29)).is_some() && family.grant.live(days(30)).is_none());
    for n in 0..8_u8 {
        run(
            &mut family,
            refresh(n + 1, n + 2),
            days(20 * (u64::from(n) + 1)),
        )
        .expect("refreshed");
    }
    assert!(family.grant.live(days(179)).is_some());
    assert!(
        family.grant.live(days(180)).is_none(),
        "no grant lasts longer than that"
    );
    let own = given_to(own());
    assert!(is_good(&own, 0, in_(3_599)) && !is_good(&own, 0, in_(3_600)));
    assert_eq!(own.grant.lasts_until(), Some(in_(3_600)));
}

#[test]
fn a_token_revoked_is_void_and_the_grant_is_not() {
    let mut family = redeemed();
    let revoke = |number| GrantCommand::ReturnToken {
        app: app(1),
        token: proof(TokenKind::Access, number),
    };
    assert_eq!(
        run(&mut family, revoke(7), NOW),
        Ok(0),
        "none of this grant's"
    );
    assert_eq!(run(&mut family, revoke(1), NOW), Ok(1));
    assert_eq!(run(&mut family, revoke(1), NOW), Ok(0));
    assert!(!is_good(&family, 1, NOW));
    assert_eq!(run(&mut family, refresh(1, 2), NOW), Ok(1));
    assert!(is_good(&family, 2, NOW));
    let end = |reason| GrantCommand::Revoke { reason };
    assert_eq!(run(&mut family, end(GrantEnd::Withdrawn), NOW), Ok(1));
    assert_eq!(run(&mut family, end(GrantEnd::Returned), NOW), Ok(0));
    assert_eq!(family.grant.revoked, Some(GrantEnd::Withdrawn));
    assert!(!is_good(&family, 2, NOW));
}

#[test]
fn only_the_client_gives_back_and_only_the_person_takes_back() {
    let mut family = redeemed();
    let theirs = GrantCommand::ReturnToken {
        app: app(2),
        token: proof(TokenKind::Access, 1),
    };
    assert_eq!(run(&mut family, theirs, NOW), Err(GrantRefusal::NotYours));
    let give_back = |by, refresh| GrantCommand::Return {
        app: app(by),
        refresh: proof(TokenKind::GrantRefresh, refresh),
    };
    for command in [give_back(2, 1), give_back(1, 7)] {
        assert_eq!(run(&mut family, command, NOW), Err(GrantRefusal::NotYours));
    }
    let stranger = Actor::User(UserId::new(NOW, 2));
    let withdraw = GrantCommand::Revoke {
        reason: GrantEnd::Withdrawn,
    };
    let refused = family.decide(withdraw.clone(), &stranger, &(), NOW);
    assert_eq!(refused, Err(GrantRefusal::NotYours));
    run(&mut family, refresh(1, 2), NOW).expect("refreshed");
    // A used refresh token also works: revoking can only reduce what its holder has.
    assert_eq!(run(&mut family, give_back(1, 1), NOW), Ok(1));
    assert_eq!(run(&mut family, give_back(1, 2), NOW), Ok(0));
    assert_eq!(family.grant.revoked, Some(GrantEnd::Returned));
    let owner = Actor::User(UserId::new(NOW, 1));
    let again = redeemed().decide(withdraw, &owner, &(), NOW);
    assert_eq!(again.map(|events| events.len()), Ok(1));
}

#[test]
fn nothing_happens_to_a_grant_that_was_not_given() {
    let mut family = GrantFamily::default();
    for command in [redeem(), refresh(1, 2)] {
        assert_eq!(
            run(&mut family, command, NOW),
            Err(GrantRefusal::NoSuchGrant)
        );
    }
}

proptest! {
    /// What a gateway keeps on disk: the latest event of each type, in order.
    #[test]
    fn the_latest_event_of_each_type_tells_all_of_a_grant(
        by_itself: bool,
        steps in proptest::collection::vec((0_u8..5, 0_u8..6), 0..30),
    ) {
        let mut family = GrantFamily::default();
        let first = if by_itself { own() } else { given() };
        let mut latest = std::collections::BTreeMap::new();
        let mut commands = vec![GrantCommand::Give(Box::new(first))];
        commands.extend(steps.into_iter().map(|(step, number)| match step {
            0 => redeem(),
            1 | 2 => refresh(number, number + 1),
            3 => GrantCommand::ReturnToken {
        app: app(1), token: proof(TokenKind::Access, number) },
            _ if number == 5 => GrantCommand::Revoke { reason: GrantEnd::Returned },
            _ => refresh(number, number + 1),
        }));
        for (seq, command) in commands.into_iter().enumerate() {
            for event in family.decide(command, &Actor::System("test".into()), &(), NOW).unwrap_or_default() {
                family.evolve(&event);
                latest.insert(event.name(), (seq, event));
            }
        }
        let mut rows: Vec<_> = latest.into_values().collect();
        rows.sort_by_key(|(seq, _)| *seq);
        let mut restored = Grant::default();
        for (_, event) in &rows {
            restored.evolve(event);
        }
        prop_assert_eq!(restored, family.grant);
    }
}

#[test]
fn a_refresh_token_that_comes_twice_in_a_moment_gets_the_same_tokens() {
    let mut family = redeemed();
    assert_eq!(run(&mut family, refresh(1, 2), NOW), Ok(1));
    assert_eq!(run(&mut family, refresh(1, 2), in_(9)), Ok(0));
    assert!(family.grant.holds(&tokens(2)));
    assert!(is_good(&family, 2, in_(9)));
    // Another answer than the one that was given is no repetition, whenever it comes.
    let mut stolen = family.clone();
    assert_eq!(run(&mut stolen, refresh(1, 7), in_(9)), Ok(1));
    assert_eq!(stolen.grant.revoked, Some(GrantEnd::RefreshReused));
    assert_eq!(run(&mut family, refresh(1, 2), in_(10)), Ok(1));
    assert_eq!(family.grant.revoked, Some(GrantEnd::RefreshReused));
}
