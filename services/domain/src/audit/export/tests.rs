use proptest::prelude::*;

use super::*;
use crate::event::samples;
use crate::id::TeamId;
use crate::time::Timestamp;

fn stored(payload: Vec<u8>) -> Stored {
    Stored {
        seq: StreamSeq(7),
        time_ns: 1_795_245_168_120_456_789,
        subject: "control.team_x.key.key_y".into(),
        headers: vec![
            ("Wb-Actor".into(), "key:key_z".into()),
            ("Wb-Event".into(), "key.created.v1".into()),
        ],
        payload: Bytes::from(payload),
    }
}

#[test]
fn every_line_survives_its_text() {
    let header = Header {
        deployment: "default".into(),
        tree: TreeId::Team(TeamId::new(Timestamp(1), 2)),
        stream: 1_795_245_100_000_000_000,
    };
    let mut lines = vec![
        Line::Header(header),
        Line::Leaves(vec![Hash::of(b"a"), Hash::of(b"b")]),
        Line::Leaves(Vec::new()),
        Line::Checkpoint("text\n\n\u{2014} name sig\n".into()),
        Line::event(stored(vec![0xc1])),
        Line::event(stored(Vec::new())),
    ];
    lines.extend(
        samples::control_events()
            .iter()
            .map(|event| Line::event(stored(event.encode()))),
    );
    for line in lines {
        let text = line.write();
        assert!(!text.contains('\n'), "{text}");
        assert_eq!(Line::read(&text), Ok(line), "{text}");
    }
}

#[test]
fn what_people_read_is_what_the_event_says() {
    for event in samples::control_events() {
        let payload = event.encode();
        let text = Line::event(stored(payload.clone())).write();
        let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let mut said = event.to_json().expect("JSON");
        if let Some(withheld) = line["withheld"].as_array() {
            for name in withheld {
                let name = name.as_str().expect("a name");
                said[name] = line["event"][name].clone();
            }
        }
        assert_eq!(line["event"], said, "{}", event.name());
        assert_eq!(line["at"], "2026-11-21T07:12:48.120Z");
    }
}

#[test]
fn a_hostile_text_stays_inert() {
    let name = "line\nbreak \u{1b}[31m <script> \u{2028} \" \\ \u{0}";
    let payload = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("name", name)]));
    let line = Line::event(stored(payload.expect("plain data")));
    let text = line.write();
    assert!(!text.chars().any(char::is_control), "{text}");
    assert_eq!(Line::read(&text), Ok(line));
}

#[test]
fn what_is_readable_cannot_be_changed_alone() {
    let event = &samples::control_events()[0];
    let text = Line::event(stored(event.encode())).write();
    let tampered = text.replacen("\"event\":{", "\"event\":{\"more\":1,", 1);
    assert!(matches!(Line::read(&tampered), Err(BadLine::Differs(_))));
    let spaced = text.replacen("\"seq\":", "\"seq\": ", 1);
    assert!(matches!(Line::read(&spaced), Err(BadLine::Differs(_))));
    assert!(matches!(
        Line::read(&text[1..]),
        Err(BadLine::Unreadable(_))
    ));
    assert!(matches!(Line::read("{}"), Err(BadLine::Unreadable(_))));
}

#[test]
fn numbers_of_all_widths_are_read() {
    for number in [
        0,
        1,
        127,
        128,
        255,
        256,
        65_535,
        65_536,
        i64::from(u32::MAX),
        i64::MAX,
        -1,
        -32,
        -33,
        -128,
        -129,
        -32_769,
        i64::MIN,
    ] {
        let payload = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("n", number)]));
        assert_eq!(
            readable(&payload.expect("plain data")),
            format!("{{\"n\":{number}}}")
        );
    }
    let float = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("n", 1.5_f64)]));
    assert_eq!(readable(&float.expect("plain data")), "{\"n\":1.5}");
    let nan = rmp_serde::to_vec_named(&std::collections::BTreeMap::from([("n", f64::NAN)]));
    assert_eq!(readable(&nan.expect("plain data")), "{\"n\":null}");
}

proptest! {
    #[test]
    fn no_payload_makes_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
        let line = Line::event(stored(payload));
        prop_assert_eq!(Line::read(&line.write()), Ok(line));
    }

    #[test]
    fn no_text_makes_it_panic(text in "(.|\n){0,120}") {
        let _ = Line::read(&text);
        let _ = Line::read(&format!("{{\"seq\":{text}"));
    }
}
