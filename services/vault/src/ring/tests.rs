use super::*;

fn kek() -> KekSecret {
    KekSecret::generate().expect("random")
}

fn sender() -> SenderSecret {
    SenderSecret::generate().expect("random")
}

#[test]
fn rings_are_read_back_as_written() {
    let (seal, open) = fresh_rings().expect("random");
    let second = kek();
    let seal = seal.with_kek(second.public().clone()).expect("two");
    let open = open.with_kek(second).expect("two");
    let open = open.with_sender(sender().public().clone()).expect("two");
    let (seal_text, open_text) = (seal.render(), open.render());
    assert_eq!(seal_text.lines().count(), 3);
    assert_eq!(open_text.lines().count(), 4);
    let seal_again = SealRing::parse(&seal_text).expect("what was written");
    let open_again = OpenRing::parse(&open_text).expect("what was written");
    assert_eq!(*seal_again.render(), *seal_text);
    assert_eq!(*open_again.render(), *open_text);
    assert_eq!(seal_again.keks(), open_again.keks());
    assert_eq!(open_again.senders()[1], seal_again.sender().id());
}

#[test]
fn comments_and_any_white_space_are_allowed() {
    let (seal, _) = fresh_rings().expect("random");
    let text = seal.render().replace('\n', "\t");
    let text = format!("# made on a Monday, kek-secret1.00\r\n\n  {text} # trailing\n#");
    let again = SealRing::parse(&text).expect("the same ring");
    assert_eq!(again.keks(), seal.keks());
}

#[test]
fn a_seal_ring_has_the_public_halves_of_an_open_ring_and_nothing_that_opens() {
    let (_, open) = fresh_rings().expect("random");
    let open = open.with_kek(kek()).expect("two");
    let seal = open.seal_ring(sender());
    assert_eq!(seal.keks(), open.keks());
    let text = seal.render();
    assert!(!text.contains("kek-secret"));
    for secret in open
        .render()
        .lines()
        .filter(|word| word.starts_with("kek-secret1."))
    {
        assert!(!text.contains(&secret["kek-secret1.".len()..]));
    }
}

#[test]
fn rotation_adds_the_newest_first_and_keeps_the_last() {
    let (seal, open) = fresh_rings().expect("random");
    let (old, new) = (open.keks()[0], kek());
    let id = new.id();
    let seal = seal.with_kek(new.public().clone()).expect("two");
    let again = seal
        .with_kek(new.public().clone())
        .expect_err("there already");
    assert_eq!(
        again.to_string(),
        format!("the added key is a kek-public1 that the ring already has: {id}")
    );
    let open = open.with_kek(new).expect("two");
    assert_eq!(seal.keks(), [id, old]);
    assert_eq!(open.keks(), [id, old]);

    let (seal, open) = (seal.without_kek(old), open.without_kek(old));
    let (seal, open) = (seal.expect("one left"), open.expect("one left"));
    assert_eq!((seal.keks(), open.keks()), (vec![id], vec![id]));
    let absent = RingError::NoSuchKek(old);
    assert_eq!(seal.without_kek(old).expect_err("gone"), absent);
    assert_eq!(open.without_kek(old).expect_err("gone"), absent);
    assert_eq!(
        seal.without_kek(id).expect_err("the last"),
        RingError::LastKek
    );
    assert_eq!(
        open.without_kek(id).expect_err("the last"),
        RingError::LastKek
    );
}

#[test]
fn a_sender_gives_way_to_another() {
    let (seal, open) = fresh_rings().expect("random");
    let (old, new) = (seal.sender().id(), sender());
    let id = new.id();
    let open = open.with_sender(new.public().clone()).expect("two");
    assert_eq!(open.senders(), [id, old]);
    let seal = seal.with_sender(new);
    assert_eq!(seal.sender().id(), id);
    let open = open.without_sender(old).expect("one left");
    assert_eq!(open.senders(), [id]);
    assert_eq!(
        open.without_sender(old).expect_err("gone"),
        RingError::NoSuchSender(old)
    );
    assert_eq!(
        open.without_sender(id).expect_err("the last"),
        RingError::LastSender
    );
}

