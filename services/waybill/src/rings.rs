//! Where the rings of the vault are: variables of the environment, or files in the folder of secrets, which commands can change.
//!
//! Of the two files, the open ring is written first when a KEK is added, and the seal ring when one is removed: at no time can anything be sealed
//! that no worker can open.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use tokio_util::sync::CancellationToken;
use waybill_vault::fresh_rings;
use waybill_vault::{KekId, LiveRing, OpenRing, Ring, RingSource, SealRing, SenderSecret};
use zeroize::Zeroizing;

use crate::config::environment;
use crate::secrets::write_private;

/// The folder of the files, in the folder of the data.
pub(crate) const FOLDER: &str = "secrets";
/// Pause between two looks at a file by a process that uses it.
const RELOAD: Duration = Duration::from_secs(1);
/// Age of a file after which every running process has read it.
const READ_AFTER: Duration = Duration::from_secs(3);

/// Where one of the rings is.
struct Place {
    variable: &'static str,
    file: &'static str,
}

const SEAL: Place = Place {
    variable: "WAYBILL_VAULT_SEAL",
    file: "vault-seal",
};
const OPEN: Place = Place {
    variable: "WAYBILL_VAULT_OPEN",
    file: "vault-open",
};

impl Place {
    fn path(&self, data: &Path) -> PathBuf {
        data.join(FOLDER).join(self.file)
    }

    /// The variable wins.
    fn source(&self, data: &Path) -> Option<RingSource> {
        if let Some(text) = environment(self.variable) {
            return Some(RingSource::Text(Zeroizing::new(text)));
        }
        let path = self.path(data);
        path.exists().then_some(RingSource::File(path))
    }

    fn load<R: Ring>(&self, data: &Path) -> anyhow::Result<Option<Arc<LiveRing<R>>>> {
        let Some(source) = self.source(data) else {
            return Ok(None);
        };
        let is_variable = matches!(source, RingSource::Text(_));
        let ring = LiveRing::load(source);
        let ring = match is_variable {
            true => ring.context(self.variable)?,
            false => ring?,
        };
        Ok(Some(Arc::new(ring)))
    }
}

/// The ring that a gateway seals with. `None`: there is no vault.
pub(crate) fn seal(data: &Path) -> anyhow::Result<Option<Arc<LiveRing<SealRing>>>> {
    SEAL.load(data)
}

/// The ring that a worker opens with.
pub(crate) fn open(data: &Path) -> anyhow::Result<Option<Arc<LiveRing<OpenRing>>>> {
    OPEN.load(data)
}

/// Keeps a ring as its file is, until told to stop or until nobody holds it.
pub(crate) fn follow<R: Ring>(ring: &Arc<LiveRing<R>>, stop: CancellationToken) {
    let ring = Arc::downgrade(ring);
    tokio::spawn(async move {
        loop {
            // Only the pause is cut short; a reload runs to its end.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RELOAD) => {}
            }
            let Some(ring) = ring.upgrade() else { return };
            // A reload logs its own failures. Only a panic in it ends this task.
            if tokio::task::spawn_blocking(move || ring.reload())
                .await
                .is_err()
            {
                return;
            }
        }
    });
}

/// Makes both files with one KEK. Refuses to replace anything.
pub(crate) fn make(data: &Path) -> anyhow::Result<KekId> {
    for place in [&SEAL, &OPEN] {
        ensure!(
            environment(place.variable).is_none(),
            "{} is set: the vault has its keys from there",
            place.variable
        );
        let path = place.path(data);
        ensure!(
            !path.exists(),
            "{} is there already; what it sealed is lost without it",
            path.display()
        );
    }
    let (seal, open) = fresh_rings()?;
    write(data, &seal, &open)?;
    open.keks().first().copied().context("a ring with a KEK")
}

