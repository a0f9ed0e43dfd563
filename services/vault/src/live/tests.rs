use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::ring::{OpenRing, SealRing, fresh_rings};

fn write(path: &Path, text: &str, mode: u32) {
    let partial = path.with_extension("partial");
    fs::write(&partial, text).expect("written");
    fs::set_permissions(&partial, fs::Permissions::from_mode(mode)).expect("ours");
    fs::rename(&partial, path).expect("in place");
}

#[test]
fn a_ring_follows_its_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("vault-seal");
    let (first, second) = (
        fresh_rings().expect("random").0,
        fresh_rings().expect("random").0,
    );
    write(&path, &first.render(), 0o600);
    let live = LiveRing::<SealRing>::load(RingSource::File(path.clone())).expect("a ring");
    assert_eq!(live.current().keks(), first.keks());
    assert_eq!(live.reload(), Reload::Unchanged);
    write(&path, &second.render(), 0o600);
    assert_eq!(live.current().keks(), first.keks(), "not before it is told");
    assert_eq!(live.reload(), Reload::Changed);
    assert_eq!(live.current().keks(), second.keks());
    assert_eq!(live.reload(), Reload::Unchanged);
}

#[test]
fn a_file_that_went_wrong_leaves_the_last_good_ring_in_use() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("vault-open");
    let (_, ring) = fresh_rings().expect("random");
    let good = ring.render();
    write(&path, &good, 0o600);
    let live = LiveRing::<OpenRing>::load(RingSource::File(path.clone())).expect("a ring");
    for (text, mode) in [
        ("", 0o600),
        ("kek-secret1.12", 0o600),
        (good.as_str(), 0o640),
    ] {
        write(&path, text, mode);
        assert_eq!(live.reload(), Reload::Kept, "{mode:o}");
        assert_eq!(live.reload(), Reload::Kept, "{mode:o}");
        assert_eq!(live.current().keks(), ring.keks());
    }
    fs::remove_file(&path).expect("ours");
    assert_eq!(live.reload(), Reload::Kept);
    assert_eq!(live.current().keks(), ring.keks());
    write(&path, &good, 0o600);
    assert_eq!(live.reload(), Reload::Unchanged, "as good as before");
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("vault-seal");
    let load = || LiveRing::<SealRing>::load(RingSource::File(path.clone()));
    assert!(matches!(load(), Err(RingFileError::Missing { .. })));
    let (ring, _) = fresh_rings().expect("random");
    for mode in [0o604, 0o640, 0o660, 0o666, 0o601] {
        write(&path, &ring.render(), mode);
        let error = load().expect_err("open to others");
        assert!(
            matches!(error, RingFileError::ReadableByOthers { .. }),
            "{mode:o}"
        );
    }
    for mode in [0o600, 0o400, 0o700] {
        write(&path, &ring.render(), mode);
        load().expect("its owner's alone");
    }
}

#[test]
fn what_is_no_ring_is_refused_without_being_shown() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("vault-open");
    let load = || LiveRing::<OpenRing>::load(RingSource::File(path.clone()));
    write(&path, &" ".repeat(MAX_RING_BYTES + 1), 0o600);
    assert!(matches!(load(), Err(RingFileError::TooLong { .. })));
    fs::write(&path, [0xff, 0xfe]).expect("ours");
    assert!(matches!(load(), Err(RingFileError::Io { .. })));
    assert!(matches!(
        LiveRing::<OpenRing>::load(RingSource::File(dir.path().to_path_buf())),
        Err(RingFileError::ReadableByOthers { .. } | RingFileError::Io { .. })
    ));
    let secret = "5e".repeat(31);
    write(&path, &format!("kek-secret1.{secret}"), 0o600);
    let error = load().expect_err("a byte too short");
    assert!(!format!("{error} {error:?}").contains("5e5e"), "{error:?}");
    let text = RingSource::Text(Zeroizing::new(format!("kek-secret1.{secret}")));
    assert!(!format!("{text:?}").contains("5e5e"));
    let error = LiveRing::<OpenRing>::load(text).expect_err("a byte too short");
    let expected = "the given text: word 1 in line 1 is not a valid kek-secret1";
    assert!(error.to_string().starts_with(expected), "{error}");
}
