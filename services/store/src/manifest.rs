//! What a store's directory says about itself, checked before an engine opens it.
//!
//! ```text
//! <dir>/LOCK        one process at a time
//! <dir>/MANIFEST    engine, schema version and trees, as text
//! <dir>/CONDEMNED   why the rows must not be used again, if they must not
//! <dir>/OPENING     how many processes have begun to open the rows and not come back from it
//! <dir>/rows/       the engine's own files
//! <dir>/rows.bad/   the last corrupt rows, kept for whoever wants to know, until the next clean open
//! ```
//!
//! The manifest is written before the engine creates its files, and removed before they are. So
//! rows without a manifest are the remains of an interrupted wipe. Only these names are ever
//! removed, so a mistyped path loses nothing else.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::{Engine, Tree, WipeReason};

/// Version of the directory's layout and of checkpoint rows; raise it when this crate changes them.
const FORMAT: u32 = 1;

pub(crate) struct Directory {
    root: PathBuf,
}

/// Contents of the directory, determined without opening the engine.
#[derive(Debug)]
pub(crate) enum Found {
    Nothing,
    Matching,
    ToWipe(WipeReason),
}

impl Directory {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    pub(crate) fn rows(&self) -> PathBuf {
        self.root.join("rows")
    }

    fn rows_bad(&self) -> PathBuf {
        self.root.join("rows.bad")
    }

    fn manifest(&self) -> PathBuf {
        self.root.join("MANIFEST")
    }

    fn condemned(&self) -> PathBuf {
        self.root.join("CONDEMNED")
    }

    fn opening(&self) -> PathBuf {
        self.root.join("OPENING")
    }

    /// Number of opens that have begun since one last ended, successfully or not.
    pub(crate) fn opens_begun(&self) -> u32 {
        match fs::read_to_string(self.opening()) {
            Ok(text) => text.trim().parse().unwrap_or(1),
            Err(_) => 0,
        }
    }

    /// This only helps against crash loops, so a failure to write the file is no reason not to
    /// open.
    pub(crate) fn note_opens_begun(&self, opens: u32) {
        let noted = match opens {
            0 => ignore_missing(fs::remove_file(self.opening())),
            _ => fs::write(self.opening(), opens.to_string()),
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "could not note that the store is being opened; a crash while opening it will not be counted");
        }
    }

    pub(crate) fn inspect(&self, engine: Engine, schema: u32, trees: &[Tree]) -> io::Result<Found> {
        let text = match fs::read(self.manifest()) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(if self.rows().try_exists()? {
                    Found::ToWipe(WipeReason::ManifestUnreadable("it is missing".to_owned()))
                } else {
                    Found::Nothing
                });
            }
            Err(error) => return Err(error),
        };
        if let Some(reason) = self.condemnation()? {
            return Ok(Found::ToWipe(reason));
        }
        if !self.rows().try_exists()? {
            let why = "the rows are gone".to_owned();
            return Ok(Found::ToWipe(WipeReason::Corrupt(why)));
        }
        Ok(match Manifest::parse(&text) {
            Err(why) => Found::ToWipe(WipeReason::ManifestUnreadable(why)),
            Ok(found) => match found.difference(&Manifest::new(engine, schema, trees)) {
                Some(reason) => Found::ToWipe(reason),
                None => Found::Matching,
            },
        })
    }

    /// Prepares the directory for rows of this description. Safe to interrupt at any point.
    pub(crate) fn prepare(&self, engine: Engine, schema: u32, trees: &[Tree]) -> io::Result<()> {
        let draft = self.root.join("MANIFEST.new");
        let mut file = File::create(&draft)?;
        file.write_all(Manifest::new(engine, schema, trees).to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, self.manifest())?;
        fs::create_dir_all(self.rows())?;
        self.sync_names()
    }

    /// Makes the names of new engine files survive a power cut, as a sync does for their contents.
    pub(crate) fn settle(&self) -> io::Result<()> {
        File::open(self.rows())?.sync_all()
    }

    /// Removes the rows. Corrupt ones are set aside, and replace those that were set aside before.
    pub(crate) fn wipe(&self, reason: &WipeReason) -> io::Result<()> {
        ignore_missing(fs::remove_file(self.manifest()))?;
        self.sync_names()?;
        if matches!(reason, WipeReason::Corrupt(_)) {
            self.drop_bad_rows()?;
            ignore_missing(fs::rename(self.rows(), self.rows_bad()))?;
        } else {
            ignore_missing(fs::remove_dir_all(self.rows()))?;
        }
        ignore_missing(fs::remove_file(self.opening()))?;
        // Removed last, so that the rows stay condemned until they are gone.
        ignore_missing(fs::remove_file(self.condemned()))?;
        self.sync_names()
    }

    pub(crate) fn drop_bad_rows(&self) -> io::Result<()> {
        ignore_missing(fs::remove_dir_all(self.rows_bad()))
    }

    /// Marks the rows for the next open. Synced to disk, since the process is about to give up.
    pub(crate) fn condemn(&self, reason: &WipeReason) -> io::Result<()> {
        let (kind, why) = match reason {
            WipeReason::Requested(why) => ("requested", why.clone()),
            other => ("corrupt", other.to_string()),
        };
        let mut file = File::create(self.condemned())?;
        file.write_all(format!("{kind}\n{why}").as_bytes())?;
        file.sync_all()?;
        self.sync_names()
    }

    fn condemnation(&self) -> io::Result<Option<WipeReason>> {
        let text = match fs::read(self.condemned()) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(match text.split_once('\n') {
            Some(("requested", why)) => WipeReason::Requested(why.to_owned()),
            Some((_, why)) => WipeReason::Corrupt(why.to_owned()),
            // A mark that was cut short by a crash still counts.
            None => WipeReason::Corrupt(text),
        }))
    }

    fn sync_names(&self) -> io::Result<()> {
        File::open(&self.root)?.sync_all()
    }
}