/// Makes the files at the first start of `waybill up`, and finishes what a start that was killed began.
pub(crate) fn complete(data: &Path) -> anyhow::Result<()> {
    if environment(SEAL.variable).is_some() || environment(OPEN.variable).is_some() {
        return Ok(());
    }
    let (seal, open) = (SEAL.path(data), OPEN.path(data));
    match (seal.exists(), open.exists()) {
        (true, true) => Ok(()),
        (false, false) => make(data).map(drop),
        (false, true) => {
            // The open ring was made first. A new sender is as good as the lost one once the open ring trusts it.
            let sender = SenderSecret::generate()?;
            let ring = LiveRing::<OpenRing>::load(RingSource::File(open))?.current();
            let ring = ring.with_sender(sender.public().clone())?;
            write(data, &ring.seal_ring(sender), &ring)
        }
        (true, false) => bail!(
            "{} is missing beside {}: put it back, nothing in the vault opens without it (or remove both, to begin with an empty vault)",
            open.display(),
            seal.display()
        ),
    }
}

fn write(data: &Path, seal: &SealRing, open: &OpenRing) -> anyhow::Result<()> {
    write_private(&OPEN.path(data), open.render().as_bytes())?;
    write_private(&SEAL.path(data), seal.render().as_bytes())
}

/// Both rings as lines of a file of variables.
pub(crate) fn variables(seal: &SealRing, open: &OpenRing) -> Zeroizing<String> {
    let line = |place: &Place, ring: &str| {
        let words: Vec<&str> = ring.split_whitespace().collect();
        let words = Zeroizing::new(words.join(" "));
        Zeroizing::new(format!("{}=\"{}\"\n", place.variable, *words))
    };
    let (seal, open) = (line(&SEAL, &seal.render()), line(&OPEN, &open.render()));
    Zeroizing::new(format!("{}{}", *seal, *open))
}

/// Both rings, locked for a command that changes them.
pub(crate) struct Held {
    pub(crate) seal: Arc<SealRing>,
    pub(crate) open: Arc<OpenRing>,
    data: PathBuf,
    /// `None`: from variables, so nothing can be written.
    lock: Option<File>,
}

impl Held {
    /// Reads both. Each must be here.
    pub(crate) fn open(data: &Path) -> anyhow::Result<Self> {
        let by_variable = [&SEAL, &OPEN].map(|place| environment(place.variable).is_some());
        ensure!(
            by_variable[0] == by_variable[1],
            "{} and {} must both be set, or neither",
            SEAL.variable,
            OPEN.variable
        );
        let missing = |place: &Place| {
            let path = place.path(data);
            format!(
                "there is no {}, and {} is not set: this needs both rings of the vault (`waybill vault init` makes them)",
                path.display(),
                place.variable
            )
        };
        let lock = match by_variable[0] {
            true => None,
            false => {
                ensure!(SEAL.path(data).exists(), missing(&SEAL));
                Some(lock(data)?)
            }
        };
        let seal = seal_of(data)?.with_context(|| missing(&SEAL))?;
        let open = OPEN.load(data)?.with_context(|| missing(&OPEN))?.current();
        Ok(Self {
            seal,
            open,
            data: data.to_owned(),
            lock,
        })
    }

    /// Whether what is written is what processes read.
    pub(crate) fn are_files(&self) -> bool {
        self.lock.is_some()
    }

    /// Writes rings with a KEK more.
    pub(crate) fn grow(&mut self, seal: SealRing, open: OpenRing) -> anyhow::Result<()> {
        write_private(&OPEN.path(&self.data), open.render().as_bytes())?;
        write_private(&SEAL.path(&self.data), seal.render().as_bytes())?;
        (self.seal, self.open) = (Arc::new(seal), Arc::new(open));
        Ok(())
    }

    /// Writes rings with a KEK less.
    pub(crate) fn shrink(&mut self, seal: SealRing, open: OpenRing) -> anyhow::Result<()> {
        write_private(&SEAL.path(&self.data), seal.render().as_bytes())?;
        write_private(&OPEN.path(&self.data), open.render().as_bytes())?;
        (self.seal, self.open) = (Arc::new(seal), Arc::new(open));
        Ok(())
    }

