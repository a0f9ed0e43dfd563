use super::*;
use crate::access::secret::ENTROPY_BYTES;
use crate::access::token::{Token, TokenKind};

const NOW: Timestamp = Timestamp(1_000_000);
const PEPPER: &[u8] = b"pepper";

fn reserved() -> EmailHash {
    Email::of_local_owner().hash(b"k")
}

fn token(number: u8) -> Token {
    let owner = local_owner();
    Token::generate(
        "wb",
        TokenKind::SignInLink,
        owner.ulid(),
        &[number; ENTROPY_BYTES],
    )
    .expect("a token")
}

fn apply<A: Aggregate<Rules = ()>>(
    to: &mut A,
    command: A::Command,
    now: Timestamp,
) -> Result<Vec<ControlEvent>, A::Refusal> {
    let events = to.decide(command, &Actor::System("test".into()), &(), now)?;
    events.iter().for_each(|event| to.evolve(event));
    Ok(events)
}

fn make(owner: &mut LocalOwner, number: u8, now: Timestamp) -> Vec<ControlEvent> {
    let command = LinkCommand::Make {
        email_hash: reserved(),
        token: MailedDraft {
            mac: token(number).mac(PEPPER).to_hex(),
            pepper_version: 1,
        },
    };
    apply(owner, command, now).expect("made")
}

fn use_link(owner: &mut LocalOwner, number: u8, now: Timestamp) -> Result<usize, UserRefusal> {
    let proof = Proof::new(&token(number), [(1, PEPPER)].into_iter());
    apply(owner, LinkCommand::Use { proof }, now).map(|events| events.len())
}

#[test]
fn a_link_signs_in_once() {
    let mut owner = LocalOwner::default();
    assert_eq!(use_link(&mut owner, 1, NOW), Err(UserRefusal::TokenRefused));
    assert_eq!(make(&mut owner, 1, NOW).len(), 2, "the owner and the link");
    assert_eq!(use_link(&mut owner, 2, NOW), Err(UserRefusal::TokenRefused));
    assert_eq!(use_link(&mut owner, 1, NOW), Ok(1));
    assert_eq!(use_link(&mut owner, 1, NOW), Err(UserRefusal::TokenRefused));
    assert_eq!(make(&mut owner, 3, NOW).len(), 1, "the owner is there");
    assert_eq!(use_link(&mut owner, 1, NOW), Err(UserRefusal::TokenRefused));
    assert_eq!(use_link(&mut owner, 3, NOW), Ok(1));
}

#[test]
fn a_link_is_good_for_ten_minutes_and_until_the_next_one() {
    let mut owner = LocalOwner::default();
    make(&mut owner, 1, NOW);
    let end = NOW.plus(Duration::from_secs(600));
    let refused = Err(UserRefusal::TokenRefused);
    assert_eq!(use_link(&mut owner.clone(), 1, end), refused);
    let before = Timestamp(end.0 - 1);
    assert_eq!(use_link(&mut owner.clone(), 1, before), Ok(1));
    make(&mut owner, 2, NOW);
    assert_eq!(use_link(&mut owner, 1, NOW), refused);
    assert_eq!(use_link(&mut owner, 2, NOW), Ok(1));
}

#[test]
fn the_latest_events_lead_to_the_same_state_as_all_of_them() {
    let mut owner = LocalOwner::default();
    let mut all = make(&mut owner, 1, NOW);
    all.extend(make(&mut owner, 2, NOW));
    let proof = Proof::new(&token(2), [(1, PEPPER)].into_iter());
    all.extend(apply(&mut owner, LinkCommand::Use { proof }, NOW).expect("used"));
    let mut latest = LocalOwner::default();
    // The first link is what its successor replaces.
    for event in [&all[3], &all[0], &all[2]] {
        latest.evolve(event);
    }
    assert_eq!(latest, owner);
}

fn given(name: &str) -> GiveAddress {
    let email = Email::parse("ann@example.com").expect("an address");
    GiveAddress {
        newcomer: Newcomer {
            id: local_owner(),
            email_hash: email.hash(b"k"),
            email,
        },
        password: "hash".into(),
        name: name.into(),
        generation: 7,
    }
}

#[test]
fn an_address_is_given_unless_it_has_an_account() {
    let mut at = GivenAddress::default();
    let refused = apply(&mut at, given("\u{0}"), NOW);
    assert_eq!(refused, Err(UserRefusal::InvalidName));
    apply(&mut at, given("Ann"), NOW).expect("given");
    let (who, account) = at.0.confirmed().expect("an account");
    assert_eq!(who.id, local_owner());
    assert_eq!((account.name.as_str(), account.generation), ("Ann", 7));
    may_invite(&at.0).expect("has an address");
    let again = apply(&mut at, given("Ann"), NOW);
    assert_eq!(again, Err(UserRefusal::AlreadyConfirmed));
}

#[test]
fn whoever_asked_for_an_account_at_the_address_does_not_become_its_owner() {
    let mut at = GivenAddress::default();
    let address = given("Ann").newcomer;
    at.evolve(&ControlEvent::UserSignedUp(crate::event::UserSignedUp {
        user: UserId::new(NOW, 5),
        email: address.email.to_string(),
        email_hash: address.email_hash,
        mac: "ab".into(),
        pepper_version: 1,
        expires_at: NOW,
        earlier: Vec::new(),
        at: NOW,
    }));
    apply(&mut at, given("Ann"), NOW).expect("given");
    assert_eq!(at.0.confirmed().expect("an account").0.id, local_owner());
}

#[test]
fn without_an_address_nobody_is_invited_and_the_reserved_one_is_nobodys() {
    let mut owner = LocalOwner::default();
    make(&mut owner, 1, NOW);
    assert_eq!(may_invite(&owner.user), Err(UserRefusal::NoAddressYet));
    Email::parse("Local-Owner@waybill.invalid").expect_err("reserved");
}