#[test]
fn a_ring_has_a_limit() {
    let (seal, mut open) = fresh_rings().expect("random");
    let mut text = seal.render().to_string();
    for _ in 1..MAX_KEKS {
        let key = kek();
        text.push_str(&format!("{} ", key.public().to_word()));
        open = open.with_kek(key).expect("within the limit");
    }
    SealRing::parse(&text).expect("within the limit");
    text.push_str(&kek().public().to_word());
    let refused = SealRing::parse(&text).expect_err("one too many");
    assert_eq!(
        refused.to_string(),
        "the seal ring has at most 16 kek-public1"
    );
    let refused = open.with_kek(kek()).expect_err("one too many");
    assert_eq!(
        refused.to_string(),
        "the open ring has at most 16 kek-secret1"
    );
    let (_, mut open) = fresh_rings().expect("random");
    for _ in 1..MAX_SENDERS {
        open = open
            .with_sender(sender().public().clone())
            .expect("within the limit");
    }
    assert!(open.with_sender(sender().public().clone()).is_err());
}

#[test]
fn errors_say_where_and_what_without_the_key() {
    let (seal, open) = fresh_rings().expect("random");
    let (seal, open) = (seal.render().to_string(), open.render().to_string());
    let digits = "ab".repeat(32);
    let seal_cases = [
        (String::new(), "the seal ring needs a sender-secret1"),
        (
            "# nothing".to_owned(),
            "the seal ring needs a sender-secret1",
        ),
        (
            sender().to_word().to_string(),
            "the seal ring needs a kek-public1",
        ),
        (
            format!("{seal}\n{}", &*sender().to_word()),
            "the seal ring has at most 1 sender-secret1",
        ),
        (
            open.clone(),
            "word 1 in line 1 is a kek-secret1, which does not belong in the seal ring",
        ),
        (
            format!("{seal}x\n {digits}"),
            "word 1 in line 3 is not a key: expected one of",
        ),
        (
            format!("{seal}\nkek-secret2.{digits}"),
            "word 1 in line 4 is not a key: expected one of",
        ),
        (
            format!("{seal}kek-public1.{digits}00"),
            "word 1 in line 3 is not a valid kek-public1: expected 64 lower-case",
        ),
        (
            format!("{seal}kek-public1.{}", digits.to_uppercase()),
            "word 1 in line 3 is not a valid kek-public1: expected 64",
        ),
        (
            format!("{seal}kek-public1."),
            "word 1 in line 3 is not a valid kek-public1: expected 64 lower-case",
        ),
        (
            format!("{seal}kek-public1.{}", "0".repeat(64)),
            "word 1 in line 3 is not a usable kek-public1: it is a point of small order",
        ),
    ];
    for (text, expected) in seal_cases {
        let error = SealRing::parse(&text).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(!error.contains("abab"), "{error}");
    }
    let repeated = open.lines().next().expect("a KEK");
    let open_cases = [
        (String::new(), "the open ring needs a kek-secret1"),
        (repeated.to_owned(), "the open ring needs a sender-public1"),
        (
            seal.clone(),
            "word 1 in line 1 is a sender-secret1, which does not belong in the open ring",
        ),
        (
            format!("{open} {repeated}"),
            "word 1 in line 3 is a kek-secret1 that the ring already has: ",
        ),
        (
            format!("{open} {open}"),
            "word 1 in line 3 is a kek-secret1 that the ring already has: ",
        ),
    ];
    for (text, expected) in open_cases {
        let error = OpenRing::parse(&text).expect_err(expected).to_string();
        assert!(error.starts_with(expected), "{error}");
        for word in text.split_whitespace() {
            let digits = word.split_once('.').expect("typed").1;
            assert!(!error.contains(&digits[..32]), "{error}");
        }
    }
}