    /// Waits until the other processes have read the files. One that has not would refuse to seal, or open later.
    pub(crate) async fn read_by_all(&self) -> anyhow::Result<()> {
        if !self.are_files() {
            return Ok(());
        }
        for place in [&OPEN, &SEAL] {
            let written = std::fs::metadata(place.path(&self.data))?.modified()?;
            let age = SystemTime::now()
                .duration_since(written)
                .unwrap_or_default();
            tokio::time::sleep(READ_AFTER.saturating_sub(age)).await;
        }
        Ok(())
    }
}

fn seal_of(data: &Path) -> anyhow::Result<Option<Arc<SealRing>>> {
    Ok(SEAL.load(data)?.map(|ring| ring.current()))
}

/// One command at a time changes the rings. The lock goes with the process, however it ends.
fn lock(data: &Path) -> anyhow::Result<File> {
    let path = data.join("vault.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another `waybill vault` is at work on {}", data.display());
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn text(place: &Place, data: &Path) -> String {
        fs::read_to_string(place.path(data)).expect("a ring")
    }

    #[test]
    fn rings_are_made_once_private_and_fit_each_other() {
        let data = tempfile::tempdir().expect("a folder");
        let kek = make(data.path()).expect("made");
        for place in [&SEAL, &OPEN] {
            let mode = fs::metadata(place.path(data.path())).expect("there");
            assert_eq!(mode.permissions().mode() & 0o777, 0o600);
        }
        let held = Held::open(data.path()).expect("both");
        assert_eq!((held.seal.keks(), held.open.keks()), (vec![kek], vec![kek]));
        assert_eq!(held.open.senders(), [held.seal.sender().id()]);
        let before = text(&OPEN, data.path());
        assert!(make(data.path()).is_err(), "nothing is replaced");
        complete(data.path()).expect("nothing to do");
        assert_eq!(text(&OPEN, data.path()), before);
    }

    #[test]
    fn a_start_that_was_killed_between_the_files_is_finished() {
        let data = tempfile::tempdir().expect("a folder");
        let kek = make(data.path()).expect("made");
        fs::remove_file(SEAL.path(data.path())).expect("there");
        complete(data.path()).expect("finished");
        let held = Held::open(data.path()).expect("both");
        assert_eq!((held.seal.keks(), held.open.keks()), (vec![kek], vec![kek]));
        assert!(held.open.senders().contains(&held.seal.sender().id()));
    }

    #[test]
    fn nothing_is_sealed_beside_an_open_ring_that_is_gone() {
        let data = tempfile::tempdir().expect("a folder");
        make(data.path()).expect("made");
        fs::remove_file(OPEN.path(data.path())).expect("there");
        let refused = complete(data.path()).expect_err("refused").to_string();
        assert!(refused.contains("vault-open is missing"), "{refused}");
        assert!(Held::open(data.path()).is_err());
    }

    #[test]
    fn two_commands_do_not_change_the_rings_at_once() {
        let data = tempfile::tempdir().expect("a folder");
        make(data.path()).expect("made");
        let held = Held::open(data.path()).expect("free");
        let second = Held::open(data.path()).err().map(|error| error.to_string());
        assert!(second.is_some_and(|text| text.contains("another `waybill vault`")));
        drop(held);
        assert!(Held::open(data.path()).is_ok());
    }

    #[test]
    fn variables_hold_whole_rings_in_a_line_each() {
        let (seal, open) = fresh_rings().expect("random bytes");
        let lines = variables(&seal, &open);
        let value = |line: &str, variable| {
            let rest = line.strip_prefix(variable).expect("its name");
            rest.trim_matches(['=', '"']).to_owned()
        };
        let lines: Vec<&str> = lines.lines().collect();
        let read = SealRing::parse(&value(lines[0], SEAL.variable)).expect("a ring");
        assert_eq!(*read.render(), *seal.render());
        let read = OpenRing::parse(&value(lines[1], OPEN.variable)).expect("a ring");
        assert_eq!(*read.render(), *open.render());
        assert_eq!(lines.len(), 2);
    }
}
