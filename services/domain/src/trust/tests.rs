use bytes::Bytes;

use super::event::{Expected, sign};
use super::*;
use crate::audit::Stored;

fn trust() -> Trust {
    let signer = Signer::new(Speaker::Control, &[1; 32]).expect("a key");
    let key = Accepted::new(signer.public()).expect("of gateways");
    Trust {
        stream: 7,
        signer: Some(signer),
        keys: Keys::new(vec![key]).expect("few"),
        required_from: Some(StreamSeq(1)),
    }
}

fn signed(trust: &Trust, expected: Option<Expected<'_>>) -> Stored {
    let subject = "control.team_1.key.key_2".to_owned();
    let payload = Bytes::from_static(b"\x81\xa3mac\xa1x");
    let mut headers = vec![
        ("Wb-Actor".to_owned(), "operator:cli".to_owned()),
        ("Wb-Event".to_owned(), "key.created.v1".to_owned()),
        ("traceparent".to_owned(), "00-1-2-01".to_owned()),
    ];
    let signer = trust.signer.as_ref().expect("a key");
    let added = sign(
        signer,
        trust.stream,
        &subject,
        &headers,
        &payload,
        expected,
        2,
    );
    headers.extend(added);
    headers.sort();
    Stored {
        seq: StreamSeq(12),
        time_ns: 1,
        subject,
        headers,
        payload,
    }
}

fn expected() -> Option<Expected<'static>> {
    Some(Expected {
        boundary: "control.team_1.>",
        after: StreamSeq(4),
    })
}

#[test]
fn a_genuine_event_says_where_it_belongs() {
    let trust = trust();
    let place = Place {
        boundary: "control.team_1.>".to_owned(),
        after: StreamSeq(4),
        first: StreamSeq(10),
    };
    let event = signed(&trust, expected());
    assert_eq!(verify(&trust, &event), Ok(Genuine::At(place)));
}

#[test]
fn every_part_is_signed() {
    let trust = trust();
    let changes: [fn(&mut Stored); 9] = [
        |e| e.subject.push('x'),
        |e| e.payload = Bytes::new(),
        |e| e.headers[0].1 = "4".to_owned(),
        |e| e.headers[1].1.push('x'),
        |e| e.headers.retain(|(name, _)| name != AFTER),
        |e| e.headers.retain(|(name, _)| name != INDEX),
        |e| e.headers.retain(|(name, _)| name != "traceparent"),
        |e| e.headers.push(("Wb-Agent".to_owned(), "x".to_owned())),
        |e| e.headers.retain(|(name, _)| name != BOUNDARY),
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut event = signed(&trust, expected());
        change(&mut event);
        assert!(
            matches!(verify(&trust, &event), Err(Void::Forged(_))),
            "{at}"
        );
    }
    let elsewhere = Trust {
        stream: 8,
        ..trust.clone()
    };
    let event = signed(&trust, expected());
    assert!(matches!(verify(&elsewhere, &event), Err(Void::Forged(_))));
}

#[test]
fn two_values_of_a_header_say_nothing() {
    let trust = trust();
    let mut event = signed(&trust, expected());
    let signature = event.header(SIGNATURE).expect("signed").to_owned();
    event.headers.push((SIGNATURE.to_owned(), signature));
    assert_eq!(verify(&trust, &event), Err(Void::Malformed(SIGNATURE)));
}

#[test]
fn an_event_without_a_boundary_counts_only_if_it_may_be_repeated() {
    let trust = trust();
    let event = signed(&trust, None);
    let name = "key.created.v1".to_owned();
    assert_eq!(verify(&trust, &event), Err(Void::Unbounded(name)));
}

#[test]
fn what_stands_before_the_requirement_counts_unsigned() {
    let trust = Trust {
        required_from: Some(StreamSeq(13)),
        ..trust()
    };
    let mut event = signed(&trust, None);
    event.headers.clear();
    assert_eq!(verify(&trust, &event), Ok(Genuine::Anywhere));
    event.seq = StreamSeq(13);
    assert_eq!(verify(&trust, &event), Err(Void::Unsigned));
}

#[test]
fn workers_are_believed_in_their_own_places_only() {
    let worker = Signer::new(Speaker::Worker, &[2; 32]).expect("a key");
    let mut trust = trust();
    let mut event = signed(&trust, None);
    event.headers.clear();
    event.subject = "control._.worker.w".to_owned();
    assert_eq!(
        verify(&trust, &event),
        Ok(Genuine::Anywhere),
        "no worker has a key"
    );
    let mut keys = trust.keys.all().to_vec();
    keys.push(Accepted::new(worker.public()).expect("of workers"));
    trust.keys = Keys::new(keys).expect("few");
    assert_eq!(verify(&trust, &event), Err(Void::Unsigned));
    let id = worker.id();
    trust.signer = Some(worker);
    let event = signed(&trust, expected());
    assert_eq!(verify(&trust, &event), Err(Void::NotAllowed(id)));
}

#[test]
fn a_message_is_believed_of_whoever_may_say_it() {
    let trust = trust();
    let parts: [&[u8]; 2] = [b"wb.fence.ack.1", b"7"];
    let signature = trust
        .sign_message(Message::Acknowledgement, &parts)
        .expect("a key");
    let check = |trust: &Trust, kind, parts: &[&[u8]], signature| {
        trust.check_message(kind, parts, signature, false)
    };
    let kind = Message::Acknowledgement;
    assert_eq!(check(&trust, kind, &parts, Some(&signature)), Ok(()));
    assert_eq!(check(&trust, kind, &parts, None), Err(Void::Unsigned));
    let other: [&[u8]; 2] = [b"wb.fence.ack.1", b"8"];
    assert!(check(&trust, kind, &other, Some(&signature)).is_err());
    assert!(check(&trust, Message::Settle, &parts, Some(&signature)).is_err());
    let shifted: [&[u8]; 2] = [b"wb.fence.ack.17", b""];
    assert!(check(&trust, kind, &shifted, Some(&signature)).is_err());
    let off = Trust::default();
    assert_eq!(
        check(&off, kind, &parts, None),
        Ok(()),
        "nothing is required"
    );
}

#[test]
fn a_key_says_who_speaks_and_how_long_it_counts() {
    let signer = Signer::new(Speaker::Control, &[1; 32]).expect("a key");
    let key = signer.public().to_string();
    assert_eq!(
        Accepted::parse(&key).map(|key| key.to_string()),
        Ok(key.clone())
    );
    let line = format!("{key} 17");
    assert_eq!(Accepted::parse(&line).map(|key| key.to_string()), Ok(line));
    let notary = crate::audit::NotaryKey::new("waybill/test", &[1; 32]).expect("a key");
    for wrong in [
        "",
        "x",
        &format!("{key} x"),
        &format!("{key} 1 2"),
        &notary.public().to_string(),
    ] {
        assert!(Accepted::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn the_signature_of_an_event_is_for_ever() {
    let event = signed(&trust(), expected());
    insta::assert_snapshot!(event.header(SIGNATURE).expect("signed"), @"329cd084.SXrRm6kE0GaDbvSBJsx/cew/w4VcgAPqMHlxk2+IlXKxmcNjUeEetWgisR9NwhYCr2cVD5+tEHs7Bh/j3OvNBg==");
}
