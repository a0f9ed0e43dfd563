use proptest::prelude::*;

use super::*;
use crate::audit::note::{SEED_BYTES, Trusted};

fn key() -> NotaryKey {
    NotaryKey::new("waybill/test", &[7; SEED_BYTES]).expect("a key")
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        deployment: "test".into(),
        tree: TreeId::Control,
        size: 12,
        root: Hash::of(b"root"),
        last_seq: StreamSeq(12),
        last_time_ns: 1_795_245_168_120_456_789,
        stream: 1_795_245_100_000_000_000,
        signed_ns: 1_795_245_169_000_000_000,
        previous: Some(Hash::of(b"previous")),
    }
}

#[test]
fn the_form_of_a_checkpoint_is_for_ever() {
    insta::assert_snapshot!(Signed::new(checkpoint(), &key()).note, @r"
    waybill/test/control
    12
    SBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=
    seq 12
    time 1795245168120456789
    stream 1795245100000000000
    signed 1795245169000000000
    previous baBjNSjeqgFE57BYMV8LdT7AuUUWOnK/lqDRgYD53g0=

    — waybill/test 65gE2g5qAzTxpeAduLHeX4wUvIyPYLjNEjBZCIG9v366/hVAYykSD2UxKjvtQ++OyWdXrPPmvR8mhWgGkvw1hQVp7QY=
    ");
}

#[test]
fn a_checkpoint_survives_its_text() {
    for previous in [None, Some(Hash::of(b"x"))] {
        let checkpoint = Checkpoint {
            previous,
            ..checkpoint()
        };
        let signed = Signed::new(checkpoint.clone(), &key());
        let keys = TrustedKeys::only(key().public());
        let opened = Signed::open(&signed.note, &keys).expect("trusted");
        assert_eq!(opened, signed);
        assert_eq!(opened.checkpoint, checkpoint);
    }
}

#[test]
fn one_checkpoint_has_one_text() {
    let text = checkpoint().text();
    for (from, to) in [
        ("\n12\n", "\n012\n"),
        ("\n12\n", "\n+12\n"),
        ("seq 12", "seq  12"),
        ("seq 12", "seq -12"),
        ("time ", "time +"),
        ("previous ", "previous"),
        ("control", "team_x"),
        ("waybill/test", "waybill/TEST"),
    ] {
        let altered = text.replacen(from, to, 1);
        assert_ne!(altered, text);
        assert!(Checkpoint::parse(&altered).is_err(), "{altered}");
    }
    assert!(Checkpoint::parse(&format!("{text}more 1\n")).is_err());
    assert!(Checkpoint::parse(text.trim_end()).is_err());
}

#[test]
fn a_key_signs_only_in_its_time() {
    let signed = Signed::new(checkpoint(), &key());
    let at = millis(checkpoint().signed_ns);
    let later = Timestamp(at.0 + 1);
    let open = |from, until| {
        let keys = TrustedKeys::new(vec![Trusted {
            key: key().public(),
            from,
            until,
        }]);
        Signed::open(&signed.note, &keys).map(drop)
    };
    assert_eq!(open(None, None), Ok(()));
    assert_eq!(open(Some(at), Some(later)), Ok(()));
    assert_eq!(
        open(Some(later), None),
        Err(CheckpointError::OutOfRange { at })
    );
    assert_eq!(
        open(None, Some(at)),
        Err(CheckpointError::OutOfRange { at })
    );
}

#[test]
fn what_covers_survives_its_bytes() {
    let leaves = [Hash::of(b"a"), Hash::of(b"b")];
    let covering = Covering {
        note: Signed::new(checkpoint(), &key()).note,
        leaves: leaves.iter().flat_map(|leaf| leaf.0).collect(),
    };
    let read = Covering::decode(&covering.encode()).expect("readable");
    assert_eq!(read, covering);
    assert_eq!(read.leaves().collect::<Vec<_>>(), leaves);
    let odd = Covering {
        leaves: vec![0; 33],
        ..covering
    };
    assert_eq!(Covering::decode(&odd.encode()), None);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(.|\n){0,300}") {
        prop_assert!(Checkpoint::parse(&text).is_err());
        let _ = Covering::decode(text.as_bytes());
    }

    #[test]
    fn any_checkpoint_survives(size in any::<u64>(), seq in any::<u64>(), time in any::<i64>(), signed in any::<i64>()) {
        let checkpoint = Checkpoint {
            size, last_seq: StreamSeq(seq), last_time_ns: time, signed_ns: signed, ..checkpoint()
        };
        prop_assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint));
    }
}
