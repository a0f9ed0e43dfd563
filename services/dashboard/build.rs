//! Writes the table of the dashboard's files, each with its bytes as they are served: a file that is added is in the program without being named anywhere.

mod bundle;
mod compact;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

const STATIC: &str = "../../web/dashboard/static";
/// The script that all others are put into.
const ENTRY: &str = "main.js";
/// What loads the scripts.
const DOCUMENT: &str = "index.html";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed={STATIC}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=compact.rs");
    println!("cargo:rerun-if-changed=bundle.rs");
    let root = Path::new(STATIC).canonicalize()?;
    let mut paths = Vec::new();
    collect(&root, &mut paths)?;
    let mut files = BTreeMap::new();
    for path in paths {
        files.insert(name(&root, &path)?, fs::read(path)?);
    }
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let out = Path::new(&out);
    let mut table = String::from("&[\n");
    // Sorted by bytes, as the search compares them.
    for (name, bytes) in served(files).map_err(io::Error::other)? {
        let copy = out.join("static").join(&name);
        if let Some(folder) = copy.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&copy, bytes)?;
        let _ = writeln!(table, "    ({name:?}, include_bytes!({copy:?})),");
    }
    table.push_str("]\n");
    fs::write(out.join("files.rs"), table)
}

/// The files as browsers get them: without what only readers need, and the modules of pages in one.
fn served(files: BTreeMap<String, Vec<u8>>) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut scripts = BTreeMap::new();
    let mut served = BTreeMap::new();
    for (name, bytes) in files {
        if name.ends_with(".js") && !name.starts_with("vendor/") {
            let text = String::from_utf8(bytes).map_err(|error| format!("{name}: {error}"))?;
            let script = compact::script(&text).map_err(|error| format!("{name}: {error}"))?;
            scripts.insert(name, script);
        } else {
            let bytes = compact::compacted(&name, bytes)?;
            served.insert(name, bytes);
        }
    }
    let bundle = bundle::bundle(ENTRY, &scripts)?;
    for name in &bundle.names {
        scripts.remove(name);
    }
    served.insert(ENTRY.to_owned(), bundle.text.into_bytes());
    let document = String::from_utf8_lossy(&served[DOCUMENT]).into_owned();
    for (name, script) in scripts {
        if !document.contains(&format!("/{name}\"")) {
            return Err(format!("{name}: no other file needs it"));
        }
        served.insert(name, script.text.into_bytes());
    }
    Ok(served)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn name(root: &Path, file: &Path) -> io::Result<String> {
    let below = file.strip_prefix(root).map_err(io::Error::other)?;
    let name = below.to_str().map(str::to_owned);
    name.ok_or_else(|| io::Error::other(format!("not UTF-8: {}", below.display())))
}