fn ignore_missing(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Manifest {
    engine: String,
    schema: u32,
    trees: Vec<String>,
}

impl Manifest {
    fn new(engine: Engine, schema: u32, trees: &[Tree]) -> Self {
        Self {
            engine: engine.to_string(),
            schema,
            trees: trees.iter().map(|tree| tree.name().to_owned()).collect(),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let mut field = |name: &str| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .map(str::to_owned)
                .ok_or_else(|| format!("it has no line '{name}'"))
        };
        let format = field("waybill-store")?;
        if format != FORMAT.to_string() {
            return Err(format!("it has format {format}, not {FORMAT}"));
        }
        let engine = field("engine")?;
        let schema = field("schema")?;
        let trees = field("trees")?;
        // The last line proves that the others are complete.
        field("end").map(drop)?;
        Ok(Self {
            engine,
            schema: schema
                .parse()
                .map_err(|_| format!("its schema is '{schema}'"))?,
            trees: trees.split(' ').map(str::to_owned).collect(),
        })
    }

    fn difference(self, expected: &Self) -> Option<WipeReason> {
        if self.engine != expected.engine {
            return Some(WipeReason::EngineChanged {
                found: self.engine,
                expected: expected.engine.clone(),
            });
        }
        if self.schema != expected.schema {
            return Some(WipeReason::SchemaChanged {
                found: self.schema,
                expected: expected.schema,
            });
        }
        (self.trees != expected.trees).then_some(WipeReason::TreesChanged)
    }
}

impl std::fmt::Display for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            engine,
            schema,
            trees,
        } = self;
        let trees = trees.join(" ");
        write!(
            f,
            "waybill-store {FORMAT}\nengine {engine}\nschema {schema}\ntrees {trees}\nend .\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Tree = Tree::new("keys");
    const TEAMS: Tree = Tree::new("teams");

    #[test]
    fn a_manifest_reads_back() {
        let manifest = Manifest::new(Engine::Sled, 7, &[KEYS, TEAMS]);
        assert_eq!(Manifest::parse(&manifest.to_string()), Ok(manifest));
    }

    #[test]
    fn a_manifest_cut_anywhere_is_refused() {
        let text = Manifest::new(Engine::Fjall, 12, &[KEYS]).to_string();
        // Without the final newline it is still whole.
        for cut in 0..text.len() - 2 {
            assert!(Manifest::parse(&text[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn the_order_of_trees_is_part_of_the_description() {
        let one = Manifest::new(Engine::Sled, 1, &[KEYS, TEAMS]);
        let other = Manifest::new(Engine::Sled, 1, &[TEAMS, KEYS]);
        assert_eq!(one.difference(&other), Some(WipeReason::TreesChanged));
    }
}
